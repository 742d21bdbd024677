"""Families of metrics as opentelemetry's data: the same names, labels and values as at `GET /metrics`, nothing twice.

Not by instruments of the SDK's meter: it keeps every set of labels that it ever saw, and puts what is more than 2,000 of an
instrument into one sum. Rollouts come and go, and the worst devices are other ones each day.
"""

from __future__ import annotations

from collections.abc import Iterable

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import Metric as Family

from edgelift_contract import __version__

#: End of a name → its unit, as UCUM writes it.
_UNITS = {"seconds": "s", "bytes": "By", "celsius": "Cel"}
_SCOPE = InstrumentationScope("edgelift", __version__)


def data_of(families: Iterable[Family], resource: Resource, *, began_at: float, now: float) -> MetricsData:
    """Families at one moment.

    Args:
        families: of `prometheus_client`; those without samples are left out.
        resource: whose they are.
        began_at: since when counters count, seconds since 1970.
        now: the moment, seconds since 1970.
    """
    made = [_metric(one, int(began_at * 1e9), int(now * 1e9)) for one in families if one.samples]
    return MetricsData([ResourceMetrics(resource, [ScopeMetrics(_SCOPE, made, "")], "")])


def _metric(family: Family, began: int, now: int) -> Metric:
    counts = family.type == "counter"
    points = [
        NumberDataPoint(sample.labels, began if counts else 0, now, float(sample.value)) for sample in family.samples
    ]  # fmt: skip
    # A receiver that speaks Prometheus' language adds `_total` to a counter itself.
    name = f"{family.name}_info" if family.type == "info" else family.name
    data = Sum(points, AggregationTemporality.CUMULATIVE, is_monotonic=True) if counts else Gauge(points)
    return Metric(name, family.documentation, _UNITS.get(name.rpartition("_")[2], ""), data)
