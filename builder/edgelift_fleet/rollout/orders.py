"""Rollouts as rows: start one, see how it stands, and the commands that a person may give."""

from __future__ import annotations

import time
from collections.abc import Callable

from edgelift_contract import codec
from edgelift_contract.errors import ContractError
from edgelift_contract.ids import check_name
from edgelift_fleet.cohorts import select_ids
from edgelift_fleet.db import SITE, Database
from edgelift_fleet.devices import LastSeen
from edgelift_fleet.messages import PlanOptions, RolloutOrder, RolloutRequest, RolloutSummary, RolloutView
from edgelift_fleet.registry import get_release
from edgelift_fleet.rollout.clashes import refuse_second
from edgelift_fleet.rollout.commands import Command, carry_out, get_rollout
from edgelift_fleet.rollout.observe import rollout_id
from edgelift_fleet.rollout.plan import Plan, StoredPlan, read_plan, to_plan
from edgelift_fleet.rollout.story import note
from edgelift_fleet.rollout.view import ALL, Asked, summaries, view
from edgelift_fleet.tables import RolloutRow


def plan_of(row: RolloutRow) -> Plan:
    """The plan of a rollout."""
    return to_plan(read_plan(row.plan, owner=rollout_id(row.number)))


class Rollouts:
    """The rollouts of a site, for operators; what follows from them is the controller's business."""

    def __init__(self, db: Database, seen: LastSeen, *, wake: Callable[[], None]) -> None:
        """Bind.

        Args:
            db: of the site.
            seen: when devices were last heard of.
            wake: called when there is something for the controller to do.
        """
        self._db, self._seen, self._wake = db, seen, wake

    def start(self, request: RolloutRequest) -> RolloutView:
        """Begin a rollout.

        Raises:
            ContractError: `not-found` (release, or no device is selected), `malformed`, `bad-id`, or `conflict`
                when another rollout is under way on the same slot of one of these devices.
        """
        plan = _to_keep(request)
        now = time.time()
        with self._db.write(SITE) as session:
            release = get_release(session, request.release)
            slot = check_name("slot", request.slot or release.model)
            cohort = select_ids(session, request.to)
            if not cohort:
                raise ContractError(
                    "not-found",
                    f"{request.to} selects no device.",
                    hint="Tag some first: edgelift tag DEVICE KEY.",
                )
            refuse_second(session, slot, cohort)
            row = RolloutRow(
                model=release.model, version=release.version, slot=slot, selector=request.to,
                plan=codec.canonical_json(plan).decode(), policy=codec.canonical_json(request.policy).decode(),
                state="running", wave=-1, reason="It begins.", created_at=now, changed_at=now, cohort=len(cohort),
            )  # fmt: skip
            session.add(row)
            session.flush()
            note(session, row, "started", f"{request.release} to {request.to}, waves {','.join(request.waves)}.")
            shown = view(session, row)
        self._wake()
        return shown

    def command(self, name: str, command: Command, order: RolloutOrder, *, who: str = "operator") -> RolloutView:
        """What a person orders; see `commands.carry_out`.

        Raises:
            ContractError: `not-found`, `malformed`, or `conflict` when the rollout's state does not allow it.
        """
        with self._db.write(SITE) as session:
            row = get_rollout(session, name)
            carry_out(session, row, command, order, who=who, seen=self._seen, now=time.time())
            session.flush()
            shown = view(session, row)
        self._wake()
        return shown

    def list(self) -> list[RolloutSummary]:
        """The newest rollouts, newest first."""
        with self._db.read() as session:
            return summaries(session)

    def show(self, name: str, asked: Asked = ALL) -> RolloutView:
        """One rollout; raises ContractError `not-found`."""
        with self._db.read() as session:
            return view(session, get_rollout(session, name), asked)


def _to_keep(request: RolloutRequest) -> StoredPlan:
    """The plan of a request.

    Raises:
        ContractError: `malformed`.
    """
    kept = StoredPlan(
        waves=request.waves, **{name: getattr(request, name) for name in PlanOptions.__struct_fields__}
    )
    to_plan(kept)
    if kept.deadline_s <= request.policy.probation_s:
        raise ContractError(
            "malformed",
            f"The deadline of {kept.deadline_s:g} s is not longer than the probation of "
            f"{request.policy.probation_s:g} s.",
            hint="A device may answer only after its probation: raise --deadline.",
        )
    return kept
