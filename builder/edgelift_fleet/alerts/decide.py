"""From when on a trouble counts, and until when: so that what comes and goes is told once. Pure.

    (nothing) → pending → firing → ending → (nothing)

A trouble that is found is pending until it has held for its time, and fires; one that is gone is ending until it was gone
for its time. What comes back while it is ending goes on firing; what goes while it is pending was nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from edgelift_fleet.alert_settings import AlertSettings
from edgelift_fleet.alerts.judge import JudgedFleet, Trouble
from edgelift_fleet.alerts.kinds import KINDS, Kind

State = Literal["pending", "firing", "ending"]
Key = tuple[str, str]


class StandingTrouble(NamedTuple):
    """Where a trouble stands; all times are seconds since 1970.

    Attributes:
        code, subject: what, and with whom.
        state: see above.
        since: when the trouble began, as far as is known.
        fired_at: since when it counts; 0 while it is pending.
        state_at: since when it is in its state.
        text: more of it.
    """

    code: str
    subject: str
    state: State
    since: float
    fired_at: float
    state_at: float
    text: str = ""

    @property
    def key(self) -> Key:
        """Code and subject."""
        return self.code, self.subject


def advance(
    before: Mapping[Key, StandingTrouble], judged: JudgedFleet, rules: AlertSettings, now: float
) -> dict[Key, StandingTrouble]:
    """Where every trouble stands after one more look.

    Args:
        before: where they stood.
        judged: what was found now.
        rules: for how long it must hold.
        now: seconds since 1970; a clock that went back makes times count anew, no longer.
    """
    after: dict[Key, StandingTrouble] = {}
    for trouble in judged.troubles:
        kind, key = KINDS[trouble.code], (trouble.code, trouble.subject)
        after[key] = _found(before.get(key), trouble, kind, rules, now)
    for key, standing in before.items():
        if key in after or standing.code not in KINDS:
            continue
        kind = KINDS[standing.code]
        kept = (
            standing
            if kind.needs_word and standing.subject in judged.unheard
            else _gone(standing, kind, rules, now)
        )
        if kept is not None:
            after[key] = kept
    return after


def _found(
    was: StandingTrouble | None, trouble: Trouble, kind: Kind, rules: AlertSettings, now: float
) -> StandingTrouble:
    wait_s = rules.begins_after_s if kind.begins else 0.0
    if was is None:
        state: State = "pending" if wait_s else "firing"
        fired_at = 0.0 if wait_s else now
        return StandingTrouble(trouble.code, trouble.subject, state, trouble.since, fired_at, now, trouble.text)
    text = was.text if kind.measured else trouble.text
    at = min(was.state_at, now)
    if was.state == "pending" and now - at >= wait_s:
        return was._replace(state="firing", fired_at=now, state_at=now, text=trouble.text)
    if was.state == "ending":
        return was._replace(state="firing", state_at=now, text=text)
    return was._replace(state_at=at, text=text)


def _gone(was: StandingTrouble, kind: Kind, rules: AlertSettings, now: float) -> StandingTrouble | None:
    wait_s = rules.ends_after_s if kind.ends else 0.0
    if was.state == "pending" or not wait_s:
        return None
    if was.state == "firing":
        return was._replace(state="ending", state_at=now)
    at = min(was.state_at, now)
    return None if now - at >= wait_s else was._replace(state_at=at)
