"""The tables of the control plane's database.

Rules: times are seconds since 1970 as floats; messages are kept as the JSON that the contract defines; numbers
that devices choose are big integers. A file for each noun; all of them are imported from
here. `tests/fleet/test_site.py` holds these tables and the migrations together.
"""

from edgelift_fleet.tables.alerts import AlertDeliveryRow, AlertGroupRow, AlertRow, AlertSilenceRow
from edgelift_fleet.tables.base import Base, table_of
from edgelift_fleet.tables.blobs import UnnamedBlobRow
from edgelift_fleet.tables.bundles import BundleBodyRow, BundleRow
from edgelift_fleet.tables.devices import (
    ArtifactRow,
    AssignmentRow,
    ControlRow,
    DeviceDroppedRow,
    DeviceRow,
    KeptAnswerRow,
    ReleaseRow,
    SightingRow,
    SlotStateRow,
    TagRow,
    UpdateHistoryRow,
)
from edgelift_fleet.tables.identity import EnrolTokenRow, IdentityRow
from edgelift_fleet.tables.people import AccessTokenRow, AuditRow, PersonRow
from edgelift_fleet.tables.rollouts import (
    RolloutDeviceRow,
    RolloutEventRow,
    RolloutLookRow,
    RolloutMemberRow,
    RolloutRow,
    RolloutWaveRow,
)
from edgelift_fleet.tables.telemetry import (
    TelemetryBucketRow,
    TelemetryCohortRow,
    TelemetryCohortSumRow,
    TelemetryDoubtRow,
    TelemetryEpochRow,
    TelemetryFleetBucketRow,
    TelemetryFleetSeriesRow,
    TelemetryGaugeRow,
    TelemetryMinuteRow,
    TelemetryNewestRow,
    TelemetryNoteRow,
    TelemetryPendingRow,
    TelemetrySampleRow,
    TelemetrySeriesRow,
)
from edgelift_fleet.tables.traces import UpdateTraceRow
from edgelift_fleet.tables.trust import SignedRow

__all__ = [
    "AccessTokenRow",
    "AlertDeliveryRow",
    "AlertGroupRow",
    "AlertRow",
    "AlertSilenceRow",
    "ArtifactRow",
    "AssignmentRow",
    "AuditRow",
    "Base",
    "BundleBodyRow",
    "BundleRow",
    "ControlRow",
    "DeviceDroppedRow",
    "DeviceRow",
    "EnrolTokenRow",
    "IdentityRow",
    "KeptAnswerRow",
    "PersonRow",
    "ReleaseRow",
    "RolloutDeviceRow",
    "RolloutEventRow",
    "RolloutLookRow",
    "RolloutMemberRow",
    "RolloutRow",
    "RolloutWaveRow",
    "SightingRow",
    "SignedRow",
    "SlotStateRow",
    "TagRow",
    "TelemetryBucketRow",
    "TelemetryCohortRow",
    "TelemetryCohortSumRow",
    "TelemetryDoubtRow",
    "TelemetryEpochRow",
    "TelemetryFleetBucketRow",
    "TelemetryFleetSeriesRow",
    "TelemetryGaugeRow",
    "TelemetryMinuteRow",
    "TelemetryNewestRow",
    "TelemetryNoteRow",
    "TelemetryPendingRow",
    "TelemetrySampleRow",
    "TelemetrySeriesRow",
    "UnnamedBlobRow",
    "UpdateHistoryRow",
    "UpdateTraceRow",
    "table_of",
]
