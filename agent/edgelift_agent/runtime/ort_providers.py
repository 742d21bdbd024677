"""Which of onnxruntime's execution providers compute an artifact, and in what precision: rules only.

An artifact's accuracy was judged, and its goldens recorded, in the precision that its graph is written in. A GPU left
to its defaults takes another: CUDA multiplies float32 as TF32, 10 bits of fraction instead of 23, from Ampere on. So
each provider is told to keep to the graph's; whoever wants float16's speed ships an artifact in float16.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgelift_contract.manifest import Manifest

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"

#: A provider's name and its options, as onnxruntime takes them.
Provider = tuple[str, dict[str, Any]]


def choose_providers(available: Sequence[str], folder: Path, manifest: Manifest) -> list[Provider]:
    """Execution providers, best first: TensorRT and CUDA where the artifact is a Jetson's and they exist, then the CPU.

    CUDA was tried on a server's GPU, also as what is left where TensorRT's libraries are missing; TensorRT on none.

    Args:
        available: what onnxruntime was built with; whether it can be loaded shows only when it is.
        folder: the artifact's folder, `…/artifacts/<id>`.
        manifest: the artifact's.
    """
    chosen: list[Provider] = []
    if manifest.hardware_class.startswith("jetson-"):
        if TENSORRT in available:
            chosen.append((TENSORRT, _tensorrt(folder, manifest.provenance.steps)))
        if CUDA in available:
            chosen.append((CUDA, {"use_tf32": "0"}))
    return [*chosen, (CPU, {})]


def _tensorrt(folder: Path, steps: Sequence[str]) -> dict[str, Any]:
    """TensorRT's options.

    Engines are built on the device and fit only its GPU, its TensorRT version and this artifact, so they are cached by
    all three: TensorRT puts GPU and version into the engine's file name, the folder is the artifact's. It refuses
    layers in a precision that is not enabled (onnxruntime issue 13381), and once one is, takes it wherever it is faster.
    """
    return {
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(folder.parent.parent / "engines" / folder.name),
        "trt_timing_cache_enable": True,
        "trt_fp16_enable": "fp16" in steps,
        "trt_int8_enable": any("int8" in step for step in steps),
    }


def attempts(chosen: Sequence[Provider]) -> list[list[Provider]]:
    """What to try in turn: all of them, then each time without the first, down to the CPU alone.

    onnxruntime's own way back drops the options of those that remain.
    """
    return [list(chosen[first:]) for first in range(len(chosen))]


def unused(chosen: Sequence[Provider], used: Sequence[str]) -> list[str]:
    """Providers that were chosen and that the session does without: their libraries could not be loaded."""
    return [name for name, _ in chosen if name not in used]
