"""What a person may order of a rollout: pause, resume, approve, cancel, roll back, let devices go by name.

A command only states what is wanted, with who said so and why; the controller acts on it, chunk by chunk.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_contract.errors import ContractError
from edgelift_fleet.devices import LastSeen
from edgelift_fleet.messages import RolloutOrder
from edgelift_fleet.rollout.approval import wave_to_approve
from edgelift_fleet.rollout.clashes import refuse_second
from edgelift_fleet.rollout.comparison import overrule
from edgelift_fleet.rollout.ends import many, named, outcomes, tell
from edgelift_fleet.rollout.observe import look, rollout_id
from edgelift_fleet.rollout.situation import TERMINAL, UNTOUCHED
from edgelift_fleet.rollout.story import EventBody, note, remember, set_state
from edgelift_fleet.rows import UnreadableRow
from edgelift_fleet.tables import RolloutDeviceRow, RolloutRow

Command = Literal["pause", "resume", "approve", "cancel", "rollback", "let-go"]

_OPEN = {"scheduled", "running", "paused"}
#: command → states in which it may be given.
_ALLOWED: dict[Command, set[str]] = {
    "pause": {"scheduled", "running"},
    "resume": {"paused"},
    "approve": {"running", "paused"},
    "cancel": _OPEN,
    "rollback": {*_OPEN, "rolling-back", *TERMINAL},
    "let-go": {"running", "paused", "rolling-back"},
}
_SAY: dict[Command, str] = {
    "pause": "be paused",
    "resume": "be resumed",
    "approve": "be approved",
    "cancel": "be cancelled",
    "rollback": "be rolled back",
    "let-go": "let devices go",
}


def allowed(state: str) -> list[Command]:
    """What may be ordered of a rollout in this state."""
    return [command for command, states in _ALLOWED.items() if state in states]


def carry_out(
    session: Session,
    row: RolloutRow,
    command: Command,
    order: RolloutOrder,
    *,
    who: str,
    seen: LastSeen,
    now: float,
) -> None:
    """Do what a person ordered. Inside a write transaction.

    Raises:
        ContractError: `conflict` when the rollout's state does not allow it, another rollout has the devices, or no wave
            waits for approval; `not-found` for a device that is not in the rollout; `malformed` when none is named.
    """
    if row.state not in _ALLOWED[command]:
        raise ContractError(
            "conflict", f"The rollout {rollout_id(row.number)} is {row.state}: it cannot {_SAY[command]}."
        )
    if order.devices and command != "let-go":
        raise ContractError("malformed", f"{command} is about the whole rollout: it takes no devices.")
    if order.wave and command != "approve":
        raise ContractError("malformed", f"{command} is about the whole rollout: it takes no wave.")
    said = EventBody(who, order.why)
    text = f"By {who}" + (f": {order.why.rstrip('.')}." if order.why else ".")
    match command:
        case "pause":
            set_state(session, row, "paused", f"Paused. {text}", order=said)
        case "resume":
            set_state(session, row, "running", f"Resumed. {text}", order=said)
            overrule(session, row)
        case "approve":
            row.approved = wave_to_approve(session, row, order.wave, seen, now)
            note(session, row, "approved", f"Wave {row.approved} is approved. {text}", order=said)
        case "cancel":
            ends = _as_it_stands(session, row, seen, now)
            set_state(session, row, "cancelled", f"Cancelled. {text} {tell(ends)}", order=said, devices=ends)
        case "rollback":
            _refuse_another(session, row)
            row.back = "all"
            set_state(session, row, "rolling-back", f"Rolled back. {text}", order=said)
        case "let-go":
            names = _named_devices(session, row, order.devices)
            change = {"rollout": row.number, "status": "let-go", "status_at": now}
            session.execute(sa.update(RolloutDeviceRow), [{**change, "device": device} for device in names])
            row.changed_at = now  # a look from before this knows nothing of it
            were = f"{many(len(names))} let go: {named(names)}. {text}"
            note(session, row, "let-go", were, order=said, devices={"let-go": names})


def _as_it_stands(session: Session, row: RolloutRow, seen: LastSeen, now: float) -> dict[str, list[str]]:
    """Every device by its outcome now; of a rollout that can't be read, those that it reached as they were last seen."""
    try:
        found, observations = look(session, row, seen, now)
    except UnreadableRow:
        query = sa.select(RolloutDeviceRow.device, RolloutDeviceRow.status).where(
            RolloutDeviceRow.rollout == row.number
        )
        kept: dict[str, list[str]] = {}
        for device, status in session.execute(query.order_by(RolloutDeviceRow.device)):
            kept.setdefault(status, []).append(device)
        return kept
    remember(session, row, found, now)
    return outcomes(observations)


def _refuse_another(session: Session, row: RolloutRow) -> None:
    """An ended rollout takes nothing back from under one that has begun since."""
    if row.state in TERMINAL:
        mine = sa.select(RolloutDeviceRow.device).where(
            RolloutDeviceRow.rollout == row.number,
            RolloutDeviceRow.going_back.is_(False),
            RolloutDeviceRow.status.not_in(UNTOUCHED),
        )
        refuse_second(session, row.slot, set(session.scalars(mine)), but=row.number)


def _named_devices(session: Session, row: RolloutRow, devices: Sequence[str]) -> list[str]:
    """The devices that are to be let go.

    Raises:
        ContractError: see `carry_out`.
    """
    names, name = sorted(set(devices)), rollout_id(row.number)
    if not names:
        raise ContractError("malformed", "No device is named that is to be let go.")
    mine = RolloutDeviceRow
    query = sa.select(mine.device, mine.status, mine.wave, mine.going_back).where(mine.rollout == row.number)
    reached = {one.device: one for one in session.execute(query)}
    unknown = [device for device in names if device not in reached]
    if unknown:
        hint = f"See: edgelift rollout show {name}."
        raise ContractError("not-found", f"The rollout {name} has not reached {named(unknown)}.", hint=hint)
    ended = [device for device in names if not _is_awaited(row, reached[device])]
    if ended:
        raise ContractError("conflict", f"Nothing is awaited of {ended[0]}: it is {reached[ended[0]].status}.")
    return names


def _is_awaited(row: RolloutRow, device: Any) -> bool:
    if device.status == "committed":  # nor then, unless it is about to be asked to go back
        return row.state == "rolling-back" and (row.back == "all" or device.wave == row.wave)
    return bool(device.status != "restored")


def get_rollout(session: Session, name: str) -> RolloutRow:
    """A rollout by its id, as `r7`; raises ContractError `not-found`."""
    match = re.match(r"^r(\d{1,9})\Z", name)
    row = session.get(RolloutRow, int(match[1])) if match else None
    if row is None:
        raise ContractError("not-found", f"There is no rollout {name!r}.", hint="See: edgelift rollout list.")
    return row
