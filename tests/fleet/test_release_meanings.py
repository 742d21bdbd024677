"""What a source told of its numbers stands in `edgelift release show` and in the API; odd text in it is harmless."""

import json
from pathlib import Path

import msgspec
import pytest

from edgelift_contract.errors import ContractError
from edgelift_contract.manifest import TensorSpec
from edgelift_contract.meaning import TensorMeaning
from edgelift_fleet.messages import ReleaseMeaning
from edgelift_fleet.release_detail import meanings
from tests.contract.manifests import manifest
from tests.fleet.conftest import edgelift
from tests.fleet.told import HOSTILE, SCORES, TABLE, TOLD, bring

pytestmark = pytest.mark.fleet


def show(site: Path, *words: str) -> str:
    done = edgelift("release", "show", "digits@9", "--site", site, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_shown_once_for_all_artifacts_and_is_harmless(site: Path, tmp_path: Path) -> None:
    bring(site, tmp_path / "r", **TOLD)
    said = show(site)
    for words in (
        "4 labels of axis 1: <script>alert(1)</script>, [red]dog[/red], the�end, Löwe 猫", "in °C",
        "real = number × scale + offset: scale 0.5, offset -40", "no�rth <b>", "0.25", "2026", "false",
    ):  # fmt: skip
        assert said.count(words) == 1, words
    assert "\u202e" not in said
    (found,) = json.loads(show(site, "--json"))["meanings"]
    assert found["outputs"] == {"y": {"labels": HOSTILE, "axis": 1}} and found["metadata"] == TABLE
    assert found["inputs"] == {"x": {"unit": "°C", "scale": [0.5], "offset": [-40.0]}}


def test_as_many_names_as_imagenet_has_are_published_and_shown(site: Path, tmp_path: Path) -> None:
    names = [f"a rather long name, with its synonym {n}" for n in range(21_841)]
    spec = TensorSpec("y", "FP32", [-1, 21_841], TensorMeaning(labels=names, axis=1))
    bring(site, tmp_path / "r", outputs=[spec])
    said = show(site)
    assert "21,841 labels of axis 1" in said and len(said) < 4000
    assert json.loads(show(site, "--json"))["meanings"][0]["outputs"]["y"]["labels"] == names


@pytest.mark.parametrize(
    "meaning",
    [
        TensorMeaning(labels=HOSTILE[:3], axis=1), TensorMeaning(labels=["a\nb"]), TensorMeaning(labels=["\x1b[2J"]),
        TensorMeaning(labels=["x"] * 70_000), TensorMeaning(labels=["x" * 257]), TensorMeaning(axis=2),
        TensorMeaning(scale=[0.0]), TensorMeaning(scale=[1.0, 2.0], axis=1), TensorMeaning(unit="a\nb"),
        TensorMeaning(labels=[""]),
    ],
)  # fmt: skip
def test_what_cannot_be_is_not_published(site: Path, tmp_path: Path, meaning: TensorMeaning) -> None:
    with pytest.raises(ContractError) as caught:
        bring(site, tmp_path / "r", outputs=[msgspec.structs.replace(SCORES, meaning=meaning)])
    assert caught.value.code == "malformed" and len(str(caught.value)) < 600


def test_artifacts_of_one_source_tell_it_once_and_others_beside_it() -> None:
    one = manifest(outputs=[SCORES], metadata={"a": 1})
    same = manifest(outputs=[msgspec.structs.replace(SCORES, shape=[1, 4])], metadata={"a": 1})
    other = manifest(metadata={"a": 2})
    assert meanings([one, same, manifest(), other]) == [
        ReleaseMeaning(outputs={"y": TensorMeaning(labels=HOSTILE, axis=1)}, metadata={"a": 1}),
        ReleaseMeaning(metadata={"a": 2}),
    ]
