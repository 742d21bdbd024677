"""One TUF repository, as a device trusts it: brought up to date from wherever its metadata came, at a time that is given.

python-tuf does the work (its client workflow, specification 1.0.34, section 5); here its faults become ours, the time is
ours instead of the clock's, and what it may read is bounded for a small board.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import quote

from tuf.api import exceptions as tuf
from tuf.api.metadata import TargetFile, Targets
from tuf.ngclient import Updater, UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface

from edgelift_contract.errors import ContractError, DeviceError, EdgeliftError, TransportError, disk_code

#: Lengths that no metadata of a fleet comes near, bytes: a signer who holds all keys can't fill a board's memory either.
#: Of targets the largest: a model's whole history.
LIMITS = UpdaterConfig(
    max_root_rotations=256, max_delegations=32, root_max_length=512_000, timestamp_max_length=16_384,
    snapshot_max_length=2_000_000, targets_max_length=5_000_000,
)  # fmt: skip

#: The last second that a date can name.
_LATEST_S = 253_402_300_799.0

#: What python-tuf raises → the code it has here; the first that fits.
_CODES: tuple[tuple[type[Exception], str], ...] = (
    (tuf.ExpiredMetadataError, "metadata-expired"),
    (tuf.BadVersionNumberError, "metadata-older"),
    (tuf.UnsignedMetadataError, "not-signed"),
    (tuf.LengthOrHashMismatchError, "digest-mismatch"),
    (tuf.DownloadLengthMismatchError, "too-large"),
    (tuf.RepositoryError, "metadata-wrong"),
)


class Repository:
    """A repository's metadata in a folder. One use: what is refreshed once stays as it is."""

    def __init__(
        self, name: str, folder: Path, fetcher: FetcherInterface, base: str, *, root: bytes | None, now: float
    ) -> None:
        """Read what is trusted so far; nothing is fetched yet.

        Args:
            name: for people: `image`, `director`.
            folder: where trusted metadata is kept; written by `refresh` and `target`, file by file.
            fetcher: gives new metadata.
            base: of its addresses.
            root: the first one to be trusted; None to take the folder's.
            now: the time by which metadata expires, seconds since 1970.

        Raises:
            ContractError: the trusted root isn't one. DeviceError: the folder can't be used.
        """
        self._name = name
        with self._faults():
            self._updater = Updater(str(folder), base, fetcher=fetcher, config=LIMITS, bootstrap=root)
            trusted = self._updater._trusted_set  # it has no public way: python-tuf#3009
            assert isinstance(trusted.reference_time, datetime)
            trusted.reference_time = datetime.fromtimestamp(min(max(now, 0.0), _LATEST_S), timezone.utc)

    def refresh(self) -> None:
        """Bring root, timestamp, snapshot and targets up to date.

        Raises:
            ContractError: `metadata-expired`, `metadata-older`, `not-signed`, `digest-mismatch`, `too-large`,
                `metadata-wrong`.
            TransportError: `unreachable`: something was not given. DeviceError: the folder can't be written.
        """
        with self._faults():
            self._updater.refresh()

    def target(self, path: str) -> TargetFile | None:
        """What the repository says of a target; None where it names none. Raises as `refresh`."""
        with self._faults():
            return self._updater.get_targetinfo(path)

    def targets(self) -> Targets:
        """The top-level targets, after `refresh`."""
        return self._updater._trusted_set.targets

    @property
    def root_version(self) -> int:
        """Version of the root that is trusted now."""
        return self._updater._trusted_set.root.version

    def download(self, found: TargetFile, folder: Path, base: str) -> Path:
        """A target's file, verified; for tools: a device fetches by itself, with resume. Raises as `refresh`."""
        file = str(folder / quote(found.path, ""))
        with self._faults():
            return Path(
                self._updater.find_cached_target(found, file) or self._updater.download_target(found, file, base)
            )

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except EdgeliftError:
            raise
        except tuf.DownloadHTTPError as error:
            raise TransportError("unreachable", f"Of the {self._name} repository: {error}.") from error
        except (tuf.RepositoryError, tuf.DownloadError) as error:
            code = next((code for kind, code in _CODES if isinstance(error, kind)), "")
            kind, text = (ContractError, code) if code else (TransportError, "unreachable")
            raise kind(text, f"Of the {self._name} repository: {error}.") from error
        except OSError as error:
            text = f"The metadata of the {self._name} repository can't be kept: {error.strerror or error}."
            raise DeviceError(disk_code(error.errno), text) from error
