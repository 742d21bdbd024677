"""A source's arrays as the builder keeps them: one example call, evaluation and calibration samples, their sample axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgelift_builder import calls, data, ragged
from edgelift_builder.source import sample_axes
from edgelift_builder.source.file_model import Port
from edgelift_builder.source.given import Source
from edgelift_builder.source.parameters import Parameters, parameters
from edgelift_builder.source.sample_axes import Shape
from edgelift_contract.errors import ContractError


@dataclass(frozen=True)
class Samples:
    """All in one order of inputs.

    Attributes:
        example: one call.
        evaluation, calibration: data sets; no calibration where the source gave none.
        axes: the sample axis of each input in a call.
        may_batch: does no port fix the number of samples in a call.
    """

    example: data.DataSet
    evaluation: data.DataSet
    calibration: data.DataSet | None
    axes: dict[str, int | None]
    may_batch: bool = True


def take(source: Source, ports: Sequence[Port], remarks: list[str], *, as_float32: bool = False) -> Samples:
    """The samples of a source.

    Args:
        source: what was given; without example inputs the first evaluation sample is the example.
        ports: of a model file, as far as it tells.
        remarks: for people, to be added to.
        as_float32: take float64 inputs as float32, as the model was.

    Raises:
        ContractError: `source-invalid` or `shape-mismatch`.
    """
    takes = parameters(source.model)
    source = replace(source, **{n: _narrowed(getattr(source, n)) for n in _INPUTS}) if as_float32 else source
    evaluated = _given(takes, source.evaluation_inputs, "evaluation inputs")
    shapes = _shapes(source, takes, ports, evaluated)
    axes = sample_axes.find(shapes, {name: _named(evaluated, name, "evaluation") for name in shapes})
    evaluation = sample_axes.columns({n: evaluated[n] for n in shapes}, axes, shapes, "evaluation inputs")
    if not data.length(evaluation):
        raise ContractError("source-invalid", "The evaluation inputs hold no sample.")
    one_each = [n for n, axis in axes.items() if axis is None and sample_axes.is_one_each(shapes[n], evaluated[n])]
    may_batch = _may_batch(ports, axes) and not one_each
    example = _example(source, takes, evaluation, axes, shapes)
    alike = [name for name, axis in axes.items() if axis is None and name not in one_each]
    if one_each:
        remarks.append(f"{', '.join(one_each)} of the model has no sample axis: it is asked one sample at a time.")
    remarks.extend(f"The input {name} has no sample axis: it is the same for every sample." for name in alike)
    if source.calibration_inputs is None:
        return Samples(example, evaluation, None, axes, may_batch)
    calibrated = _given(takes, source.calibration_inputs, "calibration inputs")
    calibration = sample_axes.columns(
        {n: _named(calibrated, n, "calibration") for n in shapes}, axes, shapes, "calibration inputs"
    )
    return Samples(example, evaluation, calibration, axes, may_batch)


_INPUTS = ("example_inputs", "evaluation_inputs", "calibration_inputs")


def _narrowed(values: Any) -> Any:
    """The same arrays, float64 as float32, however they are put together."""
    if isinstance(values, Mapping):
        return {name: _narrowed(value) for name, value in values.items()}
    if isinstance(values, tuple | list):
        return type(values)(_narrowed(value) for value in values)
    if hasattr(values, "detach"):
        return values.float() if str(values.dtype) == "torch.float64" else values
    return values.astype(np.float32) if getattr(values, "dtype", None) == np.float64 else values


def bound(takes: Parameters, values: Any, what: str) -> dict[str, Any]:
    """A source's samples by the name of their parameter, see `Parameters.bind`; a plain list is the only parameter's."""
    return takes.bind((list(values),) if _are_samples(takes, values) else values, what)


def _given(takes: Parameters, values: Any, what: str) -> dict[str, sample_axes.Given]:
    return sample_axes.arrays(bound(takes, values, what))


def _are_samples(takes: Parameters, values: Any) -> bool:
    """A list that is longer than the parameters of a model with one input: its samples."""
    required = [p for p in takes.known if p.required]
    return isinstance(values, list) and len(required) <= 1 and len(values) > max(1, len(takes.known))


def _shapes(
    source: Source, takes: Parameters, ports: Sequence[Port], evaluated: Mapping[str, sample_axes.Given]
) -> dict[str, Shape]:
    if source.example_inputs is not None:
        given = sample_axes.arrays(takes.bind(source.example_inputs, "example inputs"))
        return {name: np.shape(array) for name, array in given.items()}
    known = {port.name: port.shape for port in ports}
    count = next((len(value) for value in evaluated.values() if isinstance(value, list) or value.ndim), 1)
    return {n: known[n] if n in known else _any_length(value, count) for n, value in evaluated.items()}


def _any_length(value: sample_axes.Given, count: int) -> Shape:
    """The shape of a call that a file doesn't tell: samples lie on the first axis, or on the only one that has as many."""
    if isinstance(value, list):
        return (None, *value[0].shape)
    places = [k for k, length in enumerate(value.shape) if length == count]
    axis = places[0] if len(places) == 1 else 0
    return tuple(None if k == axis else length for k, length in enumerate(value.shape))


def _named(given: Mapping[str, sample_axes.Given], name: str, what: str) -> sample_axes.Given:
    if name not in given:
        raise ContractError("source-invalid", f"The {what} inputs have no {name!r}, the example inputs do.")
    return given[name]


def _may_batch(ports: Sequence[Port], axes: calls.Axes) -> bool:
    fixed = {}
    for port in ports:
        axis = axes.get(port.name)
        if axis is not None and axis < len(port.shape) and port.shape[axis] is not None:
            fixed[port.name] = port.shape[axis]
    many = [(name, count) for name, count in fixed.items() if count != 1]
    if many:
        raise ContractError(
            "shape-mismatch",
            f"The input {many[0][0]} takes exactly {many[0][1]} samples at once; a device gives it one.",
            hint="Export the model again with a batch of 1 or, better, with a free batch axis. If that axis "
            "counts no samples, give evaluation inputs with one axis more: a whole input for each sample.",
        )
    return not fixed


def _example(
    source: Source, takes: Parameters, evaluation: data.DataSet, axes: calls.Axes, shapes: Mapping[str, Shape]
) -> data.DataSet:
    if source.example_inputs is None:
        return calls.one(evaluation, 0, axes)
    given = sample_axes.arrays(takes.bind(source.example_inputs, "example inputs"))
    return calls.one(sample_axes.columns(given, axes, shapes, "example inputs"), 0, axes)


def check_alike(samples: Samples, ports: Sequence[Port]) -> None:
    """Refuse evaluation and calibration samples that are not of the example's kind.

    Raises:
        ContractError: `shape-mismatch`.
    """
    for what, found in (("evaluation", samples.evaluation), ("calibration", samples.calibration)):
        if found is not None:
            _check(samples.example, found, samples.axes, ports, what)


def _check(example: data.DataSet, found: data.DataSet, axes: calls.Axes, ports: Sequence[Port], what: str) -> None:
    """Refuse samples of another element type than the example's, or of another shape where that is not free."""
    ported = {port.name: port.shape for port in ports}
    for name, wanted in example.items():
        column, axis = found[name], axes.get(name, 0)
        one = calls.one({name: column}, 0, axes)[name]
        shape = ported.get(name, wanted.shape)
        fits = len(shape) == one.ndim and all(n in (None, m) for n, m in zip(shape, one.shape, strict=True))
        if data.kind_name(one) != data.kind_name(wanted) or not (fits or ragged.is_ragged(column)):
            raise ContractError(
                "shape-mismatch",
                f"The {what} input {name} is {data.kind_name(one)}{_per_sample(one, axis)} per sample; "
                f"the example input is {data.kind_name(wanted)}{_per_sample(wanted, axis)}.",
                hint="Give both the same element type and shape.",
            )


def _per_sample(call: data.Array, axis: int | None) -> list[int]:
    return [n for k, n in enumerate(call.shape) if k != axis]
