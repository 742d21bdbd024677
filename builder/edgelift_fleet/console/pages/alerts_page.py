"""Alerts: what stands and who was told, what is silenced by whom and why, and how the receivers fare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote

import msgspec

from edgelift_contract.errors import ContractError
from edgelift_fleet.alerts.kinds import KINDS, Kind
from edgelift_fleet.alerts.undelivered import Undelivered
from edgelift_fleet.console.kinds import ConsolePage, Form, FormOrder, PageAsked
from edgelift_fleet.fleet import Fleet
from edgelift_fleet.messages.alerts import AlertView, ReceiverView, SilenceRequest, SilenceView

HERE = "/alerts"
#: For how long something may be silenced here: what is typed → seconds.
SPANS = {"30m": 1800.0, "2h": 7200.0, "8h": 28_800.0, "1d": 86_400.0, "7d": 604_800.0, "30d": 2_592_000.0}
#: Silences that are over, as many as are shown.
_OVER = 50
#: Boards of which a silence is offered one by one.
_FEW = 5


class StandingLine(msgspec.Struct, frozen=True):
    """An alert that stands, and who has been told.

    Attributes:
        alert: as `GET /v1/alerts` answers it.
        subject: what has it: `device`, `rollout`, `receiver` or `site`.
        title: what is wrong, in short; `text`: more of it, where one has it.
        tone: `bad`, `warn` or `busy`.
        told: receivers that have taken all that was said of it.
        untold: those that have not, with what they said to the last try.
        until: of one that is silenced, until when, seconds since 1970.
        of: what a silence of just this would be of: a selector, or a rollout; empty for all.
    """

    alert: AlertView
    subject: str
    tone: str
    title: str
    text: str
    told: list[str]
    untold: list[Undelivered]
    until: float
    of: str


class SilenceCode(msgspec.Struct, frozen=True):
    """A code that can be silenced, and what it is about."""

    code: str
    subject: str


class AlertsPage(msgspec.Struct, frozen=True):
    """Alerts on one page.

    Attributes:
        standing: the worst first, then the oldest; what is silenced comes last.
        silences: those that hold; `over`: the newest that do no more.
        receivers: who is told, in the order of `site.toml`.
        codes: what can be silenced; `spans`: for how long.
        begins_after_s, silent_for_s: after how long an alert begins of what a board says, and of one that is offline.
    """

    standing: list[StandingLine]
    silences: list[SilenceView]
    over: list[SilenceView]
    receivers: list[ReceiverView]
    codes: list[SilenceCode]
    spans: list[str]
    begins_after_s: float
    silent_for_s: float


def read_alerts(fleet: Fleet, _asked: PageAsked) -> AlertsPage:
    """Read it. Raises DeviceError `bad-config`."""
    receivers, silences = fleet.alerts.told(), fleet.alerts.silences()
    undelivered = fleet.alerts.undelivered()
    rules = fleet.site.config.alerts
    hold = sorted((one for one in silences if one.state == "holds"), key=lambda one: one.until)
    standing = [_line(one, receivers, undelivered, hold) for one in fleet.alerts.standing()]
    return AlertsPage(
        sorted(standing, key=lambda one: one.alert.state == "silenced"), hold,
        [one for one in silences if one.state != "holds"][:_OVER],
        receivers, [SilenceCode(code, kind.about) for code, kind in sorted(KINDS.items())], list(SPANS),
        rules.begins_after_s, rules.silent_for_s,
    )  # fmt: skip


def _line(
    alert: AlertView,
    receivers: Sequence[ReceiverView],
    undelivered: Sequence[Undelivered],
    hold: Sequence[SilenceView],
) -> StandingLine:
    kind = KINDS[alert.code]
    wait = [
        one for one in undelivered
        if (one.code, one.about) == (alert.code, alert.about) and one.made_at >= alert.since
    ]  # fmt: skip
    late = {one.receiver for one in wait}
    wanting = [one.name for one in receivers if not one.codes or alert.code in one.codes]
    told = [name for name in wanting if name not in late] if alert.told_at else []
    until = [one.until for one in hold if one.code == alert.code and one.rollout in ("", alert.about)]
    title, text = title_of(alert, kind)
    return StandingLine(
        alert=alert, subject=kind.about, tone=kind.tone, title=title, text=text, told=told, untold=wait,
        until=max(until, default=0.0) if alert.state == "silenced" else 0.0, of=just(alert, kind),
    )  # fmt: skip


def title_of(alert: AlertView, kind: Kind) -> tuple[str, str]:
    """What is wrong, in short, and more of it, as far as one has it. Pure."""
    if alert.count > 1 or not alert.subjects:
        return alert.what.rstrip("."), ""
    short, one, _ = alert.what.partition(kind.one)
    return short + one, alert.subjects[0].text


def just(alert: AlertView, kind: Kind) -> str:
    """What a silence of just what has it now would be of; empty for all, also of more boards than one would type. Pure."""
    if kind.about == "rollout":
        return alert.about
    few = kind.about == "device" and len(alert.subjects) <= _FEW
    return f"ids:{','.join(one.name for one in alert.subjects)}" if few else ""


def silence(_named: Mapping[str, str], fields: Mapping[str, str]) -> FormOrder:
    """Something is silenced for a while. Pure; raises ContractError `malformed`."""
    span = fields.get("for", "").strip()
    if span not in SPANS:
        raise ContractError(
            "malformed", f"{span[:40]!r} is none of the times for which something is silenced here.",
            hint=f"They are {', '.join(SPANS)}; any other by edgelift alert silence.",
        )  # fmt: skip
    of = fields.get("of", "").strip()
    kind = KINDS.get(fields.get("code", ""))
    about_rollout = kind is not None and kind.about == "rollout"
    asked = SilenceRequest(
        code=fields.get("code", ""), for_s=SPANS[span], to="" if about_rollout else of,
        rollout=of if about_rollout else "", why=fields.get("why", "").strip(),
    )  # fmt: skip
    return FormOrder("POST", "/v1/alerts/silences", asked, HERE)


def unsilence(named: Mapping[str, str], _fields: Mapping[str, str]) -> FormOrder:
    """A silence is ended. Pure."""
    return FormOrder("DELETE", f"/v1/alerts/silences/{quote(named['silence'], safe='')}", None, HERE)


def test(named: Mapping[str, str], _fields: Mapping[str, str]) -> FormOrder:
    """A real message is sent to a receiver, and its answer shown. Pure."""
    path = f"/v1/alerts/receivers/{quote(named['receiver'], safe='')}/test"
    return FormOrder("POST", path, None, HERE, "receiver_tested.html")


PAGES = (ConsolePage(HERE, "alerts.html", read_alerts, nav="Alerts"),)
FORMS = (
    Form("/alerts/silence", silence), Form("/alerts/silences/{silence}/end", unsilence),
    Form("/alerts/receivers/{receiver}/test", test),
)  # fmt: skip
