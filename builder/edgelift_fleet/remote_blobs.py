"""Blobs in an object store, by fsspec: S3 and what speaks like it. And the choice between that and a folder.

Objects bear the same names as files would: `prefix/<sha256>`. An object appears whole or not at all; a batch uploads
all of its objects, checking each while it goes, before it lets the first one appear. What a publisher that was killed
leaves are uploads that were never completed: the store's own lifecycle rule ends them.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from edgelift_contract.errors import ContractError, DeviceError, EdgeliftError, TransportError
from edgelift_contract.ids import SHA256_PATTERN, check_sha256
from edgelift_fleet.blob_files import check_digest, check_size, hash_file
from edgelift_fleet.blobs import Blobs, BlobStore
from edgelift_fleet.site import Site
from edgelift_fleet.uploads import TakenBlob, refuse_other

#: Bytes that are asked for at once, and that a part of an upload has (S3: at least 5 MiB).
_PIECE_BYTES = 8 << 20
#: Sizes that are remembered: a blob never changes.
_MAX_KNOWN = 100_000


def open_blobs(site: Site) -> Blobs:
    """The site's blobs.

    Raises:
        DeviceError: `bad-config`, `tool-missing`.
    """
    where = site.config.blobs
    if "://" not in where:
        return BlobStore(site.blobs)
    return RemoteBlobs(where, endpoint=site.config.blobs_endpoint)


class RemoteBlobs:
    """Blobs below one URL of an object store. Safe to use from several threads."""

    def __init__(self, url: str, *, endpoint: str = "") -> None:
        """Bind; asks for nothing yet. Credentials are taken where the store's own tools take them.

        Args:
            url: `s3://bucket/prefix`.
            endpoint: of an S3 that isn't Amazon's.

        Raises:
            DeviceError: `bad-config`, `tool-missing`.
        """
        self._name = url
        options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
        if endpoint:
            options["endpoint_url"] = endpoint
        try:
            import fsspec

            self._fs, root = fsspec.core.url_to_fs(url, **(options if url.startswith("s3:") else {}))
        except ImportError as error:
            raise DeviceError(
                "tool-missing", f"Blobs in {url} need a Python package: {error}.",
                hint="Install it: pip install 'edgelift[s3]'.",
            ) from error  # fmt: skip
        except ValueError as error:
            raise DeviceError(
                "bad-config", f"{url} names no blob store: {error}.", hint="Write s3://bucket/prefix, or a folder."
            ) from error
        self._root = str(root).rstrip("/")
        self._known: dict[str, int] = {}

    def path(self, sha256: str) -> Path | None:
        """None: they are in no file."""
        check_sha256(sha256)
        return None

    def size(self, sha256: str) -> int | None:
        """See `Blobs`."""
        if (known := self._known.get(sha256)) is not None:
            return known
        with self._errors():
            try:
                found = int(self._fs.info(self._place(sha256))["size"])
            except FileNotFoundError:
                return None
        if len(self._known) < _MAX_KNOWN:
            self._known[sha256] = found
        return found

    def sizes(self, digests: Collection[str]) -> dict[str, int]:
        """See `Blobs`; a list has a thousand."""
        there = self.stored()
        return {sha256: there[sha256] for sha256 in digests if sha256 in there}

    def read(self, sha256: str, begin: int, end: int) -> Iterator[bytes]:
        """See `Blobs`."""
        while begin < end:
            upto = min(begin + _PIECE_BYTES, end)
            with self._errors():
                try:
                    piece = self._fs.cat_file(self._place(sha256), start=begin, end=upto)
                except FileNotFoundError as error:
                    if "bucket" in str(error):
                        raise
                    self.forget(sha256)
                    raise ContractError(
                        "missing-blob", f"The blob {sha256[:12]}… was collected meanwhile."
                    ) from error
            if len(piece) != upto - begin:
                raise TransportError("cut-short", f"{self._name} gave {len(piece)} bytes of {upto - begin}.")
            begin = upto
            yield piece

    @contextmanager
    def batch(self) -> Iterator[RemoteBatch]:
        """See `Blobs`."""
        batch = RemoteBatch(self)
        try:
            yield batch
            batch.commit()
        finally:
            batch.discard()

    def stored(self) -> dict[str, int]:
        """See `Blobs`."""
        with self._errors():
            try:
                listed = self._fs.find(self._root, detail=True)
            except FileNotFoundError:
                return {}
        names = {place.rpartition("/"): int(about["size"]) for place, about in listed.items()}
        return {
            name: size
            for (folder, _, name), size in names.items()
            if folder.strip("/") == self._root.strip("/") and re.match(SHA256_PATTERN, name)
        }

    def remove(self, digests: Collection[str]) -> None:
        """See `Blobs`."""
        if not digests:
            return
        with self._errors():
            try:
                self._fs.rm([self._place(sha256) for sha256 in digests])
            except FileNotFoundError:
                pass  # another server has taken it away
        for sha256 in digests:
            self.forget(sha256)
        # Of what may not be deleted nothing is said.
        if left := self.stored().keys() & set(digests):
            raise DeviceError(
                "bad-config", f"{len(left)} blobs in {self._name} could not be deleted, {min(left)[:12]}… first.",
                hint="Let the server's user delete objects there.",
            )  # fmt: skip

    def leftovers(self, older_than_s: float, /, *, delete: bool) -> dict[str, int]:
        """See `Blobs`: S3's uploads that were never completed; nothing says how many bytes they have."""
        if not hasattr(self._fs, "list_multipart_uploads"):
            return {}
        bucket, _, prefix = self._root.partition("/")
        with self._errors():
            before = self._now(bucket) - older_than_s
            found = [
                one
                for one in self._fs.list_multipart_uploads(bucket)
                if one["Key"].startswith(f"{prefix}/" if prefix else "") and one["Initiated"].timestamp() <= before
            ]
            for one in found if delete else ():
                self._fs.call_s3("abort_multipart_upload", Bucket=bucket, Key=one["Key"], UploadId=one["UploadId"])
        return {f"{one['Key']}#{one['UploadId'][:12]}": 0 for one in found}

    def _now(self, bucket: str) -> float:
        """The store's own time, by which its uploads began; ours may be another."""
        said = self._fs.call_s3("head_bucket", Bucket=bucket)["ResponseMetadata"]["HTTPHeaders"].get("date", "")
        try:
            return parsedate_to_datetime(said).timestamp()
        except (TypeError, ValueError):
            return time.time()

    def upload(self, sha256: str, size_bytes: int) -> RemoteUpload:
        """See `Blobs`."""
        # A store takes 10,000 parts of an upload and no more.
        return RemoteUpload(self, sha256, self.open_upload(sha256, max(_PIECE_BYTES, size_bytes // 9_000)))

    def is_whole(self, sha256: str) -> bool:
        """See `Blobs`."""
        return bool(self.holds(sha256))

    def forget(self, sha256: str) -> None:
        """What is remembered of a blob is no longer so."""
        self._known.pop(sha256, None)

    def holds(self, sha256: str) -> bool | None:
        """Is the blob there, and whole? None when it isn't there at all."""
        self.forget(sha256)  # another server may have taken it away since
        size = self.size(sha256)
        if size is None:
            return None
        digest = hashlib.sha256()
        try:
            for piece in self.read(sha256, 0, size):
                digest.update(piece)
        except ContractError:
            return None
        return digest.hexdigest() == sha256

    def open_upload(self, sha256: str, part_bytes: int = _PIECE_BYTES) -> Any:
        """A file to write the blob to; it appears with its `commit()`."""
        with self._errors():
            return self._fs.open(self._place(sha256), "wb", autocommit=False, block_size=part_bytes)

    def _place(self, sha256: str) -> str:
        return f"{self._root}/{check_sha256(sha256)}"

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except EdgeliftError:
            raise
        except FileNotFoundError as error:
            raise DeviceError("bad-config", f"In the blob store {self._name} there is no {error}.") from error
        except Exception as error:
            # What may come here is the business of three libraries and their transports; all of it means one thing.
            if isinstance(error, PermissionError) or "redentials" in type(error).__name__:
                raise DeviceError(
                    "bad-config", f"The blob store {self._name} does not let us in: {error}.",
                    hint="Give it credentials, as $AWS_ACCESS_KEY_ID and $AWS_SECRET_ACCESS_KEY.",
                ) from error  # fmt: skip
            reason = str(error).strip() or type(error).__name__
            raise TransportError("busy", f"The blob store {self._name} does not answer: {reason}.") from error


class RemoteUpload:
    """A blob that comes in pieces; see `BlobUpload`."""

    def __init__(self, blobs: RemoteBlobs, sha256: str, upload: Any) -> None:
        self._blobs, self._sha256, self._upload = blobs, sha256, upload
        self._digest, self._size = hashlib.sha256(), 0

    def write(self, data: bytes) -> None:
        """See `BlobUpload`."""
        self._digest.update(data)
        self._size += len(data)
        with self._blobs._errors():
            self._upload.write(data)

    def finish(self) -> TakenBlob:
        """See `BlobUpload`."""
        try:
            refuse_other(self._digest.hexdigest(), self._sha256)
            whole = self._blobs.holds(self._sha256)
            if not whole:
                with self._blobs._errors():
                    self._upload.close()
                    self._upload.commit()
                self._upload = None
                self._blobs.forget(self._sha256)
            return TakenBlob(self._size, new=whole is None, mended=whole is False)
        finally:
            self.discard()

    def discard(self) -> None:
        """See `BlobUpload`."""
        if self._upload is not None:
            upload, self._upload = self._upload, None
            with self._blobs._errors():
                upload.discard()
                upload.closed = True  # or it would be closed, and so uploaded, when nobody holds it any more


class RemoteBatch:
    """See `BlobIntake`."""

    def __init__(self, blobs: RemoteBlobs) -> None:
        self._blobs = blobs
        self._uploads: dict[str, Any] = {}
        self.mended = 0

    def add(
        self,
        source: Path,
        sha256: str,
        size_bytes: int,
        *,
        what: str,
        advance: Callable[[int], None] = lambda _: None,
    ) -> None:
        """See `BlobIntake`."""
        check_size(source, size_bytes, what)
        if sha256 in self._uploads or self._is_held(sha256):
            check_digest(hash_file(source, advance), sha256, what)
            return
        upload = self._uploads[sha256] = self._blobs.open_upload(sha256)
        digest = hashlib.sha256()
        with source.open("rb") as file, self._blobs._errors():
            while piece := file.read(_PIECE_BYTES):
                digest.update(piece)
                upload.write(piece)
                advance(len(piece))
            check_digest(digest.hexdigest(), sha256, what)
            upload.close()

    def _is_held(self, sha256: str) -> bool:
        whole = self._blobs.holds(sha256)
        self.mended += whole is False
        return bool(whole)

    def commit(self) -> None:
        """Let all of them appear."""
        for sha256 in sorted(self._uploads):
            with self._blobs._errors():
                self._uploads.pop(sha256).commit()

    def discard(self) -> None:
        """Take back what has not appeared."""
        for upload in self._uploads.values():
            with self._blobs._errors():
                upload.discard()
                upload.closed = True  # or it would be closed, and so uploaded, when nobody holds it any more
        self._uploads.clear()
