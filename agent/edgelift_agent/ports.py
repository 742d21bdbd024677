"""What the core asks of the world outside; adapters implement it, `testing` ships fakes of it.

Protocols, so that an adapter need not know its port; arrays are `Any`, so that the core needs no numpy.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from edgelift_contract.errors import TransportError
from edgelift_contract.manifest import Manifest
from edgelift_contract.replies import ReportReply
from edgelift_contract.signed import Vouched


class Opened(NamedTuple):
    """An assignment that may be carried out, and what was signed of its artifacts, by id; nothing where nobody signs."""

    assignment: bytes
    signed: Mapping[str, Vouched]


class Committed(NamedTuple):
    """What this device committed to.

    Attributes:
        floors: model → the highest release counter that it ever committed.
        installed: slot → id of the artifact that it runs; empty for none.
        before: slot → ids of what it ran just before that one, or ran and lost by a damaged disk.
    """

    floors: Mapping[str, int] = {}
    installed: Mapping[str, str] = {}
    before: Mapping[str, Collection[str]] = {}


class NotReachedYet(TransportError):
    """Nothing was sent, for the host has not been reached; whoever tries to reach it tells why, if it fails."""


class BlobSource(Protocol):
    """Where blobs come from."""

    def open_blob(
        self, sha256: str, offset: int, size_bytes: int
    ) -> AbstractContextManager[tuple[int, Iterator[bytes]]]:
        """Stream a blob of `size_bytes` from byte `offset` (included) to its end.

        Yields:
            The offset at which the stream really begins (0 where ranges are not supported), and its pieces: each
            as soon as it is there, never more than the blob has.

        Raises:
            TransportError: the link, or something on it that answers in the host's place; try again.
            ContractError: `missing-blob`, by the host's own word.
        """


class Host(Protocol):
    """Where reports and telemetry go."""

    def send_report(self, data: bytes) -> ReportReply | None:
        """Deliver a report; returns once the other side has it: with its reply, None where a broker took it.

        Raises:
            TransportError: it may not have arrived; `NotReachedYet` when nothing was sent.
        """

    def send_batch(self, data: bytes) -> None:
        """Deliver a batch of telemetry; returns once the other side has it. Raises as `send_report`."""


class LoadedModel(Protocol):
    """A model in memory. `run` may be called from several threads at once."""

    @property
    def accelerators(self) -> tuple[str, ...]:
        """What computes beside the processor, as `CUDAExecutionProvider`; empty where nothing does."""

    def run(self, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        """Infer.

        Args:
            inputs: name → array, as the manifest's inputs say.
            outputs: names wanted; None for all.

        Returns:
            name → array.

        Raises:
            ContractError: `bad-request` when the inputs contradict each other in what no manifest says. Whatever
                else is raised is the model's own failure.
        """

    def close(self) -> None:
        """Give the memory back; no call of `run` may be under way."""


class Runtime(Protocol):
    """One way to load models."""

    name: str

    def version(self) -> str | None:
        """The installed version; None where the package is not there."""

    def load(self, folder: Path, manifest: Manifest) -> LoadedModel:
        """Load a staged artifact.

        Raises:
            ContractError: `load-failed`.
            DeviceError: `no-runtime`, `no-memory`.
        """
