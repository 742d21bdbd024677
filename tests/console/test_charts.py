"""Pictures over time: gaps where nothing came, labels that stand over no other, and no text that is taken for markup."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree as ET

from edgelift_fleet.console.charts import Lane, Line, Plot, Timeline, TimeMark

START = 1764300000.0


def picture(panels: list[Plot], marks: list[TimeMark] | None = None, lanes: list[Lane] | None = None) -> str:
    return Timeline(
        "p", "A title", "What it shows.", START, START + 3600, 60, panels, marks or [], lanes or []
    ).__html__()


def number(value: float) -> str:
    return f"{value:g}"


def panel(*runs: list[tuple[float, float]], **options: object) -> Plot:
    return Plot("Latency", [Line("p50", runs)], number, **options)


def points(drawn: str) -> list[int]:
    """How many points each line has, of the wide drawing."""
    wide = drawn.partition('class="chart small"')[0]
    return [len(found.split()) for found in re.findall(r'<polyline class="line l1" points="([^"]*)"', wide)]


def test_it_is_whole_xml_with_a_name_and_what_it_shows() -> None:
    drawn = picture([panel([(START + 60 * n, 5.0 + n) for n in range(30)])], [TimeMark(START + 600, "→ @2")])
    root = ET.fromstring(drawn)
    ids = [one.get("id") for one in root.iter() if one.get("id")]
    assert len(ids) == len(set(ids)) == 4
    for svg in root:
        assert svg.get("role") == "img" and [one.text for one in svg][:2] == ["A title", "What it shows."]
        assert svg.get("aria-labelledby") == " ".join(one.get("id", "") for one in list(svg)[:2])


def test_nothing_is_joined_where_nothing_came() -> None:
    first = [(START + 60 * n, 5.0) for n in range(10)]
    later = [(START + 60 * n, 5.0) for n in range(30, 40)]
    assert points(picture([panel(first + later)])) == [10, 10]
    assert points(picture([panel(first, later)])) == [10, 10]
    assert points(picture([panel([(START + 300 * n, 5.0) for n in range(10)])])) == [10]  # seldom, but steady


def test_a_point_alone_is_a_dot_and_no_point_is_told() -> None:
    assert "<circle" in picture([panel([(START + 60, 5.0)])])
    assert "Nothing came in this time." in picture([panel()])


def test_labels_of_marks_stand_over_no_other() -> None:
    marks = [TimeMark(START + 1800 + 30 * n, f"mark {n}") for n in range(9)]
    drawn = picture([panel([(START, 5.0)])], marks).partition('class="chart small"')[0]
    found = re.findall(r'<text class="busy" x="([\d.]+)" y="([\d.]+)" text-anchor="start">(mark \d)', drawn)
    assert len(found) == 6 and len({y for _, y, _ in found}) == 4
    for row in {y for _, y, _ in found}:
        places = [float(x) for x, y, _ in found if y == row]
        assert all(after - before > 6.6 * len("mark 0") for before, after in pairwise(places))
    assert drawn.count("<title>mark ") == 9  # the line of each is there, and says what it is


def test_what_is_quiet_yields_its_place() -> None:
    near = [TimeMark(START + 1800 + n, "↻ agent", "quiet") for n in range(4)]
    drawn = picture([panel([(START, 5.0)])], [*near, TimeMark(START + 1805, "← back to @1", "bad")])
    assert drawn.count(">← back to @1</text>") == 2


def test_lines_differ_by_more_than_their_colour() -> None:
    lines = [
        Line(name, [[(START + 60 * n, 5.0 + k) for n in range(9)]]) for k, name in enumerate(("p50", "p95", "p99"))
    ]
    drawn = picture([Plot("Latency", lines, number)])
    assert 'class="line l2" stroke-dasharray="7 3"' in drawn and 'class="line l3" stroke-dasharray="2 3"' in drawn
    names = re.findall(r'y="([\d.]+)" text-anchor="start">(p\d\d)<', drawn.partition('class="chart small"')[0])
    places = sorted(float(y) for y, _ in names)
    assert len(places) == 3 and all(below - above >= 14 for above, below in pairwise(places))


def test_stretches_have_a_lane_with_a_name() -> None:
    drawn = picture([panel([(START, 5.0)])], lanes=[Lane("▲ throttled", [(START, START + 600)]), Lane("none", [])])
    assert "▲ throttled" in drawn and ">none<" not in drawn and 'class="lane warn"' in drawn


def test_names_are_text() -> None:
    drawn = picture(
        [Plot("<b>", [Line("x", [[(START, 1.0)]])], number, note="<i>")], [TimeMark(START + 9, "<script>")]
    )
    assert "<b>" not in drawn and "<i>" not in drawn and "<script>" not in drawn
    ET.fromstring(drawn)
