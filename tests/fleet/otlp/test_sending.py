"""Traces and metrics come to a real receiver on loopback: once, by the leader, also after one of them was away."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from tests.fleet.conftest import both_engines
from tests.fleet.direct import AT_ONCE, Direct, direct, ready, settle
from tests.fleet.measured import measured
from tests.fleet.otlp.receiving import Receiver, points, receiving
from tests.waiting import until

from edgelift_agent.testing.ports import free_port
from edgelift_contract.report import SlotReport, UpdateReport
from edgelift_fleet.caps import MAX_TRACES_OF_ONE
from edgelift_fleet.db import ROWS, Database
from edgelift_fleet.intake import Intake
from edgelift_fleet.lead import Lead
from edgelift_fleet.metrics.exposition import FleetMetrics
from edgelift_fleet.otlp.exporters import OtlpAddress, metric_exporter, span_exporter
from edgelift_fleet.otlp.sending import Sending
from edgelift_fleet.otlp.spans import fleet_resource
from edgelift_fleet.tables import UpdateTraceRow
from edgelift_fleet.untold import forget_oldest

pytestmark = pytest.mark.fleet

TOOK = {"fetching": 0.03, "verifying": 0.01, "staging": 0.0, "preflight": 0.02, "swapping": 0.01}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who isn't there is asked once or twice, not for ten seconds."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.5")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture
def boards(site: Path) -> Iterator[Direct]:
    """A control plane whose traces are wanted."""
    with direct(site) as made:
        made.intake = Intake(made.db, made.seen, on_report=made.work.set, traces=True)
        yield made


def sending(boards: Direct, url: str, *, lead: Lead | None = None, db: Database | None = None) -> Sending:
    to = OtlpAddress(url)
    return Sending(
        db or boards.db, lead or boards.controller._lead, fleet_resource("farm"),
        lambda: [GaugeMetricFamily("edgelift_fleet_leader", "1 for the leader.", value=1.0)],
        began_at=time.time(), every_s=0.02, traces=span_exporter(to), metrics=metric_exporter(to),
    )  # fmt: skip


def take(boards: Direct, *names: str, outcome: str = "committed", **more: Any) -> None:
    """These boards take what they should run, as agents of today tell of it."""
    boards.answer(*names, outcome="in-progress")
    for name, wanted in boards.wanted(*names).items():
        one, old = wanted.slots["digits"], boards.slots[name]
        update = UpdateReport(
            one.artifact, one.model, one.version, wanted.revision, one.rollout, outcome, finished_at=time.time(),
            fetched_bytes=41, took_s=TOOK, **more,
        )  # fmt: skip
        serves = (
            (one.artifact, one.model, one.version)
            if outcome == "committed"
            else (old.artifact, old.model, old.version)
        )
        boards.slots[name] = SlotReport("serving", old.generation + 1, *serves, 1.0, update)
    boards.say(*names)


def untold(db: Database) -> int:
    with db.read() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(UpdateTraceRow)) or 0


@both_engines
def test_an_update_is_one_trace_over_host_and_device(boards: Direct, receiver: Receiver) -> None:
    boards.add("pi-1", "pi-2")
    for name in ("pi-1", "pi-2"):
        boards.assignments.assign(name, "digits@1")
    before = time.time()
    take(boards, "pi-1")
    take(boards, "pi-2", outcome="refused", phase="verifying", code="golden-mismatch", message="It is wrong.")
    assert sending(boards, receiver.http.url).send_traces() == 2
    good, bad = receiver.trace("pi-1"), receiver.trace("pi-2")
    names = ["update", "assigned", "fetched", "verified", "staged", "preflight", "swapped"]
    assert [name for name in good if name != "assigned"] == [name for name in names if name != "assigned"]
    root = good["update"]
    assert abs(root.end / 1e9 - before) < 60 and not any(one.failed for one in good.values())
    assert root.said == {
        "edgelift.device": "pi-1", "edgelift.slot": "digits", "edgelift.model": "digits", "edgelift.version": "1",
        "edgelift.artifact": boards.slots["pi-1"].artifact, "edgelift.revision": 1, "edgelift.outcome": "committed",
        "edgelift.try": 1,
    }  # fmt: skip
    assert root.service == "edgelift-fleet" and root.whose["service.namespace"] == "farm"
    assert good["fetched"].service == "edgelift-agent" and good["fetched"].whose["device.id"] == "pi-1"
    assert good["fetched"].said == {"edgelift.fetched_bytes": 41}
    failed = {name for name, one in bad.items() if one.failed}
    assert failed == {"update", "verified"}
    assert (bad["update"].said["error.type"], bad["update"].message) == ("golden-mismatch", "It is wrong.")
    assert bad["update"].said["edgelift.outcome"] == "refused"


def test_a_rollout_s_updates_name_it_and_one_that_goes_back_has_failed(boards: Direct, receiver: Receiver) -> None:
    ready(boards, "pi-1")
    sending(boards, receiver.http.url).send_traces()
    receiver.http.came.clear()
    rollout = boards.start("digits@2", waves="100%", policy=AT_ONCE)
    boards.look()
    take(boards, "pi-1", outcome="rolled-back", phase="observing", code="probation-errors", message="Errors.")
    assert sending(boards, receiver.http.url).send_traces() == 1
    root = receiver.trace("pi-1")["update"]
    assert (root.said["edgelift.rollout"], root.said["edgelift.code"]) == (rollout, "probation-errors")
    assert root.failed and root.said["error.type"] == "probation-errors"
    assert settle(boards, rollout, looks=1)


def test_what_a_receiver_that_is_away_did_not_take_waits_also_for_another_process_and_is_said_once(
    boards: Direct, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "edgelift_fleet")
    boards.add("pi-1", "pi-2")
    for name in ("pi-1", "pi-2"):
        boards.assignments.assign(name, "digits@1")
    take(boards, "pi-1")
    away = sending(boards, f"http://127.0.0.1:{free_port()}")
    assert [away.send_traces() for _ in range(3)] == [0, 0, 0]
    said = [one.getMessage().split(" receiver=")[0] for one in caplog.records if "otlp" in one.getMessage()]
    assert said == ["otlp traces are not taken"]
    take(boards, "pi-2")
    with receiving() as back:
        another = sending(boards, back.http.url)
        back.http.answers = [(503, {}, b""), (500, {}, b"")]
        assert [another.send_traces() for _ in range(2)] == [0, 0] and untold(boards.db) == 2
        assert another.send_traces() == 2
        assert another.send_traces() == 0 and untold(boards.db) == 0
        assert {span.said.get("edgelift.device") for span in back.spans() if not span.parent} == {"pi-1", "pi-2"}
    assert caplog.records[-1].getMessage().startswith("otlp traces are taken again")


def test_a_server_that_ends_before_it_notes_what_was_taken_tells_the_same_spans_again(
    boards: Direct, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    boards.add("pi-1")
    boards.assignments.assign("pi-1", "digits@1")
    take(boards, "pi-1")
    first = sending(boards, receiver.http.url)
    with direct_lost(boards), pytest.raises(Exception, match="leads"):
        first.send_traces()
    sending(boards, receiver.http.url).send_traces()
    ids = [(one.trace, one.id) for one in receiver.spans()]
    half = len(ids) // 2
    assert half and ids[:half] == ids[half:] and untold(boards.db) == 0


def direct_lost(boards: Direct) -> ExitStack:
    """The lead is lost inside the block."""
    stack, lead = ExitStack(), boards.controller._lead
    until_ = lead._until
    lead._until = 0.0
    stack.callback(lambda: setattr(lead, "_until", until_))
    return stack


@pytest.mark.parametrize(("status", "kept"), [(400, 0), (413, 0), (401, 1), (404, 1), (301, 1)])
def test_what_is_wrong_is_dropped_and_what_is_refused_waits(
    boards: Direct, receiver: Receiver, status: int, kept: int
) -> None:
    boards.add("pi-1")
    boards.assignments.assign("pi-1", "digits@1")
    take(boards, "pi-1")
    receiver.http.answers = [(status, {"Location": "/elsewhere"}, b"no")]
    assert sending(boards, receiver.http.url).send_traces() == 0
    assert untold(boards.db) == kept and len(receiver.http.came) == 1


def test_a_receiver_that_hangs_holds_up_neither_the_fleet_nor_the_end(
    boards: Direct, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "600")
    boards.add("pi-1")
    boards.assignments.assign("pi-1", "digits@1")
    receiver.http.answers = [(0, {}, b"")] * 2
    take(boards, "pi-1")
    with sending(boards, receiver.http.url):
        until(receiver.http.somebody.is_set, "it was asked")
        boards.assignments.assign("pi-1", "digits@2")
        take(boards, "pi-1")
        assert boards.versions("pi-1") == ["2"]
    assert untold(boards.db) == 2


def test_of_several_servers_the_leader_alone_sends(postgres_url: str, tmp_path: Path, receiver: Receiver) -> None:
    with ExitStack() as stack:
        one, two = (stack.enter_context(closing(Database(postgres_url))) for _ in range(2))
        one.migrate()
        first, second = Lead(one), Lead(two)
        stack.enter_context(first)
        assert first.wait(60)
        boards = Direct(one, first)
        stack.enter_context(second)
        stack.enter_context(sending(boards, receiver.http.url, lead=second, db=two))
        with sending(boards, receiver.http.url):
            until(lambda: len(receiver.http.came) > 3, "metrics of the leader")
            first.__exit__()
            until(lambda: second.leads, "the other one leads")
        count = len(receiver.http.came)
        until(lambda: len(receiver.http.came) > count + 3, "metrics of the other one")


def test_of_one_board_the_newest_wait_and_of_all_so_many(boards: Direct) -> None:
    boards.add("pi-1", "pi-2")
    for n in range(MAX_TRACES_OF_ONE + 5):
        for name in ("pi-1",) if n else ("pi-1", "pi-2"):
            update = UpdateReport("a" * 64, revision=n, outcome="committed")
            boards.slots[name] = SlotReport("serving", n, "a" * 64, update=update)
        boards.say("pi-1", "pi-2")
    assert untold(boards.db) == MAX_TRACES_OF_ONE + 1
    with boards.db.write(ROWS) as session:
        assert forget_oldest(session, 10) == MAX_TRACES_OF_ONE - 9
    assert untold(boards.db) == 10


def test_nothing_is_kept_where_no_traces_are_wanted(site: Path) -> None:
    with direct(site) as boards:
        ready(boards, "pi-1")
        assert untold(boards.db) == 0


def test_a_row_that_can_not_be_read_costs_itself(boards: Direct, receiver: Receiver) -> None:
    ready(boards, "pi-1", "pi-2")
    with boards.db.write(ROWS) as session:
        session.execute(sa.update(UpdateTraceRow).where(UpdateTraceRow.device == "pi-1").values(body="{broken"))
    assert sending(boards, receiver.http.url).send_traces() == 1
    assert untold(boards.db) == 0


def test_one_that_a_receiver_calls_wrong_costs_no_other_one(boards: Direct, receiver: Receiver) -> None:
    names = [f"pi-{n}" for n in range(5)]
    ready(boards, *names)
    refused = (400, {}, b"no")
    receiver.http.answers = [
        refused,
        refused,
        refused,
        *[(200, {}, b"")] * 9,
    ]  # of five, then of two, then the first
    assert sending(boards, receiver.http.url).send_traces() == 4
    assert untold(boards.db) == 0
    good = receiver.http.came[3:]
    del receiver.http.came[:]
    receiver.http.came += good
    assert {one.said["edgelift.device"] for one in receiver.spans() if not one.parent} == set(names[1:])


def test_a_receiver_that_calls_all_wrong_is_asked_again_later(boards: Direct, receiver: Receiver) -> None:
    ready(boards, *[f"pi-{n}" for n in range(12)])
    receiver.http.answers = [(400, {}, b"no")] * 100
    assert sending(boards, receiver.http.url).send_traces() == 0
    assert untold(boards.db) == 2


def test_metrics_are_those_of_the_scraper(site: Path, receiver: Receiver) -> None:
    with measured(site) as whole:
        fleet = whole.api.fleet
        text = FleetMetrics(fleet).expose("")[0].decode()
        made = Sending(
            fleet.db, fleet.lead, fleet_resource("farm"), FleetMetrics(fleet).families, began_at=fleet.started_at,
            every_s=60.0, traces=None, metrics=metric_exporter(OtlpAddress(receiver.http.url)),
        )  # fmt: skip
        assert made.send_metrics()
    came = receiver.metrics()
    scraped = {one.name: one for one in text_string_to_metric_families(text) if one.samples}
    scraped = {name: one for name, one in scraped.items() if not name.startswith("process_")}
    assert set(came) == {f"{name}_info" if name == "edgelift_build" else name for name in scraped}
    for name, family in scraped.items():
        if family.type == "info" or name in ("edgelift_build", "edgelift_build_info"):
            continue
        wanted = {tuple(one.labels[n] for n in sorted(one.labels)): one.value for one in family.samples}
        assert points(came[name]) == wanted, name
        assert came[name].HasField("sum" if family.type == "counter" else "gauge")
        assert came[name].description == family.documentation
    assert came["edgelift_fleet_device_temperature_celsius"].unit == "Cel"


def test_headers_reach_the_receiver_and_no_log(
    boards: Direct, receiver: Receiver, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:  # fmt: skip
    caplog.set_level(logging.DEBUG)
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login other password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    ready(boards, "pi-1")
    receiver.http.answers = [(401, {}, b"")]
    to = OtlpAddress(receiver.http.url, {"Authorization": "Bearer Swordfish"})
    made = Sending(
        boards.db, boards.controller._lead, fleet_resource("farm"), list, began_at=1.0, every_s=1.0,
        traces=span_exporter(to), metrics=None,
    )  # fmt: skip
    assert (made.send_traces(), made.send_traces()) == (0, 1)
    assert [headers["authorization"] for _, headers, _ in receiver.http.came] == ["Bearer Swordfish"] * 2
    assert caplog.text and "Swordfish" not in caplog.text


def test_its_thread_ends_with_its_block(boards: Direct, receiver: Receiver) -> None:
    before = threading.active_count()
    with sending(boards, receiver.http.url):
        until(lambda: receiver.http.came)
    until(lambda: not any(one.name == "otlp" for one in threading.enumerate()))
    assert threading.active_count() <= before + 2  # those of the receiver's open connections
