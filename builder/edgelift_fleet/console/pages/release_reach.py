"""Where a release runs, how many bytes are still to come, and where it went wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.errors import ContractError
from edgelift_contract.release import Release, ReleaseArtifact
from edgelift_contract.report import DeviceFacts, UpdateReport
from edgelift_contract.rules import choose
from edgelift_fleet.rows import decode_row, read_row
from edgelift_fleet.tables import ArtifactRow, DeviceRow, ReleaseRow, SlotStateRow, UpdateHistoryRow

#: Failed updates that are read, newest first, and devices that a line names.
_FAILED, _NAMED = 2000, 5


class ReachLine(msgspec.Struct, frozen=True):
    """Devices of one hardware class that would get the same artifact.

    Attributes:
        devices: of them; `running` serve the release now, `left` don't.
        artifact: what they would get, as `int8-static through litert`; empty where there is nothing for them.
        size_bytes: of it; `bytes_to_come` is that for each who doesn't run it.
        why: there is nothing.
    """

    hardware_class: str
    devices: int
    running: int
    left: int
    artifact: str
    size_bytes: int
    bytes_to_come: int
    why: str = ""


class FailureLine(msgspec.Struct, frozen=True):
    """Updates to a release that went wrong for the same reason: `outcome` is `refused` or `rolled-back`."""

    code: str
    outcome: str
    message: str
    updates: int
    devices: list[str]
    more: int
    last_at: float


def read_reach(session: Session, release: Release) -> list[ReachLine]:
    """Who runs a release, and who would still fetch what. In one statement."""
    serves = sa.exists().where(
        SlotStateRow.device == DeviceRow.id, SlotStateRow.model == release.model,
        SlotStateRow.version == release.version, SlotStateRow.artifact != "",
    )  # fmt: skip
    query = sa.select(DeviceRow.facts, DeviceRow.hardware_class, serves, sa.func.count()).group_by(
        DeviceRow.facts, DeviceRow.hardware_class, serves
    )
    return add_up(release, ((facts, name, bool(runs), many) for facts, name, runs, many in session.execute(query)))


def add_up(release: Release, found: Iterable[tuple[str, str, bool, int]]) -> list[ReachLine]:
    """The lines, most devices first. Pure.

    Args:
        release: whose.
        found: facts as JSON, hardware class, do they serve it, and how many devices that is.
    """
    chosen: dict[str, tuple[ReleaseArtifact | None, str]] = {}
    running: Counter[tuple[str, str, str]] = Counter()
    left: Counter[tuple[str, str, str]] = Counter()
    by_id: dict[str, ReleaseArtifact] = {one.id: one for one in release.artifacts}
    for facts, hardware_class, runs, many in found:
        if facts not in chosen:
            chosen[facts] = _suits(release, facts)
        artifact, why = chosen[facts]
        (running if runs else left)[hardware_class, artifact.id if artifact else "", why] += many
    lines = [_line(key, running[key], left[key], by_id) for key in running.keys() | left.keys()]
    return sorted(
        lines, key=lambda line: (not line.artifact, -line.devices, line.hardware_class, line.artifact, line.why)
    )


def _suits(release: Release, facts: str) -> tuple[ReleaseArtifact | None, str]:
    try:
        read = decode_row(facts, DeviceFacts, owner="a device", what="facts")
        return choose(release.artifacts, read, what=f"{release.model}@{release.version}"), ""
    except ContractError as error:
        return None, error.message


def _line(key: tuple[str, str, str], running: int, left: int, by_id: Mapping[str, ReleaseArtifact]) -> ReachLine:
    hardware_class, artifact, why = key
    one = by_id.get(artifact)
    each = one.size_bytes if one else 0
    name = f"{one.variant} through {one.runtime}" if one else ""
    return ReachLine(hardware_class, running + left, running, left, name, each, left * each, why)


def read_failures(session: Session, release: ReleaseRow) -> list[FailureLine]:
    """Why devices refused a release or went back from it, as they told, most devices first."""
    history = UpdateHistoryRow
    query = sa.select(history.device, history.outcome, history.body, history.last_at)
    query = query.join(ArtifactRow, ArtifactRow.id == history.artifact).where(
        ArtifactRow.release_id == release.id, history.outcome.in_(("refused", "rolled-back"))
    )
    query = query.order_by(history.last_at.desc()).limit(_FAILED)
    return group_failures(
        (device, outcome, read_row(body, UpdateReport, owner=device, what="", into=[]), at)
        for device, outcome, body, at in session.execute(query)
    )


def group_failures(found: Iterable[tuple[str, str, UpdateReport | None, float]]) -> list[FailureLine]:
    """The same, from device, outcome, report and time, newest first. Pure."""
    groups: dict[tuple[str, str], list[tuple[str, str, float]]] = {}
    for device, outcome, report, at in found:
        code, message = (report.code, report.message) if report else ("", "")
        groups.setdefault((code, outcome), []).append((device, message, at))
    lines = []
    for (code, outcome), updates in groups.items():
        devices = list(dict.fromkeys(device for device, _, _ in updates))
        lines.append(FailureLine(
            code or "unknown", outcome, updates[0][1], len(updates), devices[:_NAMED], max(0, len(devices) - _NAMED),
            updates[0][2],
        ))  # fmt: skip
    return sorted(lines, key=lambda line: (-line.updates, line.code))
