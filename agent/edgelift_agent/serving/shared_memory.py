"""Triton's system shared memory: tensors that lie in a client's region of `/dev/shm` instead of its requests.

Source: triton-inference-server docs, `extension_shared_memory.md`. A region is read and written by `pread` and
`pwrite`, never mapped: a client that cuts its file short would end a process that has it mapped by SIGBUS. Regions
belong to the agent's own user or are open to all, so that no client reaches through the agent what it couldn't itself;
and they are offered to this machine's clients alone.
"""

from __future__ import annotations

import os
import re
import stat
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgelift_contract.errors import ContractError, DeviceError

#: Regions at once: each keeps a descriptor open.
MAX_REGIONS = 64
_FOLDER = Path("/dev/shm")  # noqa: S108 - where POSIX puts shared memory on Linux
_KEY = re.compile(r"/?[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}")
_OPEN_TO_ALL = stat.S_IROTH | stat.S_IWOTH


@dataclass(frozen=True)
class _Region:
    key: str
    offset: int
    size_bytes: int
    descriptor: int


class SharedMemory:
    """The regions that clients have registered, by name; safe to use from several threads."""

    def __init__(self) -> None:
        self._regions: dict[str, _Region] = {}
        self._lock = threading.Lock()

    def register(self, name: str, order: dict[str, Any]) -> None:
        """Open a region.

        Args:
            name: the client's for it.
            order: `key` of the file, `offset` into it and `byte_size`.

        Raises:
            ContractError: `bad-request`, `conflict` for a name that is taken. DeviceError: `busy`.
        """
        key, offset, size = order.get("key"), order.get("offset", 0), order.get("byte_size")
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise ContractError("bad-request", f"{key!r:.80} is no key of shared memory.")
        if type(offset) is not int or type(size) is not int or offset < 0 or size <= 0:
            raise ContractError("bad-request", f"The region {name!r} has no offset and byte_size.")
        with self._lock:
            if name in self._regions:
                raise ContractError("conflict", f"The shared memory region {name!r} is registered already.")
            if len(self._regions) >= MAX_REGIONS:
                raise DeviceError("busy", f"{MAX_REGIONS} regions are registered already.")
            self._regions[name] = _Region(key, offset, size, _open(key, offset + size))

    def unregister(self, name: str = "") -> None:
        """Close a region, or all; one that isn't there is no error."""
        with self._lock:
            for gone in [name] if name else list(self._regions):
                region = self._regions.pop(gone, None)
                if region is not None:
                    os.close(region.descriptor)

    def status(self, name: str = "") -> list[dict[str, Any]]:
        """A region, or all, as the protocol describes them.

        Raises:
            ContractError: `not-found`.
        """
        with self._lock:
            if name and name not in self._regions:
                raise _unknown(name)
            return [
                {"name": n, "key": r.key, "offset": r.offset, "byte_size": r.size_bytes}
                for n, r in sorted(self._regions.items())
                if name in ("", n)
            ]

    def read(self, name: str, offset: int, size: int) -> bytes:
        """Bytes of a region.

        Raises:
            ContractError: `bad-request`, `not-found`.
        """
        with self._lock:
            region = self._within(name, offset, size)
            data = os.pread(region.descriptor, size, region.offset + offset)
        if len(data) < size:
            raise ContractError("bad-request", f"The shared memory region {name!r} has been cut short.")
        return data

    def write(self, name: str, offset: int, size: int, data: bytes) -> None:
        """Put an output into a region, within the `size` bytes that its client has set aside for it.

        Raises:
            ContractError: `bad-request`, `not-found`.
        """
        if len(data) > size:
            raise ContractError("bad-request", f"An output of {len(data)} bytes doesn't fit {size} in {name!r}.")
        with self._lock:
            region = self._within(name, offset, size)
            if os.fstat(region.descriptor).st_size < region.offset + offset + len(data):
                raise ContractError("bad-request", f"The shared memory region {name!r} has been cut short.")
            os.pwrite(region.descriptor, data, region.offset + offset)

    def _within(self, name: str, offset: int, size: int) -> _Region:
        region = self._regions.get(name)
        if region is None:
            raise _unknown(name)
        if offset + size > region.size_bytes:
            raise ContractError("bad-request", f"{size} bytes at {offset} go past the end of the region {name!r}.")
        return region


def _unknown(name: str) -> ContractError:
    return ContractError("not-found", f"Unable to find shared memory region: {name!r:.80} is not registered.")


def _open(key: str, size: int) -> int:
    path = _FOLDER / key.lstrip("/")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ContractError(
            "bad-request", f"Unable to open shared memory region {key!r}: {error.strerror}."
        ) from error
    found = os.fstat(descriptor)
    ours = found.st_uid == os.geteuid() or found.st_mode & _OPEN_TO_ALL == _OPEN_TO_ALL
    if stat.S_ISREG(found.st_mode) and ours and found.st_size >= size:
        return descriptor
    os.close(descriptor)
    raise ContractError(
        "bad-request", f"The shared memory {key!r} is not a file of {size} bytes that is ours to use."
    )


def place_of(parameters: dict[str, Any]) -> tuple[str, int, int] | None:
    """Region, offset and size that a tensor's parameters name; None where they name none.

    Raises:
        ContractError: `bad-request`.
    """
    name = parameters.get("shared_memory_region")
    if name is None:
        return None
    offset, size = parameters.get("shared_memory_offset", 0), parameters.get("shared_memory_byte_size")
    if not isinstance(name, str) or type(offset) is not int or type(size) is not int or offset < 0 or size < 0:
        raise ContractError("bad-request", "A shared memory region has a name, an offset and a byte_size.")
    return name, offset, size
