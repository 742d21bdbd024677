"""The alerts' page: what stands and who was told, silences and their forms, receivers, and where nobody is told yet."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from edgelift_contract.errors import ContractError
from edgelift_fleet.alert_settings import AlertSettings, NtfySettings, WebhookSettings
from edgelift_fleet.alerts.kinds import KINDS
from edgelift_fleet.alerts.rounds import Around, Rounds
from edgelift_fleet.console.pages.alerts_page import SPANS, just, silence, title_of, unsilence
from edgelift_fleet.db import SITE
from edgelift_fleet.messages.alerts import AlertSubject, AlertView
from edgelift_fleet.site import load_site, write_config
from edgelift_fleet.tables import AlertDeliveryRow, DeviceRow
from tests.console.visiting import Visitor, visiting
from tests.fleet.alerts.listening import KEY, listening_http
from tests.fleet.direct import ready, settle

RULES = AlertSettings(silent_for_s=60.0, gather_s=0.0, begins_after_s=0.0)


@pytest.fixture
def told(site: Path) -> Iterator[Visitor]:
    """Somebody who looks at a site with two receivers: one that listens, and one that is told of gates alone."""
    with listening_http() as http:
        (site / "secrets" / "hook").write_text(KEY)
        (site / "secrets" / "hook").chmod(0o600)
        receivers = [
            WebhookSettings(name="on-call", url=http.url, secret_file="secrets/hook"),
            NtfySettings(name="phone", url="http://127.0.0.1:1/farm", codes=["gate-breach"]),
        ]
        write_config(site, replace(load_site(site).config, alerts=replace(RULES, receivers=receivers)))
        with visiting(site) as visitor:
            yield visitor


def silent(visitor: Visitor, *names: str) -> None:
    """These boards were not heard of for long."""
    visitor.boards.add(*names)
    visitor.boards.seen.flush(visitor.fleet.db)
    with visitor.boards.db.write(SITE) as session:
        gone = sa.update(DeviceRow).where(DeviceRow.id.in_(names))
        session.execute(gone.values(last_seen=time.time() - 2000, presence_online=False))
    look(visitor)


def look(visitor: Visitor) -> None:
    """One round of the leader's; nothing is sent by it."""
    around = Around(
        visitor.boards.db, visitor.boards.controller._lead, visitor.boards.seen, "farm", lambda: "", list
    )
    Rounds(around, visitor.fleet.site.config.alerts, visitor.fleet.alerts.receivers).look(time.time())


def deliver(visitor: Visitor, **values: Any) -> None:
    """What became of all messages; without words they were taken."""
    with visitor.boards.db.write(SITE) as session:
        session.execute(sa.update(AlertDeliveryRow).values(**values) if values else sa.delete(AlertDeliveryRow))


def test_without_receivers_it_says_how_to_add_one(visitor: Visitor) -> None:
    words = visitor.words("/alerts")
    assert "No alert stands" in words and "Nothing is silenced" in words
    for step in ("[[alerts.receivers]]", "edgelift serve", "edgelift alert test phone"):
        assert step in words
    silent(visitor, "pi-1")
    assert "Nobody is told of this: site.toml names no receiver" in visitor.words("/alerts")
    assert "1 alert stands" in visitor.words("/") and visitor.data("/")["alerts"] == 1


def test_what_stands_says_what_where_since_when_what_to_do_and_who_was_told(told: Visitor) -> None:
    silent(told, *(f"pi-{n}" for n in range(7)))
    (line,) = told.data("/alerts")["standing"]
    assert (line["title"], line["subject"], line["tone"], line["of"]) == (
        "7 boards are offline",
        "device",
        "bad",
        "",
    )
    assert (line["told"], [(one["receiver"], one["tries"]) for one in line["untold"]]) == ([], [("on-call", 0)])
    page, words = told.page("/alerts"), told.words("/alerts")
    assert 'href="/?trouble=offline#devices"' in page and 'href="/devices/pi-0"' in page
    assert "and 2 more" in words and KINDS["offline"].todo in words and "on its way on-call" in words
    deliver(told, tries=3, error="HTTP 503: closed")
    words = told.words("/alerts")
    assert "not taken on-call 3 tries" in words and "does not take it HTTP 503: closed" in words
    deliver(told, given_up_at=time.time())
    assert "given up on-call 3 tries" in told.words("/alerts")
    deliver(told)
    (line,) = told.data("/alerts")["standing"]
    assert (line["told"], line["untold"]) == (["on-call"], [])
    words = told.words("/alerts")
    assert "told on-call" in words and words.count("takes what it is told") == 2


def test_what_was_said_of_an_earlier_one_does_not_count_against_a_new_one(told: Visitor) -> None:
    silent(told, "pi-1")
    deliver(told, made_at=time.time() - 9000, tries=9, given_up_at=time.time() - 8000)
    (line,) = told.data("/alerts")["standing"]
    assert (line["told"], line["untold"]) == (["on-call"], [])


def test_a_rollout_that_waits_stands_with_its_page(told: Visitor) -> None:
    ready(told.boards, "a", "b")
    rollout = told.boards.start("digits@2", "1,100%", approval=True, gates=[])
    settle(told.boards, rollout, "a", "b")
    look(told)
    (line,) = told.data("/alerts")["standing"]
    assert (line["title"], line["of"]) == (f"The rollout {rollout} waits for a person's approval", rollout)
    page = told.page("/alerts")
    assert f'href="/rollouts/{rollout}"' in page and f"edgelift rollout approve {rollout}" in page
    sent = told.send(
        "/alerts/silence", code="needs-approval", of=rollout, why="After the harvest", **{"for": "8h"}
    )
    assert sent.status_code == 303
    (made,) = told.data("/alerts")["silences"]
    assert (made["rollout"], made["to"], made["why"]) == (rollout, "", "After the harvest")


def test_a_silence_is_begun_and_ended_by_forms_and_the_log_says_why(told: Visitor) -> None:
    told.become("operator")
    silent(told, "pi-1", "pi-2")
    sent = told.send(
        "/alerts/silence", code="offline", of="ids:pi-1,pi-2", why="The barn is rewired", **{"for": "2h"}
    )
    assert (sent.status_code, sent.headers["location"]) == (303, "/alerts")
    data = told.data("/alerts")
    (made,) = data["silences"]
    assert (made["code"], made["to"], made["why"]) == ("offline", "ids:pi-1,pi-2", "The barn is rewired")
    assert made["until"] - made["made_at"] == pytest.approx(7200)
    (line,) = data["standing"]
    assert (line["alert"]["state"], line["until"]) == ("silenced", made["until"])
    assert "silenced until 20" in told.words("/alerts")
    assert told.send(f"/alerts/silences/{made['id']}/end", why="It is done").status_code == 303
    data = told.data("/alerts")
    assert data["silences"] == [] and [one["state"] for one in data["over"]] == ["ended"]
    assert "1 silence is over" in told.words("/alerts") and "ended by a person" in told.words("/alerts")
    told.become("admin")
    assert [one["why"] for one in told.data("/audit")["entries"][:2]] == ["It is done", "The barn is rewired"]


def test_a_receiver_is_tested_and_its_answer_shown(told: Visitor) -> None:
    answered = told.send("/alerts/receivers/on-call/test")
    assert answered.status_code == 200 and "on-call took it" in answered.text
    failed = told.send("/alerts/receivers/phone/test")
    assert "phone did not take it" in failed.text and "refused" in failed.text
    assert "not-found" in told.send("/alerts/receivers/nobody/test").text


def test_a_viewer_reads_and_orders_nothing(told: Visitor) -> None:
    silent(told, "pi-1")
    told.become("viewer")
    page = told.page("/alerts")
    assert "pi-1 is offline" in page and not re.search(r'action="/alerts', page)
    for path in ("/alerts/silence", "/alerts/silences/x/end", "/alerts/receivers/on-call/test"):
        refused = told.send(path, code="offline", why="w", **{"for": "2h"})
        assert refused.status_code == 403 and "role-too-low" in refused.text


@pytest.mark.parametrize(
    ("fields", "code"),
    [({"code": "none-such"}, "not-found"), ({"code": "failing"}, "not-found"), ({}, "not-found"),
     ({"code": "offline", "for": "1y"}, "malformed"), ({"code": "offline", "for": ""}, "malformed"),
     ({"code": "offline", "of": "tag:("}, "bad-id"), ({"code": "gate-breach", "of": "all of them"}, "bad-id"),
     ({"code": "signature-ends", "of": "all"}, "conflict"), ({"code": "offline", "why": "x" * 501}, "malformed")],
)  # fmt: skip
def test_what_is_wrong_is_said_and_nothing_is_silenced(
    visitor: Visitor, fields: dict[str, str], code: str
) -> None:
    refused = visitor.send("/alerts/silence", **{"for": "2h", "why": "w", "code": "", **fields})
    assert 400 <= refused.status_code < 500 and code in refused.text and "Nothing was changed" in refused.text
    assert visitor.data("/alerts")["silences"] == []


def test_words_that_are_html_are_shown_as_text(visitor: Visitor) -> None:
    sent = visitor.send("/alerts/silence", code="offline", why="<script>alert(1)</script>", **{"for": "2h"})
    assert sent.status_code == 303
    page = visitor.page("/alerts?after=<script>")
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page


def test_forms_are_the_operations_of_the_api() -> None:
    order = silence({}, {"code": "hot", "for": "30m", "of": " tag:site=barn ", "why": " w "})
    assert (order.method, order.path, order.body.to, order.body.for_s) == (
        "POST", "/v1/alerts/silences", "tag:site=barn", 1800.0,
    )  # fmt: skip
    assert unsilence({"silence": "a/b"}, {}).path == "/v1/alerts/silences/a%2Fb"
    with pytest.raises(ContractError):
        silence({}, {"code": "hot"})
    assert list(SPANS.values()) == sorted(SPANS.values())


def test_a_title_is_short_and_a_silence_is_of_just_what_has_it() -> None:
    def seen(code: str, what: str, *names: str, about: str = "") -> AlertView:
        return AlertView(
            code=code, severity="warning", about=about, state="told", what=what, where="", since=1.0, todo="",
            count=len(names), silenced=0, told_at=1.0, subjects=[AlertSubject(name, 1.0, "86 °C") for name in names],
        )  # fmt: skip

    one, six = seen("hot", "pi-1 is hot: 86 °C.", "pi-1"), seen("hot", "6 boards are hot.", *"abcdef")
    assert title_of(one, KINDS["hot"]) == ("pi-1 is hot", "86 °C")
    assert title_of(six, KINDS["hot"]) == ("6 boards are hot", "")
    assert (just(one, KINDS["hot"]), just(six, KINDS["hot"])) == ("ids:pi-1", "")
    site = seen("signature-ends", "The site a: b has signatures that end soon: It ends.", "a: b", about="a: b")
    assert title_of(site, KINDS["signature-ends"])[0] == "The site a: b has signatures that end soon"
    assert just(site, KINDS["signature-ends"]) == ""
