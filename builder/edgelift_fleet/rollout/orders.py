"""Rollouts as rows: start one, see how it stands, and the commands that a person may give."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from sqlalchemy.orm import Session

from edgelift_contract import codec
from edgelift_fleet.conditions import FREE, Conditions, version_of_rollout
from edgelift_fleet.db import SITE, Database
from edgelift_fleet.devices import LastSeen
from edgelift_fleet.messages import RolloutOrder, RolloutPreview, RolloutRequest, RolloutSummary, RolloutView
from edgelift_fleet.paging import Page, Wish
from edgelift_fleet.rollout.commands import Command, carry_out, get_rollout
from edgelift_fleet.rollout.listing import EVERY, WHOLE_ROLLOUTS, RolloutFilter, list_rollouts
from edgelift_fleet.rollout.numbers import next_number
from edgelift_fleet.rollout.observe import keep_members
from edgelift_fleet.rollout.plan import StoredPlan, to_keep, to_plan
from edgelift_fleet.rollout.preview import look_ahead, preview, refusals
from edgelift_fleet.rollout.story import note
from edgelift_fleet.rollout.view import ALL, Asked, view
from edgelift_fleet.selector import short
from edgelift_fleet.tables import RolloutRow

#: Do the builders let devices go back to these artifacts of a model? None where nobody signs.
MayGoBack = Callable[[Session, str, Collection[str]], bool | None]


def _nobody_signs(*_: object) -> None:
    return None


class Rollouts:
    """The rollouts of a site, for operators; what follows from them is the controller's business."""

    def __init__(
        self, db: Database, seen: LastSeen, *, wake: Callable[[], None], may_go_back: MayGoBack = _nobody_signs
    ) -> None:
        """Bind.

        Args:
            db: of the site.
            seen: when devices were last heard of.
            wake: called when there is something for the controller to do.
            may_go_back: what the builders signed of that.
        """
        self._db, self._seen, self._wake, self._may_go_back = db, seen, wake, may_go_back

    def start(self, request: RolloutRequest, on: Conditions = FREE) -> RolloutView:
        """Begin a rollout, on these conditions.

        Raises:
            AnsweredBefore: it was begun already.
            ContractError: what `preview` would tell: `malformed`, `bad-id`, `not-found` (release, or no device is
                selected), `wrong-hardware-class` or `runtime-missing` (nothing for anybody), `older-release`, `conflict`
                when another rollout is under way on the same slot of one of these devices.
        """
        kept, now = to_keep(request), time.time()
        plan = to_plan(kept, request.policy.probation_s)
        with self._db.write(SITE) as session:
            on.begin(session)
            found = look_ahead(session, request, self._seen, now)
            for refusal in refusals(found, request.to):
                raise refusal
            row = RolloutRow(
                number=next_number(session), model=found.release.model, version=found.release.version, slot=found.slot,
                selector=request.to, plan=codec.canonical_json(kept).decode(),
                policy=codec.canonical_json(request.policy).decode(),
                state="scheduled" if plan.start_at > now else "running", wave=-1, reason="It begins.", created_at=now,
                changed_at=now, cohort=len(found.members),
            )  # fmt: skip
            session.add(row)
            session.flush()
            if plan.late_joiners == "out":
                keep_members(session, row.number, [member.device for member in found.members])
            note(session, row, "started", _started(request, kept))
            shown = view(session, row)
            on.end(session, shown)
        self._wake()
        return shown

    def preview(self, request: RolloutRequest) -> RolloutPreview:
        """What a rollout would do if it began now, and why it can't; nothing is changed.

        Raises:
            ContractError: `malformed`, `bad-id`, `not-found` (the release).
        """
        plan, now = to_plan(to_keep(request), request.policy.probation_s), time.time()
        with self._db.read() as session:
            found = look_ahead(session, request, self._seen, now)
            ids = {one.id for one in found.artifacts.values()}
            barred = bool(found.going_back) and self._may_go_back(session, found.release.model, ids) is False
        return preview(found, request, plan, now, barred=barred)

    def command(
        self, name: str, command: Command, order: RolloutOrder, *, who: str = "operator", on: Conditions = FREE
    ) -> RolloutView:
        """What a person orders; see `commands.carry_out`.

        Raises:
            AnsweredBefore: it was carried out already.
            ContractError: `not-found`, `malformed`, `changed-meanwhile`, or `conflict` when the rollout's state does not
                allow it.
        """
        with self._db.write(SITE) as session:
            on.begin(session)
            row = get_rollout(session, name)
            on.match(version_of_rollout(row))
            carry_out(session, row, command, order, who=who, seen=self._seen, now=time.time())
            session.flush()
            shown = view(session, row)
            on.end(session, shown)
        self._wake()
        return shown

    def list(self, asked: RolloutFilter = EVERY, wish: Wish = WHOLE_ROLLOUTS) -> Page[RolloutSummary]:
        """Rollouts, newest first unless `wish` says otherwise; raises as `listing.list_rollouts`."""
        with self._db.read() as session:
            return list_rollouts(session, asked, wish)

    def show(self, name: str, asked: Asked = ALL) -> RolloutView:
        """One rollout; raises ContractError `not-found`."""
        return self.look(name, asked)[0]

    def look(self, name: str, asked: Asked = ALL) -> tuple[RolloutView, str]:
        """The same, and its version, which `command` can be made to depend on."""
        with self._db.read() as session:
            row = get_rollout(session, name)
            return view(session, row, asked), version_of_rollout(row)


def _started(request: RolloutRequest, kept: StoredPlan) -> str:
    named = f"{kept.name}: " if kept.name else ""
    comment = f" {kept.comment}" if kept.comment else ""
    return f"{named}{request.release} to {short(request.to)}, waves {','.join(request.waves)}.{comment}"
