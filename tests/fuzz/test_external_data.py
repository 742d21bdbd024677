"""A model's weights lie in its own folder: on a device, too, where the runtime opens what the graph names."""

from pathlib import Path

import pytest

from edgelift_agent.runtime import all_runtimes
from edgelift_contract.errors import ContractError
from edgelift_contract.manifest import FileEntry
from tests.contract.manifests import manifest

pytestmark = [pytest.mark.onnx, pytest.mark.builder]


def graph(path: Path, location: str) -> None:
    """A model that adds 64 floats, which stand at `location`."""
    from onnx import TensorProto, helper

    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[64], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, "offset": "0", "length": "256"}.items():
        weights.external_data.add(key=key, value=value)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [64]) for name in "xy")
    made = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", [x], [y], [weights])
    found = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(found.SerializeToString())


@pytest.mark.parametrize("location", ["weights.bin", "../secret", "{absolute}", "link", "sub/../../secret"])
def test_it_is_looked_for_nowhere_else(location: str, tmp_path: Path) -> None:
    runtime = all_runtimes()["onnxruntime"]
    if not runtime.version():
        pytest.skip("onnxruntime is not installed")
    home = tmp_path / "artifact"
    (home / "sub").mkdir(parents=True)
    for file in (tmp_path / "secret", home / "weights.bin"):
        file.write_bytes(bytes(256))
    (home / "link").symlink_to("../secret")
    graph(home / "model.onnx", location.replace("{absolute}", str(tmp_path / "secret")))
    files = [FileEntry("model.onnx", 1, "a" * 64, "model"), FileEntry("goldens.msgpack", 1, "c" * 64, "goldens")]
    said = manifest(files=files)
    if location == "weights.bin":
        runtime.load(home, said)
        return
    with pytest.raises(ContractError) as caught:
        runtime.load(home, said)
    assert caught.value.code == "load-failed"
