"""docs/sources.md: each template is run as it stands there, and what it says of fields, tasks and numbers is so."""

from __future__ import annotations

import re
import sys
import warnings
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgelift_builder import Data, Source
from edgelift_builder.judge import intervals
from edgelift_builder.judge.telling import TASKS
from edgelift_contract import ContractError
from tests.builder.conftest import ROOT
from tests.builder.recipes import ONNX

pytestmark = pytest.mark.builder

PAGE = (ROOT / "docs" / "sources.md").read_text()

_PARTS = PAGE.split("## One template a task")[1].split("\n## ")[0].split("\n### ")[1:]

#: Heading → its block of Python.
TEMPLATES = {part.partition("\n")[0].strip("`"): part.split("```python\n")[1].split("```")[0] for part in _PARTS}

#: What each template is for: a `training` module with that kind of data; labels are the model's own answers.
HEAD = """
import numpy as np, torch
from torch import nn
torch.manual_seed(0)
N = 200
def _normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)
def trained():
    return MODEL
def _answers(x):
    with torch.no_grad():
        return MODEL(torch.as_tensor(x))
"""
FLAT = "nn.Flatten(), nn.Linear({}, {}, bias=False)"
TRAINING = {
    "classification": """
MODEL = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(192, 4, bias=False))
def samples(split):
    x = _normal(N, 3, 64, 64)
    return x, _answers(x).argmax(1).numpy()
""",
    "binary": """
MODEL = nn.Sequential(nn.Linear(64, 1), nn.Sigmoid())
def samples(split):
    x = _normal(N, 64)
    return x, (_answers(x)[:, 0] > 0.5).long().numpy()
""",
    "multilabel": """
MODEL = nn.Sequential(nn.Flatten(), nn.Linear(3072, 6, bias=False), nn.Sigmoid())
def samples(split):
    x = _normal(N, 3, 32, 32)
    return x, (_answers(x) > 0.5).long().numpy()
""",
    "regression": """
MODEL = nn.Sequential(nn.Flatten(), nn.Linear(384, 1))
def samples(split):
    x = _normal(N, 3, 128)
    return x, _answers(x).numpy() + 0.1 * _normal(N, 1, seed=1)
""",
    "segmentation": """
MODEL = nn.Conv2d(3, 5, 1, bias=False)
def samples(split):
    x = _normal(N, 3, 48, 48)
    return x, _answers(x).argmax(1).numpy()
""",
    "detection": """
class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.look = nn.Conv2d(3, 2, 16, 16)
        self.register_buffer("corners", torch.stack([torch.tensor([x, y, x + 9.0, y + 9.0])
            for y in range(0, 64, 16) for x in range(0, 64, 16)]))
    def forward(self, x):
        scores = torch.sigmoid(9 * self.look(x) - 3).flatten(2).transpose(1, 2)
        return self.corners + 0 * scores[..., :1], scores
MODEL = Detector()
def samples(split):
    x = _normal(N, 3, 64, 64)
    boxes, scores = (a.numpy() for a in _answers(x))
    there = scores.max(-1) > 0.25
    return x, [(b[t], s[t].argmax(-1)) for b, s, t in zip(boxes, scores, there)]
""",
    "keypoints": """
class Points(nn.Module):
    def __init__(self):
        super().__init__()
        self.look = nn.Linear(3072, 10)
    def forward(self, x):
        return 16 + 9 * self.look(x.flatten(1)).reshape(-1, 5, 2)
MODEL = Points()
def samples(split):
    x = _normal(N, 3, 32, 32)
    return x, _answers(x).numpy() + 0.2 * _normal(N, 5, 2, seed=1)
""",
    "embedding": """
class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(50, 24)
    def forward(self, input_ids, attention_mask):
        mask = attention_mask.float().unsqueeze(-1)
        return (self.words(input_ids) * mask).sum(1) / mask.sum(1)
MODEL = Encoder()
def samples(split):
    rng = np.random.default_rng(0)
    mask = (np.arange(16) < rng.integers(2, 17, (N, 1))).astype(np.int64)
    return {"input_ids": rng.integers(1, 50, (N, 16)) * mask, "attention_mask": mask}
""",
    "anomaly": """
LOW = np.linalg.qr(_normal(64, 6))[0]
MODEL = nn.Sequential(nn.Linear(64, 6, bias=False), nn.Linear(6, 64, bias=False))
MODEL[0].weight.data, MODEL[1].weight.data = torch.tensor(LOW.T.copy()), torch.tensor(LOW)
def samples(split):
    odd = (np.arange(N) % 5 == 0).astype(np.int64) * (split == "test")
    return (_normal(N, 6) @ LOW.T + (0.05 + odd[:, None] * 0.2) * _normal(N, 64, seed=1)).astype(np.float32), odd
""",
    "sequence": """
MODEL = nn.Sequential(nn.Embedding(50, 4))
def samples(split):
    x = np.random.default_rng(0).integers(0, 50, (N, 12))
    return x, np.where(x == 0, -1, _answers(x).argmax(-1).numpy())
""",
    "A metric of your own": """
MODEL = nn.Sequential(nn.Flatten(), nn.Linear(96, 1))
def samples(split):
    x = _normal(N, 3, 32)
    return x, _answers(x)[:, 0].numpy() + 0.5 * _normal(N, seed=1)
""",
    "Outputs by name": """
class Fruit(nn.Module):
    def __init__(self):
        super().__init__()
        self.sort, self.weight = nn.Linear(3072, 4), nn.Linear(3072, 1)
    def forward(self, x):
        seen = x.flatten(1)
        return {"sort": self.sort(seen), "weight": 90 + 20 * self.weight(seen)}
MODEL = Fruit()
def samples(split):
    x = _normal(N, 3, 32, 32)
    said = _answers(x)
    return x, said["sort"].argmax(1).numpy(), said["weight"].numpy() + _normal(N, 1, seed=1)
""",
    "Names, units and scaling": """
MODEL = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(48, 4, bias=False))
def samples(split):
    x = _normal(N, 3, 32, 32)
    return x, _answers(x).argmax(1).numpy()
""",
    "No labels at all": """
MODEL = nn.Conv2d(1, 1, 3, padding=1)
def samples(split):
    return _normal(N, 1, 32, 32)
""",
}


def lay_out(folder: Path, name: str) -> tuple[Path, str]:
    """The template as a user's file, with a `training` beside it; the file and its function."""
    (folder / "training.py").write_text(HEAD + TRAINING[name])
    file = folder / "mine.py"
    file.write_text(TEMPLATES[name])
    return file, re.findall(r"^def (\w+)\(\) -> Source", TEMPLATES[name], re.MULTILINE)[0]


@pytest.fixture(autouse=True)
def own_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a template imports is forgotten with it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("training", "mine", "judge"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_there_is_a_template_for_every_task() -> None:
    assert set(TEMPLATES) == set(TRAINING) and set(TASKS) <= set(TEMPLATES)


@pytest.mark.parametrize("name", TRAINING)
def test_a_template_is_judged_as_the_page_says(name: str, tmp_path: Path) -> None:
    """Run, asked and judged as a build does before it converts anything."""
    from edgelift_builder.source.load import load_source

    (tmp_path / "kept").mkdir()
    file, function = lay_out(tmp_path, name)
    facts = load_source(str(file), function, "", str(tmp_path / "kept"))
    sys.modules.pop("training", None)
    assert facts.task == (name if name in TASKS else ""), facts.judged
    assert facts.name == function and facts.samples == 200
    assert not [remark for remark in facts.remarks if "calibration" in remark and "no calibration" in remark]
    if name in TASKS:
        said = PAGE.split(f"### `{name}`")[1].split("```")[0].replace("\n", " ")
        words = {"MAE": "mean absolute error", "mean IoU": "intersection over union", "detection F1": "F1",
                 "NME": "mean distance"}  # fmt: skip
        assert words.get(facts.metric, facts.metric) in said, facts.metric


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINING)
def test_a_template_builds(name: str, tmp_path: Path, build_tiny) -> None:
    (tmp_path / "onnx.toml").write_text(f'name = "onnx"\n{ONNX}')
    file, function = lay_out(tmp_path, name)
    built = build_tiny(f"{file}:{function}", tmp_path / "onnx.toml")
    assert {m.model for m in built.manifests.values()} == {function}


def test_a_model_from_elsewhere_builds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, build_tiny, float_recipe
) -> None:
    """Exported with its samples as the page says, and judged by the `.npz` or by the function."""
    export, judge = re.findall(
        r"```python\n(.*?)```", PAGE.split("## From your own training environment")[1], re.DOTALL
    )
    monkeypatch.chdir(tmp_path)
    export = export.replace(
        "labels = np.arange(1200) % 4", "labels = model(torch.from_numpy(images)).argmax(1).numpy()"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own about its older exporter
        exec(export, {})  # the page's own words
    (tmp_path / "judge.py").write_text(judge)
    for data in ("parts.npz", "judge.py:parts"):
        built = build_tiny(
            str(tmp_path / "parts.onnx"), float_recipe, data=data, out=tmp_path / data[:5] / "release"
        )
        (manifest,) = built.manifests.values()
        assert manifest.task == "classification" and manifest.evidence[0].n == 1000
        assert [tensor.name for tensor in (*manifest.inputs, *manifest.outputs)] == ["image", "scores"]


def test_every_field_and_task_is_on_the_page() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE.split("## Fields")[1].split("\n## ")[0], re.MULTILINE)
    assert rows == [field.name for field in fields(Source)] or set(rows) == {
        field.name for field in fields(Source)
    }
    said = PAGE.split("`Data`, for a model that comes as a file, has")[1].split(":")[0]
    assert set(re.findall(r"`(\w+)`", said)) == {field.name for field in fields(Data)}


def test_so_many_samples_are_enough() -> None:
    """The table, by the interval itself: at the number it holds, and two per cent below it does not."""
    table = PAGE.split("| right → wrong")[1].split("\n\n")[0]
    rows = re.findall(r"^\| (none|\d+ and \d+) \| (.+) \|$", table, re.MULTILINE)
    assert len(rows) == 4
    for name, cells in rows:
        changed = 0 if name == "none" else int(name.split()[0])
        for budget, cell in zip((0.5, 1, 2, 5), cells.split(" | "), strict=True):
            enough = int(cell.replace(",", ""))
            assert intervals.tango(changed, changed, enough)[1] <= budget / 100
            assert intervals.tango(changed, changed, int(enough * 0.98))[1] > budget / 100


def test_the_examples_on_the_page_are_there() -> None:
    listed = re.findall(r"^\| \[`(\w+\.py):(\w+)`\]\((\S+?)\) \|", PAGE, re.MULTILINE)
    assert len(listed) >= 9
    for file, function, path in listed:
        text = (ROOT / "docs" / path).resolve().read_text()
        assert Path(path).name == file and f"def {function}(" in text and f"{file}:{function}" in text


def _two_ways(**changes: Any) -> Source:
    import torch

    x = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32)
    torch.manual_seed(0)
    fields_: dict[str, Any] = {
        "name": "m",
        "model": torch.nn.Linear(8, 1),
        "example_inputs": (x[:1],),
        "evaluation_inputs": x,
    }
    return Source(**fields_ | changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"evaluation_labels": np.arange(200) % 7}, "What the model is for can't be told from labels"),
        ({"evaluation_labels": np.arange(200) % 7, "task": "segmentation"}, "this can't be judged: the outputs are"),
        ({"evaluation_labels": np.arange(200) % 2}, "always giving one answer would get"),
        ({"evaluation_labels": np.zeros(150)}, "evaluation labels for 200 evaluation inputs"),
        ({"metric": lambda _o, _y: np.full(7, 0.5)}, "The source's metric returned float64[7] for 200 samples"),
        ({"metric": lambda o, _y: o["output_0"][:, 0]}, "where shares from 0 to 1 are expected"),
    ],
)  # fmt: skip
def test_what_cannot_be_judged_is_told_in_the_words_of_the_page(changes: dict, said: str, tmp_path: Path) -> None:
    from edgelift_builder.source import held, probe

    source = _two_ways(**changes)
    held.hold(source)
    with pytest.raises(ContractError) as caught:
        probe.survey(source, [], {"sha256": "0" * 64}, [], tmp_path)
    assert said in caught.value.message
    table = PAGE.split("## When it can't be judged")[1].split("\n## ")[0]
    shown = re.sub(r"\s200\s", " … ", said)
    assert shown in table or shown.replace("this", "…") in table, shown
