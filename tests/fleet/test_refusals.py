"""Each operation refuses by the codes that it declares, and by no others: every one of them is brought about here.

A new route, or a new code of a route, fails this until it is: what a document promises of refusals is seen to happen.
"""

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from edgelift_contract import codec
from edgelift_contract.assignment import Policy
from edgelift_contract.ids import LARGEST_COUNT
from edgelift_contract.report import DeviceFacts
from edgelift_fleet.api.declared import FAULTS, OF_DEVICES
from edgelift_fleet.api.examples import EXAMPLES
from edgelift_fleet.conditions import FREE
from edgelift_fleet.db import SITE
from edgelift_fleet.messages.people import AccessRequest
from edgelift_fleet.people.roles import OWNER, Principal
from edgelift_fleet.people.tries import NAME_FREE
from edgelift_fleet.tables import (
    ArtifactRow,
    AssignmentRow,
    BundleRow,
    DeviceRow,
    KeptAnswerRow,
    ReleaseRow,
    RolloutRow,
)
from tests.fleet.conftest import both_engines
from tests.fleet.declared_answers import Declared, Operation, declared_api
from tests.fleet.direct import FACTS
from tests.fleet.releases import make_release

pytestmark = pytest.mark.fleet

#: They are the machine's or the database's, and are brought about in test_host_faults, test_engines and test_crowds.
OF_THE_MACHINE = FAULTS | {"busy", "disk-full"}
#: They need a connection that shows a certificate: identity/test_doors.
OF_CERTIFICATES = OF_DEVICES | {"token-spent"}

#: (operation, code) → why it can't be brought about here.
ELSEWHERE: dict[tuple[str, str], str] = (
    {
        ("put_devices_bundle", code): "it needs a bundle that was asked for: see test_bundles.py"
        for code in ("bad-id", "bad-path", "malformed", "not-found", "too-large", "unknown-schema", "wrong-device")
    }
    | {
        ("ask_for_bundle", "agent-too-old"): "test_bundles.py",
        ("post_enroll", "version-skew"): "test_versions.py",
        ("export_assignment", "not-genuine"): "it needs a site that signs: trust/test_carrying.py",
    }
    | {
        ("bring_image", code): "it needs a site that signs: trust/test_bringing.py"
        for code in ("not-signed", "metadata-wrong", "changed-meanwhile", "conflict")
    }
    | {
        (name, "not-signed"): "it needs a site that signs: trust/test_key_commands.py"
        for name in ("publish", "unretire_release")
    }
    | {("prepare_online", "conflict"): "trust/test_online_key.py"}
)


class Refused:
    """What was refused: operation → codes."""

    def __init__(self, declared: Declared) -> None:
        self.declared, self.codes = declared, defaultdict[str, set[str]](set)
        self.boards = declared.api.boards
        self.others: list[str] = []

    def __call__(self, name: str, code: str, /, *, query: str = "", body: Any = None, **options: Any) -> None:
        """Ask an operation, which must refuse with this code; names of its path among the options."""
        operation = self.declared.operations[name]
        names = {key: options.pop(key) for key in list(options) if f"{{{key}}}" in operation.path}
        if body is not None or (operation.example is not None and "content" not in options):
            options["content"] = json.dumps(operation.example if body is None else body)
        answer = self.declared.ask(operation, operation.place(**names) + query, **options)
        if answer.status_code >= 400 and answer.json()["code"] == code:
            self.codes[name].add(code)
        else:
            self.others.append(f"{name} {names}{query}, wanted {code}: {answer.status_code} {answer.text[:300]}")

    def change(self, query: Any) -> None:
        with self.boards.db.write(SITE) as session:
            session.execute(query)


@pytest.fixture
def refused(site: Path) -> Iterator[Refused]:
    with declared_api(site) as declared:
        yield Refused(declared)


def example(refused: Refused, name: str, **changes: Any) -> dict[str, Any]:
    return {**refused.declared.operations[name].example, **changes}


def of_every_route(refused: Refused) -> None:
    """The token, its role, forms, lengths and what is no message at all."""
    viewer = refused.declared.api.fleet.people.make_access(AccessRequest(role="viewer"), OWNER).token
    for name, operation in refused.declared.operations.items():
        if "401" in operation.answers:
            refused(name, "not-authorised", headers={"Authorization": "Bearer other"})
        if "role-too-low" in operation.codes:
            refused(name, "role-too-low", headers={"Authorization": f"Bearer {viewer}"})
        if "406" in operation.answers:
            refused(name, "not-acceptable", headers={"Accept": "image/png"})
        if "415" in operation.answers:
            refused(name, "wrong-media-type", content=b"{}", headers={"Content-Encoding": "gzip"})
        if "415" in operation.answers and operation.takes == "application/json":
            refused(name, "wrong-media-type", headers={"Content-Type": "text/xml"})
        if "413" in operation.answers and (name, "too-large") not in ELSEWHERE:
            refused(name, "too-large", content=b"{}", headers={"Content-Length": str(2**41)})
        if operation.takes == "application/json":
            refused(name, "malformed", content=b"{")
        elif "malformed" in operation.codes:
            malformed_by_query(refused, operation)


def malformed_by_query(refused: Refused, operation: Operation) -> None:
    odd = [one["name"] for one in operation.parameters if one["in"] == "query"]
    if operation.side == "operators":
        odd.append("nothing")  # no operation has it
    for name in odd:
        answer = refused.declared.ask(operation, f"{operation.place()}?{name}={'x' * 5000}")
        if answer.status_code == 400 and answer.json()["code"] == "malformed":
            refused.codes[operation.name].add("malformed")
            return
    assert not odd, f"{operation.name} takes anything in its query"


def of_devices(refused: Refused) -> None:
    for name in ("get_devices_desired", "put_devices_report", "post_devices_telemetry"):
        refused(name, "bad-id", device="PI")
    refused("get_devices_desired", "not-found", device="nobody")
    refused(
        "put_devices_report",
        "not-found",
        device="nobody",
        body=example(refused, "put_devices_report", device="nobody"),
    )
    refused(
        "post_devices_telemetry",
        "not-found",
        device="nobody",
        body=example(refused, "post_devices_telemetry", device="nobody"),
    )
    for name in ("put_devices_report", "post_devices_telemetry"):
        refused(name, "wrong-device", body=example(refused, name, device="pi-9"))
        refused(name, "unknown-schema", body=example(refused, name, schema=9))
    refused("post_enroll", "unknown-schema", body=example(refused, "post_enroll", schema=9))
    refused("post_enroll", "bad-id", body=example(refused, "post_enroll", device="PI"))
    for name in ("get_blobs", "export_file"):
        refused(name, "bad-id", sha256="other")
        refused(name, "missing-blob")


def of_one_device(refused: Refused) -> None:
    for name, operation in refused.declared.operations.items():
        if operation.side == "operators" and "{device}" in operation.path:
            refused(name, "bad-id", device="PI")
            refused(name, "not-found", device="nobody")
    boards = refused.boards
    boards.add("bare", facts=DeviceFacts("arm64-neon", ["arm64-neon"], {}))
    boards.add("orin", facts=DeviceFacts("jetson-ampere", ["jetson-ampere"], {"onnxruntime": "1.30.0"}))
    boards.add("pi-1", "pi-2", "spent", "apart", facts=FACTS)
    refused("assign", "wrong-hardware-class", device="orin", body={"release": "digits@1"})
    refused("assign", "runtime-missing", device="bare", body={"release": "digits@1"})
    for name in ("spent", "apart"):
        boards.assignments.assign(name, "digits@1")
    refused.change(sa.update(DeviceRow).where(DeviceRow.id == "spent").values(revision_seen=LARGEST_COUNT))
    refused.change(sa.update(AssignmentRow).where(AssignmentRow.device == "apart").values(body="{"))
    boards.add("faceless", facts=FACTS)
    refused.change(sa.update(DeviceRow).where(DeviceRow.id == "faceless").values(facts="{"))
    refused("ask_for_bundle", "unreadable-row", device="faceless")
    for device, code in (("spent", "revisions-spent"), ("apart", "unreadable-row")):
        refused("assign", code, device=device, body={"release": "digits@2"})
        refused("clear", code, device=device)
    for _ in range(64):
        refused.declared.ask(refused.declared.operations["sample"], content=b'{"for_s": 1}')
    refused("sample", "conflict", body={"for_s": 1})


def of_lists(refused: Refused) -> None:
    for name in ("devices", "counts"):
        refused(name, "bad-id", query="?to=nonsense")
    for name in ("search", "search_counts"):
        refused(name, "bad-id", body={"to": "nonsense"})
    refused("releases", "bad-id", query="?after=digits")
    refused("releases", "bad-id", query="?after=digits%409")
    refused("rollouts", "not-found", query="?after=r99")
    refused("rollouts", "bad-id", query="?release=@")
    for name in ("latency", "telemetry"):
        refused(name, "bad-id", query="?device=PI")
        refused(name, "not-found", query="?device=nobody")
    refused("meaning", "not-found", code="nothing")
    refused("assign_all", "bad-id", body={"release": "digits@1", "to": "nonsense"})
    refused("assign_all", "not-found", body={"release": "digits@1", "to": "tag:nobody"})


def of_releases(refused: Refused, folder: Path) -> None:
    release = make_release(folder / "r4", "4")
    body = json.loads((folder / "r4" / "release.json").read_bytes())
    refused("publish", "unknown-schema", body={**body, "schema": 9})
    refused("publish", "blobs-wanted", body=body)
    for path in [*(folder / "r4" / "manifests").iterdir(), *(folder / "r4" / "blobs").iterdir()]:
        refused.declared.ask(
            refused.declared.operations["put_blob"], f"/v1/blobs/{path.name}", content=path.read_bytes()
        )
    refused.declared.ask(refused.declared.operations["publish"], content=json.dumps(body))
    refused("publish", "conflict", body={**body, "artifacts": body["artifacts"][:1]})
    refused("publish", "size-mismatch", body=with_another_size(refused, folder / "r4", body))
    refused("put_blob", "bad-id", sha256="other", content=b"x")
    refused("put_blob", "digest-mismatch", content=b"x")
    refused("put_blob", "malformed", content=iter([b"x"]))
    for name in ("release", "retire_release", "unretire_release", "delete_release"):
        refused(name, "bad-id", name="A")
        refused(name, "not-found", version="99")
    assert release.version == "4"
    retire = refused.declared.operations["retire_release"]
    refused.declared.ask(retire, retire.place(version="4"), content=b"{}")
    refused("assign", "retired", device="pi-1", body={"release": "digits@4"})
    refused("assign_all", "retired", body={"release": "digits@4", "to": "all"})
    for name in ("start", "preview"):
        refused(name, "retired", body=example(refused, name, release="digits@4", to="all"))


def with_another_size(refused: Refused, folder: Path, body: dict[str, Any]) -> dict[str, Any]:
    """A release whose manifest says of a file another length than it has."""
    (first, *_) = body["artifacts"]
    manifest = json.loads((folder / "manifests" / first["id"]).read_bytes())
    manifest["version"], manifest["files"][0]["size_bytes"] = "5", manifest["files"][0]["size_bytes"] + 1
    data = codec.canonical_json(manifest)
    refused.declared.ask(refused.declared.operations["put_blob"], f"/v1/blobs/{codec.digest(data)}", content=data)
    entry = {**first, "id": codec.digest(data), "manifest_bytes": len(data), "size_bytes": first["size_bytes"] + 1}
    return {**body, "version": "5", "artifacts": [entry]}


def of_rollouts(refused: Refused) -> None:
    boards = refused.boards
    for name in ("start", "preview"):
        refused(name, "bad-id", body=example(refused, name, to="nonsense"))
        refused(name, "not-found", body=example(refused, name, release="digits@9"))
    ids = {"orin": "wrong-hardware-class", "bare": "runtime-missing"}
    for device, code in ids.items():
        refused("start", code, body=example(refused, "start", to=f"id:{device}"))
    refused("start", "not-found", body=example(refused, "start", to="tag:nobody"))
    boards.slots["pi-2"] = boards.slots["pi-2"]
    boards.assignments.assign("pi-2", "digits@3")
    boards.answer("pi-2")
    refused("start", "older-release", body=example(refused, "start", to="id:pi-2", release="digits@1"))
    boards.add("pi-3", "pi-4", one="")
    first = boards.start("digits@2", to="tag:one")
    boards.start("digits@2", to="tag:two or id:pi-2", policy=Policy(allow_older=True))
    refused("start", "conflict", body=example(refused, "start", to="tag:one"))
    refused("tags", "conflict", device="pi-3", body={"set": {"two": ""}})
    refused("retire_release", "conflict", version="2")
    refused("delete_release", "conflict", version="2")
    refused("rollout", "not-found", rollout="r99")
    refused("command", "not-found", rollout="r99")
    refused("command", "conflict", rollout=first, command="resume")
    for column in ("plan", "policy"):  # what can't be read of a rollout is no refusal of its pages and orders
        refused.change(sa.update(RolloutRow).values({column: "{"}))
        for command in ("pause", "resume", "approve", "let-go", "cancel", "rollback"):
            operation = refused.declared.operations["command"]
            refused.declared.ask(operation, operation.place(rollout=first, command=command), content=b"{}")
        operation = refused.declared.operations["rollout"]
        assert refused.declared.ask(operation, operation.place(rollout=first)).status_code == 200
    refused.change(sa.update(ReleaseRow).where(ReleaseRow.version == "1").values(body="{"))
    refused("assign_all", "unreadable-row", body={"release": "digits@1", "to": "all"})
    for name in ("start", "preview"):
        refused(name, "unreadable-row", body=example(refused, name, release="digits@1", to="all"))


def of_conditions(refused: Refused) -> None:
    """A key that another request had, and a thing that others changed."""
    kept = {"key": "taken", "request": "another", "at": time.time(), "size_bytes": 2, "body": "{}"}
    refused.change(sa.insert(KeptAnswerRow).values(kept))
    refused.change(sa.insert(BundleRow).values(a_bundle()))
    for name, operation in refused.declared.operations.items():
        if "key-reused" in operation.codes:
            refused(name, "key-reused", headers={"Idempotency-Key": "taken"})
        if "changed-meanwhile" in operation.codes and (name, "changed-meanwhile") not in ELSEWHERE:
            refused(name, "changed-meanwhile", headers={"If-Match": '"other-one"'})


def a_bundle() -> dict[str, Any]:
    """A wish for the bundle that the document's examples name."""
    return {
        "id": "0f" * 16, "device": "pi-1", "state": "waiting", "asked_at": 1.0, "asked_by": "operator", "why": "",
        "expires_at": time.time() + 3600, "ended_at": 0.0, "sha256": "", "size_bytes": 0, "kept": False, "message": "",
    }  # fmt: skip


def of_keeping(refused: Refused) -> None:
    """A manifest is gone, so what else it names isn't known; and the site never was restored."""
    with refused.boards.db.read() as session:
        artifact = session.scalars(sa.select(ArtifactRow.id)).first()
    (refused.declared.api.fleet.site.blobs / artifact).unlink()
    refused("collect_blobs", "missing-blob")
    refused("bring_image", "not-found")
    refused("revoke_token", "not-found")
    refused("make_token", "bad-id", body={"tags": {"a/b": ""}})
    refused("prepare_online", "not-found")
    refused("show_restored", "not-found")
    refused("tell_restored", "not-found", body={})


def of_alerts(refused: Refused) -> None:
    refused("silence_alert", "not-found", body={"code": "none-such", "for_s": 60})
    refused("silence_alert", "bad-id", body={"code": "offline", "for_s": 60, "to": "((("})
    refused("silence_alert", "conflict", body={"code": "offline", "for_s": 60, "rollout": "r1"})
    refused("unsilence_alert", "not-found")
    refused("test_receiver", "not-found")


def of_people(refused: Refused) -> None:
    refused("add_person", "bad-id", body={**EXAMPLES["PersonRequest"], "name": "site"})
    for name in ("set_password", "set_role", "disable_person", "enable_person", "remove_person"):
        refused(name, "not-found", person="nobody")
        refused(name, "bad-id", person="Nobody")
    refused("make_access", "not-found", body={"role": "viewer", "person": "nobody"})
    refused("revoke_access", "not-found")
    refused("audit", "bad-id", query="?after=x")
    refused("logout", "conflict")
    refused("change_password", "conflict")
    refused.declared.ask(refused.declared.operations["add_person"], content=json.dumps(EXAMPLES["PersonRequest"]))
    refused("add_person", "conflict")
    hers = AccessRequest(role="viewer", person=EXAMPLES["PersonRequest"]["name"])
    mine = {"Authorization": f"Bearer {refused.declared.api.fleet.people.make_access(hers, OWNER).token}"}
    refused("change_password", "not-authorised", headers=mine)
    people = refused.declared.api.fleet.people
    people.set_role(hers.person, "admin", FREE)
    hers = AccessRequest(role="admin", person=hers.person)
    twos = people.make_access(hers, Principal("token:0123abcd", "admin", "access-token"))
    refused("make_access", "conflict", body={"role": "viewer"}, headers={"Authorization": f"Bearer {twos.token}"})
    for _ in range(NAME_FREE + 2):
        refused.declared.ask(
            refused.declared.operations["change_password"], headers=mine,
            content=json.dumps(EXAMPLES["OwnPasswordRequest"]),
        )  # fmt: skip
    refused("change_password", "too-many-tries", headers=mine)
    for _ in range(NAME_FREE):
        refused.declared.ask(refused.declared.operations["login"], content=b'{"name": "jo", "password": ""}')
    refused("login", "not-authorised", body={"name": "jo", "password": ""})
    refused("login", "too-many-tries", body={"name": "jo", "password": ""})


@both_engines
def test_every_declared_refusal_happens_and_no_other(refused: Refused, tmp_path: Path) -> None:
    of_one_device(refused)
    of_devices(refused)
    of_lists(refused)
    of_releases(refused, tmp_path)
    of_rollouts(refused)
    of_conditions(refused)
    of_every_route(refused)
    of_keeping(refused)
    of_people(refused)
    of_alerts(refused)
    assert not refused.others, "\n".join(refused.others)
    differ = []
    for name, operation in refused.declared.operations.items():
        happened = refused.codes[name] | {code for one, code in ELSEWHERE if one == name}
        wanted = operation.codes - OF_THE_MACHINE - _unasked(operation)
        if operation.side == "devices":
            wanted, happened = wanted - OF_CERTIFICATES, happened - OF_CERTIFICATES
        if happened != wanted:
            differ.append(
                f"{name}: not declared {sorted(happened - wanted)}, never seen {sorted(wanted - happened)}"
            )
    assert not differ, "\n".join(differ)


def _unasked(operation: Operation) -> set[str]:
    """Of a device's path alone nothing is malformed but for a database's reasons; an address is too large for a connection
    alone.
    """
    asked = (
        operation.side == "operators"
        or operation.takes
        or any(one["in"] == "query" for one in operation.parameters)
    )
    return (set() if asked else {"malformed"}) | (set() if "413" in operation.answers else {"too-large"})
