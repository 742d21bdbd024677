"""Every transform of ours leaves what the onnx package's backend cases compute as it was, through the real runtime.

1,884 generated node cases with their expected outputs, by people who know nothing of edgelift. A case that passes
before a transform must pass after it; cases that onnxruntime does not pass anyway (operators it has no kernel for,
types that Python cannot hand over) say nothing and are counted. A seeded sample runs always, all of them in `slow`.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from edgelift_builder.convert import strip
from edgelift_builder.optimise import clean_up

pytestmark = pytest.mark.builder

#: Their answers are drawn anew by each process: a case of theirs may pass by chance, and then fail by chance.
RANDOM = {"Bernoulli", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial"}
SAMPLE = 160
Transform = Callable[[Any, Path], Any]


def externalise(model: Any, folder: Path) -> Path:
    """As every artifact is stored: stripped, its weights beside the graph."""
    onnx.save(model, folder / "raw.onnx")
    (folder / "stored").mkdir()
    names = strip.store(folder / "raw.onnx", folder / "stored")
    return folder / "stored" / names[0]


def scrubbed(model: Any, _folder: Path) -> Any:
    made = onnx.ModelProto.FromString(model.SerializeToString())
    strip.scrub(made)
    return made


def all_passes(model: Any, _folder: Path) -> Any:
    for run in clean_up.PASSES.values():
        model = run(model)
    return model


TRANSFORMS: dict[str, Transform] = {
    **{name: lambda m, _, run=run: run(m) for name, run in clean_up.PASSES.items()},
    "all passes": all_passes,
    "scrub": scrubbed,
    "externalise": externalise,
}


@cache
def cases() -> list[Any]:
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the generators divide by zero on purpose
        return sorted(load_model_tests(kind="node"), key=lambda c: c.name)


def passes(model: Any, case: Any) -> bool:
    """Does onnxruntime answer every data set of `case` with what it expects; `model` is a proto or a file."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    try:
        source = str(model) if isinstance(model, Path) else model.SerializeToString()
        session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        for inputs, expected in case.data_sets:
            fed = dict(zip([i.name for i in session.get_inputs()], inputs, strict=True))
            for found, wanted in zip(session.run(None, fed), expected, strict=True):
                np.testing.assert_allclose(found, wanted, rtol=case.rtol, atol=case.atol)
    except Exception:  # noqa: BLE001 - whatever it is, the case does not pass
        return False
    return True


def kinds(model: Any) -> set[str]:
    return {node.op_type for part in (model.graph, *model.functions) for node in part.node}


def broken(case: Any, folder: Path) -> list[str] | None:
    """Transforms after which `case` fails; None when it fails before any, or passes by chance alone."""
    if kinds(case.model) & RANDOM or not passes(case.model, case):
        return None
    found = []
    for name, transform in TRANSFORMS.items():
        place = folder / f"{case.name}-{name}"
        place.mkdir()
        try:
            if not passes(transform(case.model, place), case):
                found.append(name)
        except Exception as error:  # noqa: BLE001 - a transform that cannot take a valid model is broken too
            found.append(f"{name} ({type(error).__name__}: {error})")
    return found


def check(chosen: list[Any], folder: Path) -> tuple[int, dict[str, list[str]]]:
    results = {case.name: broken(case, folder) for case in chosen}
    told = {name: found for name, found in results.items() if found}
    return sum(found is not None for found in results.values()), told


def test_a_sample_of_the_cases_passes_after_as_before(tmp_path: Path) -> None:
    chosen = random.Random(7).sample(cases(), SAMPLE)
    passed, told = check(chosen, tmp_path)
    assert passed > SAMPLE // 2
    assert told == {}


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_all_cases_pass_after_as_before(tmp_path: Path) -> None:
    passed, told = check(cases(), tmp_path)
    assert passed > 1200
    assert told == {}


def test_a_transform_that_changes_the_answer_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(model: Any, _folder: Path) -> Any:
        made = onnx.ModelProto.FromString(model.SerializeToString())
        made.graph.node[0].op_type = "Neg"
        return made

    monkeypatch.setitem(TRANSFORMS, "wrong", wrong)
    (case,) = [c for c in cases() if c.name == "test_abs"]
    assert broken(case, tmp_path) == ["wrong"]
