"""Why something could not be read as a message, in words: what was wrong, where, in which bounds, and what to do.

msgspec names the place and the first bound that does not hold, in its own words (``Expected `float` <= 3.1536e+10 - at
`$.for_s` ``). A person needs the value that they gave and all of its bounds: these are taken from the type. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from msgspec import inspect

from edgelift_contract.bounds_in_words import asked_of, counted, kind_in_words, shown

_ERROR = re.compile(r"^(?P<wrong>.*?)(?: - at (?P<key>`key` in )?`\$(?P<path>.*)`)?\Z", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
#: Names in a hint; a message may have dozens of fields.
_NAMED = 20


class Misread(NamedTuple):
    """What was wrong, as the end of a sentence without its full stop, and what to do, as a sentence; empty for nothing."""

    wrong: str
    hint: str


class _Place(NamedTuple):
    """Where it is: in a person's words, what the type says of it, and what stands there; None where that isn't known."""

    name: str
    kind: Any
    value: Any


def explain(error: Exception, kind: Any, value: Any = None) -> Misread:
    """A decoder's error in words.

    Args:
        error: msgspec's, or what reading the text itself raised.
        kind: the type that was wanted.
        value: what was given, in plain objects; None where it can't be had.
    """
    text = str(error)
    if isinstance(error, RecursionError):
        return Misread("it is nested too deeply", "")
    if isinstance(error, UnicodeDecodeError):
        return Misread(f"it is not UTF-8 text: {error}", "")
    if text == "Input data was truncated":
        return Misread("it ends too early", "")
    match = _ERROR.match(text)
    if match is None or not text.startswith(_KNOWN):
        return Misread(text, "")
    place = _find(_described(kind), value, match["path"] or "", in_key=bool(match["key"]))
    for begin, tell in _TELL:
        if (said := re.match(begin, match["wrong"], re.DOTALL)) is not None:
            return tell(said, place)
    return Misread(text, "")


@lru_cache(maxsize=128)
def _described(kind: Any) -> inspect.Type:
    return inspect.type_info(kind)


def _find(kind: Any, value: Any, path: str, *, in_key: bool) -> _Place:
    """Walk along the path of an error: through the type and, as far as it is known, through the value."""
    name = ""
    for field, index in _STEP.findall(path):
        if field:
            name += f".{field}" if name else field
            kind, value = _field(kind, field), value.get(field) if isinstance(value, dict) else None
        elif isinstance(value, dict) or _bare(kind, inspect.DictType) is not None:
            # Which of a dict's values it is, msgspec does not say.
            name += "[…]"
            kind, value = getattr(_bare(kind, inspect.DictType), "value_type", None), None
        else:
            name += f"[{index}]"
            here = isinstance(value, list) and index.isdigit() and int(index) < len(value)
            kind, value = _item(kind, index), value[int(index)] if here else None
    if in_key:
        of = f" of `{name}`" if name else ""
        return _Place(f"a key{of}", getattr(_bare(kind, inspect.DictType), "key_type", None), None)
    return _Place(f"`{name}`" if name else "it", kind, value)


def _bare(kind: Any, *wanted: type) -> Any:
    """A type without what is around it (a description, `| None`), if it is one of those; else None."""
    if isinstance(kind, inspect.Metadata):
        return _bare(kind.type, *wanted)
    if isinstance(kind, inspect.UnionType):
        return next((found for one in kind.types if (found := _bare(one, *wanted)) is not None), None)
    return kind if isinstance(kind, wanted) else None


def _field(kind: Any, name: str) -> Any:
    struct = _bare(kind, inspect.StructType)
    return next((field.type for field in struct.fields if field.encode_name == name), None) if struct else None


def _item(kind: Any, index: str) -> Any:
    several = _bare(kind, inspect.TupleType)
    if several is not None:
        at = int(index) if index.isdigit() else 0
        return several.item_types[at] if at < len(several.item_types) else None
    return getattr(_bare(kind, inspect.ListType, inspect.VarTupleType, inspect.SetType), "item_type", None)


def _out_of_bounds(said: re.Match[str], place: _Place) -> Misread:
    wanted = asked_of(place.kind, said["type"]) or f"{said['how']} {said['bound']}"
    few = said["how"].startswith(">")
    if said["type"] in ("int", "float"):
        given = f"is {shown(place.value)}, which " if place.value is not None else ""
        return Misread(f"{place.name} {given}is too {'small' if few else 'large'}", f"Give {wanted}.")
    which = f"too {'few' if few else 'many'} {counted(said['type'])}"
    has = f": {len(place.value):,}" if isinstance(place.value, (str, list, dict)) else ""
    return Misread(f"{place.name} has {which}{has}", f"Give {wanted}.")


def _other_length(said: re.Match[str], place: _Place) -> Misread:
    has = f" {len(place.value):,}" if isinstance(place.value, list) else " other than"
    return Misread(f"{place.name} has{has}, not {said['bound']} items", f"Give a list of {said['bound']} items.")


def _other_type(said: re.Match[str], place: _Place) -> Misread:
    wanted = asked_of(place.kind, "") or " or ".join(map(kind_in_words, said["type"].split(" | ")))
    given = shown(place.value) if isinstance(place.value, (int, float, str)) else kind_in_words(said["got"])
    needed = " or ".join(map(kind_in_words, said["type"].split(" | ")))
    return Misread(f"{place.name} is {given}, not {needed}", f"Give {wanted}.")


def _wrong_form(said: re.Match[str], place: _Place) -> Misread:
    form = said["form"].replace(r"\\Z", "$").replace(r"\Z", "$")
    given = f"is {shown(place.value)}, which " if isinstance(place.value, str) else ""
    return Misread(f"{place.name} {given}has not the form that it must have", f"Write it as {form}.")


def _no_word(said: re.Match[str], place: _Place) -> Misread:
    words = _bare(place.kind, inspect.LiteralType, inspect.EnumType)
    known = [str(word) for word in getattr(words, "values", ())]
    hint = f"Write one of {', '.join(known[:_NAMED])}." if known else ""
    return Misread(f"{place.name} is {said['value'][:60]}, which is none of its words", hint)


def _unknown(said: re.Match[str], place: _Place) -> Misread:
    struct = _bare(place.kind, inspect.StructType)
    names = sorted(field.encode_name for field in struct.fields) if struct else []
    inside = "" if place.name == "it" else f" inside {place.name}"
    more = ", …" if len(names) > _NAMED else ""
    hint = f"It may have {', '.join(names[:_NAMED])}{more}." if names else "It may have none."
    return Misread(f"there is no field {said['name'][:60]!r}{inside}", hint)


def _missing(said: re.Match[str], place: _Place) -> Misread:
    inside = "" if place.name == "it" else f" of {place.name}"
    wanted = asked_of(_field(place.kind, said["name"]), "")
    return Misread(f"the field `{said['name']}`{inside} is missing", f"Give {wanted}." if wanted else "Give it.")


def _beyond(_: re.Match[str], place: _Place) -> Misread:
    wanted = asked_of(place.kind, "")
    return Misread(f"{place.name} is a number beyond all bounds", f"Give {wanted}." if wanted else "")


def _no_json(said: re.Match[str], _: _Place) -> Misread:
    return Misread(f"it is not JSON: {said['why']}", "")


_TELL: tuple[tuple[str, Callable[[re.Match[str], _Place], Misread]], ...] = (
    (r"Expected `(?P<type>\w+)`(?: of length)? (?P<how>[<>]=?) (?P<bound>\S+)\Z", _out_of_bounds),
    (r"Expected `\w+` of length (?P<bound>\d+)(?:, got \d+)?\Z", _other_length),
    (r"Expected `(?P<type>[^`]+)`, got `(?P<got>[^`]+)`\Z", _other_type),
    (r"Expected `\w+` matching regex (?P<form>.*)\Z", _wrong_form),
    (r"Invalid enum value (?P<value>.*)\Z", _no_word),
    (r"Object contains unknown field `(?P<name>.*)`\Z", _unknown),
    (r"Object missing required field `(?P<name>.*)`\Z", _missing),
    (r"(?:Number|Integer) (?:value )?out of range\Z", _beyond),
    (r"JSON is malformed: (?P<why>.*)\Z", _no_json),
)  # fmt: skip
_KNOWN = ("Expected", "Invalid enum", "Object ", "Number ", "Integer ", "JSON ")
