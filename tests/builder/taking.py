"""A source taken as the builder takes it, and its ONNX opened by onnxruntime alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime as ort

from edgelift_builder.convert import onnx_export
from edgelift_builder.facts import SourceFacts
from edgelift_builder.source import load


def taken(path: Path, folder: Path, data: Path | str = "", function: str = "") -> SourceFacts:
    folder.mkdir()
    return load.load_source(str(path), function, str(data), str(folder))


def exported(facts: SourceFacts, folder: Path) -> Any:
    folder.mkdir()
    graph, *_ = onnx_export.export("", facts, str(folder), onnx_export.OPSET)
    return ort.InferenceSession(str(folder / graph), providers=["CPUExecutionProvider"])
