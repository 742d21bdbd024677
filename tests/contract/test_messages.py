"""Goldens, assignments and errors: what crosses a border comes back as it was, or is refused by its code."""

from __future__ import annotations

import pickle
import platform
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelift_contract import ContractError, DeviceError, TransportError, codec
from edgelift_contract.assignment import Assignment, SlotAssignment, dump_assignment, parse_assignment
from edgelift_contract.errors import CODES
from edgelift_contract.golden import Golden, Tensor, dump_goldens, parse_goldens, tolerance_key
from edgelift_contract.hardware import ACCEPTS, classify, kernels, these_kernels, this_machine
from edgelift_contract.manifest import SessionOptions

tensors = st.builds(
    Tensor,
    st.text(max_size=10),
    st.sampled_from(["FP32", "INT64"]),
    st.lists(st.integers(0, 9), max_size=16),
    st.binary(),
)
goldens = st.lists(st.builds(Golden, st.lists(tensors, max_size=3), st.lists(tensors, max_size=3)), max_size=5)


@given(goldens)
def test_goldens_read_back_equal(made: list[Golden]) -> None:
    data = dump_goldens(made)
    assert parse_goldens(data) == made
    assert dump_goldens(parse_goldens(data)) == data


@given(goldens, st.integers(min_value=1, max_value=8))
def test_truncated_goldens_are_refused(made: list[Golden], cut: int) -> None:
    with pytest.raises(ContractError) as caught:
        parse_goldens(dump_goldens(made)[:-cut])
    assert caught.value.code == "malformed"


def test_processors_of_one_class_that_run_other_kernels_are_told_apart() -> None:
    narrow = kernels("x86-64-vnni", ["sse2", "avx2", "avx_vnni"])
    wide = kernels("x86-64-vnni", ["avx512_vnni", "avx2", "sse2", "avx512f"])
    assert narrow == "x86-64-vnni+avx_vnni" and wide == "x86-64-vnni+avx512_vnni+avx512f"
    assert kernels("arm64-neon", ["asimd"], ["0xd08", "0xd03", "0xd08"]) == "arm64-neon+0xd03+0xd08"


def test_this_machines_kernels_begin_with_its_class(tmp_path: Path) -> None:
    assert these_kernels().split("+")[0] == this_machine()
    (tmp_path / "proc").mkdir()
    other = "flags : sse avx2 avx_vnni\nprocessor : 1\nflags : sse\n"
    arm = "Features : asimd asimddp\nCPU part : 0xd0b\n"
    (tmp_path / "proc/cpuinfo").write_text(other if platform.machine() == "x86_64" else arm)
    found = these_kernels(tmp_path)
    assert found == ("x86-64-vnni+avx_vnni" if platform.machine() == "x86_64" else "arm64-dotprod+asimddp+0xd0b")


def test_a_tolerance_key_tells_machine_runtime_and_options_apart() -> None:
    one = SessionOptions(threads=1)
    key = tolerance_key("x86-64-vnni", "onnxruntime", "1.32.0", one)
    assert key == f"x86-64-vnni/onnxruntime 1.32.0/{codec.digest(codec.canonical_json(one))[:12]}"
    others = {
        tolerance_key("x86-64-avx2", "onnxruntime", "1.32.0", one),
        tolerance_key("x86-64-vnni", "litert", "1.32.0", one),
        tolerance_key("x86-64-vnni", "onnxruntime", "1.31.0", one),
        tolerance_key("x86-64-vnni", "onnxruntime", "1.32.0", SessionOptions(threads=2)),
    }
    assert len(others | {key}) == 5
    # Options left at their default and options given as the default are the same options.
    assert tolerance_key("c", "r", "v", SessionOptions()) == tolerance_key(
        "c", "r", "v", SessionOptions(threads=0)
    )


def _assignment(slots: int) -> Assignment:
    one = SlotAssignment(artifact="a" * 64, manifest_bytes=1, model="digits", version="2")
    return Assignment(schema=1, device="pi-1", revision=3, slots={f"slot-{i}": one for i in range(slots)})


def test_an_assignment_reads_back_and_is_for_one_device() -> None:
    data = dump_assignment(_assignment(3))
    assert parse_assignment(data, device="pi-1") == _assignment(3)
    with pytest.raises(ContractError) as caught:
        parse_assignment(data, device="pi-2")
    assert caught.value.code == "wrong-device"


def test_an_assignment_stays_small() -> None:
    with pytest.raises(ContractError) as caught:
        dump_assignment(_assignment(500))
    assert caught.value.code == "too-large"


@pytest.mark.parametrize("kind", [ContractError, DeviceError, TransportError])
def test_an_error_survives_the_border_between_processes(kind: type[ContractError]) -> None:
    back = pickle.loads(pickle.dumps(kind("disk-full", "No space.", hint="Free some.")))
    assert type(back) is kind
    assert (back.code, back.message, back.hint) == ("disk-full", "No space.", "Free some.")
    assert str(back) == "No space. Free some."


def test_an_undeclared_code_is_a_fault_of_ours() -> None:
    with pytest.raises(ValueError, match="not declared"):
        ContractError("no-such-code", "x")
    assert all(code == code.lower() and " " not in code for code in CODES)


@pytest.mark.parametrize(
    ("machine", "flags", "jetson", "found"),
    [
        ("aarch64", "fp asimd", "", "arm64-neon"),
        ("aarch64", "fp asimd asimddp", "", "arm64-dotprod"),
        ("aarch64", "asimddp i8mm", "", "arm64-i8mm"),
        ("aarch64", "asimddp", "nvidia,tegra234", "jetson-ampere"),
        ("aarch64", "asimd", "nvidia,tegra210", "jetson-maxwell"),
        ("x86_64", "avx2", "", "x86-64-avx2"),
        ("x86_64", "avx2 avx512_vnni", "", "x86-64-vnni"),
        ("x86_64", "avx2 avx_vnni", "", "x86-64-vnni"),
    ],
)
def test_a_processor_is_classed_by_its_flags(machine: str, flags: str, jetson: str, found: str) -> None:
    assert classify(machine, flags.split(), jetson=jetson) == found


@pytest.mark.parametrize(("machine", "flags"), [("armv7l", "neon"), ("x86_64", "sse4_2"), ("riscv64", "")])
def test_a_processor_without_runtimes_is_refused_with_advice(machine: str, flags: str) -> None:
    with pytest.raises(DeviceError) as caught:
        classify(machine, flags.split())
    assert caught.value.code == "unsupported-platform" and caught.value.hint


def test_every_class_accepts_itself_first_and_never_a_newer_one() -> None:
    for hardware_class, accepted in ACCEPTS.items():
        assert accepted[0] == hardware_class
        for older in accepted[1:]:
            assert hardware_class not in ACCEPTS[older]
