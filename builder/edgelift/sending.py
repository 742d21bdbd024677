"""Publishing over the API: a release's folder is checked to the last byte here, then what is not there yet is sent.

The control plane judges all of it again. Whatever breaks off is begun again with the same command: what came is there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgelift_contract.release import Release, ReleaseArtifact
    from edgelift_fleet.client import BlobsMissing, Client
    from edgelift_fleet.messages import PublishReply
    from edgelift_fleet.release_folder import ReleaseFile
    from edgelift_fleet.trust.image import Listed

#: Told what is being done, bytes done and bytes in all.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Sent:
    """What publishing did: the control plane's word, how many files and bytes were sent, how many mended, and whether the
    release is signed.
    """

    reply: PublishReply
    files: int
    size_bytes: int
    mended: int
    signed: bool


def send_release(
    client: Client, folder: Path, progress: Progress, sign: Callable[[Sequence[Listed]], bool] = lambda _: False
) -> Sent:
    """Publish a release's folder.

    Args:
        client: the control plane.
        folder: of the release.
        progress: told of what is done.
        sign: has its artifacts listed as genuine; False where nothing is signed.

    Raises:
        ContractError: what is wrong with the release, `conflict` when its version exists with other content.
        DeviceError, TransportError: what this disk, the control plane's or the way there refuses.
    """
    from edgelift_fleet.client import BlobsMissing
    from edgelift_fleet.messages import PublishReply
    from edgelift_fleet.release_folder import check_folder

    release, files = check_folder(folder, lambda done, total: progress("checking", done, total))
    signed = sign(_all_listed(folder, release))
    sending = _Sending(client, {file.sha256: file for file in files}, progress)
    while True:
        try:
            reply = client.post("/v1/releases", release, PublishReply)
        except BlobsMissing as error:
            sending.send(error)
        else:
            return Sent(reply, len(sending.sent), sending.size_bytes, sending.mended, signed)


def listed_of(folder: Path, progress: Progress) -> list[Listed]:
    """What of a release's folder is to be listed as genuine. Raises ContractError: what is wrong with the release."""
    from edgelift_fleet.release_folder import check_folder

    release, _ = check_folder(folder, lambda done, total: progress("checking", done, total))
    return _all_listed(folder, release)


def _all_listed(folder: Path, release: Release) -> list[Listed]:
    return [_listed(folder, release, entry) for entry in release.artifacts]


def _listed(folder: Path, release: Release, entry: ReleaseArtifact) -> Listed:
    from edgelift_contract.signed import genuine
    from edgelift_fleet.release_folder import load_manifest
    from edgelift_fleet.trust.image import Listed

    return Listed(entry.id, entry.manifest_bytes, genuine(load_manifest(folder, release, entry)))


class _Sending:
    """Files on their way, and what became of them."""

    def __init__(self, client: Client, files: dict[str, ReleaseFile], progress: Progress) -> None:
        self._client, self._files, self._progress = client, files, progress
        self.sent: set[str] = set()
        self.size_bytes, self.mended = 0, 0

    def send(self, wanted: BlobsMissing) -> None:
        """Send the files that are wanted; raises `wanted` when none of them is new or ours: it would never end."""
        from edgelift_fleet.messages import BlobReply

        these = [self._files[one] for one in wanted.missing if one in self._files and one not in self.sent]
        if not these:
            raise wanted
        total = self.size_bytes + sum(file.size_bytes for file in these)
        for file in these:

            def advance(count: int) -> None:
                self._progress("sending", min(total, self.size_bytes + count), total)

            reply = self._client.put_file(f"/v1/blobs/{file.sha256}", file.path, BlobReply, advance)
            self.mended += reply.mended
            self.sent.add(file.sha256)
            self.size_bytes += file.size_bytes
