"""A rollout's plan as people write it: options of `edgelift rollout start`, and the same words in a TOML file.

A file says what the options say, with underscores, in words that a person writes: `soak = "10m"`, `waves = [1, "25%",
"100%"]`. What stands on the command line wins over the file. Words in, a request's fields out; no I/O but reading the
file.
"""

from __future__ import annotations

import difflib
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelift.common import seconds, selector
from edgelift_contract import codec
from edgelift_contract.assignment import Policy
from edgelift_contract.errors import ContractError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from edgelift_fleet.messages import RolloutRequest

#: Words whose value is text, whatever it looks like.
_TEXTS = ("release", "to", "slot", "name", "comment", "timezone")
#: A plan is a page of text.
_MAX_BYTES = 1 << 20


def read_plan_file(path: Path) -> dict[str, Any]:
    """The words of a plan file: option → value as it was written.

    Raises:
        ContractError: `not-found`, `too-large` or `malformed`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ContractError("not-found", f"The plan {str(path)!r} cannot be read: {error.strerror}.") from error
    if len(data) > _MAX_BYTES:
        raise ContractError("too-large", f"The plan {str(path)!r} has more than {_MAX_BYTES} bytes.")
    try:
        found = tomllib.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # a number of too many digits is Python's own ValueError
        raise ContractError("malformed", f"The plan {str(path)!r} is not valid TOML: {error}.") from error
    for word in found:
        if word not in WORDS:
            near = difflib.get_close_matches(word, WORDS, 1)
            raise ContractError(
                "malformed", f"The plan {str(path)!r} says {word[:60]!r}, which no plan has.",
                hint=f"Is {near[0]!r} meant?" if near else f"It may say {', '.join(sorted(WORDS))}.",
            )  # fmt: skip
    return found


def make_request(words: Mapping[str, Any]) -> RolloutRequest:
    """The request that a plan's words ask for.

    Raises:
        ContractError: `malformed`, naming the word and what it should be; as `selector`.
    """
    from edgelift_fleet.messages import RolloutRequest

    fields: dict[str, Any] = {"waves": ["1", "25%", "100%"]}
    policy: dict[str, Any] = {}
    for word, value in words.items():
        name, read = WORDS[word]
        into = policy if name in Policy.__struct_fields__ else fields
        try:
            into[name] = read(value)
        except ContractError as error:
            raise ContractError(error.code, f"{word}: {error.message}", hint=error.hint) from error
    for needed in ("release", "to"):
        if not fields.get(needed):
            raise ContractError(
                "malformed", f"The plan does not say {needed!r}.",
                hint="Write: edgelift rollout start MODEL@VERSION --to SELECTOR, or both in the plan.",
            )  # fmt: skip
    try:
        return codec.convert({**fields, "policy": policy}, RolloutRequest, what="plan")
    except ContractError as error:
        # The request's names are not the plan's.
        message = re.sub(r"`(?:policy\.)?(\w+)", lambda found: f"`{_word_of(found[1])}", error.message)
        raise ContractError(error.code, message, hint=error.hint) from error


def _word_of(field: str) -> str:
    return next((word for word, (name, _) in WORDS.items() if name == field), field)


def parse_words(texts: Sequence[str]) -> dict[str, Any]:
    """Words of a plan as `gate_looks=3`: the value is TOML where it can be, else text.

    Raises:
        ContractError: `malformed`.
    """
    found: dict[str, Any] = {}
    for text in texts:
        word, equals, value = text.partition("=")
        if not equals or word not in WORDS:
            raise ContractError(
                "malformed",
                f"{text[:60]!r} sets nothing of a plan.",
                hint=f"It may set {', '.join(sorted(WORDS))}.",
            )
        found[word] = _value(value, text=word in _TEXTS)
    return found


def _value(written: str, *, text: bool) -> Any:
    try:
        read = tomllib.loads(f"value = {written}")
    except (ValueError, RecursionError):
        return written
    value = read["value"]
    # What is for people may look like a number or a date, and a line of its own belongs to it.
    return written if len(read) > 1 or (text and not isinstance(value, str)) else value


def _time(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise _no("a time", value, "Write 10s, 5m, 2h or 1d.")
    return seconds(f"{value:f}" if isinstance(value, float) else str(value))


def _bytes_s(value: Any) -> float:
    match = re.match(r"^([0-9]+(?:\.[0-9]+)?) ?([kMG]?)(i?)B?(?:/s)?\Z", str(value).strip())
    if not match or isinstance(value, bool):
        raise _no("bytes a second", value, "Write 500kB, 2MB or 1.5MiB.")
    return float(match[1]) * float((1024 if match[3] else 1000) ** " kMG".index(match[2] or " "))


def _moment(value: Any) -> float:
    """`2026-11-28 22:00` on this machine's clock, or with `Z` or `+01:00`; a TOML date with time; `+2h` from now."""
    if isinstance(value, str) and value.startswith("+"):
        return time.time() + seconds(value[1:])
    try:
        found = value if isinstance(value, datetime) else datetime.fromisoformat(re.sub(r"[Zz]$", "+00:00", value))
        return found.timestamp()
    except (TypeError, ValueError, OverflowError, OSError) as error:
        raise _no("a moment", value, "Write 2026-11-28 22:00, 2026-11-28T22:00:00Z or +2h.") from error


def _texts(value: Any) -> list[str]:
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)) or any(isinstance(p, (bool, list, dict, date)) for p in parts):
        raise _no("a list", value, "Write [1, '25%', '100%'] or '1,25%,100%'.")
    return [str(part).strip() for part in parts if str(part).strip()]


def _windows(value: Any) -> list[str]:
    """Windows have commas of their own, between days: a text is one, or several joined by semicolons."""
    return _texts(value.split(";") if isinstance(value, str) else value)


def _selector(value: Any) -> Any:
    return selector(value) if isinstance(value, str) else value


def _as_it_is(value: Any) -> Any:
    return value


def _no(what: str, value: Any, hint: str) -> ContractError:
    return ContractError("malformed", f"{str(value)[:60]!r} is not {what}.", hint=hint)


#: Word of a plan → field of the request or of its policy, and how it is read.
WORDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "release": ("release", _as_it_is),
    "to": ("to", _selector),
    "slot": ("slot", _as_it_is),
    "seed": ("seed", _as_it_is),
    "name": ("name", _as_it_is),
    "comment": ("comment", _as_it_is),
    "waves": ("waves", _texts),
    "soak": ("soak_s", _time),
    "deadline": ("deadline_s", _time),
    "max_failures": ("max_failures", _as_it_is),
    "max_offline": ("max_offline", _as_it_is),
    "on_breach": ("on_breach", _as_it_is),
    "keep_earlier": ("keep_earlier", _as_it_is),
    "approval": ("approval", _as_it_is),
    "retries": ("retries", _as_it_is),
    "retry_after": ("retry_after_s", _time),
    "start_at": ("start_at", _moment),
    "concurrency": ("concurrency", _as_it_is),
    "rate": ("rate_per_min", _as_it_is),
    "bandwidth": ("bandwidth_bytes_s", _bytes_s),
    "late_joiners": ("late_joiners", _as_it_is),
    "windows": ("windows", _windows),
    "timezone": ("timezone", _as_it_is),
    "gates": ("gates", _texts),
    "gate_alpha": ("gate_alpha", _as_it_is),
    "gate_slower": ("gate_slower", _as_it_is),
    "gate_more_errors": ("gate_more_errors", _as_it_is),
    "gate_looks": ("gate_looks", _as_it_is),
    "gate_min_requests": ("gate_min_requests", _as_it_is),
    "gate_before": ("gate_before_s", _time),
    "gate_wait": ("gate_wait_s", _time),
    "gate_unmeasured": ("gate_unmeasured", _as_it_is),
    "placebo": ("placebo", _as_it_is),
    "probation": ("probation_s", _time),
    "min_requests": ("probation_min_requests", _as_it_is),
    "max_error_rate": ("max_error_rate", _as_it_is),
    "max_latency_ratio": ("max_latency_ratio", _as_it_is),
    "max_attempts": ("max_attempts", _as_it_is),
    "drain_timeout": ("drain_timeout_s", _time),
    "allow_older": ("allow_older", _as_it_is),
}
