"""An assignment comes out only when both repositories hold; a refusal leaves no trace, and the next honest one passes."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.simulators.signer import Signer, digest, moment, new_key, public

from edgelift_agent.ports import Committed
from edgelift_agent.system.disk import Disk
from edgelift_agent.trust.trusted import TrustedFile, first
from edgelift_agent.trust.verifier import Verifier
from edgelift_contract.assignment import Assignment, Policy, SlotAssignment
from edgelift_contract.errors import EdgeliftError
from edgelift_contract.report import DeviceFacts
from edgelift_contract.signed import Genuine, Vouched, target_path

SAID = Genuine(hardware_class="arm64-neon", runtime="onnxruntime", model="digits", version="2", release_counter=7)
MANIFEST = b'{"manifest": 1}'
DAY = 86400.0


class Clock:
    def __init__(self, now: float) -> None:
        self.time = now

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


class Board:
    """A device that knows the roots, and its site."""

    def __init__(self, folder: Path, *, clock: float | None = None) -> None:
        self.signer = Signer("pi-1")
        self.clock = Clock(self.signer.now if clock is None else clock)
        self.path = folder / "trust.json"
        self.file = TrustedFile(self.path, Disk())
        self.file.write(first({name: data.decode() for name, data in self.signer.roots().items()}))
        self.floors: dict[str, int] = {}
        self.installed: dict[str, str] = {}
        self.before: dict[str, set[str]] = {}
        self.revision = 0
        self.manifest, self.said = MANIFEST, SAID
        self.wanted: dict[str, Any] = {}
        self.verifier = self.made()

    def made(self) -> Verifier:
        facts = DeviceFacts(hardware_class="arm64-neon", accepts=["arm64-neon"])
        return Verifier(
            TrustedFile(self.path, Disk()),
            self.clock,
            "pi-1",
            lambda: facts,
            lambda: Committed(self.floors, self.installed, self.before),
        )

    def assignment(self) -> Assignment:
        slot = SlotAssignment(digest(self.manifest), len(self.manifest), self.said.model, self.said.version)
        slot = msgspec.structs.replace(slot, **self.wanted)
        return Assignment(schema=1, device="pi-1", revision=self.revision, slots={"digits": slot})

    def honest(self) -> bytes:
        """What the site says next."""
        self.revision += 1
        self.signer.list_artifact(self.manifest, self.said)
        self.signer.direct(self.assignment(), [(self.manifest, self.said)])
        self.signer.nonce = self.verifier.nonce
        self.signer.publish()
        return self.signer.bundle()

    def refused(self, data: bytes, *, asked: bool = True) -> str:
        before = self.path.read_bytes()
        with pytest.raises(EdgeliftError) as caught:
            self.verifier.open(data, asked=asked)
        assert self.path.read_bytes() == before
        return caught.value.code

    def passes(self) -> None:
        opened = self.verifier.open(self.honest())
        assert json.loads(opened.assignment)["revision"] == self.revision


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


def test_an_honest_assignment_comes_out_and_is_remembered(board: Board) -> None:
    nonce = board.verifier.nonce
    opened = board.verifier.open(board.honest())
    assert opened.signed == {digest(MANIFEST): Vouched(manifest_bytes=len(MANIFEST), said=SAID)} and opened.fresh
    assert board.verifier.nonce != nonce
    board.verifier = board.made()
    board.passes()


def test_the_same_once_more_is_no_news_and_no_fault(board: Board) -> None:
    data = board.honest()
    first_time = board.verifier.open(data)
    kept, board.clock.time = board.path.read_bytes(), board.clock.time + 400 * DAY
    again = board.verifier.open(data)
    assert (again.assignment, again.signed, again.fresh) == (first_time.assignment, first_time.signed, False)
    assert board.path.read_bytes() == kept


@pytest.mark.parametrize("clock", [0.0, 2_147_483_647.0, None], ids=["1970", "2038", "right"])
def test_freshness_needs_no_clock(tmp_path: Path, clock: float | None) -> None:
    board = Board(tmp_path, clock=clock)
    board.passes()
    board.clock.time = 3e9 - board.clock.time
    board.passes()
    old = board.honest()
    board.passes()
    board.verifier.told_nonce(board.verifier.nonce)
    assert board.refused(old) == "not-fresh"
    board.signer.nonce = "0" * 32
    board.signer.publish()
    assert board.refused(board.signer.bundle()) == "not-fresh"
    board.signer.nonce = ""
    board.signer.publish()
    assert board.refused(board.signer.bundle()) == "not-fresh"
    board.passes()


def test_the_nonce_before_counts_until_the_new_one_was_told(board: Board) -> None:
    def second() -> bytes:
        nonce = board.verifier.nonce
        board.verifier.open(board.honest())
        board.honest()
        board.signer.nonce = nonce
        board.signer.publish()
        return board.signer.bundle()

    board.verifier.open(second())
    data = second()
    board.verifier.told_nonce(board.verifier.nonce)
    assert board.refused(data) == "not-fresh"
    board.passes()


def test_on_a_stick_the_clock_and_the_floor_count(board: Board) -> None:
    board.passes()
    board.honest()
    board.signer.nonce = ""
    board.signer.publish()
    data = board.signer.bundle()
    board.clock.time += 30 * DAY
    assert board.refused(data, asked=False) == "metadata-expired"
    board.clock.time = 0.0  # the floor is the last thing that was signed for it
    board.verifier.open(data, asked=False)


def test_a_board_in_1970_knows_by_its_floor_that_what_is_carried_has_expired(board: Board) -> None:
    board.signer.publish()
    old = board.honest()
    board.signer.now += 20 * DAY
    for repo in (board.signer.image, board.signer.director):
        for role in ("snapshot", "timestamp"):
            repo.signed(role).expires = moment(board.signer.now + 7 * DAY)
    board.passes()
    board.clock.time = 0.0
    files = board.signer.files() | {
        name: data for name, data in unpacked(old).items() if name.startswith("image/") and "root" not in name
    }
    assert board.refused(board.signer.bundle(files), asked=False) == "metadata-older"
    board.passes()


def unpacked(data: bytes) -> dict[str, bytes]:
    from edgelift_contract.signed import unpack_signed

    return {name: text.encode() for name, text in unpack_signed(data, device="pi-1").files.items()}


def test_a_neighbours_metadata_is_refused_and_does_no_lasting_harm(board: Board) -> None:
    board.passes()
    board.honest()
    board.signer.device = "pi-2"
    for _ in range(3):  # its versions are above ours
        board.signer.publish()
    theirs = board.signer.files()
    assert board.refused(board.signer.bundle()) == "wrong-device"
    board.signer.device = "pi-1"
    ours = board.signer.files() | {name: data for name, data in theirs.items() if "timestamp" in name}
    assert board.refused(board.signer.bundle(theirs)) == "wrong-device"
    assert board.refused(board.signer.bundle(ours)) == "wrong-device"
    board.passes()


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_each_role_of_the_director_names_the_device(board: Board, role: str) -> None:
    board.honest()
    director = board.signer.director
    del director.signed(role).unrecognized_fields["device_id"]
    director.publish()
    assert board.refused(board.signer.bundle()) == "wrong-device"
    board.passes()


def test_an_earlier_time_by_the_directors_key_is_refused_until_its_root_has_changed(board: Board) -> None:
    board.signer.now += 3000 * DAY  # stolen, and dated ahead; nothing expires by the thief's own hand
    for repo in (board.signer.image, board.signer.director):
        for role in repo.roles.values():
            role.signed.expires = moment(board.signer.now + 9 * DAY)
    data = board.honest()
    board.signer.publish(root=True)
    data = board.signer.bundle()
    board.verifier.open(data)
    board.signer.now -= 3000 * DAY
    assert board.refused(board.honest()) == "metadata-older"
    board.signer.director.rotate("timestamp", [new_key()])
    board.honest()
    board.signer.publish(root=True)
    board.verifier.open(board.signer.bundle())
    board.passes()


def lists(board: Board, **said: Any) -> None:
    """The builder says something else of the same artifact, at the path that this gives."""
    board.honest()
    board.signer.image.signed("builder").targets.clear()
    board.signer.list_artifact(MANIFEST, msgspec.structs.replace(SAID, **said))


def says_else(board: Board, **custom: Any) -> None:
    """The builder says something else at the artifact's own path."""
    board.honest()
    path = target_path(digest(MANIFEST), SAID)
    found = board.signer.image.signed("builder").targets[path]
    found.unrecognized_fields["custom"] = {**found.custom, **custom}


def director_says(board: Board, **custom: Any) -> None:
    board.honest()
    path = target_path(digest(MANIFEST), SAID)
    found = board.signer.director.targets.targets[path]
    found.unrecognized_fields["custom"] = {**found.custom, **custom}


def longer(board: Board, repo: str) -> None:
    board.honest()
    path = target_path(digest(MANIFEST), SAID)
    roles = {"image": board.signer.image.signed("builder"), "director": board.signer.director.targets}
    roles[repo].targets[path].length += 1


def directs(board: Board, **wanted: Any) -> None:
    board.wanted = wanted
    board.honest()
    board.wanted = {}


def other_hardware(board: Board) -> None:
    board.said = msgspec.structs.replace(SAID, hardware_class="jetson-ampere")
    board.honest()
    board.said = SAID


def older(board: Board) -> None:
    board.floors["digits"] = 8
    board.honest()


def director_delegates(board: Board) -> None:
    board.honest()
    board.signer.director.delegate("targets", "friend", ["*"])
    del board.signer.director.roles["friend"]


def no_assignment(board: Board) -> None:
    board.honest()
    del board.signer.director.targets.targets["assignment.json"]


def another_assignment(board: Board) -> None:
    board.honest()
    data = board.signer.director_files["assignment.json"]
    board.signer.director_files["assignment.json"] = data.replace(b'"revision":', b'"revision":1')


def not_directed(board: Board) -> None:
    board.honest()
    targets = board.signer.director.targets.targets
    del targets[next(path for path in targets if path.startswith("a/"))]


def builder_gone(board: Board) -> None:
    board.honest()
    board.signer.image.signed("builder").targets.clear()


def expired_builder(board: Board) -> None:
    board.honest()
    board.signer.image.signed("builder").expires = moment(board.signer.now - 1)


def builders_other_key(board: Board) -> None:
    board.honest()
    board.signer.image.signers["builder"] = [new_key()]


def diamond(board: Board) -> None:
    """Two delegations of one role by different keys: the second one's are not good for the first one's paths."""
    board.honest()
    image = board.signer.image
    image.signed("targets").delegations.roles["builder"].threshold = 2
    image.signed("targets").add_key(public(new_key()), "builder")


REFUSED: dict[str, tuple[Callable[[Board], None], str]] = {
    "another class listed": (lambda b: lists(b, hardware_class="jetson-ampere"), "not-genuine"),
    "another model listed": (lambda b: lists(b, model="cats"), "not-genuine"),
    "a version that the director doesn't say": (lambda b: says_else(b, version="3"), "not-agreed"),
    "another class said than the path has": (
        lambda b: says_else(b, hardware_class="jetson-ampere"), "not-agreed",
    ),
    "a lower counter": (lambda b: says_else(b, release_counter=1), "not-agreed"),
    "something that is no counter": (lambda b: says_else(b, release_counter="many"), "malformed"),
    "the director says another class": (lambda b: director_says(b, hardware_class="arm64-i8mm"), "not-agreed"),
    "the director says a higher counter": (lambda b: director_says(b, release_counter=99), "not-agreed"),
    "another length listed": (lambda b: longer(b, "image"), "not-agreed"),
    "another length directed": (lambda b: longer(b, "director"), "not-agreed"),
    "another length assigned": (lambda b: directs(b, manifest_bytes=3), "not-agreed"),
    "another version assigned": (lambda b: directs(b, version="9"), "not-agreed"),
    "another artifact assigned": (lambda b: directs(b, artifact="0" * 64), "not-agreed"),
    "signed for other hardware": (other_hardware, "wrong-hardware-class"),
    "below the floor": (older, "older-release"),
    "a director that delegates": (director_delegates, "metadata-wrong"),
    "no assignment": (no_assignment, "metadata-wrong"),
    "another assignment": (another_assignment, "digest-mismatch"),
    "assigned and not directed": (not_directed, "not-agreed"),
    "not listed": (builder_gone, "not-genuine"),
    "an expired builder": (expired_builder, "metadata-expired"),
    "another builder": (builders_other_key, "not-signed"),
    "too few builders": (diamond, "not-signed"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_both_do_not_stand_behind_is_refused(tmp_path: Path, name: str) -> None:
    change, code = REFUSED[name]
    board = Board(tmp_path)
    board.passes()
    honest = copy.deepcopy(board.signer)
    change(board)
    board.signer.publish()
    assert board.refused(board.signer.bundle()) == code
    board.signer = honest
    board.floors.clear()
    board.passes()


def test_going_back_on_purpose_is_allowed_to_what_ran_just_before(board: Board) -> None:
    board.floors["digits"], board.before["digits"] = 8, {digest(MANIFEST)}
    directs(board, policy=Policy(allow_older=True))
    board.verifier.open(board.signer.bundle())


def test_what_runs_already_need_not_be_listed_any_more(board: Board) -> None:
    board.passes()
    board.installed = {"digits": digest(MANIFEST)}
    # As long as it is, a disk that damages it may have it again.
    assert set(board.verifier.open(board.honest()).signed) == {digest(MANIFEST)}
    builder_gone(board)
    board.signer.publish()
    assert board.verifier.open(board.signer.bundle()).signed == {}


def test_without_roots_nothing_is_trusted_and_a_damaged_file_is_no_reason_to_trust(tmp_path: Path) -> None:
    assert TrustedFile(tmp_path / "trust.json", Disk()).content is None
    (tmp_path / "trust.json").write_text("{")
    with pytest.raises(EdgeliftError) as caught:
        TrustedFile(tmp_path / "trust.json", Disk())
    assert caught.value.code == "state-damaged"


def test_the_file_is_there_again_where_it_was_taken_away(board: Board) -> None:
    board.passes()
    before = board.path.read_bytes()
    board.path.unlink()
    board.verifier._file.mend()
    assert board.path.read_bytes() == before
