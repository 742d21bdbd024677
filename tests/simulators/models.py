"""Small real models, made with onnx and run by onnxruntime, published by a toy host."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper

from edgelift_agent.testing.host import ToyHost
from edgelift_contract import codec
from edgelift_contract.assignment import Policy, SlotAssignment
from edgelift_contract.golden import Golden, Tensor, dump_goldens
from edgelift_contract.hardware import this_machine
from edgelift_contract.manifest import (
    FileEntry,
    Goldens,
    Manifest,
    Provenance,
    SessionOptions,
    TensorSpec,
    Tolerance,
    dump_manifest,
)


def graph_many(
    scale: float = 1.0, fails_from: int = 100
) -> tuple[onnx.ModelProto, list[TensorSpec], list[TensorSpec]]:
    """sum = (a + b)·scale, twice = b + b: two inputs, two outputs, two element types; b from 0, below `fails_from`."""
    nodes = [
        helper.make_node("Gather", ["numbers", "b"], ["bf"]),  # the runtime refuses an index that is not there
        helper.make_node("Add", ["a", "bf"], ["plain"]),
        helper.make_node("Mul", ["plain", "scale"], ["sum"]),
        helper.make_node("Add", ["b", "b"], ["twice"]),
    ]
    inputs = [
        helper.make_tensor_value_info("a", TensorProto.FLOAT, ["n", 3]),
        helper.make_tensor_value_info("b", TensorProto.INT64, ["n", 1]),
    ]
    outputs = [
        helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["n", 3]),
        helper.make_tensor_value_info("twice", TensorProto.INT64, ["n", 1]),
    ]
    weights = [
        helper.make_tensor("scale", TensorProto.FLOAT, [], [scale]),
        helper.make_tensor("numbers", TensorProto.FLOAT, [fails_from], [float(n) for n in range(fails_from)]),
    ]
    specs_in = [TensorSpec("a", "FP32", [-1, 3]), TensorSpec("b", "INT64", [-1, 1])]
    specs_out = [TensorSpec("sum", "FP32", [-1, 3]), TensorSpec("twice", "INT64", [-1, 1])]
    return _model(helper.make_graph(nodes, "many", inputs, outputs, weights)), specs_in, specs_out


def graph_text() -> tuple[onnx.ModelProto, list[TensorSpec], list[TensorSpec]]:
    """same = words: strings in, strings out."""
    words = helper.make_tensor_value_info("words", TensorProto.STRING, ["n", 2])
    same = helper.make_tensor_value_info("same", TensorProto.STRING, ["n", 2])
    node = helper.make_node("Identity", ["words"], ["same"])
    graph = helper.make_graph([node], "text", [words], [same])
    return _model(graph), [TensorSpec("words", "BYTES", [-1, 2])], [TensorSpec("same", "BYTES", [-1, 2])]


def graph_simple() -> tuple[onnx.ModelProto, list[TensorSpec], list[TensorSpec]]:
    """Triton's `simple`: OUTPUT0 = INPUT0 + INPUT1, OUTPUT1 = INPUT0 − INPUT1, sixteen INT32 each."""
    nodes = [
        helper.make_node("Add", ["INPUT0", "INPUT1"], ["OUTPUT0"]),
        helper.make_node("Sub", ["INPUT0", "INPUT1"], ["OUTPUT1"]),
    ]
    return _sixteen("simple", nodes, TensorProto.INT32, "INT32", 2)


def graph_simple_string() -> tuple[onnx.ModelProto, list[TensorSpec], list[TensorSpec]]:
    """Triton's `simple_string`: the same on numbers written as strings."""
    nodes = [
        *(helper.make_node("Cast", [f"INPUT{n}"], [f"n{n}"], to=TensorProto.INT32) for n in range(2)),
        helper.make_node("Add", ["n0", "n1"], ["sum"]),
        helper.make_node("Sub", ["n0", "n1"], ["difference"]),
        helper.make_node("Cast", ["sum"], ["OUTPUT0"], to=TensorProto.STRING),
        helper.make_node("Cast", ["difference"], ["OUTPUT1"], to=TensorProto.STRING),
    ]
    return _sixteen("simple_string", nodes, TensorProto.STRING, "BYTES", 2)


def graph_simple_identity() -> tuple[onnx.ModelProto, list[TensorSpec], list[TensorSpec]]:
    """Triton's `simple_identity`: OUTPUT0 = INPUT0, strings."""
    return _sixteen(
        "simple_identity", [helper.make_node("Identity", ["INPUT0"], ["OUTPUT0"])], TensorProto.STRING, "BYTES", 1
    )


def _sixteen(
    name: str, nodes: list[onnx.NodeProto], kind: int, dtype: Any, count: int
) -> tuple[onnx.ModelProto, list[TensorSpec], list[TensorSpec]]:
    values = {
        side: [helper.make_tensor_value_info(f"{side}{n}", kind, [1, 16]) for n in range(count)]
        for side in ("INPUT", "OUTPUT")
    }
    graph = helper.make_graph(nodes, name, values["INPUT"], values["OUTPUT"])
    specs = {side: [TensorSpec(f"{side}{n}", dtype, [1, 16]) for n in range(count)] for side in values}
    return _model(graph), specs["INPUT"], specs["OUTPUT"]


TRITONS = {"simple": graph_simple, "simple_string": graph_simple_string, "simple_identity": graph_simple_identity}


def _goldens_of_tritons(name: str, outputs: list[TensorSpec]) -> list[Golden]:
    numbers = [np.arange(16, dtype=np.int32).reshape(1, 16), np.full((1, 16), 2, np.int32)]
    results = [numbers[0] + numbers[1], numbers[0] - numbers[1]] if name != "simple_identity" else numbers[:1]

    def tensor(spec: str, array: np.ndarray) -> Tensor:
        if name == "simple":
            return _tensor(spec, "INT32", array)
        raw = b"".join(len(w).to_bytes(4, "little") + w for w in (str(n).encode() for n in array.ravel()))
        return Tensor(spec, "BYTES", [1, 16], raw)

    inputs = [tensor(f"INPUT{n}", array) for n, array in enumerate(numbers[: len(outputs)])]
    return [Golden(inputs, [tensor(f"OUTPUT{n}", array) for n, array in enumerate(results)])]


def _model(graph: onnx.GraphProto) -> onnx.ModelProto:
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def publish_onnx(
    host: ToyHost,
    kind: str,
    version: str = "1",
    scale: float = 1.0,
    policy: Policy | None = None,
    fails_from: int = 100,
    **changes: Any,
) -> SlotAssignment:
    """Publish one of the graphs above under its own name, some fields of its manifest changed; goldens computed by numpy."""
    if kind == "cnn":
        model, inputs, outputs = graph_cnn(int(version))
        goldens = goldens_by_running(model, inputs)
    elif kind in TRITONS:
        model, inputs, outputs = TRITONS[kind]()
        goldens = _goldens_of_tritons(kind, outputs)
    else:
        model, inputs, outputs = graph_many(scale, fails_from) if kind == "many" else graph_text()
        goldens = _goldens_many(scale) if kind == "many" else _goldens_text()
    body = model.SerializeToString(deterministic=True)
    data = dump_goldens(goldens)
    manifest = Manifest(
        schema=Manifest.SCHEMA,
        model=kind,
        version=version,
        release_counter=int(version),
        variant="float32",
        hardware_class=this_machine(),
        format="onnx",
        runtime="onnxruntime",
        files=[
            FileEntry("model.onnx", len(body), codec.digest(body), "model"),
            FileEntry("goldens.msgpack", len(data), codec.digest(data), "goldens"),
        ],
        inputs=inputs,
        outputs=outputs,
        goldens=Goldens("goldens.msgpack", len(goldens), Tolerance("test", 1e-4)),
        options=SessionOptions(threads=1),
        provenance=Provenance(codec.digest(b"test"), "test#0"),
    )
    artifact, manifest_bytes = dump_manifest(msgspec.structs.replace(manifest, **changes))
    host.blobs.update({codec.digest(part): part for part in (body, data, manifest_bytes)})
    # Whatever else the machine is busy with must not send a good model back for its latency.
    policy = policy or Policy(probation_s=0.2, max_latency_ratio=0)
    return SlotAssignment(artifact, len(manifest_bytes), kind, version, policy)


def _goldens_many(scale: float) -> list[Golden]:
    goldens = []
    for i in range(4):
        a = np.full((1, 3), i, np.float32)
        b = np.full((1, 1), i, np.int64)
        total = ((a + b) * np.float32(scale)).astype(np.float32)
        goldens.append(
            Golden(
                [_tensor("a", "FP32", a), _tensor("b", "INT64", b)],
                [_tensor("sum", "FP32", total), _tensor("twice", "INT64", b + b)],
            )
        )
    return goldens


def _goldens_text() -> list[Golden]:
    words = [b"ab", b"c"]
    raw = b"".join(len(w).to_bytes(4, "little") + w for w in words)
    return [Golden([Tensor("words", "BYTES", [1, 2], raw)], [Tensor("same", "BYTES", [1, 2], raw)])]


def _tensor(name: str, dtype: Any, array: np.ndarray) -> Tensor:
    return Tensor(name, dtype, list(array.shape), np.ascontiguousarray(array).tobytes())


def small_model_file(folder: Path) -> Path:
    """The first graph as a file, for those who need one."""
    path = folder / "model.onnx"
    path.write_bytes(graph_many()[0].SerializeToString(deterministic=True))
    return path


def graph_cnn(seed: int = 0) -> tuple[onnx.ModelProto, list[TensorSpec], list[TensorSpec]]:
    """The reference CNN's graph (24×24 in, ten scores out) with random weights."""
    rng = np.random.default_rng(seed)
    shapes = {"w1": (32, 1, 3, 3), "w2": (64, 32, 3, 3), "w3": (64 * 36, 128), "w4": (128, 10)}
    weights = [
        helper.make_tensor(
            name, TensorProto.FLOAT, shape, rng.normal(0, 0.05, shape).astype(np.float32).tobytes(), raw=True
        )
        for name, shape in shapes.items()
    ]
    conv = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c1"], **conv),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("MaxPool", ["r1"], ["p1"], **pool),
        helper.make_node("Conv", ["p1", "w2"], ["c2"], **conv),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("MaxPool", ["r2"], ["p2"], **pool),
        helper.make_node("Flatten", ["p2"], ["f"]),
        helper.make_node("MatMul", ["f", "w3"], ["m"]),
        helper.make_node("Relu", ["m"], ["r3"]),
        helper.make_node("MatMul", ["r3", "w4"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, 24, 24])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10])
    graph = helper.make_graph(nodes, "cnn", [x], [y], weights)
    return _model(graph), [TensorSpec("x", "FP32", [-1, 1, 24, 24])], [TensorSpec("y", "FP32", [-1, 10])]


def goldens_by_running(model: onnx.ModelProto, inputs: list[TensorSpec], count: int = 4) -> list[Golden]:
    """What onnxruntime itself makes of random inputs."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(7)
    goldens = []
    for _ in range(count):
        feed = {s.name: rng.random([1 if n == -1 else n for n in s.shape], np.float32) for s in inputs}
        names = [output.name for output in session.get_outputs()]
        results = dict(zip(names, session.run(names, feed), strict=True))
        goldens.append(
            Golden(
                [_tensor(k, "FP32", v) for k, v in feed.items()],
                [_tensor(k, "FP32", v) for k, v in results.items()],
            )
        )
    return goldens
