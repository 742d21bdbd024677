"""What skl2onnx writes of scikit-learn's models: maps, sequences, text, trees, missing numbers; right answers are
onnxruntime's own of the file as it was given.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from edgelift_builder import calls, data
from edgelift_builder.build import build
from edgelift_builder.convert import onnx_export
from edgelift_builder.facts import EVALUATION
from edgelift_builder.report.progress import Quiet
from edgelift_builder.request import Request
from edgelift_builder.source import load

skl2onnx = pytest.importorskip("skl2onnx", reason="only in the developer's environment")
pytestmark = [pytest.mark.builder, pytest.mark.onnx]

WIDTH, COUNT = 6, 40
RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(200, WIDTH)).astype(np.float32)
CLASSES = (ROWS[:, 0] > 0).astype(int) + (ROWS[:, 1] > 0.5)
NAMES = np.array(["dry", "damp", "wet"])[CLASSES]
WORDS = ("Rain", "SUN", "wind", "Größe")
TEXTS = RNG.choice(WORDS, (200, 4))


def converted(model: Any, rows: Any, right: Any, kind: Any, **more: Any) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = skl2onnx.convert_sklearn(
            model.fit(rows, right), initial_types=[("x", kind)], target_opset=15, **more
        )
    written: bytes = made.SerializeToString()
    return written


def _numbers() -> Any:
    return skl2onnx.common.data_types.FloatTensorType([None, WIDTH])


def logistic() -> bytes:
    from sklearn.linear_model import LogisticRegression

    return converted(LogisticRegression(), ROWS, NAMES, _numbers())


def columns() -> bytes:
    from sklearn.linear_model import LogisticRegression

    return converted(LogisticRegression(), ROWS, CLASSES, _numbers(), options={"zipmap": "columns"})


def pipeline() -> bytes:
    from sklearn.decomposition import PCA
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    steps = make_pipeline(StandardScaler(), PCA(4), MLPClassifier((8,), max_iter=5))
    return converted(steps, ROWS, CLASSES, _numbers(), options={"zipmap": False})


def forest() -> bytes:
    from sklearn.ensemble import RandomForestRegressor

    return converted(RandomForestRegressor(3, max_depth=3), ROWS, ROWS @ np.arange(WIDTH), _numbers())


def clusters() -> bytes:
    from sklearn.cluster import KMeans

    return converted(KMeans(3, n_init=1), ROWS, None, _numbers())


def several() -> bytes:
    from sklearn.linear_model import LogisticRegression
    from sklearn.multioutput import MultiOutputClassifier

    both = np.stack([CLASSES > 0, ROWS[:, 2] > 0], 1).astype(int)
    return converted(MultiOutputClassifier(LogisticRegression()), ROWS, both, _numbers())


def missing() -> bytes:
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline

    return converted(make_pipeline(SimpleImputer(), Ridge()), ROWS, ROWS[:, 0], _numbers())


def double() -> bytes:
    from sklearn.linear_model import LinearRegression

    kind = skl2onnx.common.data_types.DoubleTensorType([None, WIDTH])
    return converted(LinearRegression(), ROWS, ROWS[:, :2], kind)


def text() -> bytes:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    kind = skl2onnx.common.data_types.StringTensorType([None])
    sentences = [" ".join(words) for words in TEXTS]
    return converted(make_pipeline(TfidfVectorizer(), LogisticRegression()), sentences, TEXTS[:, 0] == "SUN", kind)


def rows() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(COUNT, WIDTH)).astype(np.float32)


KINDS: dict[str, tuple[Callable[[], bytes], Any]] = {
    "logistic": (logistic, rows()),
    "columns": (columns, rows()),
    "pipeline": (pipeline, rows()),
    "forest": (forest, rows()),
    "clusters": (clusters, rows()),
    "several": (several, rows()),
    "missing": (missing, np.where(rows() > 1, np.nan, rows()).astype(np.float32)),
    "double": (double, rows().astype(np.float64)),
    "text": (text, np.array([" ".join(words) for words in np.random.default_rng(1).choice(WORDS, (COUNT, 4))])),
}


def flat(answers: list[Any]) -> list[np.ndarray]:
    """Tensors of the same numbers: a list of maps as one, a list of tensors one after the other."""
    made: list[np.ndarray] = []
    for answer in answers:
        if isinstance(answer, list) and isinstance(answer[0], dict):
            made.append(np.array([[*one.values()] for one in answer], np.float32))
        else:
            made += answer if isinstance(answer, list) else [answer]
    return made


@pytest.mark.parametrize("name", KINDS)
def test_it_comes_in_and_answers_as_the_file_does(name: str, tmp_path: Path) -> None:
    write, given = KINDS[name]
    (tmp_path / "given.onnx").write_bytes(write())
    np.savez(tmp_path / "data.npz", x=given)
    (tmp_path / "sets").mkdir()
    facts = load.load_source(str(tmp_path / "given.onnx"), "", str(tmp_path / "data.npz"), str(tmp_path / "sets"))
    assert facts.axes["x"] == 0 and facts.batch_free
    (tmp_path / "made").mkdir()
    graph, *_ = onnx_export.export("", facts, str(tmp_path / "made"), onnx_export.OPSET)
    ours, own = (opened(path) for path in (tmp_path / "made" / graph, tmp_path / "given.onnx"))
    samples = data.load(tmp_path / "sets" / EVALUATION)
    for index in range(5):
        call = {
            n: a.astype(object) if a.dtype.kind == "U" else a for n, a in calls.one(samples, index, {}).items()
        }
        found = ours.run(None, call)
        assert [a.shape[1:] for a in found] == [tuple(spec.shape[1:]) for spec in facts.outputs]
        if own is not None:
            for one, other in zip(found, flat(own.run(None, call)), strict=True):
                np.testing.assert_array_equal(one, other)


def opened(path: Path) -> Any:
    """The file by onnxruntime alone; None where this machine does not have the language that the file asks for."""
    try:
        return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - onnxruntime's exceptions have no common base
        assert "locale" in str(error)
        return None


def test_letters_of_any_language_are_lowered_without_a_language_pack(tmp_path: Path) -> None:
    (tmp_path / "given.onnx").write_bytes(text())
    np.savez(tmp_path / "data.npz", x=KINDS["text"][1])
    (tmp_path / "sets").mkdir()
    facts = load.load_source(str(tmp_path / "given.onnx"), "", str(tmp_path / "data.npz"), str(tmp_path / "sets"))
    assert any("the locale C.UTF-8" in said for said in facts.remarks)
    graph, *_ = onnx_export.export("", facts, str(tmp_path), onnx_export.OPSET)
    session = opened(tmp_path / graph)
    upper, lower = (session.run(None, {"x": np.array([t], object)})[1] for t in ("GRÖßE sun", "größe SUN"))
    np.testing.assert_array_equal(upper, lower)


@pytest.mark.parametrize(
    ("name", "kind"), [("forest", "Trees (TreeEnsemble"), ("columns", "Linear models (Linear")]
)
def test_why_eight_bits_have_nothing_to_do_is_told(
    name: str, kind: str, tmp_path: Path, onnx_recipe: Path
) -> None:
    write, given = KINDS[name]
    (tmp_path / "given.onnx").write_bytes(write())
    np.savez(tmp_path / "data.npz", x=given)
    more = '[[variant]]\nname = "{}"\nformat = "onnx"\nsteps = ["export-onnx", "{}"]\n'
    more = more.format("dynamic", "dynamic-int8-onnx") + more.format("weights", "weight-only")
    onnx_recipe.write_text(onnx_recipe.read_text() + more)
    request = Request(
        str(tmp_path / "given.onnx"), ["x86-64"], data=str(tmp_path / "data.npz"), recipe=str(onnx_recipe),
        out=tmp_path / "out",
    )  # fmt: skip
    found = {one.variant: one for one in build(request, Quiet()).report.candidates}
    assert found.pop("float32").shipped and len(found) == 3
    for one in found.values():
        assert one.code == "conversion-failed" and one.reason.startswith(kind), one.reason
        assert "hold no tensors of weights" in one.reason and "the model ships in float" in one.reason
