"""What a source tells of its numbers and of itself, checked against its model and made ready for the manifest.

Held here, and not first by the manifest's own reader, so that a person is told in the words of the source.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from edgelift_builder.calls import Axes
from edgelift_builder.source.given import Meaning, Source
from edgelift_contract import codec
from edgelift_contract.errors import ContractError
from edgelift_contract.manifest import TensorSpec
from edgelift_contract.meaning import MAX_METADATA, Metadata, TensorMeaning, wrong_with

#: What `Meaning.axis` says where labels name the values themselves.
VALUES = "values"

#: An entry of a file's own metadata that is its exporter's, and one that holds a path of the machine that wrote it.
_EXPORTERS = ("pkg.", "onnx.")
_PATH = re.compile(r"(?:^|[\s\"'=(\[,:])(?:~?(?:/[\w.@-]+){2,}|[A-Za-z]:\\|\\\\\w)")


def told(specs: list[TensorSpec], given: Any, axes: Axes, what: str) -> list[TensorSpec]:
    """Inputs or outputs, with what the source tells of each.

    Args:
        specs: of the model.
        given: the source's `inputs` or `outputs`: a dict by name, or one `Meaning` where there is one tensor.
        axes: the sample axis of each in a call.
        what: `input` or `output`.

    Raises:
        ContractError: `source-invalid`, naming the tensor.
    """
    by_name = _by_name(specs, given, what)
    return [
        msgspec.structs.replace(spec, meaning=_made(spec, by_name[spec.name], axes.get(spec.name, 0), what))
        if spec.name in by_name
        else spec
        for spec in specs
    ]


def metadata_of(source: Source, remarks: list[str]) -> Metadata:
    """The source's free table, over what its file carries itself.

    Args:
        source: as it was given.
        remarks: for people, to be added to.

    Raises:
        ContractError: `source-invalid`.
    """
    given = source.metadata or {}
    if not isinstance(given, Mapping):
        raise ContractError(
            "source-invalid", f"The source's metadata is {type(given).__name__}, not a dict of names and values."
        )
    own = {str(key): value.item() if isinstance(value, np.generic) else value for key, value in given.items()}
    checked: Metadata = _checked(own, Metadata, "metadata")
    return _of_file(getattr(source.model, "metadata", {}), checked, remarks) | checked


def _of_file(carried: Mapping[str, str], own: Metadata, remarks: list[str]) -> Metadata:
    """What of a file's own metadata can stand in a manifest: no path, and no more than there is room for."""
    found: Metadata = {}
    left = []
    for key, value in carried.items():
        if key.startswith(_EXPORTERS) or key in own:
            continue
        if len(found) + len(own) >= MAX_METADATA or _PATH.search(value) or not _fits({key: value}):
            left.append(key)
        else:
            found[key] = value
    if left:
        listed = ", ".join(f"{key:.60}" for key in left[:5]) + (" …" if len(left) > 5 else "")
        remarks.append(
            f"Of the file's own metadata {listed} was left out: too long, a path, or no plain name."
            " Say it in the source's metadata if clients are to have it."
        )
    return found


def _fits(entry: Mapping[str, str]) -> bool:
    try:
        msgspec.convert(entry, Metadata)
    except msgspec.ValidationError:
        return False
    return True


def _by_name(specs: list[TensorSpec], given: Any, what: str) -> Mapping[str, Meaning]:
    if given is None:
        return {}
    names = [spec.name for spec in specs]
    if isinstance(given, Meaning):
        if len(names) != 1:
            raise ContractError(
                "source-invalid",
                f"The source tells of one {what}, and the model has {len(names)}: {', '.join(names)}.",
                hint=f'Give a dict: {what}s={{"{names[0]}": Meaning(…)}}.',
            )
        return {names[0]: given}
    if not isinstance(given, Mapping) or not all(isinstance(one, Meaning) for one in given.values()):
        raise ContractError(
            "source-invalid",
            f"The source's {what}s are no dict of edgelift_builder.Meaning by name.",
            hint=f'{what}s={{"{names[0]}": Meaning(unit="°C")}}',
        )
    unknown = [str(name) for name in given if name not in names]
    if unknown:
        raise ContractError(
            "source-invalid",
            f"The source tells of the {what} {unknown[0]}, which the model does not have.",
            hint=f"Its {what}s: {', '.join(names)}.",
        )
    return given


def _made(spec: TensorSpec, given: Meaning, sample_axis: int | None, what: str) -> TensorMeaning:
    labels = _listed(given.labels, f"labels of the {what} {spec.name}")
    scale = _numbers(given.scale, f"scale of the {what} {spec.name}")
    offset = _numbers(given.offset, f"offset of the {what} {spec.name}")
    plain = {"labels": labels, "unit": given.unit, "scale": scale, "offset": offset}
    count = len(labels) or max(len(scale), len(offset))
    if given.axis == VALUES:
        axis = None
    elif given.axis is not None:
        axis = _axis(given.axis, spec, what)
    else:
        axis = _found(spec, count, sample_axis, what) if labels or count > 1 else None
    made: TensorMeaning = _checked(plain | {"axis": axis}, TensorMeaning, f"meaning of the {what} {spec.name}")
    if wrong := wrong_with(made, spec.shape):
        raise ContractError(
            "source-invalid", f"What the source tells of the {what} {spec.name} can't be: {wrong}."
        )
    return made


def _axis(given: int | str, spec: TensorSpec, what: str) -> int:
    rank = len(spec.shape)
    if isinstance(given, bool) or not isinstance(given, int) or not -rank <= given < rank:
        raise ContractError(
            "source-invalid",
            f"The {what} {spec.name} has the shape {spec.shape}, and no axis {given!r:.40}.",
            hint=f'Name an axis from 0 to {rank - 1}, or "{VALUES}" where the numbers themselves are class numbers.',
        )
    return given % rank


def _found(spec: TensorSpec, count: int, sample_axis: int | None, what: str) -> int:
    """The one axis that is so long, the samples' own aside."""
    fitting = [k for k, length in enumerate(spec.shape) if length == count and k != sample_axis]
    if len(fitting) == 1:
        return fitting[0]
    several = f"has {len(fitting)} axes of that length" if fitting else "has no axis of that length"
    raise ContractError(
        "source-invalid",
        f"The source names {count:,} places of the {what} {spec.name}, whose shape {spec.shape} {several}.",
        hint=f'Bring one for each place, or say which axis they count along: Meaning(…, axis=1); axis="{VALUES}" where'
        " the numbers themselves are class numbers.",
    )


def _listed(given: Any, what: str) -> list[Any]:
    if given is None:
        return []
    if isinstance(given, str | bytes | Mapping) or not hasattr(given, "__iter__"):
        raise ContractError(
            "source-invalid", f"The {what} are {type(given).__name__}, not a list of names.",
            hint="Give the names in the order of their places: labels=[\"cat\", \"dog\"].",
        )  # fmt: skip
    return [str(one) if isinstance(one, np.str_) else one for one in given]


def _numbers(given: Any, what: str) -> list[float]:
    """One number, or a list or array of them, as a list."""
    if given is None:
        return []
    try:
        array = np.asarray(given.detach().cpu() if hasattr(given, "detach") else given, dtype=np.float64)
    except (TypeError, ValueError):
        array = np.zeros((0, 0))
    if array.ndim > 1 or not array.size or not np.isfinite(array).all():
        raise ContractError(
            "source-invalid", f"The {what} is neither a number nor a list of numbers.",
            hint="Give one number for all, or one for each place along the axis.",
        )  # fmt: skip
    return [float(number) for number in array.ravel()]


def _checked(value: Any, kind: Any, what: str) -> Any:
    try:
        return codec.convert(value, kind, what=what)
    except ContractError as error:
        raise ContractError("source-invalid", error.message, hint=error.hint) from error
