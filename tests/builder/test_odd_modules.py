"""Modules that do what few do: write into their inputs, take anything, answer −inf, hold sparse weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgelift_builder import calls, data
from edgelift_builder.convert import tflite, torchscript
from edgelift_builder.facts import EVALUATION, REFERENCE
from edgelift_builder.measure.evaluate import largest_difference
from edgelift_builder.measure.runtimes import ModelSpec, open_session
from edgelift_contract import ContractError
from edgelift_contract.manifest import SessionOptions
from tests.builder.taking import exported, taken

pytestmark = [
    pytest.mark.builder, pytest.mark.onnx,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore:# The axis name"),
]  # fmt: skip

ODD = """
import numpy as np, torch
from torch import nn
from edgelift_builder import Source

X = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)

class Writing(nn.Linear):
    def forward(self, x):
        return super().forward(x.mul_(2))

class Masked(nn.Linear):
    def forward(self, x):
        return torch.where(x[:, :3] > 0, super().forward(x), -torch.inf)

class Masking(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(20, 8)
        self.layers = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1)
    def forward(self, ids, mask):
        return self.layers(self.table(ids), src_key_padding_mask=mask == 0)

class OneHead(nn.Linear):
    def forward(self, x, mask):
        query, key, value = super().forward(x).chunk(3, -1)
        return nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, :])

class Any(nn.Linear):
    def forward(self, *given, **named):
        return super().forward(given[0] + given[1]) * named["scale"]

class Summing(nn.Linear):
    def forward(self, *given):
        return super().forward(sum(given))

class Keyed(nn.Linear):
    def forward(self, **named):
        return super().forward(named["class"] + named["a-b"])

def writes_into_its_input():
    return Source("writing", Writing(8, 3).eval(), (X[:1],), X)

def answers_minus_infinity():
    return Source("masked", Masked(8, 3).eval(), (X[:1],), X)

def attends_over_padding():
    rng = np.random.default_rng(0)
    ids, mask = rng.integers(0, 20, (40, 6)), (np.arange(6) < rng.integers(2, 6, (40, 1))).astype(np.int64)
    return Source("masking", Masking().eval(), (ids[:1], mask[:1]), (ids, mask))

def attends_with_one_head():
    rng = np.random.default_rng(0)
    x, mask = rng.normal(size=(40, 6, 8)).astype(np.float32), np.arange(6) < rng.integers(1, 6, (40, 1))
    return Source("head", OneHead(8, 24).eval(), (x[:1], mask[:1]), (x, mask))

def takes_anything():
    named = {"scale": X[:, :3]}
    return Source("any", Any(8, 3).eval(), (X[:1], X[:1], {"scale": X[:1, :3]}), (X, X[::-1].copy(), named))

def takes_a_row():
    return Source("row", Summing(8, 3).eval(), (X[:1], X[:1]), (X, X[::-1].copy()))

def takes_names_that_python_lacks():
    return Source("keyed", Keyed(8, 3).eval(), {"class": X[:1], "a-b": X[:1]}, {"class": X, "a-b": X[::-1].copy()})

def in_a_wrapper():
    return Source("wrapped", nn.DataParallel(torch.optim.swa_utils.AveragedModel(nn.Linear(8, 3))).eval(), (X[:1],), X)

def of_another_byte_order():
    return Source("swapped", nn.Linear(8, 3).eval(), (X[:1].astype(">f4"),), X.astype(">f4"))

def of_pythons_numbers():
    return Source("numbers", nn.Linear(8, 3).eval(), (X[:1].tolist(),), X.tolist())

def a_part_in_training_mode():
    images = np.random.default_rng(0).normal(size=(40, 3, 4, 4)).astype(np.float32)
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(48, 3)).eval()
    model[0].train()
    return Source("left", model, (images[:1],), images)
"""


@pytest.mark.parametrize(
    "name",
    [
        "writes_into_its_input", "answers_minus_infinity", "a_part_in_training_mode", "attends_over_padding",
        "attends_with_one_head", "takes_anything", "takes_a_row", "takes_names_that_python_lacks",
        "in_a_wrapper", "of_another_byte_order", "of_pythons_numbers",
    ],
)  # fmt: skip
def test_an_odd_module_comes_in_and_its_onnx_answers_as_it_does(name: str, tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(ODD)
    facts = taken(tmp_path / "odd.py", tmp_path / "sets", function=name)
    assert facts.batch_free
    session = exported(facts, tmp_path / "made")
    samples, answers = (data.load(tmp_path / "sets" / file) for file in (EVALUATION, REFERENCE))
    (found,) = session.run(None, samples)
    assert largest_difference({"output_0": found}, answers) < 1e-5


def test_a_forward_of_any_arguments_becomes_tflite(tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(ODD)
    facts = taken(tmp_path / "odd.py", tmp_path / "sets", function="takes_anything")
    tflite.export("", facts, str(tmp_path / "made.tflite"))
    names = tuple(spec.name for spec in facts.inputs)
    session = open_session(
        ModelSpec("litert", tmp_path / "made.tflite", SessionOptions(), names, ("output_0",), batch_free=False)
    )
    samples, answers = (data.load(tmp_path / "sets" / file) for file in (EVALUATION, REFERENCE))
    found = session.run(calls.one(samples, 3, facts.axes))
    np.testing.assert_allclose(found["output_0"], answers["output_0"][3:4], atol=1e-5)


def test_weights_may_be_sparse(tmp_path: Path) -> None:
    (tmp_path / "sparse.py").write_text(
        ODD + "\n\nclass Sparse(nn.Linear):\n"
        "    def forward(self, x):\n"
        "        return torch.sparse.mm(self.table.t(), x.t()).t()\n\n"
        "def sparse():\n"
        "    model = Sparse(8, 3).eval()\n"
        "    model.register_buffer('table', torch.eye(8).to_sparse())\n"
        "    return Source('s', model, (X[:1],), X)\n"
    )
    assert taken(tmp_path / "sparse.py", tmp_path / "sets", function="sparse").key


def test_a_script_as_a_module_becomes_what_a_script_can(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        ODD + "\n\ndef traced():\n"
        "    return Source('t', torch.jit.trace(nn.Linear(8, 3).eval(), torch.zeros(1, 8)), (X[:1],), X)\n"
    )
    assert taken(tmp_path / "script.py", tmp_path / "sets", function="traced").formats == ("torchscript",)


@pytest.mark.parametrize("name", ["takes_a_row", "takes_names_that_python_lacks"])
def test_what_no_script_takes_is_traced(name: str, tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(ODD)
    facts = taken(tmp_path / "odd.py", tmp_path / "sets", function=name)
    torchscript.export("", str(tmp_path / "made.pt"), facts.batch_free)
    samples, answers = (data.load(tmp_path / "sets" / file) for file in (EVALUATION, REFERENCE))
    found = torch.jit.load(str(tmp_path / "made.pt"))(*map(torch.from_numpy, samples.values()))
    np.testing.assert_allclose(found.detach().numpy(), answers["output_0"], atol=1e-5)


def test_inputs_that_the_converter_to_tflite_cannot_call_are_named(tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(ODD)
    facts = taken(tmp_path / "odd.py", tmp_path / "sets", function="takes_names_that_python_lacks")
    with pytest.raises(ContractError, match="inputs called class, a-b"):
        tflite.export("", facts, str(tmp_path / "made.tflite"))
