"""Publishing from elsewhere: a release is registered once all its files are here, each sent by itself before.

What can be known of the release is judged first, so that nobody sends files of one that is refused. Which files are missing
is answered with all their digests: the manifests first, for only they tell the rest. A file that the disk has damaged counts
as missing, so publishing again mends it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

from edgelift_contract.errors import ContractError
from edgelift_contract.manifest import Manifest
from edgelift_contract.release import Release, ReleaseArtifact
from edgelift_fleet.blobs import Blobs
from edgelift_fleet.db import Database
from edgelift_fleet.messages import PublishReply
from edgelift_fleet.registry import digests_of, insert_release, is_published
from edgelift_fleet.release_folder import judge_manifest, release_name

#: Digests that a refusal names.
MAX_NAMED = 1000
#: Blobs that are remembered as read and right.
_MAX_PROVED = 10_000


class BlobsWanted(ContractError):
    """Files of a release are not here yet.

    Attributes:
        members: `missing` are their digests, `MAX_NAMED` at most; for the answer.
    """

    def __init__(self, release: Release, missing: list[str]) -> None:
        what = "file is" if len(missing) == 1 else "files are"
        super().__init__(
            "blobs-wanted", f"{len(missing)} {what} missing of {release_name(release)}: {missing[0][:12]}… first.",
            hint="Send them with PUT /v1/blobs/{sha256}, then this again.",
        )  # fmt: skip
        self.members: dict[str, Any] = {"missing": missing[:MAX_NAMED]}


class Publishing:
    """Takes releases whose files come one by one. Safe to use from several threads."""

    def __init__(self, db: Database, blobs: Blobs) -> None:
        self._db, self._blobs = db, blobs
        self._lock = threading.Lock()
        self._proved: OrderedDict[str, None] = OrderedDict()

    def note(self, sha256: str) -> None:
        """The blob was read just now, and is what its name says: it need not be read again when its release comes."""
        with self._lock:
            self._proved[sha256] = None
            if len(self._proved) > _MAX_PROVED:
                self._proved.popitem(last=False)

    def publish(self, release: Release) -> PublishReply:
        """Register a release; the same again changes nothing.

        Raises:
            ContractError: `conflict` when the version exists with other content; `blobs-wanted` (a `BlobsWanted`);
                what is wrong with a manifest; `size-mismatch`.
            DeviceError: what the disk refuses.
            TransportError: `busy` when the database or a far blob store does not answer.
        """
        new = not is_published(self._db, release)
        manifests = self._manifests(release)
        sizes = {file.sha256: file.size_bytes for manifest in manifests for file in manifest.files}
        self._refuse_missing(release, list(sizes))
        for manifest in manifests:
            for file in manifest.files:
                found = self._blobs.size(file.sha256)
                if found != file.size_bytes:
                    raise ContractError(
                        "size-mismatch",
                        f"The file {file.path!r} of {release_name(release)} has {found} bytes; its manifest says"
                        f" {file.size_bytes}.", hint="Build the release again.",
                    )  # fmt: skip
        if new and (gone := insert_release(self._db, release, digests_of(release, manifests), self._blobs)):
            raise BlobsWanted(release, gone)
        with self._lock:
            for sha256 in (*sizes, *(entry.id for entry in release.artifacts)):
                self._proved.pop(sha256, None)
        total = sum(manifest.total_bytes for manifest in manifests)
        return PublishReply(release_name(release), new, len(manifests), total)

    def _manifests(self, release: Release) -> list[Manifest]:
        self._refuse_missing(release, [entry.id for entry in release.artifacts])
        return [judge_manifest(self._read(entry), release, entry) for entry in release.artifacts]

    def _read(self, entry: ReleaseArtifact) -> bytes:
        size = self._blobs.size(entry.id)
        if size != entry.manifest_bytes:
            listed = f"The release says that the manifest {entry.id[:12]}… has {entry.manifest_bytes} bytes"
            raise ContractError("malformed", f"{listed}; it has {size}.")
        return b"".join(self._blobs.read(entry.id, 0, size))

    def _refuse_missing(self, release: Release, digests: list[str]) -> None:
        missing = [sha256 for sha256 in digests if not self._is_here(sha256)]
        if missing:
            raise BlobsWanted(release, missing)

    def _is_here(self, sha256: str) -> bool:
        with self._lock:
            proved = sha256 in self._proved
        if proved and self._blobs.size(sha256) is not None:
            return True
        if not self._blobs.is_whole(sha256):
            return False
        self.note(sha256)
        return True
