"""One rollout: what it does next and why, its waves, its gates, what a person may order, and what happened."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast, get_args

import msgspec
from sqlalchemy.orm import Session

from edgelift_contract.errors import ContractError
from edgelift_fleet.console.kinds import ConsolePage, Form, FormOrder, PageAsked
from edgelift_fleet.console.pages.decision_words import NextStep, Prospect, next_step
from edgelift_fleet.console.pages.gate_words import Tile, Watched, tiles
from edgelift_fleet.console.pages.order_words import OrderOffer, offers
from edgelift_fleet.console.pages.verdict_words import verdict
from edgelift_fleet.console.pages.wave_words import WaveLine, wave_lines
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.messages import RolloutDeviceView, RolloutEvent, RolloutOrder, RolloutView
from edgelift_fleet.people.roles import rank
from edgelift_fleet.rollout.commands import Command, get_rollout
from edgelift_fleet.rollout.foresight import assemble, foresee
from edgelift_fleet.rollout.looking import clock, next_look_at
from edgelift_fleet.rollout.observe import plan_of
from edgelift_fleet.rollout.plan import Plan
from edgelift_fleet.rollout.situation import TERMINAL, Observations, RolloutState, Scope
from edgelift_fleet.rollout.view import Asked as Wanted
from edgelift_fleet.rollout.view import failures_of, groups_of, previous_of, view
from edgelift_fleet.rollout.watched import gate_of, watches
from edgelift_fleet.rows import UnreadableRow
from edgelift_fleet.tables import RolloutRow

#: Devices on a page, failures that are shown, and events.
PAGE, FAILURES, EVENTS = 50, 10, 100


class RolloutPage(msgspec.Struct, frozen=True):
    """A rollout on one page.

    Attributes:
        rollout: as the API shows it, with this page of its devices.
        verdict: how it ended; empty while it has not.
        step: what it does next; None once it has ended, and where its plan can't be read.
        waves: in order.
        gates: one for each gate of the plan, about wave `gated`, from 1.
        failures: devices that failed, newest first.
        story: what happened, newest first; `untold` older events are not shown.
        orders: what a person may order now.
        after: the id after which the next page of devices begins; empty for none.
    """

    rollout: RolloutView
    verdict: str
    step: NextStep | None
    waves: list[WaveLine]
    gates: list[Tile]
    gated: int
    failures: list[RolloutDeviceView]
    story: list[RolloutEvent]
    untold: int
    orders: list[OrderOffer]
    after: str


def read_rollout(fleet: Fleet, asked: PageAsked) -> RolloutPage:
    """Read it. Raises ContractError `not-found`."""
    wanted = Wanted(asked.query.get("status", ""), PAGE, asked.query.get("after", ""), by_id=True)
    with fleet.db.read() as session:
        row = get_rollout(session, asked.named["rollout"])
        shown = view(session, row, wanted)
        return _page(session, row, shown, asked)


def _page(session: Session, row: RolloutRow, shown: RolloutView, asked: PageAsked) -> RolloutPage:
    plan, groups = _plan(row), groups_of(session, row)
    seen = assemble(
        groups, state=cast("RolloutState", row.state), wave=row.wave, cohort=row.cohort, approved=row.approved,
        back=cast("Scope", row.back), gate=gate_of(session, row),
    )  # fmt: skip
    gated, watched = _watched(session, row, shown, plan, seen)
    open_, look = row.state not in TERMINAL, watched.look
    standing = (
        Prospect(plan, seen, row.reason, look.figures.contrasts if look else [], shown.now) if plan else None
    )
    may = rank(asked.who.role) >= rank("operator")
    return RolloutPage(
        rollout=shown,
        verdict="" if open_ else verdict(shown, previous_of(session, row)),
        step=next_step(standing) if standing and open_ else None,
        waves=wave_lines(plan, shown, groups) if plan else [],
        gates=tiles(plan, watched, shown.now) if plan and gated else [],
        gated=gated,
        failures=failures_of(session, row, FAILURES),
        story=shown.events[::-1][:EVENTS],
        untold=max(0, len(shown.events) - EVENTS),
        orders=offers(plan, shown, row.approved) if may else [],
        after=shown.devices[-1].device if shown.more and shown.devices else "",
    )


def _plan(row: RolloutRow) -> Plan | None:
    try:
        return plan_of(row)
    except (UnreadableRow, ContractError):
        return None  # its reason says so, and what to do


def _watched(
    session: Session, row: RolloutRow, shown: RolloutView, plan: Plan | None, seen: Observations
) -> tuple[int, Watched]:
    """The wave whose gate is shown, from 1 (0: none), and how it is watched: the current one, or the last that was."""
    if plan is None or row.wave < 0 or not plan.gates:
        return 0, Watched()
    kept = watches(session, row).get(row.wave)
    look = next((one for one in reversed(shown.looks) if one.wave == row.wave + 1), None)
    told = f"Wave {row.wave + 1}: "
    of_wave = (e.text for e in reversed(shown.events) if e.kind == "gate" and e.text.startswith(told))
    why = next(of_wave, "").removeprefix(told)
    if kept is None:
        return row.wave + 1, Watched(why=why)
    return row.wave + 1, Watched(kept.alpha, kept.overruled, look, why, _first_look(plan, seen, shown.now))


def _first_look(plan: Plan, seen: Observations, now: float) -> str:
    if seen.state in TERMINAL or seen.state == "rolling-back":
        return "It ended before the first look."
    then = foresee(plan, seen, now)
    if then.under_way:
        return "Looks begin once every board of the wave has committed."
    if not plan.soak_s or now >= then.soaked_at:
        return "It looks once the boards have served enough."
    return f"First look at {clock(next_look_at(plan, then.soaked_at, now), now)}."


def _order(named: Mapping[str, str], fields: Mapping[str, str]) -> FormOrder:
    """What a form on the page orders. Raises ContractError `malformed`."""
    rollout, command, why = named["rollout"], named["command"], fields.get("why", "").strip()
    if command not in get_args(Command):
        raise ContractError("malformed", f"Nothing is called {command[:40]!r} that could be ordered of a rollout.")
    if not why:
        raise ContractError(
            "malformed", "Say why: it is kept with the rollout.", hint="Go back, and fill in the field."
        )
    wave = fields.get("wave", "").strip() or "0"
    if not re.fullmatch(r"[0-9]{1,5}", wave):
        raise ContractError("malformed", f"{wave[:40]!r} is no wave.")
    names = [name for name in re.split(r"[\s,]+", fields.get("devices", "")) if name]
    body = RolloutOrder(why, names, int(wave))
    return FormOrder("POST", f"/v1/rollouts/{rollout}/{command}", body, f"/rollouts/{rollout}")


def _is_lively(data: RolloutPage) -> bool:
    return data.rollout.state not in TERMINAL


PAGES = (ConsolePage("/rollouts/{rollout}", "rollout.html", read_rollout, lively=_is_lively),)
FORMS = (Form("/rollouts/{rollout}/{command}", _order),)
