"""The gates as rules: what is a gain and what chance could have shown, on figures made up for the purpose."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgelift_builder import gates
from edgelift_builder.candidate import Candidate
from edgelift_builder.measure.evaluate import Judgement
from edgelift_builder.measure.examine import Examined
from edgelift_builder.measure.golden import Nearness
from edgelift_builder.measure.latency import Ratio
from edgelift_builder.piece import Piece
from edgelift_builder.recipe import StepCall, Variant
from edgelift_builder.targets import load_target

pytestmark = pytest.mark.builder

TARGET = load_target("x86-64")


def candidate(folder: Path, variant: str, size: int, ratio: Ratio | None) -> Candidate:
    """One that was made, runs, and loses nothing beyond doubt."""
    (folder / variant).mkdir()
    (folder / variant / "model.onnx").write_bytes(bytes(size))
    made = Candidate(TARGET, Variant(variant, "onnx", [StepCall("export-onnx")]), 0.5)
    made.piece = Piece("onnx", "k", folder / variant, (("model.onnx", "model"),))
    made.examined = Examined(folder, folder, 16, 0.0, Nearness(1e-3, 0.0, 0.0, argmax=True))
    made.judgement = Judgement("accuracy", 2000, 1.0, 0.99, 1.0, 1.0, 0.0, -0.1, 0.1, 0, 0, "none", "holds")
    made.float_ratio = ratio
    return made


@pytest.mark.parametrize(
    ("size", "ratio", "ships"),
    [
        (400, Ratio(1.0, 0.99, 1.01), True),
        (940, Ratio(0.7, 0.6, 0.8), True),
        (960, Ratio(1.04, 1.035, 1.05), True),
        (960, Ratio(1.5, 0.9, 2.1), False),
        (960, Ratio(1.04, 1.01, 1.07), False),
        (1000, Ratio(1.0, 0.99, 1.01), False),
        (940, None, True),
        (960, None, False),
    ],
)
def test_smaller_or_faster_beyond_chance(tmp_path: Path, size: int, ratio: Ratio | None, ships: bool) -> None:
    both = [candidate(tmp_path, "float32", 1000, Ratio(1.0, 1.0, 1.0)), candidate(tmp_path, "int8", size, ratio)]
    gates.decide(both, accept=False)
    assert both[0].shipped and both[1].shipped == ships
    assert both[1].code == ("" if ships else "no-gain")
    if not ships:
        assert f"{size} against 1000 bytes" in both[1].reason
        assert ratio is None or f"({ratio.low:.2f} to {ratio.high:.2f})" in both[1].reason
