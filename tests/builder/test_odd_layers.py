"""Modules with layers that an exporter takes wrongly as they are, and what becomes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgelift_builder import data
from edgelift_builder.convert import tflite
from edgelift_builder.facts import EVALUATION, REFERENCE, SourceFacts
from edgelift_builder.measure.evaluate import largest_difference
from edgelift_contract import ContractError
from tests.builder.taking import exported, taken

pytestmark = [
    pytest.mark.builder, pytest.mark.onnx,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore:# The axis name"),
    pytest.mark.filterwarnings("ignore:LSTM with projections", "ignore:Using padding"),
]  # fmt: skip

MODULES = """
import numpy as np, torch
from torch import nn
from edgelift_builder import Source

torch.manual_seed(0)
X = np.random.default_rng(0).normal(size=(40, 5, 8)).astype(np.float32)

class Projected(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.layers = nn.LSTM(8, 12, 2, proj_size=4, batch_first=True, **options)
    def forward(self, x):
        heard, (h, c) = self.layers(x)
        return heard, h.transpose(0, 1), c.transpose(0, 1)

class Padded(nn.Module):
    def __init__(self):
        super().__init__()
        self.even, self.odd = nn.Conv1d(5, 6, 4, padding="same"), nn.Conv1d(6, 4, 3, padding="same", dilation=2)
        self.last = nn.Conv1d(4, 2, 3, padding="valid", stride=2)
    def forward(self, x):
        return self.last(self.odd(self.even(x)).relu())

def projected():
    return Source("projected", Projected().eval(), (X[:1, :2],), X[:, :2])

def projected_both_ways():
    return Source("both", Projected(bidirectional=True, bias=False).eval(), (X[:1, :2],), X[:, :2])

def projected_of_any_length():
    return Source("any", Projected().eval(), (X[:1],), [x[: 3 + k % 3] for k, x in enumerate(X)])

def padded():
    return Source("padded", Padded().eval(), (X[:1],), X)
"""


def source(folder: Path, function: str) -> SourceFacts:
    (folder / "modules.py").write_text(MODULES)
    return taken(folder / "modules.py", folder / "sets", function=function)


@pytest.mark.parametrize("name", ["projected", "projected_both_ways"])
def test_a_projected_lstm_becomes_onnx_that_answers_as_it_does(name: str, tmp_path: Path) -> None:
    facts = source(tmp_path, name)
    session = exported(facts, tmp_path / "made")
    samples, answers = (data.load(tmp_path / "sets" / file) for file in (EVALUATION, REFERENCE))
    found = dict(zip(answers, session.run(None, samples), strict=True))
    assert largest_difference(found, answers) < 1e-5


def test_a_projected_lstm_over_any_length_is_refused_in_words(tmp_path: Path) -> None:
    facts = source(tmp_path, "projected_of_any_length")
    with pytest.raises(ContractError, match="ONNX has no LSTM with a projection"):
        exported(facts, tmp_path / "made")


def test_padding_by_name_becomes_tflite(tmp_path: Path) -> None:
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    tflite.export("", source(tmp_path, "padded"), str(tmp_path / "model.tflite"))
    runner = interpreter.Interpreter(str(tmp_path / "model.tflite")).get_signature_runner()
    samples, answers = (data.load(tmp_path / "sets" / file) for file in (EVALUATION, REFERENCE))
    found = np.concatenate([runner(x=one[None])["output_0"] for one in samples["x"]])
    assert largest_difference({"output_0": found}, answers) < 1e-5
