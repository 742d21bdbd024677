"""Did a torch module come in few bits? Its graph's operators, its layers' classes or its parameters' types say so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import torch

#: Packages whose layers and tensors hold 8 bits or fewer.
_PACKAGES = (
    "torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.ao.nn.sparse.quantized", "torch.nn.quantized",
    "torchao",
)  # fmt: skip

#: Operators that compute in few bits or change to and from them: `quantized::linear_dynamic`, `aten::quantize_per_tensor`.
#: What only plays rounding in training (`fake_quantize`) computes in float.
_OPERATOR = re.compile(r"\b_?(de)?quantize|_int[48]pack_mm")


def is_quantised(model: Any) -> bool:
    """Is it to be shipped as it came: a TorchScript module, a `torch.export` program's, or any other."""
    return any(_OPERATOR.search(name) for name in _operators(model)) or _holds_few_bits(model)


def _operators(model: Any) -> Iterator[str]:
    """Names of what its graph calls, where it has one."""
    if isinstance(model, torch.jit.ScriptModule):
        yield from _kinds(model.inlined_graph)
    elif isinstance(model, torch.fx.GraphModule):
        yield from (str(node.target) for node in model.graph.nodes if node.op == "call_function")


def _kinds(block: Any) -> Iterator[str]:
    for node in block.nodes():
        yield node.kind()
        for inner in node.blocks():
            yield from _kinds(inner)


def _holds_few_bits(model: Any) -> bool:
    if isinstance(model, torch.jit.ScriptModule):
        return False  # its graph has told
    layers = any(type(layer).__module__.startswith(_PACKAGES) for layer in model.modules())
    return layers or any(_is_narrow(parameter) for parameter in model.parameters())


def _is_narrow(parameter: Any) -> bool:
    """Whole numbers are never trained: they stand for weights. A tensor of torchao says float32 of itself."""
    whole = not parameter.is_floating_point() and not parameter.is_complex()
    return whole or type(parameter.data).__module__.startswith(_PACKAGES)
