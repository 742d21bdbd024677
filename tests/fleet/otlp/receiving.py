"""A receiver of OTLP over HTTP: it reads what comes by opentelemetry's own messages, as a collector does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.fleet.alerts.listening import Http, listening_http


@dataclass
class Span:
    """One span as it came."""

    name: str
    trace: str
    id: str
    parent: str
    start: int
    end: int
    failed: bool
    message: str
    said: dict[str, Any]
    whose: dict[str, Any] = field(default_factory=dict)

    @property
    def service(self) -> str:
        return str(self.whose["service.name"])


class Receiver:
    """What came."""

    def __init__(self, http: Http) -> None:
        self.http = http

    def _bodies(self, path: str) -> list[bytes]:
        return [body for at, headers, body in self.http.came if at == path and _is_protobuf(headers)]

    def spans(self) -> list[Span]:
        """Of all requests, in the order in which they came."""
        found = []
        for body in self._bodies("/v1/traces"):
            for of in ExportTraceServiceRequest.FromString(body).resource_spans:
                whose = _said(of.resource.attributes)
                found += [
                    Span(
                        one.name, one.trace_id.hex(), one.span_id.hex(), one.parent_span_id.hex(),
                        one.start_time_unix_nano, one.end_time_unix_nano, one.status.code == 2, one.status.message,
                        _said(one.attributes), whose,
                    )
                    for scope in of.scope_spans for one in scope.spans
                ]  # fmt: skip
        return found

    def trace(self, device: str) -> dict[str, Span]:
        """The only trace of a device, by the spans' names; it is one, below one root, and nested."""
        spans = self.spans()
        (root,) = [one for one in spans if not one.parent and one.said["edgelift.device"] == device]
        mine = [one for one in spans if one.trace == root.trace]
        check_nested(mine)
        return {one.name: one for one in mine}

    def metrics(self, request: int = -1) -> dict[str, Any]:
        """Name → the metric, of one request."""
        read = ExportMetricsServiceRequest.FromString(self._bodies("/v1/metrics")[request])
        return {
            one.name: one for of in read.resource_metrics for scope in of.scope_metrics for one in scope.metrics
        }


def check_nested(spans: list[Span]) -> None:
    """They are one trace: one root, children within it in time, ids that no two share."""
    (root,) = [one for one in spans if not one.parent]
    assert len({one.id for one in spans}) == len(spans) and {one.trace for one in spans} == {root.trace}
    for one in spans:
        assert one.parent == ("" if one is root else root.id)
        assert 0 <= root.start <= one.start <= one.end <= root.end


def points(metric: Any) -> dict[tuple[str, ...], float]:
    """Values of its labels, in the order of their names → value."""
    found = {}
    for point in (metric.sum if metric.HasField("sum") else metric.gauge).data_points:
        labels = _said(point.attributes)
        found[tuple(labels[name] for name in sorted(labels))] = point.as_double or float(point.as_int)
    return found


def _said(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


def _is_protobuf(headers: dict[str, str]) -> bool:
    return headers["content-type"] == "application/x-protobuf"


@contextmanager
def receiving() -> Iterator[Receiver]:
    """One that listens on loopback."""
    with listening_http() as http:
        yield Receiver(http)
