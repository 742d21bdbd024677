"""The report as a page and as a table: whole, self-contained, escaped, the same again, readable on 80 columns."""

from __future__ import annotations

import html
import io
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from edgelift_builder.judge.worst import Moved, Worst
from edgelift_builder.pareto import Objectives, dominates, pareto
from edgelift_builder.report import page, pictures
from edgelift_builder.report.pictures import Dot
from edgelift_builder.report.progress import Bar, Lines
from edgelift_builder.report.report import BuildReport
from edgelift_builder.report.terminal import remarks, show, table
from edgelift_contract.text import clean
from tests.builder.conftest import BuiltFolder

pytestmark = pytest.mark.builder

VOID = {"meta", "link", "br", "img", "input", "path", "rect", "circle"}


@pytest.fixture(scope="session")
def report(built: BuiltFolder) -> BuildReport:
    return msgspec.json.decode((built.folder / "report.json").read_bytes(), type=BuildReport)


class Balanced(HTMLParser):
    """Fails when tags do not close in order; notes what is named and what is reached for."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        reach = ("src", "href", "xlink:href", "onload", "onclick")
        self.outside += [f"{k}={v}" for k, v in attrs if k in reach and not re.fullmatch(r"#t\d+", v or "")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def parsed(text: str) -> Balanced:
    parser = Balanced()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    return parser


def test_the_page_needs_nothing_else(built: BuiltFolder, report: BuildReport) -> None:
    text = (built.folder / "report.html").read_text(encoding="utf-8")
    found = parsed(text)
    assert found.outside == [] and not {"script", "link", "img", "iframe"} & found.seen
    assert not re.search(r"@import|url\(|https?:", text)
    assert found.seen >= {"svg", "table", "h1", "h2", "caption"}


def test_it_tells_every_candidate_and_golden(built: BuiltFolder, report: BuildReport) -> None:
    text = page.render(report)
    for candidate in report.candidates:
        assert candidate.variant in text and (not candidate.artifact or candidate.artifact[:12] in text)
    for target in report.targets:
        assert f"<strong>{target}</strong>: " in text and f">{target} <small>" in text
    assert "prefers-color-scheme: dark" in text and report.data_sha256 in text
    assert text.count("Size and accuracy</figcaption>") == len(report.targets)


def test_equal_reports_give_equal_pages(report: BuildReport) -> None:
    assert page.render(report) == page.render(msgspec.structs.replace(report))


def test_what_users_wrote_is_escaped(report: BuildReport) -> None:
    nasty = "<script>alert(1)</script>"
    first = msgspec.structs.replace(report.candidates[0], variant=nasty, reason=nasty, shipped=False, rank=None)
    text = page.render(
        msgspec.structs.replace(report, model=nasty, remarks=[nasty], candidates=[first, *report.candidates[1:]])
    )
    assert nasty not in text and "&lt;script&gt;" in text
    parsed(text)


NASTY = "</td></svg>]]><script>alert(1)</script>\" onload=x ' {{ 7*7 }} \x1b[31m\x00\x9b2J\u202e\u200b\u2028\ud800"


def spoilt(value: object) -> object:
    """A report's parts with something hostile at the end of each text and name, the same everywhere."""
    if isinstance(value, str):
        return value + NASTY
    if isinstance(value, list):
        return [spoilt(one) for one in value]
    if isinstance(value, dict):
        return {key: spoilt(one) for key, one in value.items()}
    return value


def hostile(report: BuildReport) -> BuildReport:
    """All that a build was given by others is hostile at once."""
    parts = msgspec.to_builtins(report)
    made = msgspec.convert({**spoilt(parts), "unit": report.unit}, BuildReport)
    named = ("runtimes", "tools", "seconds")
    return msgspec.structs.replace(
        made, **{one: {key + NASTY: each for key, each in getattr(made, one).items()} for one in named}
    )


def test_nothing_hostile_in_a_report_reaches_its_page(report: BuildReport) -> None:
    text = page.render(hostile(report))
    found = parsed(text)  # each tag closes, and none came that is not the page's own
    assert found.seen == parsed(page.render(report)).seen and found.outside == []
    assert clean(text, keep="\n") == text
    assert text.count("&lt;script&gt;") > 50 and "<script" not in text and 'onload=x "' not in text
    assert "{{ 7*7 }}" in text  # shown, not done


@pytest.mark.parametrize("width", [80, 160])
def test_nothing_hostile_in_a_report_reaches_the_terminal(report: BuildReport, width: int, tmp_path: Path) -> None:
    out = io.StringIO()
    show(Console(file=out, width=width), hostile(report), tmp_path / "a\x1b[2Jb")
    with Lines(out).stage(NASTY), Bar(Console(file=out, width=width)) as bar, bar.stage(NASTY):
        pass
    assert clean(out.getvalue(), keep="\n") == out.getvalue()


def test_why_a_candidate_was_rejected_is_told(report: BuildReport) -> None:
    changed = [
        msgspec.structs.replace(
            c, shipped=False, rank=None, code="no-gain", reason="It is not smaller than float."
        )
        for c in report.candidates
    ]
    text = page.render(msgspec.structs.replace(report, candidates=changed))
    assert text.count("It is not smaller than float.") == len(changed)
    assert text.count(": nothing ships: all 8 candidates were rejected (8 no-gain).") == len(report.targets)


def test_what_this_machine_would_measure_is_named(report: BuildReport) -> None:
    def told(host: str, *, unmeasured: bool = True) -> list[str]:
        """Of a build for x86-64 alone, its times taken on a machine of class `host`."""
        first = next(c for c in report.candidates if c.target == "x86-64" and c.shipped)
        first = msgspec.structs.replace(first, unmeasured=unmeasured, p50_us=10.0)
        changed = msgspec.structs.replace(report, measured_on=host, targets=["x86-64"], candidates=[first])
        found = [line for line in remarks(changed) if "measured here" in line]
        assert all(line in html.unescape(page.render(changed)) for line in found)
        return found

    (line,) = told("x86-64-vnni")
    assert "add -t x86-64-vnni:" in line
    assert told("arm64-i8mm") == []  # no board of the table is
    assert told("x86-64-avx2", unmeasured=False) == []


def test_what_is_measured_beside_and_where_it_is_furthest_from_float_is_told(report: BuildReport) -> None:
    where = Worst("scores<1>", "axis 1, channel 3", 12.25, (Moved(17, 80.5), Moved(4, 9.0)))
    first = msgspec.structs.replace(report.candidates[0], worst=where, beside={"RMSE": (0.5, 0.25)})
    text = page.render(msgspec.structs.replace(report, candidates=[first]))
    parsed(text)
    for said in ("scores&lt;1&gt;", "axis 1, channel 3", "12.2 %", "17 (80.5 %), 4 (9 %)", "RMSE", ">0.25<"):
        assert said in text, said
    said = remarks(
        msgspec.structs.replace(report, candidates=[msgspec.structs.replace(first, code="not-enough-data")])
    )
    assert any("scores<1>, axis 1, channel 3: 12.2 %; samples that moved most: 17" in line for line in said)


def test_what_stayed_float_for_one_target_alone_is_told_with_its_name(report: BuildReport) -> None:
    one = msgspec.structs.replace(report.candidates[0], variant="v", format="onnx", size_bytes=9, left_float=["a"])
    same = [msgspec.structs.replace(one, target=target) for target in ("rpi4", "rpi5")]
    other = msgspec.structs.replace(one, target="x86-64", left_float=["a", "b"])
    failed = msgspec.structs.replace(one, target="arm64", left_float=[], size_bytes=0)

    def said(*candidates: object) -> list[str]:
        told = remarks(msgspec.structs.replace(report, candidates=list(candidates)))
        return [line for line in told if "left float" in line]

    assert said(*same, failed) == ["v onnx: left float: a"]
    assert said(*same, other) == ["v onnx for rpi4, rpi5: left float: a", "v onnx for x86-64: left float: a, b"]
    whole = msgspec.structs.replace(one, target="x86-64", left_float=[])
    assert said(*same, whole) == ["v onnx for rpi4, rpi5: left float: a"]


@pytest.mark.parametrize("width", [80, 100, 160])
def test_the_table_is_never_cropped(report: BuildReport, width: int) -> None:
    out = io.StringIO()
    Console(file=out, width=width).print(table(report, width))
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= width and "…" not in text.replace(" … ", "")
    flat = re.sub(r"\s+", "", text)
    for candidate in report.candidates:
        assert candidate.target in flat
    if width < 140:
        assert "accuracy" not in text  # given up for room, not cut


def test_the_pareto_set_is_marked_for_each_target(report: BuildReport) -> None:
    for target in report.targets:
        mine = [c for c in report.candidates if c.target == target and c.shipped]
        best = [c for c in mine if c.pareto]
        assert best and min(c.size_bytes for c in mine) in {c.size_bytes for c in best}


def test_pareto_on_a_known_case() -> None:
    given = {
        "float": Objectives(0.0, 100, 10.0, 50),
        "int8": Objectives(0.1, 25, 4.0, 20),
        "slow int8": Objectives(0.1, 25, 4.5, 20),
        "noise": Objectives(0.1, 25, 4.05, 20.5),
        "int4": Objectives(0.1, 20, 8.0, 20),
        "worse": Objectives(0.2, 100, 11.0, 50),
    }
    assert pareto(given) == {"float", "int8", "noise", "int4"}
    assert pareto({}) == set() and not dominates(given["int8"], given["int8"])


def test_what_was_not_measured_decides_nothing() -> None:
    given = {"a": Objectives(0.0, 10, None, None), "b": Objectives(0.0, 20, None, None), "c": Objectives(-1.0, 20)}
    assert pareto(given) == {"a", "c"}


def test_ticks_are_round_and_cover() -> None:
    for start, end in [(0.0, 0.08), (-0.7, 0.4), (0.0, 1234.0), (-3.0, -1.0), (5.0, 5.0)]:
        found = pictures.ticks(start, end)
        assert found[0] <= start and found[-1] >= end and 2 <= len(found) <= 9
        steps = {round(b - a, 9) for a, b in pairwise(found)}
        assert len(steps) == 1


def test_dots_stay_in_the_picture_and_labels_apart() -> None:
    dots = [
        Dot(i, "x", x, y, y - 0.3, y + 0.3, "ships", i == 1)
        for i, (x, y) in enumerate([(1, 0), (1, 0), (1.05, 0), (9, -1)], 1)
    ]
    drawn = pictures.scatter("t", "x", "y", dots, -0.5)
    for mark in drawn.marks:
        assert (
            drawn.left <= mark.cx <= drawn.right
            and drawn.top <= mark.y_high <= mark.cy <= mark.y_low <= drawn.bottom
        )
    assert [(one.text, one.marks) for one in drawn.labels] == [("1–3", (0, 1, 2)), ("4", (3,))]
    assert drawn.limit is not None and drawn.zero is not None and drawn.zero < drawn.limit


def test_a_histogram_shows_what_was_kept() -> None:
    drawn = pictures.histogram("x", [1, 0, 4], -1.0, 2.0, -0.5, 9.0)
    assert [c[0] for c in drawn.columns] == [0.0, 133.33] and drawn.columns[1][3] == 60.0
    assert drawn.high == 200.0 and 33 < drawn.low < 34
