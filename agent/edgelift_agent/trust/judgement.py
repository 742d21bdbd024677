"""What director and image repository must agree on before a device takes an assignment. Pure: no file, no clock.

Both have been verified by their keys when this is asked. The steps are those by which an Uptane client compares what its
two repositories say (Uptane Standard 2.1, 5.4.4.2, "Full verification", 10 and 11).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

import msgspec
from tuf.api.metadata import TargetFile

from edgelift_agent.ports import Committed
from edgelift_contract import codec
from edgelift_contract.assignment import Assignment, SlotAssignment
from edgelift_contract.codec import T
from edgelift_contract.errors import ContractError, EdgeliftError
from edgelift_contract.report import DeviceFacts
from edgelift_contract.rules import may_go_back, older_release
from edgelift_contract.signed import Genuine, Listing, Vouched, target_path

#: What the image repository says of a path; None where it names none.
Find = Callable[[str], TargetFile | None]


def judge(
    assignment: Assignment, directed: Mapping[str, TargetFile], image: Find, *, facts: DeviceFacts,
    committed: Committed,
) -> dict[str, Vouched]:  # fmt: skip
    """Let an assignment pass that both repositories stand behind, for hardware like this.

    Args:
        assignment: verified as one of the director's targets.
        directed: the director's targets, by path.
        image: asks the image repository.
        facts: of this device, as measured here.
        committed: by this device: what a slot runs already is not installed anew, and need not be listed any more.

    Returns:
        Artifact → what was signed of it: of all that aren't installed, and of those that are as far as both still say so.

    Raises:
        ContractError: `not-agreed`, `not-genuine`, `wrong-hardware-class`, `older-release`.
    """
    by_artifact = {_sha256(found): found for found in directed.values()}
    signed: dict[str, Vouched] = {}
    for slot, wanted in assignment.slots.items():
        found = by_artifact.get(wanted.artifact)
        if committed.installed.get(slot) == wanted.artifact:
            if found is not None:
                with suppress(EdgeliftError):  # a disk may damage it: then it is to be fetched again
                    signed.setdefault(wanted.artifact, _agreed(slot, wanted, found, image(found.path)))
            continue
        if found is None:
            raise ContractError("not-agreed", f"The director's targets lack what it assigns to the slot {slot!r}.")
        agreed = signed[wanted.artifact] = _agreed(slot, wanted, found, image(found.path))
        _suits(slot, wanted, agreed, facts, committed)
    return signed


def _agreed(slot: str, wanted: SlotAssignment, directed: TargetFile, listed: TargetFile | None) -> Vouched:
    """What both say, when it is the same."""
    name = f"{wanted.model}@{wanted.version} for the slot {slot!r}"
    if listed is None:
        raise ContractError(
            "not-genuine", f"The image repository does not list {name}.",
            hint="Publish it again, or assign another release.",
        )  # fmt: skip
    said, told = _said(listed, Genuine, "image repository"), _said(directed, Genuine, "director")
    path = target_path(wanted.artifact, said)
    same = (
        said == told
        and path == directed.path == listed.path
        and wanted.artifact == _sha256(directed) == _sha256(listed)
        and wanted.manifest_bytes == directed.length == listed.length
        and (wanted.model, wanted.version) == (said.model, said.version)
    )
    if not same:
        raise ContractError("not-agreed", f"Director and image repository don't say the same of {name}.")
    allow_older = _said(listed, Listing, "image repository").allow_older
    return Vouched(manifest_bytes=listed.length, said=said, allow_older=allow_older)


def _said(target: TargetFile, kind: type[T], who: str) -> T:
    try:
        return msgspec.convert(target.custom, kind)
    except msgspec.ValidationError as error:
        raise codec.misread(error, kind, target.custom, what=f"{who}'s target") from error


def _sha256(target: TargetFile) -> str:
    return str(target.hashes.get("sha256", ""))


def _suits(slot: str, wanted: SlotAssignment, agreed: Vouched, facts: DeviceFacts, committed: Committed) -> None:
    said = agreed.said
    name = f"{said.model}@{said.version} for the slot {slot!r}"
    if said.hardware_class not in (facts.accepts or [facts.hardware_class]):
        raise ContractError(
            "wrong-hardware-class",
            f"{name} is signed for {said.hardware_class}; this device is {facts.hardware_class}.",
        )
    floor = committed.floors.get(said.model, 0)
    if said.release_counter < floor and not may_go_back(wanted, agreed, committed.before.get(slot, ())):
        raise older_release(name, said.release_counter, floor)
