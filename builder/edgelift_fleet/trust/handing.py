"""What a device is handed: its assignment with all that it needs to trust it, signed when it is given and not before."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

import sqlalchemy as sa
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata

from edgelift_contract.assignment import Assignment, parse_assignment
from edgelift_contract.errors import ContractError
from edgelift_contract.manifest import parse_manifest
from edgelift_contract.signed import ASSIGNMENT, DIRECTOR, IMAGE, Signed, Told, genuine, pack_signed
from edgelift_fleet.blobs import Blobs
from edgelift_fleet.db import SITE, Database
from edgelift_fleet.tables import ArtifactRow
from edgelift_fleet.trust.counting import Counting
from edgelift_fleet.trust.director import Director
from edgelift_fleet.trust.image import Image, Listed
from edgelift_fleet.trust.online import is_stale, lasting, online_ids, renew
from edgelift_fleet.trust.store import Stored, newest, roots, version_of

#: What was handed last stays at hand for so many devices: a device that lost an answer asks again.
_KEPT = 10_000
#: How often the image repository is looked at for what another process published, seconds.
_LOOK_S = 1.0


@dataclass(frozen=True)
class _Repository:
    """The image repository as it stands, the roots of both, whom they let sign, when the first of what leads to all releases
    ends, and what leads to which artifacts.
    """

    stored: dict[str, Stored]
    roots: dict[str, str]
    signer: CryptoSigner
    director: Director
    ends_at: float
    leading: dict[frozenset[str], dict[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Carried:
    """What is carried to a device.

    Attributes:
        signed: as `pack_signed` made it.
        revision: of the assignment.
        expires_at: when the first of what must hold ends, seconds since 1970.
        artifacts: that it names.
    """

    signed: bytes
    revision: int
    expires_at: float
    artifacts: tuple[Listed, ...]


class Handing:
    """Signs for devices. Safe to use from several threads."""

    def __init__(
        self, db: Database, blobs: Blobs, find: Callable[[Collection[str]], CryptoSigner],
        now: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        """Nothing is read yet. `find` gives the signer of one of these key ids, or raises as `online_signer`."""
        self._db, self._blobs, self._find, self._now = db, blobs, find, now
        self._counting = Counting(db, now)
        self._lock = threading.Lock()
        self._listed: dict[str, Listed] = {}
        self._image: _Repository | None = None
        self._looked_at = 0.0
        self._handed: OrderedDict[str, tuple[bytes, str, bytes]] = OrderedDict()

    def hand(self, device: str, assignment: bytes, nonce: str) -> bytes:
        """The packed metadata for one device.

        Args:
            device: its id.
            assignment: its canonical bytes.
            nonce: what the device asked last to have signed; empty for none.

        Raises:
            ContractError: `not-genuine` for an artifact whose manifest is not there any more; `too-large`.
            DeviceError, TransportError: the database's, the disk's.
        """
        self._repository()  # where it is new, nothing is at hand that was handed before: it may have been refused for that
        with self._lock:
            known = self._handed.get(device)
        if known and known[:2] == (assignment, nonce):
            return known[2]
        made = self.sign(device, assignment, nonce)
        with self._lock:
            self._handed[device] = (assignment, nonce, made)
            self._handed.move_to_end(device)
            if len(self._handed) > _KEPT:
                self._handed.popitem(last=False)
        return made

    def sign(self, device: str, assignment: bytes, nonce: str, *, days: float = 7) -> bytes:
        """The same, signed anew in any case, for `days`."""
        wanted = parse_assignment(assignment, device=device)
        files = self._files(
            device, assignment, self._artifacts(wanted), self._repository(), nonce=nonce, days=days
        )
        return pack_signed(Signed(schema=Signed.SCHEMA, device=device, files=files))

    def carry(self, device: str, assignment: bytes, *, days: float) -> Carried:
        """What is carried to a device that can't ask: no nonce is in it, and all of it holds for `days`, or as long as what
        was signed offline does.

        Raises as `hand`.
        """
        now = self._now()
        with self._db.write(SITE) as session:
            signer = self._find(online_ids(newest(session, IMAGE)["root"].body))
            long = lasting(session, signer, days=days, now=now)
        self.changed()
        image = self._repository()
        # What is handed from now on is newer than this: what was signed before must not be given again.
        with self._lock:
            self._handed.pop(device, None)
        wanted = parse_assignment(assignment, device=device)
        artifacts = self._artifacts(wanted)
        carried = replace(image, stored=image.stored | long, leading={})
        files = self._files(device, assignment, artifacts, carried, nonce="", days=days)
        packed = pack_signed(Signed(schema=Signed.SCHEMA, device=device, files=files))
        return Carried(packed, wanted.revision, _earliest_end(files), tuple(artifacts))

    def changed(self) -> None:
        """Something was published: what is known of the image repository is old."""
        with self._lock:
            self._looked_at = 0.0

    def _files(
        self, device: str, assignment: bytes, artifacts: list[Listed], image: _Repository, *, nonce: str, days: float
    ) -> dict[str, str]:  # fmt: skip
        """File name → text: what the director says now, and what of the image repository leads to the artifacts."""
        version = self._counting.next()
        # The counter stays ahead where this host's clock once was: by a time at which all else has ended nothing holds.
        issued_at = version // 1000 if version // 1000 < image.ends_at else int(self._now())
        told = Told(device_id=device, issued_at=issued_at, nonce=nonce)
        signed = image.director.sign(told, assignment, artifacts, version=version, days=days)
        files = {f"{DIRECTOR}/{name}": data.decode() for name, data in signed.items()}
        return files | image.roots | self._image_files(image, artifacts)

    def _artifacts(self, wanted: Assignment) -> list[Listed]:
        ids = {slot.artifact for slot in wanted.slots.values()}
        missing = [one for one in ids if one not in self._listed]
        if missing:
            self._listed |= self._read(missing)
        return [self._listed[one] for one in sorted(ids)]

    def _read(self, artifacts: Collection[str]) -> dict[str, Listed]:
        with self._db.read() as session:
            query = sa.select(ArtifactRow.id, ArtifactRow.manifest_bytes).where(ArtifactRow.id.in_(artifacts))
            sizes: dict[str, int] = {row[0]: row[1] for row in session.execute(query)}
        found: dict[str, Listed] = {}
        for artifact in artifacts:
            if artifact not in sizes:
                raise ContractError("not-genuine", f"The artifact {artifact[:12]}… is not of any release here.")
            data = b"".join(self._blobs.read(artifact, 0, sizes[artifact]))
            found[artifact] = Listed(artifact, sizes[artifact], genuine(parse_manifest(data)))
        return found

    def _repository(self) -> _Repository:
        """As it stands; asked for at most once in `_LOOK_S`, and read only where it changed."""
        now = self._now()
        with self._lock:
            found = self._image
            if found is not None and 0 <= now - self._looked_at < _LOOK_S:
                return found
            self._looked_at = now
        with self._db.read() as session:
            version = version_of(session, IMAGE, "timestamp")
        if found is not None and found.stored["timestamp"].version == version and not is_stale(found.stored, now):
            return found
        made = self._read_repository(now)
        with self._lock:
            self._image = made
            self._handed.clear()
        return made

    def _read_repository(self, now: float) -> _Repository:
        with self._db.read() as session:
            stale = is_stale(newest(session, IMAGE), now)
        if stale:
            renew(self._db, self._find, now)
        with self._db.read() as session:
            stored = newest(session, IMAGE)
            both = {
                f"{name}/{version}.root.json": body.decode()
                for name in (DIRECTOR, IMAGE)
                for version, body in roots(session, name).items()
            }
        signer = self._find(online_ids(stored["root"].body))
        top = {
            f"{IMAGE}/{role}.json": stored[role].body.decode()
            for role in ("targets", "builder", "timestamp")
            if role in stored
        }
        return _Repository(stored, both, signer, Director(signer), _earliest_end(both | top))

    def _image_files(self, image: _Repository, artifacts: list[Listed]) -> dict[str, str]:
        """Of the image repository, what leads to these artifacts."""
        which = frozenset(one.artifact for one in artifacts)
        found = image.leading.get(which)
        if found is None:
            found = image.leading[which] = _leading(image.stored, artifacts)
        return found


def _leading(stored: dict[str, Stored], artifacts: list[Listed]) -> dict[str, str]:
    models = Image.load({
        role: stored[role].body
        for role in {f"model.{one.said.model}" for one in artifacts}
        if role in stored
    })  # fmt: skip
    names = {"snapshot", "targets", "builder", *models.roles}
    names |= {models.bin_of(one) for one in artifacts if f"model.{one.said.model}" in models.roles}
    files = {f"{stored[name].version}.{name}.json": name for name in names} | {"timestamp.json": "timestamp"}
    return {f"{IMAGE}/{file}": stored[name].body.decode() for file, name in files.items()}


def _earliest_end(files: dict[str, str]) -> float:
    """When the first of these files expires, but for roots that have followers; seconds since 1970."""
    latest = {
        name: max(
            (one for one in files if one.startswith(f"{name}/") and one.endswith(".root.json")),
            key=lambda one: int(one.rpartition("/")[2].partition(".")[0]),
        )
        for name in (DIRECTOR, IMAGE)
    }
    counted = [
        text for name, text in files.items()
        if not name.endswith(ASSIGNMENT) and (not name.endswith(".root.json") or name in latest.values())
    ]  # fmt: skip
    return min(float(Metadata.from_bytes(text.encode()).signed.expires.timestamp()) for text in counted)
