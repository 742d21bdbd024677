"""Modules whose forward takes more than plain tensors: a state in a tuple, lists, dicts, flags, words."""

from __future__ import annotations

from pathlib import Path

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
    pytest.mark.filterwarnings("ignore::UserWarning"),  # torch.export and torch.jit.trace say much
]  # fmt: skip

MODULES = """
import numpy as np, torch
from torch import nn
from edgelift_builder import Source

torch.manual_seed(0)
X = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
Y = X[:, ::-1].copy()

class Stateful(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.out = nn.LSTM(8, 6, 2, batch_first=True), nn.Linear(6, 3)
    def forward(self, x, state):
        heard, state = self.layer(x, state)
        return self.out(heard[:, -1]), state

class Listed(nn.Linear):
    def forward(self, parts):
        return super().forward(torch.cat([parts[0], parts[1]], 1))

class Keyed(nn.Linear):
    def forward(self, batch):
        made = super().forward(batch["left"])
        return made * 2 if batch["twice"] else made + batch["more"][0]

class Steered(nn.Linear):
    def forward(self, x, log: bool = False, kind: str = "sum", times: torch.Tensor | None = None):
        made = super().forward(x)
        if kind == "mean":
            made = made / 8
        if times is not None:
            made = made * times
        return made.log_softmax(-1) if log else made

class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 3)
    def forward(self, x, log: bool = False):
        made = self.layer(x)
        if bool(x.sum() > 0):
            made = made * 2
        return made.exp() if log else made

def a_state_in_a_tuple():
    h, c = np.zeros((2, 1, 6), np.float32), np.ones((2, 1, 6), np.float32)
    many = tuple(np.random.default_rng(1).normal(size=(2, 40, 6)).astype(np.float32) for _ in range(2))
    return Source("stateful", Stateful().eval(), (X[:1, None], (h, c)), (X[:, None], many))

def a_list():
    return Source("listed", Listed(16, 3).eval(), ([X[:1], Y[:1]],), ([X, Y],))

def a_dict():
    one = {"left": X[:1], "more": (Y[:1, :3],), "twice": False}
    return Source("keyed", Keyed(8, 3).eval(), (one,), ({"left": X, "more": (Y[:, :3],), "twice": False},))

def a_flag_and_a_word():
    return Source("steered", Steered(8, 3).eval(), (X[:1], True, "mean", X[:1, :3]), (X, True, "mean", X[:, :3]))

def a_flag_in_the_example_alone():
    return Source("steered", Steered(8, 3).eval(), {"x": X[:1], "log": True}, X, calibration_inputs=Y)

def a_branch():
    return Source("branching", Branching().eval(), (X[:1], True), (X, True))

def a_flag_that_changes():
    return Source("steered", Steered(8, 3).eval(), (X[:1], True), (X, False))

def a_flag_as_an_array():
    return Source("steered", Steered(8, 3).eval(), (X[:1], True), (X, X[:, 0] > 0))

def a_list_of_another_length():
    return Source("listed", Listed(16, 3).eval(), ([X[:1], Y[:1]],), ([X, Y, X],))

def a_list_of_samples():
    return Source("listed", Listed(16, 3).eval(), ([X[:1], Y[:1]],), (X,))
"""


def source(folder: Path, function: str) -> SourceFacts:
    (folder / "modules.py").write_text(MODULES)
    return taken(folder / "modules.py", folder / "sets", function=function)


@pytest.mark.parametrize(
    ("name", "inputs", "said"),
    [
        (
            "a_state_in_a_tuple",
            ["x", "state_0", "state_1"],
            "state is given as state_0, state_1: each tensor by a name",
        ),
        ("a_list", ["parts_0", "parts_1"], "parts is given as parts_0, parts_1"),
        ("a_dict", ["batch_left", "batch_more_0"], "batch is given as batch_left, batch_more_0"),
        ("a_flag_and_a_word", ["x", "times"], "kind is 'mean' in every call: part of the model, and no input"),
        ("a_flag_in_the_example_alone", ["x"], "log is True in every call"),
    ],
)
def test_what_is_more_than_a_tensor_is_taken_apart(
    name: str, inputs: list[str], said: str, tmp_path: Path
) -> None:
    facts = source(tmp_path, name)
    assert [spec.name for spec in facts.inputs] == inputs and facts.batch_free
    assert any(said in remark for remark in facts.remarks)
    session = exported(facts, tmp_path / "made")
    samples, answers = (data.load(tmp_path / "sets" / file) for file in (EVALUATION, REFERENCE))
    assert [port.name for port in session.get_inputs()] == inputs
    given = {n: column.swapaxes(0, facts.axes[n] or 0) for n, column in samples.items()}
    found = dict(zip(answers, session.run(None, given), strict=True))
    found = {n: answer.swapaxes(0, facts.axes[n] or 0) for n, answer in found.items()}
    assert largest_difference(found, answers) < 1e-5


def test_a_script_of_what_was_taken_apart_keeps_its_branches(tmp_path: Path) -> None:
    source(tmp_path, "a_branch")
    torchscript.export("", str(tmp_path / "model.pt"), batch_free=False)
    made = torch.jit.load(str(tmp_path / "model.pt"))
    samples, answers = (data.load(tmp_path / "sets" / file) for file in (EVALUATION, REFERENCE))
    found = torch.cat([made(torch.from_numpy(one[None])) for one in samples["x"]])
    assert largest_difference({"output_0": found.detach().numpy()}, answers) < 1e-5


def test_what_was_taken_apart_becomes_tflite(tmp_path: Path) -> None:
    tflite.export("", source(tmp_path, "a_dict"), str(tmp_path / "model.tflite"))
    runner = Interpreter(str(tmp_path / "model.tflite")).get_signature_runner()
    assert set(runner.get_input_details()) == {"batch_left", "batch_more_0"}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a_flag_that_changes", "log in the evaluation inputs is False, in the example inputs True"),
        ("a_flag_as_an_array", "log in the evaluation inputs is an array, in the example inputs True"),
        ("a_list_of_another_length", "parts in the evaluation inputs is of another form .* have 2 there: 0, 1"),
        ("a_list_of_samples", "parts in the evaluation inputs is of another form"),
    ],
)
def test_samples_of_another_form_than_the_example_are_refused(name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=words):
        source(tmp_path, name)
