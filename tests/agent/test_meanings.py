"""What a source told of its numbers reaches clients, by metadata, classes and the example client; nothing is applied."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from tests.simulators.device import PATIENT, Device
from tests.waiting import LONG_S

from edgelift_agent.testing.host import ToyHost
from edgelift_contract.manifest import TensorSpec
from edgelift_contract.meaning import TensorMeaning

pytestmark = pytest.mark.onnx

EXAMPLE = Path(__file__).parents[2] / "agent" / "examples" / "classify.py"
NAMES = [f"digit {n}" for n in range(8)] + ["<b>Ölwanne: 猫</b>", "the\u202eend"]
MANY = [f"a rather long name, with its synonym {n}" for n in range(21_841)]
TOLD: dict[str, Any] = {
    "inputs": [
        TensorSpec("x", "FP32", [-1, 1, 24, 24], TensorMeaning(unit="0 to 255", scale=[255.0], offset=[16.0]))
    ],
    "outputs": [TensorSpec("y", "FP32", [-1, 10], TensorMeaning(labels=NAMES, axis=1))],
    "metadata": {"camera": "north", "threshold": 0.5, "year": 2026, "colour": False},
}
#: Names of values, and numbers by place: what a list becomes; as many names as ImageNet's larger list has.
OTHERS: dict[str, Any] = {
    "inputs": [
        TensorSpec("a", "FP32", [-1, 3], TensorMeaning(scale=[1.0, 0.5, 1e-7], offset=[0.0, -1.5, 2.0], axis=1)),
        TensorSpec("b", "INT64", [-1, 1]),
    ],
    "outputs": [
        TensorSpec("sum", "FP32", [-1, 3], TensorMeaning(unit="°C")),
        TensorSpec("twice", "INT64", [-1, 1], TensorMeaning(labels=MANY)),
    ],
}


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    from tests.simulators.models import publish_onnx  # late: makes models with onnx

    host = ToyHost()
    made = Device(tmp_path_factory.mktemp("meanings"), host.url, host.token, serve=PATIENT)
    revision = host.assign(
        made.name, cnn=publish_onnx(host, "cnn", **TOLD), many=publish_onnx(host, "many", **OTHERS),
        plain=publish_onnx(host, "cnn"),
    )  # fmt: skip
    made.start("--real-runtimes")
    try:
        host.wait_for(made.name, lambda report: report.revision_applied == revision)
        yield made
    finally:
        made.stop()
        host.close()


def metadata(device: Device, model: str) -> dict[str, Any]:
    return dict(requests.get(f"{device.url}/v2/models/{model}", timeout=LONG_S).json())


def infer(device: Device, model: str, x: np.ndarray, **parameters: object) -> dict[str, Any]:
    body = {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": list(x.shape), "data": x.ravel().tolist()}],
        "outputs": [{"name": "y", "parameters": parameters}],
    }
    (output,) = requests.post(f"{device.url}/v2/models/{model}/infer", json=body, timeout=LONG_S).json()["outputs"]
    return dict(output)


def test_metadata_tells_it_as_the_protocol_has_parameters(device: Device) -> None:
    said = metadata(device, "cnn")
    assert said["inputs"][0]["parameters"] == {"unit": "0 to 255", "scale": 255.0, "offset": 16.0}
    assert said["outputs"][0]["parameters"] == {"labels": "\n".join(NAMES), "axis": 1}
    told = {k.removeprefix("metadata."): v for k, v in said["parameters"].items() if k.startswith("metadata.")}
    assert told == TOLD["metadata"] and type(told["year"]) is int
    assert said["parameters"]["release"] == "cnn@1"


def test_what_has_a_number_for_each_place_and_very_many_names(device: Device) -> None:
    said = metadata(device, "many")
    assert said["inputs"][0]["parameters"] == {"scale": "1.0 0.5 1e-07", "offset": "0.0 -1.5 2.0", "axis": 1}
    assert said["outputs"][1]["parameters"]["labels"].split("\n") == MANY
    assert "parameters" not in said["inputs"][1]
    for tensor in (*said["inputs"], *said["outputs"], said):
        assert all(type(value) in (str, int, float, bool) for value in tensor.get("parameters", {}).values())


def test_a_model_that_tells_nothing_answers_as_before(device: Device) -> None:
    said = metadata(device, "plain")
    assert said["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 1, 24, 24]}]
    assert said["parameters"].keys() == {"artifact", "release"}


def test_tritons_client_reads_it(device: Device) -> None:
    http = pytest.importorskip("tritonclient.http", reason="only in the developer's environment")
    client = http.InferenceServerClient(f"127.0.0.1:{device.port}", network_timeout=LONG_S)
    said = client.get_model_metadata("cnn")
    assert said["outputs"][0]["parameters"]["labels"].split("\n") == NAMES
    tensor = http.InferInput("x", [1, 1, 24, 24], "FP32")
    tensor.set_data_from_numpy(np.ones((1, 1, 24, 24), np.float32))
    answer = client.infer("cnn", [tensor], outputs=[http.InferRequestedOutput("y", class_count=3)])
    assert all(word.decode().split(":", 2)[2] in NAMES for word in answer.as_numpy("y").ravel())
    client.close()


def test_nothing_is_applied_to_tensors_and_classes_have_their_names(device: Device) -> None:
    x = np.random.default_rng(1).random((1, 1, 24, 24), np.float32)
    told, plain = infer(device, "cnn", x), infer(device, "plain", x)
    assert told["data"] == plain["data"]
    best = int(np.argmax(plain["data"]))
    assert infer(device, "cnn", x, classification=1)["data"] == [f"{max(plain['data']):f}:{best}:{NAMES[best]}"]
    assert infer(device, "plain", x, classification=1)["data"] == [f"{max(plain['data']):f}:{best}"]


def test_the_example_client_says_names(device: Device, tmp_path: Path) -> None:
    real = np.random.default_rng(2).uniform(0, 255, (1, 24, 24))
    np.save(tmp_path / "picture.npy", real)
    done = subprocess.run(
        [sys.executable, EXAMPLE, device.url, "cnn", tmp_path / "picture.npy", "--top", "2"], capture_output=True, text=True,
        timeout=LONG_S, check=True,
    )  # fmt: skip
    scores = np.array(infer(device, "plain", ((real[None] - 16) / 255).astype(np.float32))["data"])
    said = [line.removeprefix("y: ") for line in done.stdout.splitlines() if line.startswith("y: ")]
    assert said == [f"{NAMES[k]}: {scores[k]:.4g}" for k in np.argsort(-scores)[:2]]
    assert "metadata.camera = north" in done.stdout
