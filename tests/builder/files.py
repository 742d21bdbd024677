"""Model files for the tests, written by the libraries that users write them with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from tests.builder.tiny import Tiny, tiny


def torchscript(path: Path) -> Path:
    torch.jit.save(torch.jit.script(tiny().model), str(path))
    return path


def program(path: Path, *, batch_free: bool = True) -> Path:
    shapes = ({0: torch.export.Dim("batch")},) if batch_free else None
    example = (torch.zeros(2 if batch_free else 1, 1, 8, 8),)
    torch.export.save(torch.export.export(tiny().model, example, dynamic_shapes=shapes), path)
    return path


def state_dict(path: Path) -> Path:
    torch.save(Tiny().state_dict(), path)
    return path


def onnx_file(path: Path, *, external: bool = True, batch: int | str = "n", width: int = 64) -> Path:
    """`x: float32[n, 64] → y: float32[n, 4]`: two layers, weights beside the graph."""
    rng = np.random.default_rng(0)
    first = rng.normal(size=(width, 32)).astype(np.float32) / 8
    weights = {"w1": first, "b1": np.zeros(32, np.float32), "w2": rng.normal(size=(32, 4)).astype(np.float32)}
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["h0"], name="first"),
        helper.make_node("Add", ["h0", "b1"], ["h1"], name="bias"),
        helper.make_node("Relu", ["h1"], ["h2"], name="relu"),
        helper.make_node("MatMul", ["h2", "w2"], ["y"], name="second"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 4])],
        [numpy_helper.from_array(a, n) for n, a in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(
        model, path, save_as_external_data=external, location="weights.data", size_threshold=16,
        all_tensors_to_one_file=True,
    )  # fmt: skip
    return path


def npz(path: Path) -> Path:
    source = tiny()
    np.savez(path, x=source.evaluation_inputs, labels=source.evaluation_labels)
    return path


#: Words that the text model knows, and what it answers to a text that has most of each row's.
WORDS = ("rain", "snow", "frost", "sun", "heat", "drought", "wind", "storm", "gale")
LABELS = ("naß", "trocken", "windig")


def text_file(path: Path, batch: int | str = "n") -> Path:
    """`words: string[n, 4]` → `label: string[n]`, `scores: float32[n, 3]`: counts words, adds them up, names the best."""
    weights = np.kron(np.eye(3), np.ones((3, 1))).astype(np.float32) + 0.01 * np.arange(
        27, dtype=np.float32
    ).reshape(9, 3)
    nodes = [
        helper.make_node(
            "TfIdfVectorizer", ["words"], ["counts"], mode="TF", min_gram_length=1, max_gram_length=1, max_skip_count=0,
            ngram_counts=[0], ngram_indexes=list(range(9)), pool_strings=list(WORDS),
        ),
        helper.make_node("MatMul", ["counts", "w"], ["scores"]),
        helper.make_node("ArgMax", ["scores"], ["best"], axis=1, keepdims=0),
        helper.make_node(
            "LabelEncoder", ["best"], ["label"], domain="ai.onnx.ml", keys_int64s=[0, 1, 2], values_strings=list(LABELS),
        ),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("words", TensorProto.STRING, [batch, 4])],
        [
            helper.make_tensor_value_info("label", TensorProto.STRING, [batch]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, 3]),
        ],
        [numpy_helper.from_array(weights, "w")],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


def texts(count: int) -> np.ndarray:
    """`[count, 4]`: words that the text model knows, and some that it does not."""
    rng = np.random.default_rng(0)
    return np.array([*WORDS, "", "Größe", "日本"])[rng.integers(0, len(WORDS) + 3, (count, 4))]
