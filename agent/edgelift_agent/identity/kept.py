"""The files of this device's identity, in its state folder.

identity/device.pem       its key and its certificate: one file, so that they are changed by one rename
identity/next-key.pem     a key that a certificate is asked for: the same until the answer has come
identity/metrics.pem      the same key, and the certificate by which this device answers who scrapes its metrics
identity/host.json        where the control plane is, and who may vouch for it
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from edgelift_agent.system.disk import Disk, mapped_errors
from edgelift_contract import codec
from edgelift_contract.bounds import Schema
from edgelift_contract.errors import ContractError, DeviceError
from edgelift_contract.identity import Certificates

FOLDER, DEVICE, HOST, METRICS = "identity", "device.pem", "host.json", "metrics.pem"
NEXT_KEY, NEXT = "next-key.pem", "next.pem"
_MAX_FILE_BYTES = 64 * 1024


class HostFile(msgspec.Struct, frozen=True, kw_only=True):
    """`host.json`.

    Attributes:
        url: of the control plane, HTTPS.
        authorities: who may vouch for it (PEM), the newest first.
        until: until when this device's certificate holds, seconds since 1970; 0 in a file of an earlier release.
        metrics: it was asked for by a release that keeps one to answer scrapers by, if that came with it.
    """

    SCHEMA: ClassVar[int] = 1

    schema: Schema = 1
    url: Annotated[str, Meta(max_length=500, pattern=r"^https://[^\s?#@]+\Z")]
    authorities: Certificates
    until: float = 0.0
    metrics: bool = False


class IdentityFiles:
    """The files."""

    def __init__(self, state_dir: Path, disk: Disk) -> None:
        self.folder, self._disk = state_dir / FOLDER, disk
        self.device, self.metrics = self.folder / DEVICE, self.folder / METRICS

    def host(self) -> HostFile | None:
        """Where the control plane is; None before the device was enrolled. Raises DeviceError: `state-damaged`."""
        data = self._read(HOST)
        if data is None:
            return None
        try:
            return codec.decode_json(
                data, HostFile, what=f"file {self.folder / HOST}", limit_bytes=_MAX_FILE_BYTES
            )
        except ContractError as error:
            raise DeviceError("state-damaged", error.message, hint="Enrol this device again.") from error

    def next_key(self) -> bytes | None:
        """The key that a certificate is asked for; None when none is. Raises DeviceError: the disk's."""
        return self._read(NEXT_KEY)

    def keep_next_key(self, key: bytes) -> None:
        """Keep it until the certificate has come. Raises DeviceError: the disk's."""
        self._write(NEXT_KEY, key)

    def keep_next(self, key: bytes, certificate: str) -> Path:
        """A certificate has come, and is to be tried; gives its file, with the key. Raises DeviceError: the disk's."""
        self._write(NEXT, key + certificate.encode())
        return self.folder / NEXT

    def settle(self, host: HostFile, metrics: bytes = b"") -> None:
        """What was tried counts from now on. Raises DeviceError: the disk's; then what was kept before counts on.

        Args:
            host: where the control plane is.
            metrics: a key and the certificate to answer scrapers by (PEM); empty where none came.
        """
        if metrics:  # whole by itself: it may be newer than the rest
            self._write(METRICS, metrics)
        # Who may vouch for the host first: with a new certificate and no word of them nobody could be called.
        self._write(HOST, codec.canonical_json(host))
        self._disk.rename(self.folder / NEXT, self.device)
        self._disk.remove(self.folder / NEXT_KEY)

    def load(self, context: ssl.SSLContext, file: Path | None = None) -> None:
        """Have a context show the certificate in `file`, by default this device's own. Raises DeviceError."""
        file = file or self.device
        with mapped_errors("read", file):
            try:
                context.load_cert_chain(file)
            except ssl.SSLError as error:
                raise DeviceError(
                    "state-damaged", f"{file} is no certificate with its key: {error.reason}.",
                    hint="Enrol this device again.",
                ) from error  # fmt: skip

    def stamp(self, file: Path | None = None) -> tuple[int, int, int] | None:
        """What changes when a file does, by default the device's certificate; None while it is not there."""
        try:
            found = (file or self.device).stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _read(self, name: str) -> bytes | None:
        path = self.folder / name
        with mapped_errors("read", path):
            try:
                with path.open("rb") as file:
                    return file.read(_MAX_FILE_BYTES + 1)
            except FileNotFoundError:
                return None

    def _write(self, name: str, data: bytes) -> None:
        self._disk.make_folder(self.folder)
        self._disk.write_file(self.folder / name, data, private=True)
