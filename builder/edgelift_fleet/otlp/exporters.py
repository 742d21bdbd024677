"""Opentelemetry's exporters over HTTP, and what became of what they sent: they say only whether it was taken."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import urlsplit

import requests
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

T = TypeVar("T")
Signal = Literal["traces", "metrics"]

#: Statuses by which a receiver says that this very message is wrong: sent again it would be wrong again.
_WRONG = frozenset({400, 413, 422})
_NOT_ASKED = "it can't be encoded, or is too large"


@dataclass(frozen=True)
class OtlpAddress:
    """Where a site sends to; empty for what the SDK's own variables say.

    Attributes:
        url: the receiver's base URL.
        headers: sent with each request; they may hold secrets.
        ca_file: who may vouch for it, in PEM.
    """

    url: str = ""
    headers: Mapping[str, str] | None = None
    ca_file: str = ""

    def of(self, signal: Signal) -> dict[str, Any]:
        """As an exporter wants it."""
        return {
            "endpoint": f"{self.url.rstrip('/')}/v1/{signal}" if self.url else None,
            "certificate_file": self.ca_file or None,
            "headers": self.headers,
        }


@dataclass(frozen=True)
class OtlpAnswer:
    """What became of what was sent.

    Attributes:
        taken: the receiver has it.
        said: what it answered, or what kept it from being asked; for people.
        wrong: it will never take this.
    """

    taken: bool
    said: str
    wrong: bool = False


class Exporter(Generic[T]):
    """Sends one signal. For one thread at a time, but for `close`."""

    def __init__(
        self, signal: Signal, session: NotingSession, export: Callable[[T], bool], close: Callable[[], None]
    ) -> None:
        """Bind; made by `span_exporter` and `metric_exporter`."""
        self.signal, self._session, self._export, self.close = signal, session, export, close

    @property
    def where(self) -> str:
        """Who was asked last, as host and port."""
        return self._session.where

    def send(self, what: T) -> OtlpAnswer:
        """Send it; tries for as long as $OTEL_EXPORTER_OTLP_TIMEOUT says, 10 s."""
        session = self._session
        session.status, session.said = 0, _NOT_ASKED
        done = self._export(what)
        # The SDK takes a redirect for success, and follows none.
        taken = done and 200 <= session.status < 300
        return OtlpAnswer(taken, session.said, session.status in _WRONG or session.said == _NOT_ASKED)


def span_exporter(address: OtlpAddress) -> Exporter[Sequence[ReadableSpan]]:
    """For traces."""
    session = _quiet_session()
    made = OTLPSpanExporter(session=session, **address.of("traces"))
    return Exporter("traces", session, lambda spans: made.export(spans) is SpanExportResult.SUCCESS, made.shutdown)


def metric_exporter(address: OtlpAddress) -> Exporter[MetricsData]:
    """For metrics."""
    session = _quiet_session()
    made = OTLPMetricExporter(session=session, **address.of("metrics"))
    return Exporter(
        "metrics", session, lambda data: made.export(data) is MetricExportResult.SUCCESS, made.shutdown
    )


class NotingSession(requests.Session):
    """Remembers what came of the last request."""

    def __init__(self) -> None:
        super().__init__()
        self.status, self.said, self.where = 0, "", ""
        self.auth = (
            _as_it_is  # else requests puts what ~/.netrc says in the place of the header that was asked for
        )

    def request(self, *args: Any, **named: Any) -> requests.Response:
        """As requests' own."""
        self.where = urlsplit(str(named.get("url", ""))).netloc.rpartition("@")[2]
        self.status, began = 0, time.monotonic()
        try:
            answer = super().request(*args, **named)
        except requests.RequestException as error:
            self.said = f"{type(error).__name__} after {time.monotonic() - began:.1f} s"
            raise
        self.status, self.said = answer.status_code, f"HTTP {answer.status_code} {answer.reason}"
        return answer


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _quiet_session() -> NotingSession:
    # What the SDK says of each try, whoever asks says once.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
    return NotingSession()
