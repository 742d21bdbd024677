"""What Triton's own Python HTTP examples do, and the words they look for, with its client against a real agent."""

import asyncio
import json
import os
import socket
from collections.abc import Iterator

import numpy as np
import pytest
import requests
from tests.simulators.device import PATIENT, Device
from tests.waiting import LONG_S

from edgelift_agent.testing.host import ToyHost

pytestmark = pytest.mark.onnx
http = pytest.importorskip("tritonclient.http", reason="only in the developer's environment")
aio = pytest.importorskip("tritonclient.http.aio", reason="only in the developer's environment")

MODELS = ("simple", "simple_string", "simple_identity")
A = np.arange(16, dtype=np.int32).reshape(1, 16)
B = np.full((1, 16), -1, np.int32)


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    from tests.simulators.models import publish_onnx  # late: makes models with onnx

    host = ToyHost()
    made = Device(tmp_path_factory.mktemp("examples"), host.url, host.token, serve=PATIENT)
    revision = host.assign(made.name, **{name: publish_onnx(host, name) for name in MODELS})
    made.start("--real-runtimes")
    try:
        host.wait_for(made.name, lambda r: r.revision_applied == revision)
        yield made
    finally:
        made.stop()
        host.close()


@pytest.fixture
def client(device: Device) -> Iterator:
    made = http.InferenceServerClient(f"localhost:{device.port}", concurrency=4, network_timeout=LONG_S)
    yield made
    made.close()


def numbers(module=http, *, binary=(False, True)) -> list:
    made = [module.InferInput(name, [1, 16], "INT32") for name in ("INPUT0", "INPUT1")]
    made[0].set_data_from_numpy(A, binary_data=binary[0])
    made[1].set_data_from_numpy(B, binary_data=binary[1])
    return made


def wanted(module=http, *, binary=(True, False)) -> list:
    return [module.InferRequestedOutput(f"OUTPUT{n}", binary_data=b) for n, b in enumerate(binary)]


def check(result) -> None:
    np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), A + B)
    np.testing.assert_array_equal(result.as_numpy("OUTPUT1"), A - B)


ALGORITHMS = [None, "gzip", "deflate"]


@pytest.mark.parametrize("request_algorithm", ALGORITHMS)
@pytest.mark.parametrize("response_algorithm", ALGORITHMS)
def test_infer_with_mixed_forms_query_parameters_and_compression(
    client, request_algorithm, response_algorithm
) -> None:
    options = {
        "query_params": {"test_1": 1, "test_2": 2},
        "request_compression_algorithm": request_algorithm,
        "response_compression_algorithm": response_algorithm,
    }
    check(client.infer("simple", numbers(), outputs=wanted(), **options))
    check(client.infer("simple", numbers(), outputs=None, **options))
    assert len(client.get_inference_statistics("simple")["model_stats"]) == 1


def test_the_answer_is_really_compressed_and_only_for_who_names_one_encoding(device: Device) -> None:
    tensors = [{"name": f"INPUT{n}", "datatype": "INT32", "shape": [1, 16], "data": [1] * 16} for n in range(2)]
    for accepted, got in (("gzip", "gzip"), ("deflate", "deflate"), ("gzip, deflate", None), ("br", None)):
        answer = requests.post(
            f"{device.url}/v2/models/simple/infer", json={"inputs": tensors}, headers={"Accept-Encoding": accepted}
        )
        assert answer.headers.get("content-encoding") == got
        assert answer.json()["outputs"][0]["data"] == [2] * 16


def test_a_bomb_is_unpacked_no_further_than_the_model_can_need(device: Device) -> None:
    import gzip
    import zlib

    for encoding, data in (
        ("gzip", gzip.compress(bytes(70 << 20), 9)),
        ("deflate", zlib.compress(bytes(70 << 20), 9)),
    ):
        assert len(data) > 60_000  # more than what is sent of it
        answer = requests.post(
            f"{device.url}/v2/models/simple/infer", data=data[:60_000], headers={"Content-Encoding": encoding}
        )
        assert answer.status_code == 413, answer.text
    raw = zlib.compressobj(wbits=-15)
    body = json.dumps({"inputs": [
        {"name": f"INPUT{n}", "datatype": "INT32", "shape": [1, 16], "data": [1] * 16} for n in range(2)
    ]}).encode()  # fmt: skip
    packed = raw.compress(body) + raw.flush()
    answer = requests.post(
        f"{device.url}/v2/models/simple/infer", data=packed, headers={"Content-Encoding": "deflate"}
    )
    assert answer.status_code == 200  # without zlib's wrapping, as some clients have it


def test_an_unknown_model_is_told_in_the_words_that_are_looked_for(client) -> None:
    with pytest.raises(http.InferenceServerException) as caught:
        client.infer("wrong_model_name", numbers(), outputs=wanted())
    assert caught.value.message().startswith("Request for unknown model")
    with pytest.raises(http.InferenceServerException) as caught:
        client.get_model_metadata("wrong_model_name")
    assert "Request for unknown model" in caught.value.message()
    with pytest.raises(http.InferenceServerException) as caught:
        client.load_model("wrong_model_name")
    assert "failed to load" in caught.value.message()
    with pytest.raises(http.InferenceServerException) as caught:
        client.load_model("simple", config='"parameters": {"config": {{"max_batch_size": "16"}}}')
    assert "failed to load" in caught.value.message()


def test_async_infer_in_parallel(client) -> None:
    inputs, outputs = numbers(binary=(True, True)), wanted(binary=(True, True))
    asked = [client.async_infer("simple", inputs, outputs=outputs) for _ in range(8)]
    for request in asked:
        check(request.get_result())


def test_the_aio_client(device: Device) -> None:
    async def run() -> None:
        async with aio.InferenceServerClient(f"localhost:{device.port}", conn_timeout=LONG_S) as client:
            check(await client.infer("simple", numbers(aio), outputs=wanted(aio)))
            for algorithm in ("gzip", "deflate"):
                options = {"request_compression_algorithm": algorithm, "response_compression_algorithm": algorithm}
                check(await client.infer("simple", numbers(aio), outputs=wanted(aio), **options))
                check(await client.infer("simple", numbers(aio), **options))
            statistics = await client.get_inference_statistics("simple")
            assert len(statistics["model_stats"]) == 1
            with pytest.raises(aio.InferenceServerException) as caught:
                await client.infer("wrong_model_name", numbers(aio))
            assert caught.value.message().startswith("Request for unknown model")
            for result in await asyncio.gather(*(client.infer("simple", numbers(aio)) for _ in range(8))):
                check(result)
            assert await client.is_model_ready("simple")
            await client.unload_model("simple_identity")
            assert not await client.is_model_ready("simple_identity")
            await client.load_model("simple_identity")
            assert await client.is_model_ready("simple_identity")

    asyncio.run(run())


def test_strings(client) -> None:
    words = [np.array([[str(n).encode() for n in row] for row in array], dtype=np.object_) for array in (A, B)]
    inputs = [http.InferInput(f"INPUT{n}", [1, 16], "BYTES") for n in range(2)]
    inputs[0].set_data_from_numpy(words[0], binary_data=True)
    inputs[1].set_data_from_numpy(words[1], binary_data=False)
    result = client.infer("simple_string", inputs, outputs=wanted())
    for name, expected in (("OUTPUT0", A + B), ("OUTPUT1", A - B)):
        assert [int(word) for word in result.as_numpy(name)[0]] == expected[0].tolist()


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("word", [b"he\0llo", "grüß".encode(), b"\x00\x01\x02\x03"])
def test_strings_with_anything_in_them(client, binary: bool, word: bytes) -> None:
    words = np.array([[word] * 16], dtype=np.object_)
    tensor = http.InferInput("INPUT0", words.shape, "BYTES")
    tensor.set_data_from_numpy(words, binary_data=binary)
    output = http.InferRequestedOutput("OUTPUT0", binary_data=binary)
    got = client.infer("simple_identity", [tensor], outputs=[output]).as_numpy("OUTPUT0")
    assert [w if isinstance(w, bytes) else w.encode() for w in got.ravel()] == [word] * 16


def test_strings_as_fixed_length_bytes(client) -> None:
    words = np.array([[b"\x00\x01\x02\x03"] * 16], dtype=np.bytes_)
    for binary in (True, False):
        tensor = http.InferInput("INPUT0", words.shape, "BYTES")
        tensor.set_data_from_numpy(words, binary_data=binary)
        got = client.infer("simple_identity", [tensor]).as_numpy("OUTPUT0")
        np.testing.assert_array_equal(np.char.encode(got.astype(str)), words)


def test_health_and_metadata(client) -> None:
    assert client.is_server_live(query_params={"test_1": 1, "test_2": 2})
    assert client.is_server_ready()
    assert client.is_model_ready("simple")
    assert client.get_server_metadata()["name"] == "triton"
    assert client.get_model_metadata("simple", query_params={"test_1": 1, "test_2": 2})["name"] == "simple"
    assert len(client.get_model_repository_index()) == len(MODELS)


def test_the_objects_of_a_request_are_used_again(client) -> None:
    inputs, outputs = numbers(), wanted()
    for factor in (1, 2, 3):
        inputs[0].set_data_from_numpy(A * factor)
        inputs[1].set_data_from_numpy(B * factor)
        result = client.infer("simple", inputs, outputs=outputs)
        np.testing.assert_array_equal(result.as_numpy("OUTPUT0"), (A + B) * factor)


def test_classification(client) -> None:
    output = http.InferRequestedOutput("OUTPUT0", class_count=3)
    result = client.infer("simple", numbers(), outputs=[output])
    assert result.as_numpy("OUTPUT0").tolist() == [[b"14:15", b"13:14", b"12:13"]]


def test_a_timeout_of_the_request_is_kept(client) -> None:
    check(client.infer("simple", numbers(), timeout=60_000_000))


def test_a_half_closed_socket_gets_no_answer_and_hurts_nobody(device: Device, client) -> None:
    with socket.create_connection(("127.0.0.1", device.port)) as sock:
        sock.sendall(b"POST /v2/models/simple/infer HTTP/1.1\r\n")
        sock.shutdown(socket.SHUT_WR)
        sock.recv(100)
    check(client.infer("simple", numbers()))


def test_shared_memory_and_the_same_objects_without_it(client) -> None:
    shm = pytest.importorskip("tritonclient.utils.shared_memory", reason="only in the developer's environment")
    client.unregister_system_shared_memory()
    client.unregister_cuda_shared_memory()
    size, regions = A.nbytes, {}
    try:
        for n, name in enumerate(("input0", "input1", "output0", "output1")):
            key = f"/edgelift_test_{os.getpid()}_{name}"
            regions[name] = shm.create_shared_memory_region(name, key, size)
            client.register_system_shared_memory(name, key, size)
            if n < 2:
                shm.set_shared_memory_region(regions[name], [(A, B)[n]])
        inputs, outputs = numbers(), wanted()
        for shared in (True, False, True):
            for n in range(2):
                if shared:
                    inputs[n].set_shared_memory(f"input{n}", size)
                    outputs[n].set_shared_memory(f"output{n}", size)
                else:
                    inputs[n].set_data_from_numpy((A, B)[n])
                    outputs[n].unset_shared_memory()
            result = client.infer("simple", inputs, outputs=outputs)
            for n, expected in enumerate((A + B, A - B)):
                got = result.get_output(f"OUTPUT{n}")
                array = (
                    shm.get_contents_as_numpy(regions[f"output{n}"], np.int32, got["shape"])
                    if shared
                    else result.as_numpy(f"OUTPUT{n}")
                )
                np.testing.assert_array_equal(array, expected)
        assert {r["name"] for r in client.get_system_shared_memory_status()} == set(regions)
        with pytest.raises(http.InferenceServerException, match="registered already"):
            client.register_system_shared_memory("input0", "/x", size)
        os.truncate(f"/dev/shm/edgelift_test_{os.getpid()}_input0", 4)  # would end whoever has it mapped
        inputs[0].set_shared_memory("input0", size)
        with pytest.raises(http.InferenceServerException, match="cut short"):
            client.infer("simple", inputs, outputs=outputs)
        for key in ("/../etc/passwd", "/.", "a/b", "/none"):
            with pytest.raises(http.InferenceServerException):
                client.register_system_shared_memory("other", key, size)
    finally:
        client.unregister_system_shared_memory()
        for region in regions.values():
            shm.destroy_shared_memory_region(region)
    assert client.get_system_shared_memory_status() == []
