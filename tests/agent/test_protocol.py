"""Open Inference Protocol V2, byte by byte: what is taken, what is refused, what comes back."""

import struct

import numpy as np
import orjson
import pytest

from edgelift_agent.runtime.tensors import NUMPY
from edgelift_agent.serving.outputs import AS_BINARY, AS_JSON
from edgelift_agent.serving.protocol import Codec
from edgelift_contract.errors import ContractError
from edgelift_contract.manifest import FileEntry, Goldens, Manifest, Provenance, TensorSpec, Tolerance


def manifest(*inputs: TensorSpec, outputs: tuple[TensorSpec, ...], tflite: bool = False) -> Manifest:
    return Manifest(
        schema=1,
        model="toy",
        version="1",
        release_counter=1,
        variant="float32",
        hardware_class="x86-64-avx2",
        format="tflite" if tflite else "onnx",
        runtime="litert" if tflite else "onnxruntime",
        files=[FileEntry("m", 1, "0" * 64, "model")],
        inputs=list(inputs),
        outputs=list(outputs),
        goldens=Goldens("g", 1, Tolerance("k", 0)),
        provenance=Provenance("0" * 64, "r"),
    )


X = TensorSpec("x", "FP32", [-1, 2])
Y = TensorSpec("y", "FP32", [-1, 2])


def codec(*inputs: TensorSpec, outputs: tuple[TensorSpec, ...] = (Y,), tflite: bool = False) -> Codec:
    return Codec(
        manifest(*inputs, outputs=outputs, tflite=tflite), model="m", version="1", parameters={"release": "toy@1"}
    )


def body(**entry: object) -> bytes:
    return orjson.dumps({"id": "7", "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], **entry}]})


@pytest.mark.parametrize("data", [[1.5, 2.5], [[1.5, 2.5]]])
def test_json_data_flat_or_nested(data: object) -> None:
    request = codec(X).decode(body(data=data), None)
    np.testing.assert_array_equal(request.inputs["x"], np.array([[1.5, 2.5]], np.float32))
    assert (request.id, request.outputs) == ("7", {"y": AS_JSON})


@pytest.mark.parametrize("dtype", [d for d in NUMPY if d != "BYTES"])
def test_every_datatype_makes_the_round_trip_as_binary(dtype: str) -> None:
    array = np.array([[0, 1], [1, 0], [1, 1]]).astype(NUMPY[dtype])
    spec = TensorSpec("x", dtype, [-1, 2])
    raw = array.tobytes()
    head = orjson.dumps(
        {
            "inputs": [
                {"name": "x", "datatype": dtype, "shape": [3, 2], "parameters": {"binary_data_size": len(raw)}}
            ],
            "parameters": {"binary_data_output": True},
        }
    )
    words = codec(spec, outputs=(TensorSpec("y", dtype, [-1, 2]),))
    request = words.decode(head + raw, len(head))
    np.testing.assert_array_equal(request.inputs["x"], array)
    pieces, length = words.encode(request, {"y": array})
    answer = b"".join(pieces)
    described = orjson.loads(answer[:length])["outputs"][0]
    assert (described["datatype"], described["parameters"]["binary_data_size"]) == (dtype, len(raw))
    assert answer[length:] == raw


@pytest.mark.parametrize("dtype", [d for d in NUMPY if d != "BYTES"])
def test_every_datatype_makes_the_round_trip_as_json(dtype: str) -> None:
    values = [True, False] if dtype == "BOOL" else [0, 1]
    spec = TensorSpec("x", dtype, [1, 2])
    words = codec(spec)
    request = words.decode(body(datatype=dtype, data=values), None)
    assert request.inputs["x"].dtype == NUMPY[dtype]
    pieces, length = words.encode(request, {"y": request.inputs["x"]})
    assert length is None
    assert orjson.loads(b"".join(pieces)) == {
        "model_name": "m",
        "model_version": "1",
        "parameters": {"release": "toy@1"},
        "outputs": [{"name": "y", "datatype": dtype, "shape": [1, 2], "data": values}],
        "id": "7",
    }


def test_bytes_travel_both_ways() -> None:
    spec = TensorSpec("x", "BYTES", [2])
    out = (TensorSpec("y", "BYTES", [2]),)
    raw = b"".join(struct.pack("<I", len(s)) + s for s in (b"ab", b"\xff\x00c"))
    head = orjson.dumps(
        {"inputs": [{"name": "x", "datatype": "BYTES", "shape": [2],
                     "parameters": {"binary_data_size": len(raw)}}],
         "outputs": [{"name": "y", "parameters": {"binary_data": True}}]}
    )  # fmt: skip
    words = codec(spec, outputs=out, tflite=True)
    with pytest.raises(ContractError, match="element 1 is not UTF-8"):
        codec(spec, outputs=out).decode(head + raw, len(head))  # onnxruntime's strings are text
    request = words.decode(head + raw, len(head))
    assert list(request.inputs["x"]) == [b"ab", b"\xff\x00c"]
    pieces, length = words.encode(request, {"y": request.inputs["x"]})
    assert b"".join(pieces)[length:] == raw


def test_a_raw_request_is_one_tensor_and_nothing_else() -> None:
    raw = np.array([[1, 2]], "<f4").tobytes()
    request = codec(TensorSpec("x", "FP32", [-1, 2])).decode(raw, 0)
    np.testing.assert_array_equal(request.inputs["x"], [[1, 2]])
    assert request.outputs == {"y": AS_BINARY}


@pytest.mark.parametrize(
    ("takes", "given"),
    [([-1], [5]), ([-1], [0]), ([-1, 2], [3, 2]), ([2, -1], [2, 3]), ([-1, -1], [1, 4]), ([-1, 2, -1], [1, 2, 3])]
)  # fmt: skip
def test_a_raw_request_of_a_free_axis_says_by_its_length_how_long_it_is(
    takes: list[int], given: list[int]
) -> None:
    array = np.arange(np.prod(given), dtype="<f4").reshape(given)
    request = codec(TensorSpec("x", "FP32", takes)).decode(array.tobytes(), 0)
    assert request.inputs["x"].shape == tuple(given)
    np.testing.assert_array_equal(request.inputs["x"], array)


def test_a_raw_request_of_too_many_free_axes_or_of_odd_length_is_refused() -> None:
    for takes, size in (([-1, -1, -1], 8), ([2, -1, -1], 8), ([-1, 2], 12), ([2, -1], 12), ([-1], 3)):
        with pytest.raises(ContractError) as caught:
            codec(TensorSpec("x", "FP32", takes)).decode(bytes(size), 0)
        assert caught.value.code == "bad-request" and "'x'" in caught.value.message


WRONG = {
    "not JSON": (b"{", "not JSON"),
    "no inputs": (b"{}", "no list 'inputs'"),
    "unknown input": (body(name="z", data=[1, 2]), "has no input 'z'"),
    "missing input": (b'{"inputs":[]}', "'x' is missing"),
    "wrong datatype": (body(datatype="FP64", data=[1, 2]), "takes FP32"),
    "wrong rank": (body(shape=[2], data=[1, 2]), "the model takes [-1, 2]"),
    "wrong shape": (body(shape=[1, 3], data=[1, 2, 3]), "the model takes [-1, 2]"),
    "too little data": (body(data=[1]), "holds 1 elements"),
    "not a number": (body(data=["a", "b"]), "takes numbers, not 'a'"),
    "no data": (body(), "has no data"),
    "negative shape": (body(shape=[-1, 2], data=[1, 2]), "has no shape"),
    "binary past the end": (body(parameters={"binary_data_size": 8}), "past the end"),
    "unknown output": (
        body(data=[1, 2])[:-1] + b',"outputs":[{"name":"q"}]}',
        "no output 'q'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_refused_in_one_sentence(case: str) -> None:
    data, words = WRONG[case]
    with pytest.raises(ContractError) as caught:
        codec(X).decode(data, None)
    assert caught.value.code == "bad-request"
    assert words in caught.value.message


def test_a_header_longer_than_the_body_is_refused() -> None:
    with pytest.raises(ContractError, match="the body has"):
        codec(X).decode(b"{}", 99)


def test_a_shape_that_was_right_before_makes_no_other_shape_right() -> None:
    words = codec(X)
    assert words.decode(body(data=[1, 2]), None).inputs["x"].shape == (1, 2)
    with pytest.raises(ContractError, match="the model takes"):
        words.decode(body(shape=[1, 3], data=[1, 2, 3]), None)
    assert words.decode(body(shape=[2, 2], data=[1, 2, 3, 4]), None).inputs["x"].shape == (2, 2)


def test_bf16_is_refused_either_way() -> None:
    words = codec(TensorSpec("x", "BF16", [1, 2]))
    with pytest.raises(ContractError, match="binary data only"):
        words.decode(body(datatype="BF16", data=[1, 2]), None)
    with pytest.raises(ContractError, match="nothing here can hold BF16"):
        words.decode(b"1234", 0)


def test_long_json_for_a_small_shape_is_refused_before_it_is_read() -> None:
    """Were it read, it would not be JSON."""
    for text in (b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1, 2],"data":[' + b"1," * 10**6,
                 b"1," * 10**6 + b'],"shape" : [1,2]}]}'):  # fmt: skip
        with pytest.raises(ContractError) as caught:
            codec(X).decode(text, None)
        assert caught.value.code == "too-large"
    many = body(shape=[50_000, 2], data=[1.25] * 100_000)
    assert codec(X).decode(many, None).inputs["x"].shape == (50_000, 2)
