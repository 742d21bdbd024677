"""Advisories: which kernel must not meet which hardware and runtime version, checked on every artifact made.

The facts are a data file, `known_bad.toml`, each with its issue number and what to do instead; here is only how to see
them in a graph. A hit is an error: a candidate that might be wrong on a device is not a candidate, however well it
does on this machine, whose kernels are others.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from edgelift_contract.errors import ContractError
from edgelift_contract.hardware import HardwareClass
from edgelift_contract.manifest import RuntimeName

#: The heaviest sum of two neighbouring weights that 16 bits hold with activations of 255: 32,767 / 255.
HEAVIEST_PAIR = 128


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One advisory; see the head of `known_bad.toml`."""

    name: str
    check: str
    classes: list[HardwareClass]
    runtime: RuntimeName
    versions: str
    issue: str
    what: str
    way_round: str
    as_it_came: Literal["refused", "told", "fine"] = "refused"


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    entry: list[Entry]


@functools.cache
def entries() -> tuple[Entry, ...]:
    """Every advisory that ships with edgelift."""
    text = resources.files("edgelift_builder").joinpath("known_bad.toml").read_bytes()
    return tuple(msgspec.toml.decode(text, type=_File).entry)


def check(
    model: Path, runtime: RuntimeName, hardware_class: HardwareClass, runtime_range: str, label: str
) -> None:
    """Refuse an artifact that an advisory speaks of.

    Args:
        model: the file that the runtime opens.
        runtime: who loads it.
        hardware_class: where.
        runtime_range: versions that may load it, as `>=1.17`.
        label: the candidate's name, for people.

    Raises:
        ContractError: `known-bad`, with the issue's number and what to do instead.
    """
    for entry, where in _hits(model, runtime, hardware_class, runtime_range):
        raise _refusal(entry, where, label)


def check_as_it_came(
    model: Path, runtime: RuntimeName, hardware_class: HardwareClass, runtime_range: str, label: str
) -> tuple[str, ...]:
    """Like `check`, for a file that was quantised before it came here: what is not refused is told.

    Raises:
        ContractError: `known-bad`.
    """
    told = []
    for entry, where in _hits(model, runtime, hardware_class, runtime_range):
        if entry.as_it_came == "refused":
            raise _refusal(entry, where, label)
        if entry.as_it_came == "told":
            told.append(
                f"It came so, and may answer otherwise on {hardware_class}, which a device's goldens show before it serves "
                f"it: {where}: {entry.what} ({entry.issue})."
            )
    return tuple(told)


def _refusal(entry: Entry, where: str, label: str) -> ContractError:
    return ContractError(
        "known-bad", f"{label} must not ship: {where}: {entry.what} ({entry.issue}).", hint=entry.way_round
    )


def _hits(
    model: Path, runtime: RuntimeName, hardware_class: HardwareClass, runtime_range: str
) -> Iterator[tuple[Entry, str]]:
    """Every advisory that speaks of an artifact, and of what in it."""
    relevant = [
        e
        for e in entries()
        if e.runtime == runtime
        and (not e.classes or hardware_class in e.classes)
        and admits(runtime_range, e.versions)
    ]
    if relevant and model.suffix == ".onnx":
        graph = Graph(model)
        yield from ((entry, where) for entry in relevant if (where := CHECKS[entry.check](graph)))


def admits(runtime_range: str, bad: str) -> bool:
    """May a version that `bad` names (`<1.33`; empty is every one) load what `runtime_range` (`>=1.17`) allows."""
    below = re.fullmatch(r"<(\d+)\.(\d+)", bad)
    oldest = re.search(r">=(\d+)\.(\d+)", runtime_range)
    if below is None or oldest is None:
        return True
    return (int(oldest[1]), int(oldest[2])) < (int(below[1]), int(below[2]))


class Graph:
    """An ONNX graph as the checks see it: its nodes, and its small or integer constants when asked for."""

    def __init__(self, model: Path) -> None:
        import onnx

        self._home = str(model.parent)
        self.proto = onnx.load(model, load_external_data=False)
        self._tensors = {t.name: t for t in self.proto.graph.initializer}
        self.made_by = {out: node for node in self.proto.graph.node for out in node.output}

    def constant(self, name: str) -> np.ndarray[Any, Any] | None:
        """A constant's values; None where `name` is none."""
        import onnx

        tensor = self._tensors.get(name)
        return None if tensor is None else onnx.numpy_helper.to_array(tensor, self._home)

    def int8_weights(self) -> Iterator[tuple[Any, Any, np.ndarray[Any, Any]]]:
        """`(node, activation's DequantizeLinear or None, weights)` of every product with int8 weights."""
        for node in self.proto.graph.node:
            if node.op_type == "DynamicQuantizeLSTM":
                held = [self.constant(name) for name in node.input[1:3]]
                yield from ((node, None, weights) for weights in held if weights is not None)
                continue
            if node.op_type in ("MatMulInteger", "DynamicQuantizeMatMul", "MatMulIntegerToFloat"):
                found = self.constant(node.input[1])
                pair = None
            elif node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul") and len(node.input) > 1:
                made = self.made_by.get(node.input[1])
                found = self.constant(made.input[0]) if made is not None and _is_dq(made) else None
                pair = self.made_by.get(node.input[0])
            elif node.op_type in ("QLinearConv", "QLinearMatMul"):
                found, pair = self.constant(node.input[3]), None
            else:
                continue
            if found is not None and found.dtype == np.int8:
                yield node, pair if pair is not None and _is_dq(pair) else None, found


def _is_dq(node: Any) -> bool:
    return bool(node.op_type == "DequantizeLinear")


def _minus_128(graph: Graph) -> str:
    for node, _, weights in graph.int8_weights():
        if int(weights.min()) == -128:
            return f"{node.name or node.output[0]} ({node.op_type})"
    return ""


def _full_range_u8s8(graph: Graph) -> str:
    for node, pair, weights in graph.int8_weights():
        zero = graph.constant(pair.input[2]) if pair is not None and len(pair.input) > 2 else None
        # Dynamic kernels quantise to uint8; static ones say so by the type of the activation's zero point.
        unsigned = zero.dtype == np.uint8 if zero is not None else not _is_static(node)
        if unsigned and _too_heavy(node, weights):
            return f"{node.name or node.output[0]} ({node.op_type})"
    return ""


def _too_heavy(node: Any, weights: np.ndarray[Any, Any]) -> bool:
    """May two neighbours along the sum and activations of 255 leave 16 bits. Products sum along the second to last axis;
    in which order a convolution's kernel takes its weights is not known, so there any two may meet.
    """
    wide = weights.astype(np.int16)
    if weights.ndim < 2 or node.op_type in ("Conv", "ConvTranspose", "QLinearConv", "Gemm"):
        return 2 * int(np.abs(wide).max()) > HEAVIEST_PAIR
    return int(np.abs(wide[..., 1:, :] + wide[..., :-1, :]).max(initial=0)) > HEAVIEST_PAIR


def _is_static(node: Any) -> bool:
    return node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul", "QLinearConv", "QLinearMatMul")


def _asymmetric_int4(graph: Graph) -> str:
    for node in graph.proto.graph.node:
        bits = next((a.i for a in node.attribute if a.name == "bits"), 4)
        if node.op_type == "MatMulNBits" and bits == 4 and len(node.input) > 3 and node.input[3]:
            return f"{node.name or node.output[0]} (MatMulNBits)"
    return ""


def _conv_integer(graph: Graph) -> str:
    return next(
        (f"{n.name or n.output[0]} (ConvInteger)" for n in graph.proto.graph.node if n.op_type == "ConvInteger"),
        "",
    )


#: By the name that the data file calls it: where in the graph it applies, or nothing.
CHECKS: dict[str, Callable[[Graph], str]] = {
    "minus_128": _minus_128,
    "full_range_u8s8": _full_range_u8s8,
    "asymmetric_int4": _asymmetric_int4,
    "conv_integer": _conv_integer,
}
