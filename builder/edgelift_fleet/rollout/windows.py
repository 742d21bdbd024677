"""Maintenance windows: when a device may begin an update, by the clock on its own wall. Pure.

A window is written `Mon-Fri 22:00-05:00`, `Sat,Sun 10:00-16:00` or `02:00-04:00` for every day. One that ends before
it begins runs over midnight; its day is the one on which it begins.

On the two days a year on which clocks are set, each window is still there exactly once: its ends are looked up as
instants, the first time where the clock shows an hour twice; a window within the hour that is left out begins right
after it and is as long as ever.

Windows that touch or overlap are one. A device begins only where its window stays open for as long as the update takes
at least (`pace.takes_s`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from edgelift_contract.errors import ContractError

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TEXT = re.compile(r"^(?:(?P<days>[a-z,\- ]+?)\s+)?(?P<from>\d{1,2}:\d{2})\s*-\s*(?P<to>\d{1,2}:\d{2})\Z")
#: So many days are looked at. A window is a week long at most, and the next one may be cut short by clocks that are set, so
#: that what needs all of it begins in the one after that.
_DAYS = 24
_HINT = "Write days and times, as Mon-Fri 22:00-05:00 or 02:00-04:00."


@dataclass(frozen=True)
class MaintenanceWindow:
    """Days (0 is Monday) on which it begins, its begin in minutes after midnight, and its length in minutes."""

    days: frozenset[int]
    begin_min: int
    length_min: int


def parse_window(text: str) -> MaintenanceWindow:
    """Read a window.

    Raises:
        ContractError: `malformed`.
    """
    match = _TEXT.match(text.strip().lower()) if text.isascii() else None
    if match is None:
        raise ContractError("malformed", f"{text[:60]!r} is no maintenance window.", hint=_HINT)
    begin, end = _minutes(match["from"], text), _minutes(match["to"], text)
    if begin == end or begin == 24 * 60:
        raise ContractError("malformed", f"The window {text[:60]!r} is never open.", hint=_HINT)
    days = _days(match["days"], text) if match["days"] else frozenset(range(7))
    return MaintenanceWindow(days, begin, (end - begin) % (24 * 60) or 24 * 60)


def open_zone(name: str) -> ZoneInfo | None:
    """The zone of this name; None where the system knows none, for devices may say anything."""
    try:
        return ZoneInfo(name) if name else None
    except (KeyError, ValueError, OSError):
        return None


def is_open(windows: Sequence[MaintenanceWindow], zone: tzinfo, now: float, need_s: float = 0.0) -> bool:
    """May a device of this zone begin now? Without windows always.

    Args:
        windows: of the plan.
        zone: the device's.
        now: seconds since 1970.
        need_s: how long a window must still be open for that.
    """
    if not windows:
        return True
    return any(begin <= now < end and now + need_s <= end for begin, end in _now(windows, zone, now))


def next_open(windows: Sequence[MaintenanceWindow], zone: tzinfo, now: float, need_s: float = 0.0) -> float:
    """When it may begin next, seconds since 1970; `now` where it may now, infinity for never. Arguments as of `is_open`."""
    if is_open(windows, zone, now, need_s):
        return now
    found = _now(windows, zone, now)
    return min((begin for begin, end in found if begin > now and begin + need_s <= end), default=math.inf)


def longest_s(windows: Sequence[MaintenanceWindow]) -> float:
    """How long the longest window is, seconds; those that touch or overlap are one, as in a week without clocks set;
    infinity for what is always open.
    """
    return max(end - begin for begin, end in _around(tuple(windows), timezone.utc, date(2024, 1, 10)))


def _now(windows: Sequence[MaintenanceWindow], zone: tzinfo, now: float) -> tuple[tuple[float, float], ...]:
    return _around(tuple(windows), zone, _day(zone, now))


def _day(zone: tzinfo, now: float) -> date:
    return datetime.fromtimestamp(now, zone).date()


@lru_cache(maxsize=256)
def _around(windows: tuple[MaintenanceWindow, ...], zone: tzinfo, day: date) -> tuple[tuple[float, float], ...]:
    """When it is open around a day, as instants, in order: from the day before, over `_DAYS` days. What has no gap in that
    time has none ever.
    """
    joined: list[tuple[float, float]] = []
    for begin, end in sorted(_intervals(windows, zone, day)):
        if joined and begin <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((begin, end))
    if len(joined) == 1 and joined[0][1] - joined[0][0] > (_DAYS - 1) * 86400:
        return ((-math.inf, math.inf),)
    return tuple(joined)


def _intervals(windows: tuple[MaintenanceWindow, ...], zone: tzinfo, day: date) -> Iterator[tuple[float, float]]:
    for offset in range(-1, _DAYS - 1):
        current = day + timedelta(days=offset)
        for window in windows:
            if current.weekday() in window.days:
                yield _interval(window, zone, current)


def _interval(window: MaintenanceWindow, zone: tzinfo, day: date) -> tuple[float, float]:
    begin = _instant(zone, day, window.begin_min)
    end = _instant(zone, day, window.begin_min + window.length_min)
    return begin, end if end > begin else begin + window.length_min * 60.0


def _instant(zone: tzinfo, day: date, minutes: int) -> float:
    """The first instant at which the wall's clock shows so; in an hour that is left out, as far after it as within."""
    wall = datetime(day.year, day.month, day.day) + timedelta(minutes=minutes)
    return wall.replace(tzinfo=zone).astimezone(timezone.utc).timestamp()


def _minutes(text: str, whole: str) -> int:
    hour, minute = (int(part) for part in text.split(":"))
    if minute > 59 or hour * 60 + minute > 24 * 60:
        raise ContractError("malformed", f"{text} in the window {whole[:60]!r} is no time of day.", hint=_HINT)
    return hour * 60 + minute


def _days(text: str, whole: str) -> frozenset[int]:
    found: set[int] = set()
    for part in text.replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        if first not in DAYS or (dash and last not in DAYS):
            raise ContractError("malformed", f"{part!r} in the window {whole[:60]!r} is no day.", hint=_HINT)
        begin = DAYS.index(first)
        found |= {(begin + n) % 7 for n in range((DAYS.index(last) - begin) % 7 + 1 if dash else 1)}
    return frozenset(found)
