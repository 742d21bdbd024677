"""Our quicker way through ai-edge-quantizer makes what its own way makes, byte for byte, and sees the same ranges."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgelift_builder import data
from edgelift_builder.optimise import tflite_ends, tflite_plan, tflite_prepare, tflite_ranges
from edgelift_builder.source.tflite_file import open_tflite
from tests.builder import tflite_kinds as kinds
from tests.builder.tflite_files import Net

pytestmark = [pytest.mark.builder, pytest.mark.filterwarnings("ignore::UserWarning")]


def ready(net: Net, folder: Path) -> bytes:
    (folder / "copy").mkdir()
    file = open_tflite(net.write(folder / "net.tflite"), folder / "copy", []).path
    return tflite_prepare.packed(tflite_prepare.prepare(file))


def given(odd: float = 0.0) -> list[data.DataSet]:
    """Samples as calls; `odd` is in one of them."""
    x = np.random.default_rng(1).normal(size=(30, 1, 8)).astype(np.float32)
    x[7, 0, 3] = odd
    return [{"x": row} for row in x]


def own_way(content: bytes, kept: list[str], ranges: Any) -> bytes:
    from ai_edge_quantizer import qtyping, quantizer, recipe

    made = quantizer.Quantizer(content, recipe.static_wi8_ai8())
    for end in ("INPUT", "OUTPUT"):
        made.update_quantization_recipe(".*", qtyping.TFLOperationName[end], algorithm_key="no_quantize")
    for scope in kept:
        name = qtyping.TFLOperationName.ALL_SUPPORTED
        made.update_quantization_recipe(f"^{re.escape(scope)}$", name, algorithm_key="no_quantize")
    return bytes(made.quantize(ranges).quantized_model)


def test_a_file_is_the_quantisers_own(tmp_path: Path) -> None:
    content, plan = ready(kinds.signed(), tmp_path), tflite_plan.static()
    ranges = tflite_ranges.Ranges(content, plan, given()).by("minmax")
    model, ends = tflite_plan.Model(content), tflite_ends.EndsApart(content)
    made = [model.quantised(plan.leaving(kept), ranges) for kept in ([], ["hidden;"], [])]
    assert made[0] == made[2] == own_way(content, [], ranges)
    assert made[1] == own_way(content, ["hidden;"], ranges) != made[0]
    assert ends.content is content and ends.together(made[0]) is made[0], "no output is read inside"


@pytest.mark.parametrize("odd", [0.0, np.inf, np.nan, -3.3e38])
def test_ranges_are_the_quantisers_own(tmp_path: Path, odd: float) -> None:
    from ai_edge_quantizer import calibrator

    content, plan, samples = ready(kinds.signed(), tmp_path), tflite_plan.static(), given(odd)
    own = calibrator.Calibrator(content, num_threads=1, qsv_update_func=tflite_ranges._widened)
    (key,) = own.get_signature_list()
    own.calibrate({key: samples}, plan)
    found = tflite_ranges._statistics(content, plan, samples)
    assert list(found) == list(own.get_model_qsvs())
    for name, wanted in own.get_model_qsvs().items():
        for end in ("min", "max", "low", "high"):
            np.testing.assert_array_equal(found[name][end], wanted[end], strict=True)
