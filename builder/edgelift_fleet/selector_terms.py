"""The terms of a selector: what one of them asks of a device. Pure; no database.

| term | means |
|---|---|
| `all` | every device |
| `tag:key`, `tag:key=value`, `tag:key~hall-*` | it has the tag; with exactly this value; with a value of this pattern |
| `class:arm64-neon`, `class:arm64-*` | its hardware class |
| `fact:board="Raspberry Pi 4*"`, `fact:memory_bytes>=2GiB`, `fact:runtimes.onnxruntime>=1.20` | what it said of itself |
| `id:pi-1`, `id:pi-*`, `ids:pi-1,pi-2` | by its id |
| `runs:digits`, `runs:digits@3` | a slot of it serves the model, at the version |

In patterns `*` stands for any characters and `?` for one. A fact that is a number is compared as a number; the
order of texts is that of the numbers in them, as of versions; their patterns don't mind upper and lower case.
"""

from __future__ import annotations

import fnmatch
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec

from edgelift_contract.errors import ContractError
from edgelift_contract.ids import NAME_PATTERN, VERSION_PATTERN, check_device_id, check_name
from edgelift_contract.report import DeviceFacts
from edgelift_contract.rules import in_range

#: Ids that a list may have.
MAX_IDS = 20_000
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
_FACT = re.compile(
    r"^(?P<name>[a-z_]+)(?:\.(?P<part>[^=<>!~]+))?(?P<how><=|>=|!=|=|<|>)(?P<value>.*)\Z", re.DOTALL
)
_PATTERN = re.compile(r"^[a-z0-9*?_.-]{1,64}\Z")


@dataclass(frozen=True)
class All:
    """Every device."""


@dataclass(frozen=True)
class Tag:
    """A tag; `value` is None for any, and a pattern with `glob`."""

    key: str
    value: str | None = None
    glob: bool = False


@dataclass(frozen=True)
class Class:
    """A hardware class, or a pattern of it."""

    pattern: str


@dataclass(frozen=True)
class Ids:
    """Devices by their ids."""

    ids: frozenset[str]


@dataclass(frozen=True)
class IdPattern:
    """Devices whose id has this pattern."""

    pattern: str


@dataclass(frozen=True)
class Runs:
    """A slot serves this model; at any version where `version` is empty."""

    model: str
    version: str = ""


@dataclass(frozen=True)
class Fact:
    """Something of `DeviceFacts`: field, key in it, comparison, value as it was written."""

    name: str
    part: str
    how: str
    value: str

    def holds(self, facts: Mapping[str, Any]) -> bool:
        """Does it hold of these facts (a `DeviceFacts` as JSON has it)? What a device doesn't tell never does."""
        found = facts.get(self.name)
        if self.part:
            found = found.get(self.part) if isinstance(found, dict) else None
        if isinstance(found, (dict, list)):
            held = any(matches(self.value, str(one), ignore_case=True) for one in found)
            return held == (self.how == "=")
        if found is None or found == "":
            return False
        if isinstance(found, str):
            return self._text_holds(found)
        return _compare(self.how, float(found), number_of(self.value))

    def _text_holds(self, found: str) -> bool:
        if self.how in ("=", "!="):
            return matches(self.value, found, ignore_case=True) == (self.how == "=")
        return found[:1].isdigit() and in_range(found, f"{self.how}{self.value}")


Term = All | Tag | Class | Ids | IdPattern | Runs | Fact


def parse_term(text: str) -> Term:
    """Read one term.

    Raises:
        ContractError: `bad-id`, saying what is wrong with it.
    """
    if text == "all":
        return All()
    kind, colon, body = text.partition(":")
    if not colon or kind not in _KINDS:
        raise ContractError("bad-id", f"{text[:80]!r} is no term of a selector")
    return _KINDS[kind](body)


def _tag(body: str) -> Term:
    match = re.match(r"^([^=~]*)(?:([=~])(.*))?\Z", body, re.DOTALL)
    assert match is not None
    return Tag(check_name("tag", match[1]), match[3], match[2] == "~")


def _class(body: str) -> Term:
    if not _PATTERN.match(body):
        raise ContractError("bad-id", f"{body[:80]!r} is no hardware class")
    return Class(body)


def _id(body: str) -> Term:
    if ("*" in body or "?" in body) and _PATTERN.match(body):
        return IdPattern(body)
    return Ids(frozenset([check_device_id(body)]))


def _ids(body: str) -> Term:
    ids = frozenset(check_device_id(one.strip()) for one in body.split(",") if one.strip())
    if not ids or len(ids) > MAX_IDS:
        raise ContractError("bad-id", f"A list names 1 to {MAX_IDS} devices; this one names {len(ids)}")
    return Ids(ids)


def _runs(body: str) -> Term:
    model, at, version = body.partition("@")
    if not re.match(NAME_PATTERN, model) or (at and not re.match(VERSION_PATTERN, version)):
        raise ContractError("bad-id", f"{body[:80]!r} is neither a model nor a release")
    return Runs(model, version)


def _fact(body: str) -> Term:
    match = _FACT.match(body)
    kinds = {field.name: field.type for field in msgspec.structs.fields(DeviceFacts)}
    if match is None or match["name"] not in kinds:
        raise ContractError("bad-id", f"{body[:80]!r} compares no fact; the facts are {', '.join(kinds)}")
    made = Fact(match["name"], match["part"] or "", match["how"], match["value"])
    kind = kinds[made.name]
    if made.part and "dict" not in str(kind):
        raise ContractError("bad-id", f"The fact {made.name} has no parts")
    numeric = "int" in str(kind) or "float" in str(kind)
    if numeric:
        number_of(made.value)
    elif made.how not in ("=", "!="):
        if ("list" in str(kind) or "dict" in str(kind)) and not made.part:
            raise ContractError("bad-id", f"The fact {made.name} is a list: it has no {made.how}")
        if not re.match(r"^[0-9][0-9.]*\Z", made.value):
            raise ContractError("bad-id", f"{made.value[:40]!r} is no version to compare with")
    return made


_KINDS: dict[str, Callable[[str], Term]] = {
    "tag": _tag, "class": _class, "id": _id, "ids": _ids, "runs": _runs, "fact": _fact,
}  # fmt: skip


def number_of(text: str) -> float:
    """A number as `4`, `1e9`, `512M` or `2GiB`.

    Raises:
        ContractError: `bad-id`.
    """
    match = re.match(r"^([0-9]+(?:\.[0-9]+)?(?:e[0-9]{1,2})?) ?([kmg]?i?)b?\Z", text.strip().lower()[:40])
    value = float(match[1]) * _UNITS.get(match[2], math.nan) if match else math.nan
    if not math.isfinite(value):
        raise ContractError("bad-id", f"{text[:40]!r} is no number")
    return value


def matches(pattern: str, text: str, *, ignore_case: bool = False) -> bool:
    """Has `text` the pattern, in which `*` stands for any characters and `?` for one?"""
    return _compiled(pattern, ignore_case).match(text) is not None


@lru_cache(maxsize=256)
def _compiled(pattern: str, ignore_case: bool) -> re.Pattern[str]:
    # fnmatch writes stars so that no text is tried in more than one way; brackets mean nothing here.
    regex = fnmatch.translate(pattern.replace("[", "[[]"))
    return re.compile(regex, re.IGNORECASE if ignore_case else 0)


def _compare(how: str, left: float, right: float) -> bool:
    return {
        "=": left == right, "!=": left != right, "<": left < right, "<=": left <= right, ">": left > right,
        ">=": left >= right,
    }[how]  # fmt: skip
