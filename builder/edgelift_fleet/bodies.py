"""Every column that holds a message rather than a value, and how it is read: the one list of what can be unreadable.

Mending goes by it, and so does the test that damages each of them in a running server. A text column that is neither
here nor in `PLAIN` fails that test: whoever adds a column says which it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from edgelift_contract.assignment import Assignment, Policy, SlotAssignment
from edgelift_contract.release import Release
from edgelift_contract.report import Degradation, DeviceFacts, UpdateReport
from edgelift_contract.telemetry import DeviceEvent, SwapRecord
from edgelift_fleet.messages.alerts import AlertMessage
from edgelift_fleet.rows import is_readable
from edgelift_fleet.tables import (
    AlertDeliveryRow,
    AssignmentRow,
    Base,
    BundleBodyRow,
    DeviceRow,
    ReleaseRow,
    RolloutDeviceRow,
    RolloutEventRow,
    RolloutLookRow,
    RolloutRow,
    RolloutWaveRow,
    SlotStateRow,
    TelemetryBucketRow,
    TelemetryCohortRow,
    TelemetryCohortSumRow,
    TelemetryEpochRow,
    TelemetryFleetBucketRow,
    TelemetryGaugeRow,
    TelemetryMinuteRow,
    TelemetryNewestRow,
    TelemetryNoteRow,
    TelemetrySeriesRow,
    UpdateHistoryRow,
    UpdateTraceRow,
)
from edgelift_fleet.telemetry import arrivals, cohort_sums, gauges, packing
from edgelift_fleet.untold import EndedUpdate

_NOTES: dict[str, Any] = {"swap": SwapRecord, "event": DeviceEvent}


@dataclass(frozen=True)
class Body:
    """A column of bodies.

    Attributes:
        table, column: where.
        what: its name for people, as `assignment`.
        reads: can the body of this row be read? An empty one may be meant to be empty.
        mine: the rows of a device, as a condition; None for a column that is no device's.
    """

    table: type[Base]
    column: str
    what: str
    reads: Callable[[Any], bool]
    mine: Callable[[str], sa.ColumnElement[bool]] | None = None


def _by(column: Any) -> Callable[[str], sa.ColumnElement[bool]]:
    return lambda device: column == device


def _by_series(column: Any) -> Callable[[str], sa.ColumnElement[bool]]:
    return lambda device: column.in_(sa.select(TelemetrySeriesRow.id).where(TelemetrySeriesRow.device == device))


def _is(kind: Any, column: str, *, may_be_empty: bool = False) -> Callable[[Any], bool]:
    def reads(row: Any) -> bool:
        body = getattr(row, column)
        return (may_be_empty and not body) or is_readable(body, kind)

    return reads


BODIES = (
    Body(DeviceRow, "facts", "facts", _is(DeviceFacts, "facts"), _by(DeviceRow.id)),
    Body(DeviceRow, "past_epochs", "past epochs", _is(list[str], "past_epochs"), _by(DeviceRow.id)),
    Body(
        DeviceRow, "degraded", "what is degraded", _is(list[Degradation], "degraded", may_be_empty=True), _by(DeviceRow.id)
    ),
    Body(
        SlotStateRow, "last_update", "last update", _is(UpdateReport, "last_update", may_be_empty=True),
        _by(SlotStateRow.device),
    ),
    Body(UpdateHistoryRow, "body", "update history", _is(UpdateReport, "body"), _by(UpdateHistoryRow.device)),
    Body(AssignmentRow, "body", "assignment", _is(Assignment, "body"), _by(AssignmentRow.device)),
    Body(
        RolloutDeviceRow, "previous", "previous assignment", _is(SlotAssignment, "previous", may_be_empty=True),
        _by(RolloutDeviceRow.device),
    ),
    Body(
        TelemetryNoteRow, "body", "telemetry", lambda row: is_readable(row.body, _NOTES.get(row.kind, dict)),
        _by(TelemetryNoteRow.device),
    ),
    Body(
        TelemetryMinuteRow, "body", "telemetry", lambda row: packing.is_whole(row.body),
        _by_series(TelemetryMinuteRow.series),
    ),
    Body(
        TelemetryBucketRow, "body", "telemetry", lambda row: packing.is_whole(row.body),
        _by_series(TelemetryBucketRow.series),
    ),
    Body(
        TelemetryGaugeRow, "body", "telemetry", lambda row: gauges.is_whole(row.level, row.body),
        _by(TelemetryGaugeRow.device),
    ),
    Body(
        TelemetryNewestRow, "body", "telemetry", lambda row: gauges.is_whole(0, row.body),
        _by(TelemetryNewestRow.device),
    ),
    Body(
        TelemetryEpochRow, "seen", "items that came", lambda row: arrivals.is_whole(row.seen),
        _by(TelemetryEpochRow.device),
    ),
    Body(BundleBodyRow, "body", "bundle", lambda row: row.body[:2] == b"\x1f\x8b", _by(BundleBodyRow.device)),
    Body(TelemetryFleetBucketRow, "body", "the fleet's telemetry", lambda row: packing.is_whole(row.body)),
    Body(TelemetryCohortSumRow, "body", "a cohort's telemetry", lambda row: cohort_sums.is_whole(row.body)),
    Body(
        TelemetryCohortRow, "members", "a cohort's members",
        lambda row: hashlib.sha256(row.members).hexdigest() == row.digest,
    ),
    Body(ReleaseRow, "body", "release", _is(Release, "body")),
    Body(RolloutRow, "plan", "plan", _is(dict, "plan")),
    Body(RolloutRow, "policy", "policy", _is(Policy, "policy")),
    Body(RolloutWaveRow, "controls", "controls", _is(dict[str, str], "controls")),
    Body(RolloutLookRow, "measured", "measured", _is(dict | list, "measured")),
    Body(RolloutLookRow, "figures", "figures", _is(dict, "figures", may_be_empty=True)),
    Body(AlertDeliveryRow, "body", "alert", _is(AlertMessage, "body")),
    Body(UpdateTraceRow, "body", "trace", _is(EndedUpdate, "body")),
    Body(RolloutEventRow, "body", "event", _is(dict, "body", may_be_empty=True)),
)  # fmt: skip

#: Text columns that are shown or compared as they are.
PLAIN = frozenset({
    "bundle.why", "bundle.message",
    "control.value", "kept_answer.body", "release.retired_why", "device.report_epoch", "device.presence_epoch",
    "device_tag.value", "rollout.selector", "rollout.reason", "rollout_device.message", "rollout_event.text",
    "rollout_look.text", "telemetry_doubt.why", "signed.body", "identity.why", "enrol_token.tags", "enrol_token.note",
    "access_token.note",
    "alert.text", "alert_delivery.error", "alert_silence.selector", "alert_silence.why",
    "audit.path", "audit.about", "audit.why",
})  # fmt: skip
