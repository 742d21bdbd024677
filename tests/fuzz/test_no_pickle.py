"""No pickle is ever loaded on a device: nothing there can, and a pickle in the place of each format runs nothing."""

import ast
import pickle
import zipfile
from pathlib import Path

import pytest

from edgelift_agent.runtime import all_runtimes
from edgelift_contract.errors import ContractError
from edgelift_contract.manifest import FileEntry, Manifest
from tests.contract.manifests import manifest
from tests.fuzz.device import PARSERS
from tests.fuzz.parser import Parser, withstands

ROOT = Path(__file__).parents[2] / "agent"
#: Modules that load pickles, or may: Python's own pass objects between processes by them.
LOADERS = {
    "pickle",
    "_pickle",
    "cPickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "joblib",
    "multiprocessing",
    "copyreg",
}
#: Calls that run what they read.
RUNNERS = {"eval", "exec", "compile", "__import__"}


def found(path: Path) -> list[str]:
    """What in a module could load a pickle, or run what it reads."""
    told = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            told += [name.name for name in node.names if name.name.partition(".")[0] in LOADERS]
        elif isinstance(node, ast.ImportFrom):
            told += [str(node.module)] if (node.module or "").partition(".")[0] in LOADERS else []
        elif isinstance(node, ast.Call):
            told += _called(ast.unparse(node.func), node)
    return told


def _called(name: str, node: ast.Call) -> list[str]:
    given = {one.arg: ast.unparse(one.value) for one in node.keywords}
    if given.get("allow_pickle", "False") != "False":
        return [f"{name}(allow_pickle)"]
    if name in ("np.load", "numpy.load", "np.lib.format.read_array") and "allow_pickle" not in given:
        return [name]
    if name in ("torch.load", "torch.serialization.load") and given.get("weights_only") != "True":
        return [name]
    return [name] if name in RUNNERS else []


def test_nothing_of_a_device_can_load_one() -> None:
    paths = [path for path in ROOT.rglob("*.py") if "testing" not in path.parts and "examples" not in path.parts]
    assert len(paths) > 100
    told = {str(path.relative_to(ROOT)): names for path in paths if (names := found(path))}
    assert told == {}


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "np.load(f)",
        "np.load(f, allow_pickle=True)",
        "torch.load(f)",
        "eval(x)",
    ],
)
def test_what_can_is_found(code: str, tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(code)
    assert found(tmp_path / "m.py")


class Trap:
    """Unpickling this creates a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.mark,))


def trap(mark: Path, protocol: int = 2) -> bytes:
    return pickle.dumps(Trap(mark), protocol)


@pytest.mark.parametrize("parser", PARSERS, ids=lambda one: one.name)
def test_a_pickle_in_a_messages_place_runs_nothing(parser: Parser, tmp_path: Path) -> None:
    for protocol in (0, 2, 5):
        withstands(parser, trap(tmp_path / "ran", protocol), tmp_path)
    assert not (tmp_path / "ran").exists()
    pickle.loads(trap(tmp_path / "ran"))
    assert (tmp_path / "ran").exists()  # it would have


def model(runtime: str, name: str) -> Manifest:
    said = {"onnxruntime": "onnx", "litert": "tflite", "torchscript": "torchscript"}[runtime]
    files = [FileEntry(name, 1, "a" * 64, "model"), FileEntry("goldens.msgpack", 1, "c" * 64, "goldens")]
    return manifest(runtime=runtime, format=said, files=files)


@pytest.mark.parametrize("runtime", ["onnxruntime", "litert", "torchscript"])
@pytest.mark.parametrize("how", ["pickle", "an archive of pickles"])
def test_a_pickle_in_a_models_place_runs_nothing(runtime: str, how: str, tmp_path: Path) -> None:
    found = all_runtimes()[runtime]
    if not found.version():
        pytest.skip(f"{runtime} is not installed")
    mark, path = tmp_path / "ran", tmp_path / "model"
    if how == "pickle":
        path.write_bytes(trap(mark))
    else:  # as torch's own archives have them
        with zipfile.ZipFile(path, "w") as archive:
            for name in ("data.pkl", "constants.pkl"):
                archive.writestr(f"model/{name}", trap(mark))
            archive.writestr("model/version", "3\n")
            archive.writestr("model/code/.debug", "")
    with pytest.raises(ContractError) as caught:
        found.load(tmp_path, model(runtime, "model"))
    assert caught.value.code == "load-failed" and not mark.exists()
