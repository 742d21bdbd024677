"""Which of onnxruntime's providers compute an artifact, without one: what is asked of them, and what comes of a refusal."""

import logging
import warnings
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.agent.test_runtimes import manifest

from edgelift_agent.artifact.goldens import check_goldens
from edgelift_agent.runtime import ort
from edgelift_agent.runtime.ort_providers import CPU, CUDA, TENSORRT, attempts, choose_providers, unused
from edgelift_agent.testing.runtime import ToyModel, ToyModelFile
from edgelift_contract.errors import ContractError
from edgelift_contract.golden import Golden, Tensor
from edgelift_contract.manifest import Manifest, Provenance, Tolerance

EVERYTHING = [TENSORRT, CUDA, CPU]


def artifact(hardware_class: str, *steps: str) -> Manifest:
    made = manifest("model.onnx", "onnxruntime", "onnx")
    return msgspec.structs.replace(
        made, hardware_class=hardware_class, provenance=Provenance("0" * 64, "r", list(steps))
    )


def test_a_cpu_device_uses_the_cpu_and_a_jetson_what_it_has(tmp_path: Path) -> None:
    folder = tmp_path / "artifacts" / ("a" * 64)
    assert choose_providers(EVERYTHING, folder, artifact("x86-64-vnni")) == [(CPU, {})]
    assert choose_providers([CPU], folder, artifact("jetson-ampere")) == [(CPU, {})]
    (trt, options), (cuda, _), (cpu, _) = choose_providers(EVERYTHING, folder, artifact("jetson-ampere"))
    assert [trt, cuda, cpu] == EVERYTHING
    assert Path(options["trt_engine_cache_path"]) == tmp_path / "engines" / ("a" * 64)


@pytest.mark.parametrize(
    ("steps", "half", "int8"),
    [
        (["export-onnx"], False, False),
        (["export-onnx", "fp16"], True, False),
        (["prune-channels", "export-onnx", "static-int8"], False, True),
    ],
)
def test_a_gpu_computes_in_the_precision_that_was_judged(
    tmp_path: Path, steps: list[str], half: bool, int8: bool
) -> None:
    """TF32 put ResNet-18's float goldens off by more than their tolerance on a server's GPU."""
    (_, trt), (_, cuda), _ = choose_providers(EVERYTHING, tmp_path / "a" / "b", artifact("jetson-ampere", *steps))
    assert cuda == {"use_tf32": "0"}
    assert (trt["trt_fp16_enable"], trt["trt_int8_enable"]) == (half, int8)


def test_what_cannot_be_had_is_left_out_one_by_one() -> None:
    chosen: list[tuple[str, dict[str, Any]]] = [(TENSORRT, {"a": 1}), (CUDA, {"use_tf32": "0"}), (CPU, {})]
    assert attempts(chosen) == [chosen, chosen[1:], chosen[2:]]
    assert unused(chosen[1:], [CPU]) == [CUDA]
    assert unused(chosen[2:], [CPU]) == []


@pytest.mark.onnx
def test_a_provider_that_fails_is_named_and_the_next_one_computes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import onnxruntime

    (tmp_path / "m.onnx").write_bytes(doubling())
    # No GPU is needed for a refusal: TensorRT's without its libraries raises in the same place.
    chosen: Any = [("BrokenExecutionProvider", {}), ("MissingExecutionProvider", {}), (CPU, {})]
    # Its own level: what another test imports may have raised the root's.
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING, logger=ort.log.name):
        warnings.simplefilter("ignore")  # onnxruntime's own, about names it doesn't know
        session = ort._open(onnxruntime, tmp_path / "m.onnx", onnxruntime.SessionOptions(), chosen)
    model = ort.OnnxModel(session)
    assert model.accelerators == ()
    np.testing.assert_array_equal(model.run({"x": np.ones((1, 4), np.float32)})["y"], np.full((1, 4), 2))
    broken, missing = caplog.messages
    assert broken.startswith("BrokenExecutionProvider cannot run")
    assert missing.startswith("MissingExecutionProvider cannot run")


def doubling() -> bytes:
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "g", [x], [y])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return made.SerializeToString()


class OnGpu(ToyModel):
    """The toy, as if a GPU had computed it."""

    accelerators = (CUDA,)


def test_under_the_recorded_key_a_processor_is_exact_and_a_gpu_within_the_tolerance() -> None:
    """A Jetson's GPU answers beside the same processor that recorded: the key cannot tell."""
    x = np.ones((1, 4), np.float32)
    near = Tensor("y", "FP32", [1, 4], (2 * x + 1e-4).astype(np.float32).tobytes())
    goldens = [Golden([Tensor("x", "FP32", [1, 4], x.tobytes())], [near])]
    tolerance = Tolerance("k", 1e-3)
    toy = (ToyModelFile(scale=2), ["x"], ["y"])
    assert check_goldens(OnGpu(*toy), goldens, tolerance, key="k") == pytest.approx(1e-4, rel=1e-2)
    with pytest.raises(ContractError, match="is off by"):
        check_goldens(ToyModel(*toy), goldens, tolerance, key="k")
    with pytest.raises(ContractError, match="is off by"):
        check_goldens(OnGpu(*toy), goldens, Tolerance("k", 1e-5), key="k")


def test_the_same_infinity_is_no_difference_and_another_is() -> None:
    """What a mask rules out is minus infinity, in the golden and on the device."""
    x = np.array([[1, -np.inf, 3, -np.inf]], np.float32)
    goldens = [
        Golden([Tensor("x", "FP32", [1, 4], x.tobytes())], [Tensor("y", "FP32", [1, 4], (2 * x).tobytes())])
    ]
    assert check_goldens(ToyModel(ToyModelFile(scale=2), ["x"], ["y"]), goldens, Tolerance("k", 0.1), key="") == 0
    with pytest.raises(ContractError, match="is off by inf"):
        check_goldens(ToyModel(ToyModelFile(scale=-2), ["x"], ["y"]), goldens, Tolerance("k", 0.1), key="")
