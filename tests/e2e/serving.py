"""Model files and sources from a build to a device, all served by one agent, and asked as clients ask: with tritonclient."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tests.builder.several import build_each
from tests.fleet.conftest import Server, edgelift, make_site
from tests.simulators.device import Device
from tests.waiting import until

from edgelift_builder.request import Request

_RECIPE = (
    'name = "float"\n[[variant]]\nname = "float32"\nformat = "{0}"\nrequired = true\nsteps = ["export-{0}"]\n'
)


class Given(NamedTuple):
    """What is built: a model file or `file.py:function`, as a format; data for a file where it wants some."""

    source: str | Path
    format: str = "onnx"
    data: Path | None = None


@contextlib.contextmanager
def served(given: Mapping[str, Given], folder: Path) -> Iterator[Device]:
    """A device that serves each model in float, or as it came, under the name that it has in `given`."""
    releases = {name: folder / "releases" / name for name in given}

    requests = []
    for name, one in given.items():
        recipe = folder / f"{name}.toml"
        recipe.write_text(_RECIPE.format(one.format))
        data, out = str(one.data or ""), releases[name]
        requests.append(Request(str(one.source), ["x86-64"], model=name, data=data, recipe=str(recipe), out=out))
    (folder / "releases").mkdir()
    converting = any(one.format == "tflite" and Path(one.source).suffix != ".tflite" for one in given.values())
    build_each(requests, converting=converting)
    server = Server(make_site(folder / "site", releases), "--broker", "none").start()
    device = Device(folder / "pi-1", server.url, server.token).start("--real-runtimes")
    try:
        until(lambda: "pi-1" in edgelift("devices", "--site", server.site, "--json").stdout, "enrolled")
        for name in given:
            done = edgelift("assign", f"{name}@1", "--device", "pi-1", "--probation", "0s", "--site", server.site)
            assert done.returncode == 0, done.stderr
        yield device
    finally:
        with contextlib.suppress(AssertionError):
            device.stop()
        server.stop()


def described(device: Device, model: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Its inputs and outputs by name, in their order, once it is served."""
    client = _client(device)
    until(lambda: _is_ready(client, model), f"{model} is served")
    said = client.get_model_metadata(model)
    inputs, outputs = ({tensor["name"]: tensor for tensor in said[side]} for side in ("inputs", "outputs"))
    return inputs, outputs


def asked(device: Device, model: str, inputs: Mapping[str, Any], *, binary: bool = True) -> dict[str, Any]:
    """What the device answers, by the names of its outputs; text as `str`. Both ways in JSON where not `binary`."""
    import tritonclient.http as http

    taken, answered = described(device, model)
    given = []
    for name, array in inputs.items():
        given.append(http.InferInput(name, list(array.shape), taken[name]["datatype"]))
        given[-1].set_data_from_numpy(array.astype(object) if array.dtype.kind == "U" else array, binary)
    answer = _client(device).infer(
        model, given, outputs=[http.InferRequestedOutput(name, binary) for name in answered]
    )
    return {name: _plain(answer.as_numpy(name)) for name in answered}


def _client(device: Device) -> Any:
    import tritonclient.http as http

    return http.InferenceServerClient(device.url.removeprefix("http://"), network_timeout=600)


def _plain(array: Any) -> Any:
    return np.vectorize(_text, otypes=[np.str_])(array) if array.dtype.kind == "O" else array


def _text(item: bytes | str) -> str:
    return item.decode() if isinstance(item, bytes) else item


def _is_ready(client: Any, model: str) -> bool:
    try:
        return bool(client.is_model_ready(model))
    except Exception:  # noqa: BLE001 - not yet listening
        return False
