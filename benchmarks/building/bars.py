"""What is to be reached, by the class of the host that measured, and what was."""

import statistics
from collections.abc import Iterator
from typing import Literal, NamedTuple

#: A plain recipe may seem as much faster as two runs of one file differ, and its lead must be no more than chance.
LEAST_PEER_RATIO = 0.97

#: Median of the latency ratios against float, by family, with VNNI.
WITH_VNNI = {"cnn": 2.0, "transformer": 2.3}
#: Without it, for models of this many parameters and more: the small ones gain nothing there.
LARGE_CNN, WITHOUT_VNNI_CNN = 1_000_000, 1.4
WITHOUT_VNNI_TRANSFORMER, LEAST_COSINE = 1.5, 0.99


class Bar(NamedTuple):
    """One of them: what, at least or at most how much, what was reached, and whether that is met."""

    what: str
    sign: Literal["≥", "≤"]
    bar: float
    value: float

    @property
    def met(self) -> bool:
        """Is it reached."""
        return self.value >= self.bar if self.sign == "≥" else self.value <= self.bar


def bars(models: list[dict], host: str) -> list[Bar]:
    """Those that some model of the run speaks to; `host` is the hardware class that measured."""
    return [*_everywhere(models), *(_with_vnni(models) if host == "x86-64-vnni" else _without_vnni(models))]


def _everywhere(models: list[dict]) -> Iterator[Bar]:
    if not models:
        return
    points = [m["loss"] for m in models if m["unit"] == "points"]
    if points:
        yield Bar("median accuracy loss, points", "≤", 0.3, statistics.median(points))
    over = sum(m["loss_interval"][1] > m["budget"] and m["recipe"] != "float32" for m in models)
    yield Bar("models over their budget", "≤", 0, over)
    yield Bar("models slower than the fastest float", "≤", 0, sum(m["fastest_float_ratio"] < 1 for m in models))
    large = [m["size_ratio"] for m in models if m["parameters"] >= 10_000_000]
    middle = [m["size_ratio"] for m in models if 1_000_000 <= m["parameters"] < 10_000_000]
    if large:
        yield Bar("least size ratio, 10 M parameters and more", "≥", 3.9, min(large))
    if middle:
        yield Bar("least size ratio, 1 to 10 M parameters", "≥", 3.1, min(middle))
    yield from _beside_peers([m for m in models if "peer" in m])


def _beside_peers(models: list[dict]) -> Iterator[Bar]:
    if not models:
        return
    for which, words in (("peer", "first"), ("default", "first by the default recipe")):
        slower = sum(_slower(*m[f"{which}_latency_ratio"]) for m in models)
        yield Bar(f"models slower than a plain recipe, what ships {words}", "≤", 0, slower)
        interval = "loss_interval" if which == "peer" else "default_loss_interval"
        worse = sum(m[f"{which}_loss"] > m[interval][1] - m[interval][0] for m in models)
        yield Bar(f"models that lose more than it by an interval, what ships {words}", "≤", 0, worse)


def _slower(value: float, _low: float, high: float) -> bool:
    return value < LEAST_PEER_RATIO or high < 1


def _with_vnni(models: list[dict]) -> Iterator[Bar]:
    for family, least in WITH_VNNI.items():
        found = [m["latency_ratio"] for m in models if m["family"] == family]
        if found:
            yield Bar(f"median latency ratio, {family}s", "≥", least, statistics.median(found))


def _without_vnni(models: list[dict]) -> Iterator[Bar]:
    large = [m["latency_ratio"] for m in models if m["family"] == "cnn" and m["parameters"] >= LARGE_CNN]
    if large:
        yield Bar("least latency ratio, cnns of 1 M parameters and more", "≥", WITHOUT_VNNI_CNN, min(large))
    found = [m for m in models if m["family"] == "transformer"]
    if found:
        ratios = [m["latency_ratio"] for m in found]
        yield Bar("median latency ratio, transformers", "≥", WITHOUT_VNNI_TRANSFORMER, statistics.median(ratios))
    cosines = [m["cosine"] for m in found if m.get("cosine") is not None]
    if cosines:
        yield Bar("least mean cosine to float, transformers", "≥", LEAST_COSINE, min(cosines))
