"""Model files from a build to a device, all served by one agent, and asked as clients ask: with tritonclient."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tests.fleet.conftest import Server, edgelift, make_site
from tests.simulators.device import Device
from tests.waiting import until

from edgelift_builder.build import build
from edgelift_builder.report.progress import Quiet
from edgelift_builder.request import Request

_RECIPE = (
    'name = "float"\n[[variant]]\nname = "float32"\nformat = "{0}"\nrequired = true\nsteps = ["export-{0}"]\n'
)


@contextlib.contextmanager
def served(
    files: Mapping[str, Path], folder: Path, data: Mapping[str, Path], format_name: str = "onnx"
) -> Iterator[Device]:
    """A device that serves the model of each file under the name that it has in `files`."""
    recipe = folder / "float.toml"
    recipe.write_text(_RECIPE.format(format_name))
    releases = {name: folder / "releases" / name for name in files}
    for name, path in files.items():
        given = str(data[name]) if name in data else ""
        build(
            Request(str(path), ["x86-64"], model=name, data=given, recipe=str(recipe), out=releases[name]), Quiet()
        )
    server = Server(make_site(folder / "site", releases), "--broker", "none").start()
    device = Device(folder / "pi-1", server.url, server.token).start("--real-runtimes")
    try:
        until(lambda: "pi-1" in edgelift("devices", "--site", server.site, "--json").stdout, "enrolled")
        for name in files:
            done = edgelift("assign", f"{name}@1", "--device", "pi-1", "--probation", "0s", "--site", server.site)
            assert done.returncode == 0, done.stderr
        yield device
    finally:
        with contextlib.suppress(AssertionError):
            device.stop()
        server.stop()


def asked(device: Device, model: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What the device answers, by the names of its outputs; text as `str`."""
    import tritonclient.http as http

    client = http.InferenceServerClient(device.url.removeprefix("http://"), network_timeout=600)
    until(lambda: _is_ready(client, model), f"{model} is served")
    described = client.get_model_metadata(model)
    kinds = {i["name"]: i["datatype"] for i in described["inputs"]}
    given = []
    for name, array in inputs.items():
        given.append(http.InferInput(name, list(array.shape), kinds[name]))
        given[-1].set_data_from_numpy(array.astype(object) if array.dtype.kind == "U" else array)
    answer = client.infer(model, given)
    return {o["name"]: _plain(answer.as_numpy(o["name"])) for o in described["outputs"]}


def _plain(array: Any) -> Any:
    return np.vectorize(bytes.decode, otypes=[np.str_])(array) if array.dtype.kind == "O" else array


def _is_ready(client: Any, model: str) -> bool:
    try:
        return bool(client.is_model_ready(model))
    except Exception:  # noqa: BLE001 - not yet listening
        return False
