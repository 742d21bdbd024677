"""No field of any message is without bounds, on either side: the reader refuses, the maker brings it inside."""

from __future__ import annotations

import importlib
import math
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect

import edgelift_contract
from edgelift_contract import codec
from edgelift_contract.bounds import LARGEST_REQUESTS
from edgelift_contract.enrol import EnrolRequest
from edgelift_contract.fitting import fit
from edgelift_contract.histogram import LARGEST_VALUE, MAX_SCALE, MIN_SCALE, Histogram, HistogramData
from edgelift_contract.message_types import prepare_message_types
from edgelift_contract.report import MAX_REPORT_BYTES, MAX_SLOTS, Report, SlotReport, UpdateReport, dump_report
from edgelift_contract.telemetry import Batch, Item, Window
from edgelift_contract.text import clean, is_plainly_clean

for _module in pkgutil.iter_modules(edgelift_contract.__path__):
    importlib.import_module(f"edgelift_contract.{_module.name}")
MESSAGES = sorted(
    (kind for kind in prepare_message_types() if kind.__module__.startswith("edgelift_contract")),
    key=lambda kind: kind.__name__,
)


def unbounded(info: inspect.Type, path: str) -> Iterator[str]:
    """The places within a type that could be as large as anyone likes; structs inside are walked by themselves."""
    if isinstance(info, inspect.Metadata):
        yield from unbounded(info.type, path)
    elif isinstance(info, inspect.IntType | inspect.FloatType):
        if (info.ge is None and info.gt is None) or (info.le is None and info.lt is None):
            yield f"{path}: a number without an end"
    elif isinstance(info, inspect.StrType | inspect.BytesType):
        if info.max_length is None and getattr(info, "pattern", None) is None:
            yield f"{path}: text or bytes of any length"
    elif isinstance(info, inspect.ListType):
        if info.max_length is None:
            yield f"{path}: a list of any length"
        yield from unbounded(info.item_type, f"{path}[]")
    elif isinstance(info, inspect.DictType):
        if info.max_length is None and not isinstance(info.key_type, inspect.LiteralType):
            yield f"{path}: a dict of any length"
        yield from unbounded(info.key_type, f"{path} key")
        yield from unbounded(info.value_type, f"{path}{{}}")
    elif isinstance(info, inspect.UnionType):
        for one in info.types:
            yield from unbounded(one, path)
    else:
        known = inspect.StructType | inspect.LiteralType | inspect.BoolType | inspect.NoneType
        assert isinstance(info, known), f"{path}: {info} has bounds that this test does not know"


def test_no_field_of_any_message_is_without_bounds() -> None:
    assert len(MESSAGES) > 30
    found = []
    for kind in MESSAGES:
        info = inspect.type_info(kind)
        assert isinstance(info, inspect.StructType)
        for field in info.fields:
            found += unbounded(field.type, f"{kind.__name__}.{field.name}")
    assert found == []


def test_the_walk_finds_what_has_none() -> None:
    class Loose(msgspec.Struct):
        a: int
        b: list[str]
        c: dict[str, float]

    info = inspect.type_info(Loose)
    assert isinstance(info, inspect.StructType)
    assert len([place for field in info.fields for place in unbounded(field.type, field.name)]) == 6


LONG = "\x1b[2J" * 600
ODD_TEXT = st.text(max_size=5) | st.sampled_from([LONG, "\u202egnp.exe", "two\nlines", "x" * 70])
ODD_FLOATS = st.floats(allow_nan=True, allow_infinity=True)
ODD_INTS = st.integers() | st.sampled_from([2**53, 2**63, 2**64, -1, 10**40])


def odd(info: inspect.Type) -> st.SearchStrategy[Any]:
    """Values of a type's kind, with no regard for its bounds; names and choices are as they must be."""
    if isinstance(info, inspect.Metadata):
        return odd(info.type)
    if isinstance(info, inspect.StrType):
        if info.pattern and (
            fitting := [one for one in ("", "a", "pi-1", "b" * 64) if re.match(info.pattern, one)]
        ):
            return st.sampled_from(fitting)
        return st.sampled_from(["a", "pi-1", "b" * 64]) if info.pattern else ODD_TEXT
    if isinstance(info, inspect.ListType):
        return st.lists(odd(info.item_type), max_size=3)
    if isinstance(info, inspect.DictType):
        return st.dictionaries(odd(info.key_type), odd(info.value_type), max_size=3)
    if isinstance(info, inspect.UnionType):
        return st.one_of([odd(one) for one in info.types])
    if isinstance(info, inspect.LiteralType):
        return st.sampled_from(info.values)
    if isinstance(info, inspect.StructType):
        if info.cls is HistogramData:
            return st.lists(st.floats(min_value=0, max_value=1e300), max_size=5).map(recorded)
        return st.builds(info.cls, **{field.encode_name: odd(field.type) for field in info.fields})
    simple = {inspect.IntType: ODD_INTS, inspect.FloatType: ODD_FLOATS, inspect.BoolType: st.booleans()}
    return simple[type(info)] if type(info) in simple else st.none()


def recorded(values: list[float]) -> HistogramData:
    made = Histogram()
    made.record_all(values)
    return made.to_data()


@pytest.mark.parametrize("kind", [Report, EnrolRequest, Batch], ids=lambda kind: kind.__name__)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_whatever_a_device_finds_its_message_can_be_read(kind: type, data: st.DataObject) -> None:
    made = fit(data.draw(odd(inspect.type_info(kind))))
    sent = codec.canonical_json(made)
    assert msgspec.json.decode(sent, type=kind) == made
    assert fit(made) is made  # what fits is left alone
    assert clean(sent.decode()) == sent.decode()


def test_what_fits_is_the_same_object() -> None:
    window = Window(start=1.0, end=2.0, slot="a", generation=1, artifact="", model="", version="")
    item = Item(1, window=window)
    assert fit(item) is item


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("plain – ü 猫", "plain – ü 猫"),
        ("\x1b[2Jgone", "\N{REPLACEMENT CHARACTER}[2Jgone"),
        ("a\nb\tc\r", "a b c\N{REPLACEMENT CHARACTER}"),
        ("\u202egnp.exe", "\N{REPLACEMENT CHARACTER}gnp.exe"),
        ("pi\u200b-1", "pi\N{REPLACEMENT CHARACTER}-1"),
        (
            "\x9b31m \u2028 \ufeff",
            "\N{REPLACEMENT CHARACTER}31m \N{REPLACEMENT CHARACTER} \N{REPLACEMENT CHARACTER}",
        ),
        ("\x00\x7f", "\N{REPLACEMENT CHARACTER}" * 2),
    ],
)
def test_text_from_outside_is_cleaned(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned == clean(cleaned)


@given(st.text())
def test_bytes_that_look_clean_hold_clean_text(text: str) -> None:
    sent = msgspec.json.encode(text)
    assert clean(text) == text or not is_plainly_clean(sent)
    assert len(clean(text)) == len(text)


def test_a_long_report_is_cut_until_the_host_takes_it() -> None:
    update = UpdateReport(
        "a" * 64, "m" * 64, "v" * 64, 1, "r1", "refused", "preflight", "golden-mismatch", "x" * 2000,
        took_s={f"phase-{n}": 123.456 for n in range(16)},
    )  # fmt: skip
    slots = {f"slot-{n}": SlotReport("serving", 1, "b" * 64, "m", "v", 1.0, update) for n in range(MAX_SLOTS)}
    report = Report(schema=1, device="pi-1", epoch="e", sequence=1, at=1.0, agent_version="x", slots=slots)
    sent = dump_report(report)
    assert len(sent) <= MAX_REPORT_BYTES
    assert len(msgspec.json.decode(sent, type=Report).slots) == MAX_SLOTS


# Histograms: bounds that no single field can state.


@pytest.mark.parametrize(
    "data",
    [
        {"scale": -4, "offset": 100_000, "counts": [1]},
        {"scale": -4, "offset": 4, "counts": [1]},
        {"scale": 0, "offset": -65, "counts": [1]},
        {"scale": 0, "offset": 60, "counts": [1] * 5},
        {"counts": [LARGEST_REQUESTS, 1]},
        {"counts": [2**70]},
        {"high": 1e308},
        {"low": -1.0},
    ],
)
def test_a_histogram_that_no_recording_gives_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(data), type=HistogramData)


@given(
    st.integers(MIN_SCALE, MAX_SCALE),
    st.lists(st.floats(min_value=0, max_value=1e300), min_size=1, max_size=20),
    st.integers(MIN_SCALE, MAX_SCALE),
)
@settings(deadline=None)
def test_any_two_merge_and_read(scale: int, values: list[float], other: int) -> None:
    made, more = Histogram(scale), Histogram(other)
    made.record_all(values)
    more.record_all(values)
    more.merge(made)
    assert math.isfinite(more.quantile(0.5)) and more.quantile(1.0) <= LARGEST_VALUE
    if max(more._buckets, default=0) - min(more._buckets, default=0) < 4096:
        assert msgspec.json.decode(msgspec.json.encode(more.to_data()), type=HistogramData).count == more.count


def test_more_values_than_the_wire_has_room_for_keep_their_shares() -> None:
    made = Histogram()
    made._buckets, made.zeros, made.high = {1: 3 * LARGEST_REQUESTS, 9: LARGEST_REQUESTS}, 0, 2.0
    data = made.to_data()
    assert data.count <= LARGEST_REQUESTS
    assert data.counts[0] == pytest.approx(3 * data.counts[-1], abs=3)
