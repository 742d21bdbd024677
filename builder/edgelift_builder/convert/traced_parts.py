"""Traced parts of a module have a convolution by an inner name of torch's, `_convolution`, that no exporter knows."""

from __future__ import annotations

from typing import Any


def for_onnx() -> None:
    """Let torch.onnx take it for the convolution that it is."""
    from torch._decomp import decomposition_table

    for overload in _overloads():
        decomposition_table.setdefault(overload, _convolution)


def for_tflite() -> None:
    """Let litert-torch do so."""
    import torch
    from litert_torch.fx_infra import decomp

    for overload in _overloads():
        decomp.add_pre_convert_decomp(overload, _convolution)
    # What checks values while it runs, as one_hot does its indices, checks nothing there.
    decomp.add_pre_convert_decomp(torch.ops.aten._assert_async.msg, lambda *_: None)


def _overloads() -> list[Any]:
    import torch

    inner = torch.ops.aten._convolution
    return [getattr(inner, overload) for overload in inner.overloads() if overload != "out"]


def _convolution(*given: Any) -> Any:
    import torch

    # What comes after the number of groups chooses among cuDNN's ways.
    return torch.ops.aten.convolution.default(*given[:9])
