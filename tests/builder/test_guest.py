"""Processes of the emulated machine's program, on this machine's own processor: who shares one, and what ends one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import msgspec
import pytest

from edgelift_builder import data
from edgelift_builder.facts import EVALUATION, REFERENCE
from edgelift_builder.measure.emulated_guest import Order
from edgelift_builder.measure.examine import examine, run_each
from edgelift_builder.measure.guest import Guest, GuestEndedError, Guests
from edgelift_builder.measure.runtimes import ModelSpec, open_session
from edgelift_contract import DeviceError
from edgelift_contract.manifest import SessionOptions
from tests.builder import files
from tests.waiting import LONG_S

pytestmark = [pytest.mark.builder, pytest.mark.onnx]


@pytest.fixture(scope="module")
def order(tmp_path_factory: pytest.TempPathFactory) -> Order:
    """Of a model that answers its goldens."""
    folder, words = tmp_path_factory.mktemp("order"), files.texts(60)
    data.save(folder / EVALUATION, {"words": words})
    model, options = files.text_file(folder / "weather.onnx"), SessionOptions()
    spec = ModelSpec("onnxruntime", model, options, ("words",), ("label", "scores"), True)
    data.save(folder / REFERENCE, run_each(open_session(spec), {"words": words}, {}))
    found = examine(spec, str(folder), str(folder / "out"))
    return Order(
        "onnxruntime", str(model), options, ["words"], ["label", "scores"], True, str(found.goldens), found.near.atol,
        found.near.argmax, str(folder / EVALUATION), str(found.outputs), 48, {},
    )  # fmt: skip


#: The program, but for the processor's flags: it reads them from ARM's auxiliary vector, and this machine may have none.
PROGRAM = """
from edgelift_builder.measure import emulated_guest
emulated_guest.flags = lambda: {"avx2"}
emulated_guest.serve()
"""


class Started:
    """Starts the program, and keeps every process and on which processor it was asked for."""

    def __init__(self) -> None:
        self.cpus: list[str] = []
        self.guests: list[Guest] = []

    def __call__(self, cpu: str) -> Guest:
        self.cpus.append(cpu)
        self.guests.append(Guest([sys.executable, "-c", PROGRAM]))
        return self.guests[-1]


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """From wherever the process runs, as in the emulated machine."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))


def test_candidates_of_a_processor_share_a_process(order: Order) -> None:
    start = Started()
    with Guests(start) as machine:
        for cpu in ("cortex-a53", "cortex-a53", "cortex-a72"):
            found = machine.ask(cpu, order, LONG_S)
            assert (found.goldens, found.golden_failures, found.samples, found.same_argmax) == (16, 0, 48, 48)
    assert start.cpus == ["cortex-a53", "cortex-a72"]
    assert all(guest.process.poll() is not None for guest in start.guests)


def test_an_artifact_that_ends_a_process_costs_no_other_candidate(order: Order) -> None:
    start, broken = Started(), msgspec.structs.replace(order, path="nowhere/model.onnx")
    with Guests(start) as machine:
        whole = machine.ask("cortex-a53", order, LONG_S)
        with pytest.raises(GuestEndedError, match=r"nowhere/model\.onnx"):
            machine.ask("cortex-a53", broken, LONG_S)  # in the first's process, and by itself
        assert machine.ask("cortex-a53", order, LONG_S) == whole
    assert len(start.guests) == 3


def test_who_finds_a_process_ended_has_a_new_one(order: Order) -> None:
    """As where one that was done is killed over what it left."""
    start = Started()
    with Guests(start) as machine:
        whole = machine.ask("cortex-a53", order, LONG_S)
        start.guests[0].process.kill()
        start.guests[0].process.wait()
        assert machine.ask("cortex-a53", order, LONG_S) == whole
    assert len(start.guests) == 2


def test_one_that_does_not_answer_is_ended(order: Order) -> None:
    start = Started()
    with Guests(start) as machine:
        with pytest.raises(DeviceError, match="did not answer within 0 seconds") as caught:
            machine.ask("cortex-a53", order, 0.0)
        assert caught.value.code == "tool-missing" and start.guests[0].process.poll() is not None
        assert machine.ask("cortex-a53", order, LONG_S).golden_failures == 0


def test_without_its_program_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="qemu did not run the artifact") as caught:
        Guest([str(tmp_path / "qemu")])
    assert caught.value.code == "tool-missing"
