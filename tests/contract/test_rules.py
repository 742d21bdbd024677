"""What the host chooses, the device admits; versions compare by number, not by text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelift_contract import ContractError
from edgelift_contract.assignment import Policy, SlotAssignment
from edgelift_contract.release import ReleaseArtifact
from edgelift_contract.report import DeviceFacts
from edgelift_contract.rules import admit, choose, in_range, may_go_back
from edgelift_contract.signed import Genuine, Vouched
from tests.contract.manifests import manifest


def artifact(digit: str, hardware_class: str, runtime: str = "onnxruntime", rank: int = 0) -> ReleaseArtifact:
    return ReleaseArtifact(
        id=digit * 64, manifest_bytes=1, hardware_class=hardware_class, targets=["t"], runtime=runtime,
        format="onnx", variant="float32", rank=rank, size_bytes=1,
    )  # fmt: skip


PI5 = DeviceFacts("arm64-dotprod", ["arm64-dotprod", "arm64-neon"], {"onnxruntime": "1.32.0", "litert": "2.3.0"})


def test_the_nearest_hardware_class_wins_over_rank() -> None:
    found = choose([artifact("a", "arm64-neon", rank=0), artifact("b", "arm64-dotprod", rank=5)], PI5, what="d@1")
    assert found.id[0] == "b"


def test_then_the_rank_wins() -> None:
    found = choose(
        [artifact("a", "arm64-neon", rank=1), artifact("b", "arm64-neon", "litert", 0)], PI5, what="d@1"
    )
    assert found.id[0] == "b"


def test_a_runtime_that_the_device_lacks_is_passed_over() -> None:
    only_onnx = DeviceFacts("arm64-neon", [], {"onnxruntime": "1.32.0"})
    offered = [artifact("a", "arm64-neon", "litert", 0), artifact("b", "arm64-neon", rank=1)]
    assert choose(offered, only_onnx, what="d@1").id[0] == "b"


def test_nothing_for_this_hardware_says_what_there_is() -> None:
    with pytest.raises(ContractError) as caught:
        choose([artifact("a", "x86-64-avx2")], PI5, what="digits@1")
    assert caught.value.code == "wrong-hardware-class"
    assert "digits@1 has artifacts for x86-64-avx2; the device is arm64-dotprod" in caught.value.message


def test_no_runtime_says_what_is_needed() -> None:
    with pytest.raises(ContractError) as caught:
        choose([artifact("a", "arm64-neon", "torchscript")], PI5, what="digits@1")
    assert caught.value.code == "runtime-missing"
    assert "torchscript" in caught.value.message and "litert, onnxruntime" in caught.value.message


def test_admit_lets_a_fitting_manifest_pass() -> None:
    admit(manifest(), PI5, floor=0)
    admit(manifest(release_counter=2), PI5, floor=2)


def test_the_floor_holds_unless_going_back_is_meant() -> None:
    with pytest.raises(ContractError) as caught:
        admit(manifest(release_counter=2), PI5, floor=3)
    assert caught.value.code == "older-release"
    admit(manifest(release_counter=2), PI5, floor=3, allow_older=True)


def test_going_back_takes_two_where_two_sign() -> None:
    said = Genuine(hardware_class="arm64-neon", runtime="onnxruntime", model="toy", version="1", release_counter=1)
    signed, allowed = Vouched(manifest_bytes=9, said=said), Vouched(manifest_bytes=9, said=said, allow_older=True)
    ordered = SlotAssignment("a" * 64, 9, "toy", "1", policy=Policy(allow_older=True))
    assert not may_go_back(ordered, signed, ()) and not may_go_back(ordered, signed, {"b" * 64})
    assert may_go_back(ordered, signed, {"a" * 64}) and may_go_back(ordered, allowed, ())
    assert may_go_back(ordered, None, ())  # where nobody signs the control plane alone decides
    unordered = SlotAssignment("a" * 64, 9, "toy", "1")
    assert not any(may_go_back(unordered, one, {"a" * 64}) for one in (signed, allowed, None))


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        (DeviceFacts("x86-64-vnni", [], {"onnxruntime": "1.32.0"}), "wrong-hardware-class"),
        (DeviceFacts("arm64-neon", [], {"litert": "2.3.0"}), "runtime-missing"),
        (DeviceFacts("arm64-neon", [], {"onnxruntime": "1.16.3"}), "runtime-missing"),
    ],
)
def test_admit_refuses_what_this_device_cannot_run(facts: DeviceFacts, code: str) -> None:
    with pytest.raises(ContractError) as caught:
        admit(manifest(), facts, floor=0)
    assert caught.value.code == code


@given(st.sampled_from(["arm64-neon", "arm64-dotprod", "x86-64-avx2"]), st.sampled_from(["onnxruntime", "litert"]))
def test_what_is_chosen_is_admitted(hardware_class: str, runtime: str) -> None:
    try:
        found = choose([artifact("a", hardware_class, runtime)], PI5, what="d@1")
    except ContractError:
        return
    made = manifest(hardware_class=found.hardware_class, runtime=found.runtime, runtime_range="")
    admit(made, PI5, floor=0)


@pytest.mark.parametrize(
    ("version", "wanted", "holds"),
    [
        ("1.32.0", "", True), ("1.32.0", ">=1.17", True), ("1.9.0", ">=1.17", False), ("1.17", ">=1.17.0", True),
        ("2.0.0", ">=1.17,<2", False), ("1.99", ">=1.17,<2", True), ("1.17.0", "==1.17", True),
        ("2.13.0+cpu", "==2.13.0", True), ("2.0.0rc1", ">=2.0", True), ("1.16.3", "<=1.16.3", True),
        ("1.16.3", ">1.16.3", False), ("1.0", "~=1.0", False), ("", ">=1.0", False), ("1.0", ">= 1.0", True),
    ],
)  # fmt: skip
def test_versions_compare_by_number(version: str, wanted: str, holds: bool) -> None:
    assert in_range(version, wanted) is holds


@given(st.lists(st.integers(0, 99), min_size=1, max_size=4), st.lists(st.integers(0, 99), min_size=1, max_size=4))
def test_exactly_one_of_less_equal_greater_holds(left: list[int], right: list[int]) -> None:
    a, b = ".".join(map(str, left)), ".".join(map(str, right))
    assert sum(in_range(a, f"{sign}{b}") for sign in ("<", "==", ">")) == 1
