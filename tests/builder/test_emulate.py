"""The real ARM runtimes under qemu: goldens pass on the target's own processor, and a wrong one is caught."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from edgelift_builder import emulate
from edgelift_builder.candidate import Examined
from edgelift_builder.emulate import find_root
from edgelift_builder.measure.emulated_guest import Order
from edgelift_contract import ContractError, DeviceError
from edgelift_contract.golden import dump_goldens, parse_goldens
from tests.builder.conftest import EXAMPLE, ROOT, BuiltFolder, edgelift

pytestmark = pytest.mark.builder


def _there() -> Path | None:
    try:
        return find_root()
    except DeviceError:
        return None


#: Found before the tests get a cache of their own.
MACHINE = _there()
needs_machine = pytest.mark.skipif(MACHINE is None, reason="scripts/setup-emulation has not been run")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulated machine in the tests' own cache."""
    assert MACHINE
    cache = tmp_path / "cache with machine"
    cache.mkdir()
    (cache / MACHINE.name).symlink_to(MACHINE.resolve())
    monkeypatch.setenv("EDGELIFT_CACHE", str(cache))


def test_without_the_machine_one_sentence_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGELIFT_CACHE", str(tmp_path))
    done = edgelift("build", f"{EXAMPLE}:digits", "--target", "rpi4", "--emulate", "--out", tmp_path / "r")
    assert done.returncode == 1 and not (tmp_path / "r").exists()
    assert "scripts/setup-emulation" in done.stderr and "tool-missing" in done.stderr


def test_the_emulated_machine_needs_numpy_msgspec_and_a_runtime_alone() -> None:
    code = (
        "import sys\n"
        "for name in ('psutil', 'scipy', 'torch', 'onnx', 'rich', 'jinja2', 'typer', 'requests', 'orjson', 'uvicorn'):\n"
        "    sys.modules[name] = None\n"
        "import edgelift_builder.measure.emulated_guest"
    )
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'builder'}:{ROOT / 'agent'}"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@needs_machine
@pytest.mark.timeout(1800)
def test_goldens_pass_on_each_processor(tmp_path: Path, machine: None) -> None:
    boards = {
        "rpi3": ("cortex-a53", "arm64-neon"),
        "rpi4": ("cortex-a72", "arm64-neon"),
        "rpi5": ("cortex-a76", "arm64-dotprod"),
    }
    targets = [part for name in boards for part in ("--target", name)]
    done = edgelift(
        "build", f"{EXAMPLE}:digits", *targets, "--recipe", "int8-static", "--emulate", "--json", "--out", tmp_path / "r",
        timeout=1700,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    candidates = json.loads(done.stdout)["candidates"]
    assert len(candidates) == 12
    for candidate in candidates:
        found = candidate["emulation"]
        assert (found["cpu"], found["measured_on"]) == boards[candidate["target"]]
        assert found["machine"] == "aarch64" and found["golden_failures"] == 0 and found["goldens"] == 16
        assert found["worst"] <= found["atol"] == candidate["golden_atol"]
        assert found["same_argmax"] == found["samples"] == 48
        assert candidate["p50_us"] is None and candidate["latency"] == "to be measured on the device"
    assert {c["emulation"]["runtime"].split()[0] for c in candidates} == {"onnxruntime", "litert"}


@pytest.mark.slow
@needs_machine
def test_an_answer_that_differs_there_is_rejected(
    build_tiny: Callable[..., BuiltFolder], float_recipe: Path, monkeypatch: pytest.MonkeyPatch, machine: None
) -> None:
    real = emulate._order

    def tampered(candidate: Examined, folder: Path) -> Order:
        # The goldens of another model: what the emulated machine answers must not pass for them.
        order = real(candidate, folder)
        path = Path(order.goldens)
        goldens = [
            msgspec.structs.replace(
                g, outputs=[msgspec.structs.replace(t, data=bytes(len(t.data))) for t in g.outputs]
            )
            for g in parse_goldens(path.read_bytes())
        ]
        path.write_bytes(dump_goldens(goldens))
        return order

    monkeypatch.setattr(emulate, "_order", tampered)
    with pytest.raises(ContractError) as caught:
        build_tiny("tiny", float_recipe, targets=["rpi4"], emulate=True)
    assert caught.value.code == "nothing-to-ship" and "16 of 16 goldens differ" in str(caught.value)
