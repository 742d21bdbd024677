"""What the journal and the slots say of the device, as a report for the host and a status for people."""

from __future__ import annotations

from edgelift_agent.serving.slots import Generation
from edgelift_agent.update.exchange import Exchange
from edgelift_agent.update.journal import Journal
from edgelift_agent.update.machine import State
from edgelift_agent.update.records import SlotRow, UpdateRow
from edgelift_contract import __version__, codec
from edgelift_contract.report import Degradation, DeviceFacts, Report, SlotReport, SlotState, UpdateReport


def make_report(
    journal: Journal, exchange: Exchange, *, device: str, epoch: str, sequence: int, at: float, facts: DeviceFacts,
    tags: dict[str, str], degraded: list[Degradation], address: str = "",
) -> Report:  # fmt: skip
    """The device's state as of now; see `Report` for the fields."""
    names = journal.slots.keys() | journal.updates.keys()
    return Report(
        schema=Report.SCHEMA,
        device=device,
        epoch=epoch,
        sequence=sequence,
        at=at,
        agent_version=__version__,
        revision_seen=journal.meta.revision_seen,
        revision_applied=journal.meta.revision_applied,
        slots={
            name: _slot(journal.slots.get(name) or SlotRow(), journal.updates.get(name), exchange.current(name))
            for name in sorted(names)
        },
        facts=facts,
        tags=tags,
        degraded=degraded,
        assignment=codec.digest(journal.meta.assignment) if journal.meta.assignment else "",
        address=address,
    )


def _slot(row: SlotRow, update: UpdateRow | None, current: Generation | None) -> SlotReport:
    return SlotReport(
        state=_state(row, update, serves=current is not None),
        generation=current.number if current else 0,
        artifact=current.key.artifact if current else "",
        model=current.key.model if current else "",
        version=current.key.version if current else "",
        since=current.since if current else 0.0,
        update=_update(update) if update else None,
    )


def _state(row: SlotRow, update: UpdateRow | None, *, serves: bool) -> SlotState:
    state = State(update.state) if update else State.IDLE
    if state is State.OBSERVING:
        return "observing"
    if state is State.ROLLING_BACK:
        return "rolling-back"
    if state not in (State.IDLE, State.REPORTING):
        return "updating"
    if row.pinned:
        return "pinned"
    return "serving" if serves else "empty"


def _update(update: UpdateRow) -> UpdateReport:
    over = update.state in (State.IDLE, State.REPORTING)
    return UpdateReport(
        artifact=update.desired.artifact,
        model=update.desired.model,
        version=update.desired.version,
        revision=update.revision,
        rollout=update.desired.rollout,
        outcome=update.outcome if over else "in-progress",
        phase=State(update.state).value if not over else State(update.failed_in or "idle").value,
        code=update.code,
        message=update.message,
        attempts=update.attempts,
        requests=update.requests,
        errors=update.errors,
        fetched_bytes=update.fetched_bytes,
        finished_at=update.finished_at,
        took_s=update.took_s,
    )
