"""A model of text, from a file to a device: built, published, assigned, preflighted, served over JSON."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from tests.builder import files
from tests.fleet.conftest import Server, edgelift
from tests.fleet.identity.sites import enroll, make_token
from tests.simulators.device import Device
from tests.waiting import LONG_S, until

pytestmark = [pytest.mark.fleet, pytest.mark.builder, pytest.mark.onnx]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A site with the text model published, served without a broker."""
    np.savez(tmp_path / "data.npz", words=files.texts(200))
    recipe = tmp_path / "float.toml"
    recipe.write_text(
        'name = "float"\n[[variant]]\nname = "float32"\nformat = "onnx"\nrequired = true\nsteps = ["export-onnx"]\n'
    )
    made = edgelift(
        "build", files.text_file(tmp_path / "weather.onnx"), "--data", tmp_path / "data.npz", "--target", "x86-64",
        "--recipe", recipe, "--out", tmp_path / "release",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    for arguments in (["init", tmp_path / "site"], ["publish", tmp_path / "release", "--site", tmp_path / "site"]):
        done = edgelift(*arguments)
        assert done.returncode == 0, done.stderr
    with Server(tmp_path / "site", "--broker", "none") as server:
        yield server


def test_a_text_is_answered_by_a_text(server: Server, tmp_path: Path) -> None:
    device = Device(tmp_path / "pi-1", server.url, "")
    assert enroll(device, make_token(server)).returncode == 0
    device.start("--real-runtimes")
    try:
        until(lambda: json.loads(edgelift("devices", "--site", server.site, "--json").stdout), "enrolled")
        done = edgelift("assign", "weather@1", "--device", "pi-1", "--probation", "0s", "--site", server.site)
        assert done.returncode == 0, done.stderr

        def infer(words: list[str]) -> requests.Response:
            tensor = {"name": "words", "datatype": "BYTES", "shape": [1, 4], "data": words}
            return requests.post(
                f"{device.url}/v2/models/weather/infer", json={"inputs": [tensor]}, timeout=LONG_S
            )

        until(lambda: infer(["sun"] * 4).ok, "served")
        answers = {}
        for words in (
            ["snow", "rain", "日本", "gale"],
            ["heat", "sun", "Größe", "sun"],
            ["storm", "wind", "x", ""],
        ):
            outputs = {o["name"]: o for o in infer(words).json()["outputs"]}
            assert outputs["label"]["datatype"] == "BYTES" and outputs["label"]["shape"] == [1]
            answers[words[0]] = outputs["label"]["data"][0]
            assert len(outputs["scores"]["data"]) == 3
        assert answers == {"snow": "naß", "heat": "trocken", "storm": "windig"}
    finally:
        with contextlib.suppress(AssertionError):
            device.stop()
