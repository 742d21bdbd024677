"""Models that answer with dicts, dataclasses, these in tuples: outputs bear the names in every format."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import nn

from edgelift_builder.build import build
from edgelift_builder.convert import onnx_export, tflite, torchscript
from edgelift_builder.facts import SourceFacts
from edgelift_builder.report.progress import Quiet
from edgelift_builder.request import Request
from edgelift_builder.source import answers, load
from edgelift_contract import ContractError
from tests.builder.conftest import BuiltFolder

pytestmark = [
    pytest.mark.builder, pytest.mark.onnx,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning"),
]  # fmt: skip

#: Arrays in → outputs by name.
Asked = Callable[[Any], dict[str, Any]]

A, B, C = torch.zeros(1), torch.ones(1, 2), torch.ones(1, 3)


class Pair(NamedTuple):
    mean: Any
    spread: Any


@dataclass
class Found:
    logits: Any = None
    loss: Any = None
    states: Any = None


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        (A, ["output_0"]),
        ((A, B), ["output_0", "output_1"]),
        ([A, None, B], ["output_0", "output_1"]),
        ((A, (B, C)), ["output_0", "output_1", "output_2"]),
        ({"logits": A, "boxes": B}, ["logits", "boxes"]),
        (OrderedDict(boxes=B, loss=None, logits=A), ["boxes", "logits"]),
        ((A, {"boxes": B}), ["output_0", "boxes"]),
        (({"a": A}, {"b": B}), ["a", "b"]),
        (({"a": A}, {"a": B}), ["output_0_a", "output_1_a"]),
        ({"heads": {"boxes": B, "scores": C}}, ["heads_boxes", "heads_scores"]),
        (Found(logits=A, states=(B, C)), ["logits", "states_0", "states_1"]),
        (Pair(A, B), ["mean", "spread"]),
        ({0: A, 1: B}, ["output_0", "output_1"]),
        ({"x": A, "y": B}, ["output_x", "y"]),  # an input is called x
    ],
)
def test_names(answer: Any, names: list[str]) -> None:
    assert list(answers.named(answer, taken=["x"])) == names
    row = answers.listed(answer)
    assert isinstance(row, torch.Tensor) or (len(row) == len(names) and all(torch.is_tensor(one) for one in row))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "returns nothing"),
        ({"loss": None}, "a dict that holds no tensor"),
        ({"logits": A, "n": 3}, "an int as 'n'"),
        ({"heads": {"kind": "box"}}, "a str as 'heads_kind'"),
        ((A, object()), "an object, and only"),
    ],
)
def test_what_is_no_tensor_is_named(answer: Any, said: str) -> None:
    with pytest.raises(ContractError, match=said):
        answers.named(answer)


SOURCE = """
from collections import OrderedDict
from dataclasses import dataclass
from typing import Optional
import numpy as np, torch
from torch import nn
from edgelift_builder import Source

class Body(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3), nn.Linear(8, 4)
    def both(self, x):
        h = torch.relu(self.body(x))
        return self.a(h), self.b(h)

class Dict(Body):
    def forward(self, x):
        logits, boxes = self.both(x)
        return {"logits": logits, "boxes": boxes}

class Huggingface(Body):
    def forward(self, x, labels=None):
        logits, boxes = self.both(x)
        return OrderedDict(loss=None if labels is None else logits.sum(), logits=logits, boxes=boxes)

@dataclass
class Output:
    loss: Optional[torch.Tensor] = None
    logits: Optional[torch.Tensor] = None
    boxes: Optional[torch.Tensor] = None

class Dataclass(Body):
    def forward(self, x):
        logits, boxes = self.both(x)
        return Output(logits=logits, boxes=boxes)

class Nested(Body):
    def forward(self, x):
        logits, boxes = self.both(x)
        return {"logits": logits}, [{"boxes": boxes}, None]

def score(outputs, labels):
    return (outputs["logits"].argmax(-1) == labels).astype(float)

def _source(model, **more):
    torch.manual_seed(0)
    x = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
    model = model().eval()
    with torch.no_grad():
        right = model.both(torch.from_numpy(x))[0].argmax(-1).numpy()
    return Source("named", model, (x[:1],), x, right if more else {"logits": right}, **more)

def plain(): return _source(Dict)
def huggingface(): return _source(Huggingface)
def in_a_dataclass(): return _source(Dataclass)
def nested(): return _source(Nested)
def own_metric(): return _source(Dict, metric=score, metric_name="right")
"""
KINDS = ("plain", "huggingface", "in_a_dataclass", "nested")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "named.py"
    path.write_text(SOURCE)
    return path


def taken(source: Path, function: str, folder: Path) -> SourceFacts:
    folder.mkdir()
    return load.load_source(str(source), function, "", str(folder))


def expected(x: Any) -> dict[str, Any]:
    """By the weights alone: all of these are the same net."""
    from edgelift_builder.source.held import current

    with torch.no_grad():
        logits, boxes = current().model.both(torch.from_numpy(x))
    return {"logits": logits.numpy(), "boxes": boxes.numpy()}


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_has_the_names(kind: str, source: Path, tmp_path: Path) -> None:
    facts = taken(source, kind, tmp_path / "sets")
    assert [spec.name for spec in facts.outputs] == ["logits", "boxes"] and facts.batch_free
    for asked, count in (
        (_onnx(facts, tmp_path), 3),
        (_tflite(facts, tmp_path), 1),
        (_script(facts, tmp_path), 3),
    ):
        x = np.random.default_rng(count).normal(size=(count, 6)).astype(np.float32)
        found, wanted = asked(x), expected(x)
        assert list(found) == list(wanted)
        for name, array in wanted.items():
            np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-5, err_msg=name)


def _onnx(facts: SourceFacts, folder: Path) -> Asked:
    graph, *_ = onnx_export.export("", facts, str(folder), onnx_export.OPSET)
    session = ort.InferenceSession(str(folder / graph), providers=["CPUExecutionProvider"])
    return lambda x: dict(zip((o.name for o in session.get_outputs()), session.run(None, {"x": x}), strict=True))


def _tflite(facts: SourceFacts, folder: Path) -> Asked:
    from ai_edge_litert.interpreter import Interpreter

    tflite.export("", facts, str(folder / "model.tflite"))
    runner = Interpreter(str(folder / "model.tflite")).get_signature_runner()
    return lambda x: {spec.name: runner(x=x)[spec.name] for spec in facts.outputs}


def _script(facts: SourceFacts, folder: Path) -> Asked:
    torchscript.export("", str(folder / "model.pt"), facts.batch_free)
    model = torch.jit.load(str(folder / "model.pt"))
    names = [spec.name for spec in facts.outputs]
    return lambda x: dict(zip(names, (t.detach().numpy() for t in model(torch.from_numpy(x))), strict=True))


def test_branches_stay_in_a_script_that_answers_by_name(tmp_path: Path) -> None:
    """A trace alone would have kept the way that the example went."""
    from edgelift_builder.source import held

    held.keep_example({"x": np.ones((1, 2), np.float32)}, {"x": 0})
    torchscript.script(Branch().eval(), tmp_path / "branch.pt", batch_free=True)
    made = torch.jit.load(str(tmp_path / "branch.pt"))
    for sign in (1.0, -1.0):
        x = torch.full((1, 2), sign)
        assert torch.equal(made(x)[0], Branch()(x)["y"])


class Branch(nn.Module):
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"y": x * 2} if bool(x.sum() > 0) else {"y": x - 5}


def test_a_trace_of_one_sample_alone_is_refused_where_several_are_promised(tmp_path: Path) -> None:
    from edgelift_builder.source import held

    class Fixed(nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"y": x.reshape(x.numpy().shape)}  # no script has numpy, and a trace only the shape that it saw

    held.keep_example({"x": np.ones((1, 2), np.float32)}, {"x": 0})
    with pytest.raises(ContractError, match="number of samples written into it"):
        torchscript.script(Fixed().eval(), tmp_path / "fixed.pt", batch_free=True)


@pytest.mark.parametrize("function", ["huggingface", "own_metric"])
def test_labels_and_metrics_go_by_the_names(
    function: str, source: Path, float_recipe: Path, tmp_path: Path
) -> None:
    request = Request(f"{source}:{function}", ["x86-64"], recipe=str(float_recipe), out=tmp_path / "release")
    build(request, Quiet())
    (manifest,) = BuiltFolder(tmp_path / "release", {}, "").manifests.values()
    assert [spec.name for spec in manifest.outputs] == ["logits", "boxes"]
    judged = manifest.evidence[0]
    assert (judged.value, judged.metric) == (1, "right" if function == "own_metric" else "accuracy")
