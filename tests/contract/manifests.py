"""Manifests to test with: one whole, as the builder writes them, and a hypothesis strategy for many."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from edgelift_contract.manifest import (
    Budgets,
    Evidence,
    FileEntry,
    Goldens,
    Manifest,
    Provenance,
    SessionOptions,
    TensorSpec,
    Tolerance,
)
from edgelift_contract.meaning import TensorMeaning

GRAPH, WEIGHTS, GOLDENS = "a" * 64, "b" * 64, "c" * 64


def manifest(**changes: Any) -> Manifest:
    """A plausible manifest, with some fields changed."""
    fields: dict[str, Any] = {
        "schema": 1,
        "model": "digits",
        "version": "2",
        "release_counter": 2,
        "variant": "int8-static",
        "hardware_class": "arm64-neon",
        "format": "onnx",
        "runtime": "onnxruntime",
        "runtime_range": ">=1.17",
        "files": [
            FileEntry("model.onnx", 3269, GRAPH, "model"),
            FileEntry("weights.bin", 1259648, WEIGHTS, "weights"),
            FileEntry("goldens.msgpack", 38148, GOLDENS, "goldens"),
        ],
        "inputs": [TensorSpec("x", "FP32", [-1, 1, 24, 24])],
        "outputs": [TensorSpec("output_0", "FP32", [-1, 10])],
        "options": SessionOptions(threads=4, entries={"session.qdqisint8allowed": "1"}),
        "goldens": Goldens("goldens.msgpack", 16, Tolerance("x86-64-vnni/onnxruntime 1.32.0/0f1e2d3c4b5a", 0.125)),
        "budgets": Budgets(accuracy_drop_pp=0.5),
        "evidence": [
            Evidence("accuracy", 0.9883, 0.98, 0.99, 1200, "d" * 64, 0.9892, "x86-64-vnni", "onnxruntime 1.32.0")
        ],
        "provenance": Provenance("e" * 64, "int8-static#0a1b2c3d4e5f", ["export-onnx", "static-int8"]),
    }
    return Manifest(**(fields | changes))


def told() -> Manifest:
    """One whose source told what its numbers mean."""
    return manifest(
        inputs=[
            TensorSpec("x", "FP32", [-1, 3, 24, 24], TensorMeaning(unit="0 to 255", scale=[58.4], offset=[123.7])),
            TensorSpec("n", "INT64", [-1, 2], TensorMeaning(scale=[1.0, 0.5], axis=1)),
        ],
        outputs=[TensorSpec("output_0", "FP32", [-1, 3], TensorMeaning(labels=["cat", "dog", "Löwe 猫"], axis=1))],
        metadata={"camera": "north", "threshold": 0.25, "year": 2026, "colour": False},
    )


_label = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=20)
_number = st.floats(allow_nan=False, allow_infinity=False)
_meanings = st.none() | st.builds(
    TensorMeaning,
    labels=st.lists(_label, max_size=3),
    unit=st.sampled_from(["", "°C"]),
    scale=st.lists(_number.filter(bool), max_size=1),
    offset=st.lists(_number, max_size=1),
)
_name = st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,63}", fullmatch=True)
_sha = st.text("0123456789abcdef", min_size=64, max_size=64)
_share = st.floats(min_value=-1, max_value=1)
_specs = st.lists(
    st.builds(
        TensorSpec,
        st.text(max_size=20),
        st.sampled_from(["FP32", "INT8", "BYTES"]),
        st.lists(st.integers(-1, 1000), max_size=16),
        _meanings,
    ),
    min_size=1,
    max_size=3,
)

manifests = st.builds(
    manifest,
    model=_name,
    version=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}", fullmatch=True),
    release_counter=st.integers(0, 2**53),
    variant=_name,
    inputs=_specs,
    outputs=_specs,
    metadata=st.dictionaries(
        st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", fullmatch=True),
        st.text(max_size=20) | st.booleans() | st.integers(-(2**53), 2**53) | _number,
        max_size=3,
    ),
    options=st.builds(
        SessionOptions,
        threads=st.integers(0, 256),
        spinning=st.booleans(),
        optimisation=st.sampled_from(["disabled", "basic", "extended", "all"]),
        entries=st.dictionaries(st.text(max_size=10), st.text(max_size=10), max_size=3),
    ),
    evidence=st.lists(
        st.builds(
            Evidence,
            metric=st.text(max_size=10),
            value=_share,
            low=_share,
            high=_share,
            n=st.integers(0, 10**9),
            data_sha256=_sha,
            baseline=_share,
            measured_on=st.just("arm64-neon"),
            runtime=st.just("onnxruntime 1.32.0"),
            verdict=st.sampled_from(["holds", "fails", "cannot-tell"]),
        ),
        max_size=3,
    ),
)
