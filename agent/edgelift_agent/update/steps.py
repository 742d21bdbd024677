"""What each state of an update before its swap does: calls ports, changes nothing in the journal.

Steps may take long (a slow link, a large model) and run on threads of their own, so that one slot's download
never delays another slot's verdict. A step that fails raises an `EdgeliftError`; whoever drives the machine
(`updates`) turns it into FAILED, and a `TransportError` while fetching into another try.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from edgelift_agent.artifact.fetch import Fetcher
from edgelift_agent.artifact.preflight import Preflight
from edgelift_agent.artifact.store import DAMAGED, Store
from edgelift_agent.ports import BlobSource
from edgelift_agent.update.exchange import InFlight
from edgelift_agent.update.records import SlotRow, UpdateRow
from edgelift_contract import rules
from edgelift_contract.errors import ContractError, DeviceError
from edgelift_contract.histogram import Histogram
from edgelift_contract.manifest import Manifest
from edgelift_contract.report import DeviceFacts
from edgelift_contract.signed import Vouched, same_as_signed
from edgelift_contract.telemetry import SwapRecord

log = logging.getLogger(__name__)

#: Two generations must fit with this much to spare, as a factor on the measured peak.
MEMORY_MARGIN = 1.2


@dataclass(frozen=True)
class StepResult:
    """A step went well.

    Attributes:
        record: the swap record with what the step learned; None when it learned nothing.
        fetched_bytes: what came over the link.
    """

    record: SwapRecord | None = None
    fetched_bytes: int = 0


class Steps:
    """The steps, bound to the device's parts."""

    def __init__(
        self,
        *,
        store: Store,
        source: BlobSource,
        preflight: Preflight,
        facts: Callable[[], DeviceFacts],
        available_memory_bytes: Callable[[], int],
        reserve_bytes: int,
        must_be_signed: Callable[[], bool] = lambda: False,
    ) -> None:
        """Bind; `must_be_signed` tells whether this device takes nothing that nobody signed."""
        self._store, self._source, self._preflight = store, source, preflight
        self._facts, self._available_memory_bytes = facts, available_memory_bytes
        self._reserve_bytes, self._must_be_signed = reserve_bytes, must_be_signed

    def fetch(self, update: UpdateRow, in_flight: InFlight, signed: Vouched | None) -> StepResult:
        """FETCHING: bring the manifest, refuse early what isn't signed or can't run here, bring the missing files."""
        desired = update.desired
        self._check_signed(update, signed)
        fetcher = Fetcher(self._source, self._store, reserve_bytes=self._reserve_bytes)
        started = time.perf_counter()
        size_bytes = signed.manifest_bytes if signed is not None else desired.manifest_bytes
        manifest = fetcher.manifest(desired.artifact, size_bytes, in_flight.cancelled)
        self._hold(manifest, desired.artifact, signed)
        rules.admit(manifest, self._facts(), floor=0, allow_older=True)
        fetcher.files(manifest, in_flight.cancelled)
        return StepResult(_learned(update, fetch_ms=_ms(started)), fetcher.fetched_bytes)

    def verify(
        self, update: UpdateRow, floors: dict[str, int], signed: Vouched | None, row: SlotRow
    ) -> StepResult:
        """VERIFYING: hash everything, and judge whether this device may install it.

        What was signed is the manifest, by digest and length; all files are held against what stands in it.

        Args:
            update: the slot's.
            floors: model → the highest release counter ever committed.
            signed: what both repositories say of it; None where nobody signs.
            row: what the slot has committed to: what it runs is no older release to it.
        """
        desired = update.desired
        self._check_signed(update, signed)
        started = time.perf_counter()
        manifest = self._verified(desired.artifact)
        self._hold(manifest, desired.artifact, signed)
        if (manifest.model, manifest.version) != (desired.model, desired.version):
            raise ContractError(
                "malformed",
                f"The assignment says {desired.model}@{desired.version}, the manifest"
                f" {manifest.model}@{manifest.version}.",
            )
        floor = 0 if desired.artifact == row.artifact else floors.get(manifest.model, 0)
        allow_older = rules.may_go_back(desired, signed, row.before)
        rules.admit(manifest, self._facts(), floor=floor, allow_older=allow_older)
        return StepResult(_learned(update, verify_ms=_ms(started)))

    def _check_signed(self, update: UpdateRow, signed: Vouched | None) -> None:
        if signed is None and self._must_be_signed():
            raise ContractError(
                "not-signed",
                f"{update.desired.model}@{update.desired.version} was assigned before anybody signed; this device takes"
                " nothing unsigned that is new.",
                hint="It is begun again as soon as it comes signed, which this device has asked for.",
            )

    def _hold(self, manifest: Manifest, artifact: str, signed: Vouched | None) -> None:
        if signed is not None:
            same_as_signed(manifest, len(self._store.manifest_bytes(artifact)), signed)

    def _verified(self, artifact: str) -> Manifest:
        """What was fetched was right when it came: what is not now, this disk has lost; it is fetched again."""
        try:
            return self._store.verify(artifact)
        except ContractError as error:
            if error.code in DAMAGED:
                raise DeviceError("disk-error", f"{error.message} It is fetched again.") from error
            raise

    def stage(self, update: UpdateRow) -> StepResult:
        """STAGING: give the blobs the names that the runtime expects."""
        self._store.stage(update.desired.artifact, self._store.manifest(update.desired.artifact))
        return StepResult()

    def preflight(self, update: UpdateRow, *, alone: bool) -> StepResult:
        """PREFLIGHT: prove the candidate in a child process; its measured peak chooses the swap mode.

        Args:
            update: the candidate's.
            alone: nothing serves in the slot, so nothing has to fit beside it.
        """
        artifact = update.desired.artifact
        started = time.perf_counter()
        result = self._preflight.run(self._store.folder(artifact), self._store.manifest(artifact))
        latency = Histogram.from_data(result.latency_us)
        fits = alone or result.peak_bytes * MEMORY_MARGIN <= self._available_memory_bytes()
        return StepResult(
            _learned(
                update,
                preflight_ms=_ms(started),
                golden_max_error=result.golden_max_error,
                preflight_p50_us=latency.quantile(0.5),
                preflight_p95_us=latency.quantile(0.95),
                preflight_peak_bytes=result.peak_bytes,
                mode="parallel" if fits else "park",
            )
        )

    def collect(self, keep: set[str]) -> None:
        """Delete all artifacts but `keep`; a disk that refuses is logged, for nothing depends on it."""
        try:
            self._store.collect(keep)
        except DeviceError as error:
            log.warning("cleaning up failed code=%s %s", error.code, error.message)

    def release_counter(self, artifact: str) -> tuple[str, int]:
        """The model and the release counter of an artifact on this device.

        Raises:
            ContractError: as `Store.manifest`.
        """
        manifest = self._store.manifest(artifact)
        return manifest.model, manifest.release_counter


def _learned(update: UpdateRow, **fields: object) -> SwapRecord | None:
    return msgspec.structs.replace(update.record, **fields) if update.record is not None else None


def _ms(started: float) -> float:
    return (time.perf_counter() - started) * 1000
