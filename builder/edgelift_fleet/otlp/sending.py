"""Sends traces and metrics on a thread of its own, while this server leads: the site's are told once, by whichever server.

Traces wait in the database until they are taken. Metrics are of now: what wasn't taken is not sent later.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from opentelemetry.sdk.metrics.export import MetricsData
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from prometheus_client import Metric as Family

from edgelift_contract.errors import EdgeliftError
from edgelift_fleet.db import ROWS, Database
from edgelift_fleet.lead import Lead
from edgelift_fleet.otlp.exporters import Exporter, OtlpAnswer
from edgelift_fleet.otlp.points import data_of
from edgelift_fleet.otlp.spans import all_spans
from edgelift_fleet.untold import forget_oldest, forget_told, is_too_much, oldest_untold

T = TypeVar("T")
log = logging.getLogger(__name__)

#: How often updates that ended are looked for, seconds.
LOOK_S = 5.0
#: After a failure the next try waits, twice as long each time, from the first to the longest, seconds.
FIRST_S, LONGEST_S = 5.0, 300.0
#: Updates in one request: some 2,000 spans, half a megabyte.
AT_ONCE = 200
#: A receiver that calls so many wrong one after the other is asked again later.
_WRONG_AT_ONCE = 10
#: After a failure of the database, seconds.
_AWAY_S = 30.0
_UNREADABLE = OtlpAnswer(False, "what is stored of it can't be read", wrong=True)


class Sending:
    """The thread, as a context.

    Args:
        db, lead: the database, and who acts.
        resource: who the control plane is.
        families: gives the metrics as of now.
        began_at: since when they count, seconds since 1970.
        every_s: how often they are sent.
        traces, metrics: by what each is sent; None where it isn't.
    """

    def __init__(
        self, db: Database, lead: Lead, resource: Resource, families: Callable[[], Iterable[Family]], *,
        began_at: float, every_s: float, traces: Exporter[Sequence[ReadableSpan]] | None,
        metrics: Exporter[MetricsData] | None,
    ) -> None:  # fmt: skip
        self._db, self._lead, self._resource, self._families = db, lead, resource, families
        self._began_at, self._every_s = began_at, every_s
        self._traces = _Way(traces) if traces else None
        self._metrics = _Way(metrics) if metrics else None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="otlp", daemon=True)

    def __enter__(self) -> Sending:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for way in (self._traces, self._metrics):
            if way is not None:
                way.exporter.close()
        self._thread.join(1)  # a receiver that hangs is not waited for: what it didn't take waits in the database

    def _run(self) -> None:
        while not self._stopping.wait(min(LOOK_S, self._every_s)):
            if not self._lead.leads:
                continue
            for way, send in ((self._traces, self.send_traces), (self._metrics, self.send_metrics)):
                if way is None or not way.is_due() or self._stopping.is_set():
                    continue
                try:
                    send()
                except EdgeliftError as error:
                    log.warning("otlp waits code=%s %s", error.code, error.message)
                    way.wait(_AWAY_S)
                except Exception:
                    log.exception("a fault while sending by otlp")
                    way.wait(LONGEST_S)

    def send_traces(self) -> int:
        """Send the traces of all updates that wait, until one isn't taken; how many were.

        Raises:
            EdgeliftError: the database's; `busy` when this server leads no more.
        """
        way, sent, most, wrong = self._traces, 0, AT_ONCE, 0
        while way is not None and wrong < _WRONG_AT_ONCE and not self._stopping.is_set():
            with self._db.read() as session:
                waiting = oldest_untold(session, most)
                crowded = bool(waiting) and is_too_much(session)
            if not waiting:
                break
            if crowded:
                self._drop_oldest()
                continue
            known = [one.ended for one in waiting if one.ended is not None]
            answer = way.send(all_spans(known, self._resource)) if known else _UNREADABLE
            if not answer.taken and (self._stopping.is_set() or not answer.wrong):
                break
            if not answer.taken and len(waiting) > 1:
                most = len(waiting) // 2  # one of them is wrong: it is found by halves, and costs no other one
                continue
            with self._lead.write(ROWS) as session:
                forget_told(session, [one.id for one in waiting])
            if answer.taken:
                sent, most = sent + len(known), min(AT_ONCE, most * 2)
            else:
                wrong += 1
                log.error("the trace of an update is dropped: %s", answer.said)
        return sent

    def send_metrics(self) -> bool:
        """Send the metrics as of now; whether they were taken."""
        way = self._metrics
        if way is None:
            return False
        answer = way.send(data_of(self._families(), self._resource, began_at=self._began_at, now=time.time()))
        way.wait(self._every_s)
        return answer.taken

    def _drop_oldest(self) -> None:
        with self._lead.write(ROWS) as session:
            gone = forget_oldest(session)
        log.error("traces of updates were dropped, the oldest first: %d; their receiver takes none", gone)


class _Way(Generic[T]):
    """An exporter, when it is asked again, and what was said of it: each change once."""

    def __init__(self, exporter: Exporter[T]) -> None:
        self.exporter = exporter
        self._due, self._delay_s, self._said = 0.0, FIRST_S, ""

    def is_due(self) -> bool:
        """Is it time?"""
        return time.monotonic() >= self._due

    def wait(self, seconds: float) -> None:
        """Let the next not begin sooner than in so many seconds."""
        self._due = max(self._due, time.monotonic() + seconds)

    def send(self, what: T) -> OtlpAnswer:
        """Send it."""
        one = self.exporter
        answer = one.send(what)
        if answer.taken:
            if self._said:
                log.info("otlp %s are taken again receiver=%s", one.signal, one.where)
            self._said, self._delay_s = "", FIRST_S
            return answer
        if not self._said:
            then = "dropped" if answer.wrong or one.signal == "metrics" else "they wait"
            log.warning("otlp %s are not taken receiver=%s: %s (%s)", one.signal, one.where, answer.said, then)
            self._said = answer.said
        if not answer.wrong:
            self.wait(self._delay_s)
            self._delay_s = min(LONGEST_S, self._delay_s * 2)
        return answer
