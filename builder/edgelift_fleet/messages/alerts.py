"""Alerts: what stands, what receivers get, and what is silenced."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edgelift_contract.bounds import Word
from edgelift_fleet.messages.asked import SelectorText

#: Longest silence, seconds.
MAX_SILENCE_S = 366 * 86_400.0


class AlertMessage(msgspec.Struct, frozen=True, kw_only=True):
    """What people are told once: the JSON of a webhook, from which mails and ntfy's texts are made too.

    Attributes:
        id: the same each time that this very message is sent again; whoever has it drops it.
        event: `begun`, `grew` (more boards have it), `lasts` (told again), `ended`, or `test`.
        code: of the alert; see docs/alerts.md.
        severity: `notice`, `warning` or `critical`.
        site: name of the site.
        what: one sentence.
        where: of how many boards which ones, of which rollout; a line.
        since: when it began, seconds since 1970; of `ended`, too.
        todo: what to do.
        count: how many boards, 1 for what is no board's.
        subjects: the first of them.
        details: more of the first ones, a line each.
        at: when the message was made, seconds since 1970.
        link: where more is to be seen.
    """

    id: str
    event: Literal["begun", "grew", "lasts", "ended", "test"]
    code: str
    severity: str
    site: str
    what: str
    where: str
    since: float
    todo: str
    count: int
    subjects: list[str] = []
    details: list[str] = []
    at: float
    link: str = ""


class AlertView(msgspec.Struct, frozen=True, kw_only=True):
    """An alert that stands: of boards one for each code, however many have it.

    Attributes:
        code, severity, what, where, since, todo, link: as of `AlertMessage`.
        about: the rollout, receiver or else that it is about; empty for boards.
        state: `waits` (for more boards, before people are told), `told`, or `silenced`.
        told_at: when people were told last, seconds since 1970; 0 for not yet.
        count: boards that have it and are not silenced; of `silenced` those that are.
        silenced: how many more are silenced.
        subjects: the first 100, with what is wrong with each.
    """

    code: str
    severity: str
    about: str
    state: Literal["waits", "told", "silenced"]
    what: str
    where: str
    since: float
    todo: str
    count: int
    silenced: int
    told_at: float
    subjects: list[AlertSubject]
    link: str = ""


class AlertSubject(msgspec.Struct, frozen=True):
    """One board, rollout or else that an alert is about: since when, and what is wrong with it, if there is more to say."""

    name: str
    since: float
    text: str = ""


class SilenceRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tell nobody of something for a while.

    Attributes:
        code: of the alert.
        for_s: for so long, seconds.
        to: only of boards that this selector means; empty for all.
        rollout: only of this rollout; empty for all.
        why: for people.
    """

    code: Word
    for_s: Annotated[float, Meta(gt=0, le=MAX_SILENCE_S)]
    to: SelectorText = ""
    rollout: Annotated[str, Meta(max_length=16)] = ""
    why: Annotated[str, Meta(max_length=500)] = ""


class SilenceView(msgspec.Struct, frozen=True):
    """A silence. `state`: `holds`, `over`, or `ended` by a person; times are seconds since 1970."""

    id: str
    state: Literal["holds", "over", "ended"]
    code: str
    to: str
    rollout: str
    until: float
    made_at: float
    made_by: str
    why: str


class ReceiverView(msgspec.Struct, frozen=True):
    """A receiver of alerts, without its secrets.

    Attributes:
        name, kind: as `site.toml` says; `where`: host and topic, or addresses.
        codes: only these; empty for all.
        waiting: messages that it is still to have.
        given_up: messages of the last 30 days that it never had.
        error: what the last try of what waits came to; empty where none failed.
    """

    name: str
    kind: str
    where: str
    codes: list[str]
    waiting: int
    given_up: int
    error: str


class ReceiverAnswer(msgspec.Struct, frozen=True):
    """What a receiver said to a test: whether it took it, and its words."""

    receiver: str
    taken: bool
    said: str
