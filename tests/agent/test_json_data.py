"""No silent conversion: a JSON number, word or string becomes exactly the element it stands for, or is refused by name."""

import contextlib
import itertools
import math
import warnings

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agent.test_protocol import codec
from tests.simulators.device import Device

from edgelift_agent.runtime.tensors import NUMPY
from edgelift_agent.serving.json_data import read_data, read_numbers
from edgelift_agent.testing.host import ToyHost
from edgelift_agent.testing.runtime import ToyModelFile
from edgelift_contract.errors import ContractError
from edgelift_contract.manifest import TensorSpec

INTEGERS = [name for name, dtype in NUMPY.items() if dtype.kind in "iu"]
FLOATS = ["FP16", "FP32", "FP64"]
TYPES = [*INTEGERS, *FLOATS, "BOOL", "BYTES"]
#: Numbers that overflow, underflow or round in one float type or another, when read or when squared.
ODD = [1e39, -1e39, 1e300, 1e200, 3e38, 3.5e38, 65519.0, 65504.0, 300.0, 1e-7, 1e-45, 1e-300, 5e-324, -0.0, 10**30]


def decode(dtype: str, data: object, name: str = "x") -> np.ndarray:
    shape = [len(data)] if isinstance(data, list) else [1]
    entry = {"name": name, "datatype": dtype, "shape": shape, "data": data}
    return codec(TensorSpec(name, dtype, [-1])).decode(orjson.dumps({"inputs": [entry]}), None).inputs[name]


#: What no type takes but those named.
FITS = {
    "7": (7, [*INTEGERS, *FLOATS]),
    "-1": (-1, [t for t in INTEGERS if t.startswith("INT")] + FLOATS),
    "300": (300, [t for t in INTEGERS if t not in ("INT8", "UINT8")] + FLOATS),
    "1.7": (1.7, FLOATS),
    "1.0": (1.0, FLOATS),
    "1e39": (1e39, ["FP64"]),
    "70000.5": (70000.5, ["FP32", "FP64"]),
    "2^31": (2**31, ["UINT32", "INT64", "UINT64", "FP32", "FP64"]),
    "2^64 - 1": (2**64 - 1, ["UINT64", "FP32", "FP64"]),
    "a string": ("7", ["BYTES"]),
    "NaN as a string": ("NaN", ["BYTES"]),
    "true": (True, ["BOOL"]),
    "false": (False, ["BOOL"]),
    "null": (None, []),
    "an object": ({}, []),
}


@pytest.mark.parametrize("name", ["x", "pixel_values"], ids=["quick look", "long look"])  # 'l' and 'r' decide it
@pytest.mark.parametrize(("case", "dtype"), [*itertools.product(FITS, TYPES)])
def test_a_value_fits_a_type_or_is_refused_with_the_tensors_name(case: str, dtype: str, name: str) -> None:
    value, types = FITS[case]
    for data in ([value], [value, value]):
        if dtype in types:
            got = decode(dtype, data, name)
            want = value.encode() if isinstance(value, str) else np.array(value).astype(NUMPY[dtype])
            assert (got == want).all()
        else:
            with pytest.raises(ContractError, match=f"input '{name}'") as caught:
                decode(dtype, data, name)
            assert caught.value.code == "bad-request"


@pytest.mark.parametrize("dtype", FLOATS)
def test_nan_and_infinity_are_pointed_to_the_protocols_way(dtype: str) -> None:
    for word in ("NaN", "Infinity", None):
        with pytest.raises(ContractError, match="NaN and infinity travel as binary data"):
            decode(dtype, [1.5, word])
    for token in (b"NaN", b"Infinity", b"-Infinity", b"1e400"):
        text = b'{"inputs":[{"name":"x","datatype":"%b","shape":[1],"data":[%b]}]}' % (dtype.encode(), token)
        with pytest.raises(ContractError, match="not JSON"):
            codec(TensorSpec("x", dtype, [-1])).decode(text, None)


@given(st.lists(st.integers(-(2**70), 2**70), min_size=1), st.sampled_from(INTEGERS))
def test_an_integer_comes_through_whole_or_not_at_all(values: list[int], dtype: str) -> None:
    limits = np.iinfo(NUMPY[dtype])
    try:
        got = read_data(values, NUMPY[dtype], [len(values)])
    except ValueError:
        assert any(not limits.min <= v <= limits.max for v in values)
    else:
        assert got.tolist() == values


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1), st.sampled_from(FLOATS))
def test_a_float_is_rounded_to_nearest_and_never_becomes_infinite(values: list[float], dtype: str) -> None:
    with np.errstate(over="ignore"):
        nearest = np.array(values).astype(NUMPY[dtype])
    try:
        got = read_data(values, NUMPY[dtype], [len(values)])
    except ValueError:
        assert np.isinf(nearest).any()
    else:
        assert np.isfinite(got).all()
        np.testing.assert_array_equal(got, nearest)


MIXED = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.floats(-9, 9), st.text(max_size=2)),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=8,
)


@given(MIXED, st.sampled_from(TYPES), st.lists(st.integers(0, 3), max_size=3))
def test_whatever_comes_is_an_array_of_that_shape_or_one_kind_of_error(
    data: object, dtype: str, shape: list
) -> None:
    try:
        got = read_data(data, NUMPY[dtype], shape)
    except ValueError:
        return
    assert (got.shape, got.dtype) == (tuple(shape), NUMPY[dtype])
    flat, levels = data, shape
    while flat and isinstance(flat[0], list):
        flat = list(itertools.chain.from_iterable(flat))
        levels = levels[1:]
    assert len(flat) == math.prod(shape)
    kinds = {"f": {int, float}, "i": {int}, "u": {int}, "b": {bool}, "O": {str}}[NUMPY[dtype].kind]
    assert set(map(type, flat)) <= kinds


SNEAKY = {
    "strings": '{"inputs":[{"name":"x","datatype":"FP32","shape":[2],"data":["7","8"]}]}',
    "strings, fewer elsewhere": '{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":["7"],"a":1}]}',
    "data twice": '{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1],"data":["7"]}]}',
    "data elsewhere": '{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":["7"]}],"p":{"data":1}}',
    "data as the last value": '{"inputs":[{"datatype":"FP32","shape":[1],"data":["7"],"name":"x"}],"id":"data"}',
    "data in an id": '{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":["7"]}],"id":{"data":1}}',
    "data in the data": '{"inputs":[{"name":"x","datatype":"FP32","shape":[2],"data":["7",{"data":1}]}]}',
    "data in a parameter": '{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":["7"],"p":{"data":1}}]}',
    "data in a shape": '{"inputs":[{"name":"x","datatype":"FP32","data":["7"],"shape":[{"data":1}]}]}',
    "an id that is a number": '{"id":7,"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":["7"]}]}',
    "an escaped name": '{"inputs":[{"name":"\\u0078","datatype":"FP32","shape":[1],"data":["7"]}]}',
    "an object": '{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[{}]}]}',
    "too large": '{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1e39]}]}',
    "too large below zero": '{"inputs":[{"name":"x","datatype":"FP32","shape":[2],"data":[1,-1e300]}]}',
    "nested otherwise": '{"inputs":[{"name":"x","datatype":"FP32","shape":[4],"data":[[1,2],[3,4]]}]}',
    "ragged": '{"inputs":[{"name":"x","datatype":"FP32","shape":[3],"data":[[1,2],[3]]}]}',
    "too few": '{"inputs":[{"name":"x","datatype":"FP32","shape":[3],"data":[1,2]}]}',
}


@pytest.mark.parametrize("case", SNEAKY)
def test_the_quick_way_of_reading_lets_nothing_through(case: str) -> None:
    with pytest.raises(ContractError) as caught:
        codec(TensorSpec("x", "FP32", [-1])).decode(SNEAKY[case].encode(), None)
    assert caught.value.code == "bad-request"


@pytest.mark.parametrize("values", [[1e30, -1e30], [3.4028235e38], [1, 2], [1.5, 2], [], [[1.0], [2.0]]])
@pytest.mark.parametrize("around", ['{"inputs":[%s]}', '{"id":"7","inputs":[%s]}', '{"inputs":[%s],"outputs":[]}'])
def test_both_ways_of_reading_give_the_same(values: list, around: str) -> None:
    shape = [len(values), 1] if values and isinstance(values[0], list) else [len(values)]
    entry = f'{{"name":"x","datatype":"FP32","shape":{shape},"data":{values}}}'
    spec = TensorSpec("x", "FP32", [-1] * len(shape))
    got = codec(spec).decode((around % entry).encode(), None).inputs["x"]
    np.testing.assert_array_equal(got, np.array(values, np.float32))
    assert got.shape == tuple(shape)


def test_nesting_that_the_shape_contradicts_is_refused() -> None:
    assert read_data([[1, 2, 3], [4, 5, 6]], NUMPY["INT32"], [2, 3]).tolist() == [[1, 2, 3], [4, 5, 6]]
    for data in ([[1, 2], [3, 4], [5, 6]], [[[1, 2, 3], [4, 5, 6]]], [[1, 2, 3, 4, 5, 6]], [[1, 2, 3], [4, 5]]):
        with pytest.raises(ValueError, match="nested"):
            read_data(data, NUMPY["INT32"], [2, 3])


@pytest.mark.parametrize("depth", [100, 900, 5000, 200_000])
def test_no_depth_of_nesting_costs_more_than_a_refusal(depth: int) -> None:
    text = b"[" * depth + b"]" * depth
    whole = b'{"inputs":[{"name":"x","datatype":"BYTES","shape":[1],"data":%b}]}' % text
    with pytest.raises(ContractError) as caught:
        codec(TensorSpec("x", "BYTES", [-1])).decode(whole, None)
    assert caught.value.code == "bad-request"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", FLOATS)
def test_an_output_that_json_cannot_hold_is_never_a_null(dtype: str, value: float) -> None:
    words = codec(TensorSpec("x", dtype, [1]), outputs=(TensorSpec("y", dtype, [2]),))
    array = np.array([1, value]).astype(NUMPY[dtype])
    head = {"inputs": [{"name": "x", "datatype": dtype, "shape": [1], "data": [0.5]}]}
    with pytest.raises(ContractError, match="'y' holds NaN or infinity") as caught:
        words.encode(words.decode(orjson.dumps(head), None), {"y": array})
    assert caught.value.code == "not-in-json"
    binary = orjson.dumps({**head, "parameters": {"binary_data_output": True}})
    pieces, _ = words.encode(words.decode(binary, None), {"y": array})
    assert pieces[1] == array.tobytes()


def test_bytes_that_are_no_text_are_never_made_text() -> None:
    words = codec(TensorSpec("x", "FP32", [1]), outputs=(TensorSpec("y", "BYTES", [1]),))
    request = words.decode(
        orjson.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1]}]}), None
    )
    with pytest.raises(ContractError, match="no text"):
        words.encode(request, {"y": np.array([b"\xff"], dtype=np.object_)})


@pytest.mark.parametrize("dtype", FLOATS)
def test_no_number_makes_numpy_warn(dtype: str) -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for number in ODD:
            read_numbers([number, number], NUMPY[dtype], [2])
            with contextlib.suppress(ValueError):
                read_data([number, number], NUMPY[dtype], [2])
    assert [str(one.message) for one in told] == []


def test_no_number_makes_a_line_in_the_log(host: ToyHost, device: Device) -> None:
    host.assign(device.name, toy=host.publish("1", ToyModelFile(scale=1.0)))
    device.start()
    host.wait_for(device.name, lambda r: r.slots.get("toy") and r.slots["toy"].update.outcome == "committed")
    for number in ODD:
        device.infer([number] * 4)
    assert device.answer() == 1.0
    device.stop()
    assert "Warning" not in device.log.read_text()
