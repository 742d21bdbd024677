"""A board's own part that judges what comes, and its site: real keys, real signatures, no process and no agent around it.

Bytes come to it by the three ways that there are: an HTTP answer, what a broker brings, a folder on a stick. Its clock
shows what a board's may show. Every refusal is held against the same: nothing that was trusted has changed, the host is told
(the person with the stick, there), and the next honest assignment is taken.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.agent.trust.test_freshness import Clock
from tests.simulators.file_server import FileServer
from tests.simulators.signer import Repo, Signer, moment

from edgelift_agent.artifact.carried import CarriedFolder
from edgelift_agent.link.http import HttpTransport
from edgelift_agent.link.mqtt import MAX_PACKET_BYTES
from edgelift_agent.parts.trust import Trust
from edgelift_agent.ports import Committed, Opened
from edgelift_agent.system.degraded import Degraded
from edgelift_agent.system.disk import Disk
from edgelift_contract import routes
from edgelift_contract.assignment import Assignment, Policy, SlotAssignment
from edgelift_contract.carried import signed_name
from edgelift_contract.codec import digest
from edgelift_contract.errors import EdgeliftError
from edgelift_contract.report import DeviceFacts
from edgelift_contract.signed import SIGNED_MEDIA, Genuine, target_path, unpack_signed

DEVICE = "pi-1"
DAY = 86400.0
SAID = Genuine(hardware_class="arm64-neon", runtime="onnxruntime", model="digits", version="2", release_counter=7)
MANIFEST = b'{"manifest": 1}'
PATH = target_path(digest(MANIFEST), SAID)

ONLINE, WAYS = ("http", "mqtt"), ("http", "mqtt", "stick")
CLOCKS = ("right", "1970", "2038", "jumping back")
#: Where a clock may matter. A stick has but the clock to tell that it is too old: in 2038 each is (test_clock_ahead.py).
SETTINGS = [(way, clock) for way in WAYS for clock in CLOCKS if (way, clock) != ("stick", "2038")]


#: What the clock shows → its site, what it trusts and what it serves after its first assignment.
_BEGUN: dict[float | None, tuple[Signer, bytes, bytes]] = {}


class Board:
    """`pi-1`, which was enrolled, took one assignment, and serves.

    Attributes:
        signer: its site; a thief may change it in any way.
        floors, installed, before: what was committed here.
        serves: the assignment that was taken last.
    """

    def __init__(self, folder: Path, server: FileServer, way: str = "http", clock: str = "right") -> None:
        self.way, self.server, self.stick = way, server, folder / "stick"
        self.clock, self.state = Clock(), folder / "state"
        self.state.mkdir()
        self.degraded = Degraded(self.clock)
        self.floors: dict[str, int] = {}
        self.installed: dict[str, str] = {}
        self.before: dict[str, set[str]] = {}
        self.revision, self.serves = 0, b""
        self.begin({"1970": 90.0, "2038": 2_147_483_647.0}.get(clock))
        if clock == "jumping back":
            self.clock.shows -= 365 * DAY

    def begin(self, shows: float | None) -> None:
        """Enrol it and have it take its first assignment: once for each clock, and then from what came of that."""
        if (begun := _BEGUN.get(shows)) is None:
            self.signer = Signer(DEVICE)
            self.clock.shows = self.signer.now if shows is None else shows
            self.trust = self.started()
            self.trust.learn({name: data.decode() for name, data in self.signer.roots().items()})
            self.passes()
            begun = _BEGUN[shows] = copy.deepcopy(self.signer), self.trusted(), self.serves
        signer, trusted, self.serves = begun
        self.signer, self.revision = copy.deepcopy(signer), 1
        self.clock.shows = signer.now if shows is None else shows
        (self.state / "trust.json").write_bytes(trusted)
        self.trust = self.started()

    def started(self) -> Trust:
        """The part as after a start of the agent."""
        facts = DeviceFacts(hardware_class="arm64-neon", accepts=["arm64-neon"])
        return Trust(
            self.state, Disk(), self.clock, self.degraded, DEVICE, lambda: facts,
            lambda: Committed(self.floors, self.installed, self.before),
        )  # fmt: skip

    def says(self, manifest: bytes = MANIFEST, said: Genuine = SAID, **wanted: Any) -> None:
        """The site lists a release as genuine and assigns it; nothing is signed yet."""
        self.revision += 1
        slot = SlotAssignment(digest(manifest), len(manifest), said.model, said.version)
        slot = msgspec.structs.replace(slot, **wanted)
        assignment = Assignment(schema=1, device=DEVICE, revision=self.revision, slots={"digits": slot})
        self.signer.list_artifact(manifest, said)
        self.signer.direct(assignment, [(manifest, said)])

    def sealed(self, *, root: bool = False) -> bytes:
        """What the site says now, signed for what this device asked."""
        self.signer.nonce = "" if self.way == "stick" else self.trust.nonce
        self.signer.publish(root=root)
        return self.signer.bundle()

    def honest(self) -> bytes:
        self.says()
        return self.sealed()

    def given(self, data: bytes) -> Opened:
        """These bytes come by the board's way."""
        if self.way == "stick":
            file = self.stick / signed_name(DEVICE)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
            return self.trust.carried(CarriedFolder(self.stick).signed(DEVICE))
        if self.way == "http":
            self.server.odd[f"{routes.desired_path(DEVICE)}?wait_s=0"] = _answer(data)
            got = HttpTransport(self.server.url, "token", DEVICE).poll(None, 0.0, nonce=self.trust.nonce)
            return self.trust.open(got or b"")
        got = data[: MAX_PACKET_BYTES + 1]
        assert self.trust.worth(got, digest(self.serves), MAX_PACKET_BYTES) == "open"
        return self.trust.open(got)

    def told(self) -> dict[str, str]:
        """What its reports say is broken: part → code."""
        return {one.part: one.code for one in self.degraded.reasons()}

    def trusted(self) -> bytes:
        return (self.state / "trust.json").read_bytes()

    def refused(self, data: bytes) -> str:
        """It is refused, without a trace, and told; the code."""
        before, nonce = self.trusted(), self.trust.nonce
        with pytest.raises(EdgeliftError) as caught:
            self.given(data)
        assert (self.trusted(), self.trust.nonce) == (before, nonce)
        assert self.told() == ({} if self.way == "stick" else {"assignment": caught.value.code})
        return caught.value.code

    def passes(self) -> None:
        """The next honest assignment is taken, and nothing is broken any more."""
        self.serves = self.given(self.honest()).assignment
        assert json.loads(self.serves)["revision"] == self.revision and self.told() == {}

    def withstands(
        self, code: str, change: Callable[[Signer], None], *, root: bool = False, **wanted: Any
    ) -> None:
        """Whoever has keys changes what the site says next: refused with this code; the honest site goes on."""
        honest = copy.deepcopy(self.signer)
        self.says(**wanted)
        change(self.signer)
        assert self.refused(self.sealed(root=root)) == code
        self.signer = honest
        self.passes()

    def later(self, days: float) -> None:
        """Time passes, also at the site, which goes on signing."""
        self.clock.pass_(days * DAY)
        self.signer.now += days * DAY
        for repo in (self.signer.image, self.signer.director):
            for role in ("snapshot", "timestamp"):
                repo.signed(role).expires = moment(self.signer.now + 7 * DAY)


def _answer(data: bytes) -> Callable[[Any], None]:
    def answer(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", SIGNED_MEDIA)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return answer


def unpacked(data: bytes) -> dict[str, bytes]:
    """The files of a bundle, by name."""
    return {name: text.encode() for name, text in unpack_signed(data, device=DEVICE).files.items()}


def nothing(_: Signer) -> None:
    """The thief has what the site says as it is."""


def repository(signer: Signer, name: str) -> Repo:
    return {"image": signer.image, "director": signer.director}[name]


ALLOW_OLDER = Policy(allow_older=True)
