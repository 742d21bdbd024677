"""What a bundle is made of: pins, wheels whose digests are held, the agent itself; and a file that is the same each time."""

import json
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import msgspec
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from edgelift.boards import wheels as wheels_module
from edgelift.boards.agent_wheel import pack_agent
from edgelift.boards.bundle import NAMELESS, BundleWanted, make_bundle
from edgelift.boards.pins import digest_of, made_of
from edgelift.boards.wheels import fetch
from edgelift.bundle_command import machine_of, python_of
from edgelift_builder.targets import load_target, names
from edgelift_builder.targets.pins import Pin, load_pins, pythons
from edgelift_contract import __version__
from edgelift_contract.errors import ContractError, DeviceError, TransportError
from edgelift_contract.identity import EnrolToken

pytestmark = pytest.mark.fleet
ROOT = Path(__file__).parents[2]
TOKEN = EnrolToken(schema=1, url="https://10.0.0.2:8470", pin="ab" * 32, secret="x" * 30)


def project(path: str) -> dict[str, Any]:
    return msgspec.toml.decode((ROOT / path).read_bytes())["project"]


def wheel(folder: Path, name: str, version: str = "1.0", text: str = "") -> Path:
    """A tiny wheel of pure Python."""
    made = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(f"{name}.py", text)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return made


def nothing(_what: str, _done: int, _all: int) -> None: ...


def test_both_wheels_are_of_one_version() -> None:
    host, agent = project("pyproject.toml"), project("agent/pyproject.toml")
    assert host["version"] == agent["version"] == __version__
    assert f"edgelift-agent=={__version__}" in host["dependencies"]


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_pins_are_what_the_agent_demands_with_every_runtime(python: str) -> None:
    pins = {pin.name: pin for pin in load_pins(python)}
    agent = project("agent/pyproject.toml")
    demanded = [
        *agent["dependencies"],
        *(one for extra in ("onnx", "tflite") for one in agent["optional-dependencies"][extra]),
    ]
    for requirement in map(Requirement, demanded):
        if requirement.marker is None or requirement.marker.evaluate({"python_version": python}):
            assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)].version), requirement
    # Compiled ones have a wheel for ARM and one for x86, the others one for all.
    assert all(1 <= len(pin.digests) <= 2 for pin in pins.values()) and len(pins["numpy"].digests) == 2
    assert "pip" in pins and "edgelift-agent" not in pins
    assert (pins["onnxruntime"].version == "1.23.2") == (python == "3.10")


def test_every_target_says_which_python_it_has_and_one_without_is_refused_early() -> None:
    for name in names():
        board = load_target(name)
        assert set(board.pythons) <= set(pythons()) and board.sources["pythons"]
        assert machine_of(board) in ("aarch64", "x86_64")
    assert python_of(load_target("rpi4"), "") == "3.11" and python_of(load_target("rpi4"), "3.13") == "3.13"
    with pytest.raises(DeviceError, match=r"JetPack 4.*Python 3\.6.*container") as refused:
        python_of(load_target("jetson-nano"), "")
    assert refused.value.code == "unsupported-platform"
    with pytest.raises(DeviceError, match=r"no packages pinned for Python 3\.9") as unknown:
        load_pins("3.9")
    assert unknown.value.code == "unsupported-platform"


def test_the_agents_wheel_is_what_is_installed_the_same_each_time_and_runs(tmp_path: Path) -> None:
    made, again = pack_agent(tmp_path / "a"), pack_agent(tmp_path / "b")
    assert made.read_bytes() == again.read_bytes() and __version__ in made.name
    with zipfile.ZipFile(made) as archive:
        inside = set(archive.namelist())
    of_agent = {
        str(path.relative_to(ROOT / "agent")) for package in ("edgelift_contract", "edgelift_agent")
        for path in (ROOT / "agent" / package).rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }  # fmt: skip
    assert of_agent <= inside and not {name for name in inside if "fleet" in name.split("/")[0]}
    installed = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        tmp_path / "in",
        made,
    ]
    subprocess.run(installed, check=True, capture_output=True)
    said = subprocess.run(
        [sys.executable, tmp_path / "in/bin/edgelift-agent", "--version"], capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(tmp_path / "in")},
    )  # fmt: skip
    assert said.stdout == f"edgelift-agent {__version__}\n"


def test_wheels_come_from_a_folder_and_only_those_that_are_pinned(tmp_path: Path) -> None:
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    good = Pin("good", "1.0", (digest_of(wheel(shelf, "good")),))
    assert [file.name for file in fetch([good.line()], "3.11", "aarch64", tmp_path / "a", wheels=shelf)] == [
        "good-1.0-py3-none-any.whl"
    ]
    with pytest.raises(ContractError, match=r"missing.*lacking==2") as missing:
        fetch([Pin("lacking", "2", ("ab" * 32,)).line()], "3.11", "aarch64", tmp_path / "b", wheels=shelf)
    assert missing.value.code == "not-found" and "--wheels" in missing.value.hint
    wheel(shelf, "good", text="altered = True")
    with pytest.raises(ContractError, match="not the one that is pinned") as altered:
        fetch([good.line()], "3.11", "aarch64", tmp_path / "c", wheels=shelf)
    assert altered.value.code == "digest-mismatch" and not list((tmp_path / "c").glob("*.whl"))
    with pytest.raises(TransportError) as away:
        fetch([good.line()], "3.11", "aarch64", tmp_path / "d", index_url="http://127.0.0.1:9/simple")
    assert away.value.code == "unreachable"


def test_two_versions_of_a_package_are_no_pins(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="one is there as"):
        made_of([wheel(tmp_path, "one", "1.0"), wheel(tmp_path, "one", "2.0")])


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two packages in place of a board's thirty, so that a bundle takes no network and no time."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    pins = made_of([wheel(folder, "pip", "26.0"), wheel(folder, "numpy", "2.0")])
    monkeypatch.setattr("edgelift.boards.bundle.load_pins", lambda _: pins)
    return folder


def asked(shelf: Path, **more: Any) -> BundleWanted:
    return BundleWanted(
        **{"target": "rpi4", "machine": "aarch64", "python": "3.11", "device": "pi-1", "wheels": shelf, **more}
    )


def test_a_bundle_is_the_same_each_time_for_its_owner_alone_and_whole(shelf: Path, tmp_path: Path) -> None:
    made = make_bundle(asked(shelf, tags={"site": 'ha"ll'}), tmp_path, lambda: TOKEN, nothing)
    again = make_bundle(asked(shelf, tags={"site": 'ha"ll'}), tmp_path / "other.tar.gz", lambda: TOKEN, nothing)
    path = Path(made.path)
    assert (
        path.name == f"edgelift-agent-{__version__}-rpi4-py3.11-pi-1.tar.gz"
        and path.stat().st_mode & 0o777 == 0o600
    )
    assert (made.sha256, made.size_bytes, made.packages) == (again.sha256, path.stat().st_size, 3)
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path / "on-board", filter="data")
    (folder,) = (tmp_path / "on-board").iterdir()
    assert (folder / "token").stat().st_mode & 0o777 == 0o600 and (folder / "install.sh").stat().st_mode & 0o111
    config = msgspec.toml.decode((folder / "agent.toml").read_bytes())
    assert (config["device"], config["host"]["url"], config["tags"]) == ("pi-1", TOKEN.url, {"site": 'ha"ll'})
    lines = (folder / "requirements.txt").read_text().splitlines()
    assert {line.split("==")[0] for line in lines} == {"edgelift-agent", "numpy"}
    assert all(re.fullmatch(r"\S+==\S+ --hash=sha256:[0-9a-f]{64}", line) for line in lines)
    about = json.loads((folder / "bundle.json").read_text())
    assert about == {
        "version": __version__,
        "target": "rpi4",
        "machine": "aarch64",
        "python": "3.11",
        "device": "pi-1",
        "url": TOKEN.url,
    }
    nameless = make_bundle(asked(shelf, device=""), tmp_path, lambda: TOKEN, nothing)
    with tarfile.open(nameless.path) as archive:
        config_file = archive.extractfile(f"{Path(nameless.path).name.removesuffix('.tar.gz')}/agent.toml")
        assert config_file is not None and NAMELESS.encode() in config_file.read()


def test_no_token_is_made_for_a_bundle_that_can_not_be(shelf: Path, tmp_path: Path) -> None:
    def never() -> EnrolToken:
        raise AssertionError("a token was made")

    (shelf / "numpy-2.0-py3-none-any.whl").unlink()
    with pytest.raises(ContractError):
        make_bundle(asked(shelf), tmp_path, never, nothing)
    assert not list(tmp_path.glob("*.gz*")) and not list(tmp_path.glob(".*part"))


def test_a_place_that_can_not_be_written_leaves_nothing(shelf: Path, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="can't be written"):
        make_bundle(asked(shelf), tmp_path / "none" / "x.tar.gz", lambda: TOKEN, nothing)


def test_without_pip_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wheels_module.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(DeviceError, match="pip, which fetches wheels") as missing:
        fetch([], "3.11", "aarch64", tmp_path)
    assert missing.value.code == "tool-missing"
