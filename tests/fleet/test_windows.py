"""Maintenance windows: by the device's own clock, on ordinary days and on those on which clocks are set."""

import math
import subprocess
import sys
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelift_contract.errors import ContractError
from edgelift_fleet.rollout.windows import DAYS, is_open, longest_s, next_open, open_zone, parse_window
from tests.fleet.conftest import environment

pytestmark = pytest.mark.fleet

VIENNA, NEW_YORK = ZoneInfo("Europe/Vienna"), ZoneInfo("America/New_York")
ZONES = [VIENNA, NEW_YORK, ZoneInfo("UTC"), ZoneInfo("Asia/Kathmandu"), ZoneInfo("Australia/Lord_Howe")]


def at(text: str, zone: ZoneInfo = VIENNA, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()


@pytest.mark.parametrize(
    ("window", "now", "open_"),
    [
        ("Mon-Fri 22:00-05:00", "2026-11-27 22:00", True),  # a Friday
        ("Mon-Fri 22:00-05:00", "2026-11-28 04:59", True),  # Friday's goes on
        ("Mon-Fri 22:00-05:00", "2026-11-28 05:00", False),
        ("Mon-Fri 22:00-05:00", "2026-11-28 22:30", False),  # Saturday has none
        ("Mon-Fri 22:00-05:00", "2026-11-30 04:00", False),  # nor has Sunday night
        ("Fri-Mon 22:00-23:00", "2026-11-29 22:30", True),  # over the week's end
        ("Sat,Sun 10:00-16:00", "2026-11-29 15:59", True),
        ("Sat, Wed-Thu 10:00-16:00", "2026-11-26 12:00", True),
        ("02:00-04:00", "2026-11-25 03:00", True),
        ("00:00-24:00", "2026-11-25 23:59", True),
        ("20:00-24:00", "2026-11-25 00:00", False),
    ],
)
def test_when_a_window_is_open(window: str, now: str, open_: bool) -> None:
    assert is_open([parse_window(window)], VIENNA, at(now)) is open_


@pytest.mark.parametrize(
    ("window", "zone", "begin", "end"),
    [
        # Vienna's clocks go from 02:00 to 03:00 on 2026-03-29, from 03:00 back to 02:00 on 2026-10-25.
        ("22:00-05:00", VIENNA, at("2026-03-28 22:00"), at("2026-03-28 22:00") + 6 * 3600),
        ("22:00-05:00", VIENNA, at("2026-10-24 22:00"), at("2026-10-24 22:00") + 8 * 3600),
        ("02:00-03:00", VIENNA, at("2026-03-29 03:00"), at("2026-03-29 04:00")),  # left out: right after it
        ("02:30-02:45", VIENNA, at("2026-03-29 03:30"), at("2026-03-29 03:45")),
        ("02:00-03:00", VIENNA, at("2026-10-25 02:00"), at("2026-10-25 03:00")),  # both times 02:00
        ("02:30-04:00", VIENNA, at("2026-10-25 02:30"), at("2026-10-25 04:00")),
        # New York's from 02:00 to 03:00 on 2026-03-08.
        ("Sun 02:00-03:00", NEW_YORK, at("2026-03-08 03:00", NEW_YORK), at("2026-03-08 04:00", NEW_YORK)),
    ],
)
def test_on_the_days_on_which_clocks_are_set(window: str, zone: ZoneInfo, begin: float, end: float) -> None:
    windows = [parse_window(window)]
    assert next_open(windows, zone, begin - 3600) == begin
    assert not is_open(windows, zone, begin - 1) and is_open(windows, zone, begin)
    assert is_open(windows, zone, end - 1) and not is_open(windows, zone, end)


@st.composite
def windows(draw: st.DrawFn) -> str:
    days = draw(st.lists(st.sampled_from(DAYS), min_size=1, max_size=3))
    begin, end = draw(st.lists(st.integers(0, 1439), min_size=2, max_size=2, unique=True))
    return f"{','.join(days)} {begin // 60:02}:{begin % 60:02}-{end // 60:02}:{end % 60:02}"


@settings(max_examples=150, deadline=None)
@given(st.lists(windows(), min_size=1, max_size=3), st.sampled_from(ZONES), st.integers(0, 366 * 48))
def test_the_next_opening_is_the_first(texts: list[str], zone: ZoneInfo, half_hours: int) -> None:
    """At any half hour of a leap year and more: shut until then, open then, and that within eight days."""
    made, now = [parse_window(text) for text in texts], at("2028-01-01 00:00", zone) + half_hours * 1800.0
    opens = next_open(made, zone, now)
    assert now <= opens <= now + 8 * 86400 and is_open(made, zone, opens)
    assert is_open(made, zone, now) == (opens == now)
    step = (opens - now) / 50
    assert not any(is_open(made, zone, now + n * step) for n in range(50) if step)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(ZONES), st.integers(0, 47), st.integers(1, 40))
def test_each_night_of_a_year_has_its_window_once(zone: ZoneInfo, begin: int, length: int) -> None:
    end = (begin + length) % 48
    window = [parse_window(f"{begin // 2:02}:{begin % 2 * 30:02}-{end // 2:02}:{end % 2 * 30:02}")]
    now, opened = at("2026-01-01 00:00", zone) - 86400, []
    while is_open(window, zone, now):
        now -= 1800
    last = at("2027-01-01 00:00", zone)
    while (now := next_open(window, zone, now)) < last:
        opened.append(datetime.fromtimestamp(now, zone).date())
        while is_open(window, zone, now):
            now += 1800
    days = {datetime(2026, 1, 1).date() + timedelta(days=n) for n in range(365)}
    assert days <= set(opened) and len(opened) == len(set(opened))


@pytest.mark.parametrize(
    "text",
    ["", "Mon", "22:00", "22:00-25:00", "22:60-23:00", "Mon-Fun 22:00-23:00", "22:00-22:00", "24:00-01:00",
     "Mon 22:00-23:00 UTC", "٢٢:00-23:00", "22:00-23:00, 01:00-02:00"],
)  # fmt: skip
def test_what_is_no_window(text: str) -> None:
    with pytest.raises(ContractError) as refused:
        parse_window(text)
    assert refused.value.code == "malformed" and "Mon-Fri 22:00-05:00" in refused.value.hint


@pytest.mark.parametrize("name", ["", "Europe", "Mars/Base", "../../etc/passwd", "/etc/passwd", "\0", "x" * 64])
def test_a_zone_that_a_device_made_up_is_none(name: str) -> None:
    assert open_zone(name) is None


def test_a_window_must_leave_time_for_what_begins_in_it() -> None:
    night, noon = parse_window("Mon-Fri 22:00-05:00"), parse_window("12:00-12:20")
    friday = at("2026-11-27 22:00")
    assert is_open([night], VIENNA, friday + 6.5 * 3600, need_s=1800)
    assert not is_open([night], VIENNA, friday + 6.5 * 3600 + 1, need_s=1800)
    assert next_open([night], VIENNA, friday + 6.6 * 3600, need_s=1800) == at("2026-11-30 22:00")
    # The short one is left out of the search; windows that touch are one.
    assert next_open([night, noon], VIENNA, at("2026-11-27 11:00"), need_s=1800) == friday
    assert next_open([noon], VIENNA, friday, need_s=1800) == math.inf
    halves = [parse_window("22:00-24:00"), parse_window("00:00-05:00")]
    assert is_open(halves, VIENNA, at("2026-11-25 23:59"), need_s=3600)
    assert (longest_s(halves), longest_s([noon])) == (7 * 3600, 1200)


def test_a_host_without_zones_still_runs_and_has_utc() -> None:
    """As in a small container: there is no zone but UTC, and whoever names one is told."""
    code = (
        "from edgelift_fleet.rollout.pace import zone_of\n"
        "from edgelift_fleet.rollout.plan import Plan\n"
        "from edgelift_fleet.rollout.windows import next_open, open_zone, parse_window\n"
        "zone = zone_of(Plan(()), 'Europe/Vienna')\n"
        "print(zone, open_zone('Europe/Vienna'), next_open([parse_window('01:00-02:00')], zone, 0.0))"
    )
    environ = {**environment(), "PYTHONTZPATH": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environ, check=False)
    assert (done.returncode, done.stdout) == (0, "UTC None 3600.0\n"), done.stderr


def test_a_window_that_clocks_cut_short_waits_for_the_next_one() -> None:
    """It was told to wait for ever, and a plan with waves after it could not be looked at."""
    night = [parse_window("Sun 01:00-04:00")]  # two hours on 2026-03-29
    for now in ("2026-03-22 05:00", "2026-03-29 00:00", "2026-03-29 01:30", "2026-03-29 12:00"):
        assert next_open(night, VIENNA, at(now), need_s=3 * 3600) == at("2026-04-05 01:00")


def test_what_takes_days_begins_in_a_window_of_days() -> None:
    week, always = [parse_window("Mon-Fri 00:00-24:00")], [parse_window("00:00-24:00")]
    monday = at("2026-11-23 12:00")
    assert next_open(week, VIENNA, monday, need_s=4.9 * 86400) == at("2026-11-30 00:00")
    for days in (7, 8.5, 30):
        assert is_open(always, VIENNA, at("2026-03-28 12:00"), need_s=days * 86400)
    assert longest_s(always) == math.inf
