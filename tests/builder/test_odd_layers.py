"""Modules with layers that an exporter takes wrongly as they are, and what becomes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter

from edgelift_builder import data
from edgelift_builder.convert import tflite, torchscript
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

class Casting(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 3)
    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            made = self.layer(x)
        return made.float()

class Decorated(Casting):
    @torch.autocast("cpu", dtype=torch.bfloat16)
    def forward(self, x):
        return self.layer(x).relu().float()

def casting():
    return Source("casting", Casting().eval(), (X[:1],), X)

def casting_all():
    return Source("casting", Decorated().eval(), (X[:1],), X)

def half():
    return Source("half", nn.Linear(8, 3).eval().half(), (X[:1].astype("f2"),), X.astype("f2"))

def double_script():
    return Source("double", torch.jit.script(nn.Linear(8, 3).eval().double()), (X[:1].astype("f8"),), X.astype("f8"))

def without_weights():
    with torch.device("meta"):
        model = nn.Linear(8, 3)
    return Source("meta", model.eval(), (X[:1],), X)

class Traced(nn.Module):
    def __init__(self):
        super().__init__()
        self.part = torch.jit.trace(nn.Sequential(nn.Conv1d(5, 4, 3), nn.ReLU()), torch.zeros(1, 5, 8))
        self.last = nn.Linear(6, 3)
    def forward(self, x):
        return self.last(self.part(x))

def traced():
    return Source("traced", Traced().eval(), (X[:1],), X)

class Causal(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 8, batch_first=True), 1)
    def forward(self, x):
        return self.layers(x, mask=nn.Transformer.generate_square_subsequent_mask(x.shape[1]))

class Grown(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.ConvTranspose2d(1, 2, 3, stride=2, padding=1, output_padding=(1, 0))
    def forward(self, x):
        return self.up(x[:, None])

class Hot(nn.Linear):
    def forward(self, x):
        return super().forward(nn.functional.one_hot((x > 0).sum(1), 6).float())

def causal():
    return Source("causal", Causal().eval(), (X[:1],), X)

def grown():
    return Source("grown", Grown().eval(), (X[:1],), X)

def hot():
    return Source("hot", Hot(6, 3).eval(), (X[:1],), X)

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


@pytest.mark.parametrize("name", ["projected", "projected_both_ways", "traced", "causal"])
def test_a_layer_of_its_own_kind_becomes_onnx_that_answers_as_it_does(name: str, tmp_path: Path) -> None:
    facts = source(tmp_path, name)
    session = exported(facts, tmp_path / "made")
    samples, answers = (data.load(tmp_path / "sets" / file) for file in (EVALUATION, REFERENCE))
    found = dict(zip(answers, session.run(None, samples), strict=True))
    assert largest_difference(found, answers) < 1e-5


def test_a_projected_lstm_over_any_length_is_refused_in_words(tmp_path: Path) -> None:
    facts = source(tmp_path, "projected_of_any_length")
    with pytest.raises(ContractError, match="ONNX has no LSTM with a projection"):
        exported(facts, tmp_path / "made")


@pytest.mark.parametrize("name", ["padded", "traced", "grown", "hot"])
def test_a_layer_of_its_own_kind_becomes_tflite_that_answers_as_it_does(name: str, tmp_path: Path) -> None:
    tflite.export("", source(tmp_path, name), str(tmp_path / "model.tflite"))
    runner = Interpreter(str(tmp_path / "model.tflite")).get_signature_runner()
    samples, answers = (data.load(tmp_path / "sets" / file) for file in (EVALUATION, REFERENCE))
    found = np.concatenate([runner(x=one[None])["output_0"] for one in samples["x"]])
    assert largest_difference({"output_0": found}, answers) < 1e-5


@pytest.mark.parametrize("name", ["casting", "casting_all"])
def test_what_turns_autocast_on_is_built_in_float32(name: str, tmp_path: Path) -> None:
    facts = source(tmp_path, name)
    assert any("turns torch.autocast on (bfloat16), which is left off" in remark for remark in facts.remarks)
    samples, answers = (data.load(tmp_path / "sets" / file) for file in (EVALUATION, REFERENCE))
    (found,) = exported(facts, tmp_path / "made").run(None, samples)
    assert largest_difference({"output_0": found}, answers) < 1e-5
    torchscript.export("", str(tmp_path / "model.pt"), facts.batch_free)
    found = torch.jit.load(str(tmp_path / "model.pt"))(torch.from_numpy(samples["x"])).detach().numpy()
    assert largest_difference({"output_0": found}, answers) < 1e-5


@pytest.mark.parametrize(
    ("name", "kind"), [("half", "float16"), ("double_script", "float64"), ("padded", "float32")]
)
def test_a_script_is_called_by_the_floats_that_it_holds(name: str, kind: str, tmp_path: Path) -> None:
    facts = source(tmp_path, name)
    assert torchscript.export("", str(tmp_path / "model.pt"), facts.batch_free) == kind


def test_a_model_without_weights_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="The model has no weights: weight is on torch's meta device"):
        source(tmp_path, "without_weights")
