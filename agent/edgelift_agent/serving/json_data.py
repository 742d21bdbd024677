"""Numbers, truth values and strings of a JSON list, as the array they stand for: exactly, or not at all.

JSON knows one kind of number and no tensors, and Python is generous: `int("7")`, `float(True)` and `int(1.7)` all
give a number. Nothing here does. A float type takes any JSON number within its range, rounded to nearest as every
decimal is; an integer type takes whole numbers written as such; BOOL takes `true` and `false`; BYTES takes strings.
NaN and infinity have no form in JSON: they travel as binary data, which is the protocol's way for them.
"""

from __future__ import annotations

from array import array
from itertools import chain
from math import prod
from typing import Any

import numpy as np

#: What Python's own arrays convert strictly: a float is no `q`, a string is no `d`. Only a bool passes as a number.
_SIGNED, _UNSIGNED, _FLOAT = "q", "Q", "d"
_WIDE = {"i": (_SIGNED, np.dtype("<i8")), "u": (_UNSIGNED, np.dtype("<u8")), "f": (_FLOAT, np.dtype("<f8"))}
#: Where rounding to nearest begins to give infinity: half a step beyond the largest number of a type.
_BEYOND = {np.dtype("<f2"): 65520.0, np.dtype("<f4"): (2.0 - 2.0**-24) * 2.0**127}
_WORDS = {"f": "numbers", "i": "whole numbers", "u": "whole numbers from 0", "b": "true and false", "O": "strings"}

Array = np.ndarray[Any, Any]


def may_hold_words(body: bytes) -> bool:
    """Could `true`, `false` or `null` stand in this JSON? False is sure; looked for by one letter each, for speed."""
    return b"r" in body or b"l" in body


def holds_numbers_alone(body: bytes, message: dict[str, Any]) -> bool:
    """Is it sure that the one tensor of a plain request has no strings, truth values or nulls among its data?

    In a request of nothing but `inputs` (and an `id` that is a string), with one input of name, datatype, shape and
    data, the text's last quote ends the key `data`: then the list after it, which no later one replaces, has no string;
    and without two letters no word. Objects among the data are left to whoever reads them to refuse.
    """
    entries = message["inputs"]
    if len(entries) != 1 or type(entries[0]) is not dict or len(entries[0]) != 4 or may_hold_words(body):
        return False
    last = body.rfind(b'"')
    if body[last - 5 : last + 2] != b'"data":':
        return False
    return len(message) == 1 or (len(message) == 2 and type(message.get("id")) is str)


def read_numbers(data: Any, dtype: np.dtype[Any], shape: list[int]) -> Array | None:
    """The quick reading of floats that `holds_numbers_alone` is sure of; None where `read_data` must look closer."""
    try:
        with np.errstate(all="ignore"):  # or a client's odd numbers would write numpy's warnings into the log
            made = np.array(data, dtype=dtype)
            if made.ndim != 1 and list(made.shape) != shape:
                return None
            flat = made.ravel()
            # Infinite or NaN when an element is, or large enough to look at it again.
            return made.reshape(shape) if np.dot(flat, flat) < np.inf else None
    except (ValueError, TypeError, OverflowError):
        return None


def read_data(data: Any, dtype: np.dtype[Any], shape: list[int], *, words: bool = True) -> Array:
    """The array of a tensor's `data`, flat or nested as its shape says.

    Args:
        data: what stands in the request.
        dtype: little-endian; `object` for BYTES, whose elements become UTF-8 bytes.
        shape: the tensor's.
        words: see `may_hold_words`; False leaves out the look for truth values among numbers.

    Raises:
        ValueError: with what is wrong, to follow the tensor's name.
    """
    flat = data if type(data) is list and data and type(data[0]) is float else _flatten(data, shape)
    if len(flat) != prod(shape):
        raise ValueError(f"holds {len(flat)} elements where its shape {shape} takes {prod(shape)}")
    kind = dtype.kind
    if kind == "O":
        _check_types(flat, {str}, kind)
        return np.array([item.encode() for item in flat], dtype=np.object_).reshape(shape)
    if kind == "b":
        _check_types(flat, {bool}, kind)
        return np.array(flat, dtype=dtype).reshape(shape)
    if words:
        _check_types(flat, {int, float} if kind == "f" else {int}, kind)
    return _numbers(flat, dtype).reshape(shape)


def _flatten(data: Any, shape: list[int]) -> list[Any]:
    """The elements in row-major order. Level by level, so that no depth of nesting costs a stack."""
    if type(data) is not list:
        raise ValueError("has no list 'data'")
    if not data or type(data[0]) is not list:
        return data
    sizes, level = [len(data)], data
    while level and type(level[0]) is list:
        width = len(level[0])
        if len(sizes) > len(shape) or any(type(row) is not list or len(row) != width for row in level):
            raise ValueError(f"is not nested as its shape {shape} says")
        sizes.append(width)
        level = list(chain.from_iterable(level))
    if sizes != shape:
        raise ValueError(f"is nested as {sizes}, its shape says {shape}")
    return level


def _check_types(flat: list[Any], allowed: set[type], kind: str) -> None:
    if not set(map(type, flat)) <= allowed:
        raise ValueError(_wrong(flat, allowed, kind))


def _wrong(flat: list[Any], allowed: set[type], kind: str) -> str:
    place, item = next((n, item) for n, item in enumerate(flat) if type(item) not in allowed)
    hint = (
        "; NaN and infinity travel as binary data" if kind == "f" and (item is None or type(item) is str) else ""
    )
    return f"takes {_WORDS[kind]}, not {_shown(item)} (element {place}){hint}"


def _shown(item: Any) -> str:
    if item is None or type(item) is bool:
        return {None: "null", True: "true", False: "false"}[item]
    return f"{item!r:.40}" if not isinstance(item, list | dict) else f"a {type(item).__name__}"


def _numbers(flat: list[Any], dtype: np.dtype[Any]) -> Array:
    code, wide = _WIDE[dtype.kind]
    try:
        values = np.frombuffer(array(code, flat), dtype=wide) if flat else np.empty(0, wide)
    except TypeError:
        raise ValueError(_wrong(flat, {int, float} if code == _FLOAT else {int}, dtype.kind)) from None
    except OverflowError:
        raise ValueError(f"holds a number that {dtype.name} can't") from None
    if dtype == wide:
        return values
    if code == _FLOAT:
        if flat and np.maximum.reduce(np.abs(values)) >= _BEYOND[dtype]:
            raise ValueError(f"holds a number that {dtype.name} can't")
        return values.astype(dtype)
    narrow = values.astype(dtype)
    if not (narrow == values).all():
        raise ValueError(f"holds a number that {dtype.name} can't")
    return narrow
