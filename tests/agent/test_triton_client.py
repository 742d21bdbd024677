"""Triton's own Python client, sync and aio, JSON and binary, against a real agent with a real onnxruntime model."""

import asyncio
import re
import socket
from collections.abc import Iterator

import numpy as np
import pytest
import requests
from tests.simulators.device import PATIENT, Device
from tests.waiting import LONG_S

from edgelift_agent.testing.host import ToyHost

pytestmark = pytest.mark.onnx
httpclient = pytest.importorskip("tritonclient.http", reason="only in the developer's environment")


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    from tests.simulators.models import publish_onnx  # late: makes models with onnx

    host = ToyHost()
    folder = tmp_path_factory.mktemp("triton")
    made = Device(folder, host.url, host.token, serve=f'unix_socket = "{folder / "infer.sock"}"\n{PATIENT}')
    host.assign(made.name, many=publish_onnx(host, "many"), text=publish_onnx(host, "text"))
    made.start("--real-runtimes")
    try:
        host.wait_for(
            made.name,
            lambda r: all(r.slots.get(s) and r.slots[s].update.outcome == "committed" for s in ("many", "text")),
        )
        yield made
    finally:
        made.stop()
        host.close()


@pytest.fixture
def client(device: Device) -> Iterator:
    made = httpclient.InferenceServerClient(f"127.0.0.1:{device.port}", network_timeout=LONG_S)
    yield made
    made.close()


def inputs(batch: int, binary: bool, module=httpclient) -> tuple[list, np.ndarray, np.ndarray]:
    a = np.random.default_rng(batch).normal(size=(batch, 3)).astype(np.float32)
    b = np.arange(batch, dtype=np.int64).reshape(batch, 1)
    tensors = [module.InferInput("a", a.shape, "FP32"), module.InferInput("b", b.shape, "INT64")]
    tensors[0].set_data_from_numpy(a, binary_data=binary)
    tensors[1].set_data_from_numpy(b, binary_data=binary)
    return tensors, a, b


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
@pytest.mark.parametrize("batch", [1, 5])
def test_several_inputs_and_outputs_batched(client, binary_in: bool, binary_out: bool | None, batch: int) -> None:
    tensors, a, b = inputs(batch, binary_in)
    outputs = None
    if binary_out is not None:
        outputs = [httpclient.InferRequestedOutput(n, binary_data=binary_out) for n in ("sum", "twice")]
    result = client.infer("many", tensors, outputs=outputs, request_id="42")
    np.testing.assert_allclose(result.as_numpy("sum"), a + b, rtol=1e-6)
    np.testing.assert_array_equal(result.as_numpy("twice"), b * 2)
    response = result.get_response()
    assert (response["id"], response["model_name"], response["model_version"]) == ("42", "many", "1")
    assert response["parameters"]["release"] == "many@1"


def test_only_the_outputs_that_were_asked_for_come_back(client) -> None:
    tensors, _, b = inputs(2, True)
    result = client.infer("many", tensors, outputs=[httpclient.InferRequestedOutput("twice")])
    np.testing.assert_array_equal(result.as_numpy("twice"), b * 2)
    assert result.as_numpy("sum") is None


@pytest.mark.parametrize("binary", [True, False])
def test_bytes_make_the_round_trip(client, binary: bool) -> None:
    words = np.array([[b"left", b"right"], [b"", "grüß".encode()]], dtype=np.object_)
    tensor = httpclient.InferInput("words", words.shape, "BYTES")
    tensor.set_data_from_numpy(words, binary_data=binary)
    result = client.infer("text", [tensor], outputs=[httpclient.InferRequestedOutput("same", binary_data=binary)])
    got = [w if isinstance(w, bytes) else w.encode() for w in result.as_numpy("same").ravel()]
    assert got == list(words.ravel())


def test_the_aio_client(device: Device) -> None:
    import tritonclient.http.aio as aio

    async def run() -> None:
        async with aio.InferenceServerClient(f"127.0.0.1:{device.port}", conn_timeout=LONG_S) as client:
            assert await client.is_server_live()
            tensors, a, b = inputs(3, True, aio)
            results = await asyncio.gather(*(client.infer("many", tensors) for _ in range(20)))
            for result in results:
                np.testing.assert_allclose(result.as_numpy("sum"), a + b, rtol=1e-6)

    asyncio.run(run())


def test_health_metadata_and_configuration(client) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("many")
    assert not client.is_model_ready("none")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    metadata = client.get_model_metadata("many")
    assert metadata["platform"] == "onnx_onnxv1"
    assert {i["name"]: (i["datatype"], i["shape"]) for i in metadata["inputs"]} == {
        "a": ("FP32", [-1, 3]),
        "b": ("INT64", [-1, 1]),
    }
    config = client.get_model_config("many")
    assert (config["name"], config["max_batch_size"]) == ("many", 0)
    assert config["input"][0] == {"name": "a", "data_type": "TYPE_FP32", "dims": [-1, 3]}


def test_statistics_hold_every_field_that_clients_read(client) -> None:
    tensors, _, _ = inputs(1, True)
    before = client.get_inference_statistics("many")["model_stats"][0]
    for _ in range(5):
        client.infer("many", tensors)
    stats = client.get_inference_statistics("many", "1")["model_stats"][0]
    assert stats["version"].isdigit()
    assert stats["inference_count"] - before["inference_count"] == 5
    for field in (
        "success",
        "fail",
        "queue",
        "compute_input",
        "compute_infer",
        "compute_output",
        "cache_hit",
        "cache_miss",
    ):
        assert set(stats["inference_stats"][field]) == {"count", "ns"}
    assert stats["inference_stats"]["compute_infer"]["ns"] > 0
    assert {s["name"] for s in client.get_inference_statistics()["model_stats"]} == {"many", "text"}


def test_the_repository_unloads_and_loads(client) -> None:
    index = {m["name"]: m["state"] for m in client.get_model_repository_index()}
    assert index == {"many": "READY", "text": "READY"}
    client.unload_model("text")
    assert not client.is_model_ready("text")
    client.load_model("text")
    assert client.is_model_ready("text")
    with pytest.raises(Exception, match="no slot"):
        client.load_model("none")
    with pytest.raises(Exception, match="not taken here"):
        client.load_model("text", config="{}", files={"file:1/model.onnx": b"x"})


def test_errors_are_the_protocols(client) -> None:
    tensors, _, _ = inputs(1, True)
    with pytest.raises(Exception, match=r"^\[404\] Request for unknown model: 'none'"):
        client.infer("none", tensors)
    with pytest.raises(Exception, match="serves version 1"):
        client.infer("many", tensors, model_version="7")
    wrong = httpclient.InferInput("a", [1, 4], "FP32")
    wrong.set_data_from_numpy(np.zeros((1, 4), np.float32))
    with pytest.raises(Exception, match="the model takes"):
        client.infer("many", [wrong, tensors[1]])


def test_the_unix_socket_serves_the_same(device: Device) -> None:
    path = device.folder / "infer.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        sock.sendall(b"GET /v2/models/many HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answer = b""
        while piece := sock.recv(65536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"many"' in answer


def test_metrics_carry_tritons_names_and_our_histogram(device: Device, client) -> None:
    tensors, _, _ = inputs(1, True)
    client.infer("many", tensors)
    port = device.status()["admin_port"]
    text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=LONG_S).text
    labels = 'model="many",release="many@1",version="1"'
    assert f"nv_inference_request_success{{{labels}}}" in text
    assert f'edgelift_request_seconds_bucket{{le="+Inf",{labels}}}' in text
    assert "edgelift_device_memory_available_bytes" in text
    # Every line is a comment or `name{labels} number`, as the exposition format asks.
    for line in text.splitlines():
        assert re.fullmatch(
            r"# TYPE [a-z_0-9]+ (counter|gauge|histogram|untyped)|# HELP [a-z_0-9]+ .+|[a-z_0-9]+(\{[^}]*\})? [-+0-9.e]+",
            line,
        ), line
