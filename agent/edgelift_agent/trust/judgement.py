"""What director and image repository must agree on before a device takes an assignment. Pure: no file, no clock.

Both have been verified by their keys when this is asked. The steps are those by which an Uptane client compares what its
two repositories say (Uptane Standard 2.1, 5.4.4.2, "Full verification", 10 and 11).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

import msgspec
from tuf.api.metadata import TargetFile

from edgelift_contract import codec
from edgelift_contract.assignment import Assignment, SlotAssignment
from edgelift_contract.errors import ContractError, EdgeliftError
from edgelift_contract.report import DeviceFacts
from edgelift_contract.signed import Genuine, Vouched, target_path

#: What the image repository says of a path; None where it names none.
Find = Callable[[str], TargetFile | None]


def judge(
    assignment: Assignment, directed: Mapping[str, TargetFile], image: Find, *, facts: DeviceFacts,
    floors: Mapping[str, int], installed: Mapping[str, str],
) -> dict[str, Vouched]:  # fmt: skip
    """Let an assignment pass that both repositories stand behind, for hardware like this.

    Args:
        assignment: verified as one of the director's targets.
        directed: the director's targets, by path.
        image: asks the image repository.
        facts: of this device, as measured here.
        floors: model → the highest release counter that this device ever committed.
        installed: slot → the artifact that it runs: what stays is not installed anew, and need not be listed any more.

    Returns:
        Artifact → what was signed of it: of all that aren't installed, and of those that are as far as both still say so.

    Raises:
        ContractError: `not-agreed`, `not-genuine`, `wrong-hardware-class`, `older-release`.
    """
    by_artifact = {_sha256(found): found for found in directed.values()}
    signed: dict[str, Vouched] = {}
    for slot, wanted in assignment.slots.items():
        found = by_artifact.get(wanted.artifact)
        if installed.get(slot) == wanted.artifact:
            if found is not None:
                with suppress(EdgeliftError):  # a disk may damage it: then it is to be fetched again
                    said = _agreed(slot, wanted, found, image(found.path))
                    signed.setdefault(wanted.artifact, Vouched(manifest_bytes=found.length, said=said))
            continue
        if found is None:
            raise ContractError("not-agreed", f"The director's targets lack what it assigns to the slot {slot!r}.")
        said = _agreed(slot, wanted, found, image(found.path))
        _suits(slot, wanted, said, facts, floors)
        signed[wanted.artifact] = Vouched(manifest_bytes=found.length, said=said)
    return signed


def _agreed(slot: str, wanted: SlotAssignment, directed: TargetFile, listed: TargetFile | None) -> Genuine:
    """What both say, when it is the same."""
    name = f"{wanted.model}@{wanted.version} for the slot {slot!r}"
    if listed is None:
        raise ContractError(
            "not-genuine", f"The image repository does not list {name}.",
            hint="Publish it again, or assign another release.",
        )  # fmt: skip
    said, told = _said(listed, "image repository"), _said(directed, "director")
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
    return said


def _said(target: TargetFile, who: str) -> Genuine:
    try:
        return msgspec.convert(target.custom, Genuine)
    except msgspec.ValidationError as error:
        raise codec.misread(error, Genuine, target.custom, what=f"{who}'s target") from error


def _sha256(target: TargetFile) -> str:
    return str(target.hashes.get("sha256", ""))


def _suits(
    slot: str, wanted: SlotAssignment, said: Genuine, facts: DeviceFacts, floors: Mapping[str, int]
) -> None:
    name = f"{said.model}@{said.version} for the slot {slot!r}"
    if said.hardware_class not in (facts.accepts or [facts.hardware_class]):
        raise ContractError(
            "wrong-hardware-class",
            f"{name} is signed for {said.hardware_class}; this device is {facts.hardware_class}.",
        )
    floor = floors.get(said.model, 0)
    if said.release_counter < floor and not wanted.policy.allow_older:
        raise ContractError(
            "older-release",
            f"{name} has release counter {said.release_counter}; this device has run {floor}.",
            hint="To go back on purpose, assign it with --allow-older.",
        )
