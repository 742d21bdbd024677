"""What is listed as genuine, held against the releases: nothing is published unlisted, and nothing in use is unlisted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.errors import ContractError
from edgelift_contract.manifest import parse_manifest
from edgelift_contract.release import Release, ReleaseArtifact
from edgelift_contract.signed import IMAGE, genuine
from edgelift_fleet.blobs import Blobs
from edgelift_fleet.keeping.named import named_artifacts
from edgelift_fleet.registry import read_release
from edgelift_fleet.tables import ArtifactRow, ReleaseRow
from edgelift_fleet.trust.image import Image, Listed
from edgelift_fleet.trust.store import Stored, has_trust, newest

#: Artifacts that a refusal names.
_NAMED = 3


def refuse_unsigned(session: Session, release: Release) -> None:
    """On a site that signs, a release is published once it is listed: no device would take it otherwise.

    Raises:
        ContractError: `not-signed`.
    """
    if not has_trust(session):
        return
    stored = newest(session, IMAGE)
    missing = [one for one in release.artifacts if not _is_listed(stored, release, one)]
    if missing:
        raise ContractError(
            "not-signed",
            f"{release.model}@{release.version} is not signed: {len(missing)} of its {len(release.artifacts)} artifacts are"
            f" not listed as genuine, {missing[0].id[:12]}… first.",
            hint="Publish it with its key: edgelift publish RELEASE_FOLDER --key FILE.",
        )  # fmt: skip


def _is_listed(stored: Mapping[str, Stored], release: Release, entry: ReleaseArtifact) -> bool:
    path = f"a/{entry.hardware_class}/{entry.runtime}/{release.model}/{entry.id}"
    role = Image.bin_role(release.model, path)
    if role not in stored:
        return False
    found = Image.load({role: stored[role].body}).roles[role].signed.targets.get(path)
    said = found.unrecognized_fields.get("custom", {}) if found else {}
    return (
        found is not None
        and found.length == entry.manifest_bytes
        and said.get("version") == release.version
        and said.get("release_counter") == release.release_counter
    )


def retired_and_unneeded(session: Session) -> list[str]:
    """Artifacts of retired releases that no device runs, should run, or would go back to; and of no other release."""
    query = sa.select(ArtifactRow.id, ReleaseRow.retired_at).join(
        ReleaseRow, ArtifactRow.release_id == ReleaseRow.id
    )
    rows = session.execute(query).all()
    retired = {artifact for artifact, at in rows if at} - {artifact for artifact, at in rows if not at}
    return sorted(retired - named_artifacts(session).others) if retired else []


def refuse_needed(session: Session, stored: Mapping[str, Stored], taken: Mapping[str, Stored]) -> None:
    """What is listed no more is of no release that is given out, and of no device.

    Raises:
        ContractError: `conflict`.
    """
    gone = {path.rpartition("/")[2]: path for path in _unlisted(stored, taken)}
    if not gone:
        return
    may = set(retired_and_unneeded(session))
    known = set(session.scalars(sa.select(ArtifactRow.id))) | named_artifacts(session).others
    needed = sorted((gone.keys() & known) - may)
    if needed:
        names = ", ".join(f"{gone[one].split('/')[3]} {one[:12]}" for one in needed[:_NAMED])
        raise ContractError(
            "conflict", f"{len(needed)} artifacts would be listed no more that are given out or in use: {names}.",
            hint="Retire their release first, and assign something else to the devices that have it.",
        )  # fmt: skip


def _unlisted(stored: Mapping[str, Stored], taken: Mapping[str, Stored]) -> Iterator[str]:
    for role in (role for role in taken if role.startswith("bin.") and role in stored):
        was, now = (Image.load({role: one[role].body}).roles[role].signed.targets for one in (stored, taken))
        yield from was.keys() - now.keys()


def begun(session: Session) -> ContractError | None:
    """Why a site can't begin to sign; None where it can."""
    if not has_trust(session):
        return None
    return ContractError("conflict", "The site signs already.", hint="Change its keys with: edgelift keys rotate.")


def count_published(session: Session) -> int:
    """How many artifacts are published."""
    return session.scalar(sa.select(sa.func.count(sa.distinct(ArtifactRow.id)))) or 0


def published(session: Session, blobs: Blobs, known: dict[str, Listed]) -> Iterator[Listed]:
    """Every artifact that is published, as it is to be listed; `known` are those that were read before.

    Raises:
        ContractError: `blobs-wanted` for one whose manifest is missing or damaged; `unreadable-row`.
    """
    for row in session.scalars(sa.select(ReleaseRow).order_by(ReleaseRow.id)):
        for entry in read_release(row).artifacts:
            if entry.id not in known:
                known[entry.id] = _read(blobs, f"{row.model}@{row.version}", entry)
            yield known[entry.id]


def _read(blobs: Blobs, release: str, entry: ReleaseArtifact) -> Listed:
    if blobs.size(entry.id) != entry.manifest_bytes or not blobs.is_whole(entry.id):
        raise ContractError(
            "blobs-wanted", f"Of {release} the manifest {entry.id[:12]}… is missing or damaged: it can't be listed.",
            hint="Publish the release again, or delete it; then this again.",
        )  # fmt: skip
    data = b"".join(blobs.read(entry.id, 0, entry.manifest_bytes))
    return Listed(entry.id, entry.manifest_bytes, genuine(parse_manifest(data)))
