"""Pictures over time as SVG that the server makes: panels above each other on one axis of time. Pure.

Nothing is told by a colour alone: lines differ by their dashes and bear their names, marks and stretches bear a label.
Colours come from the style sheet, so that a picture is light or dark as its page is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

from edgelift_fleet.console.scales import Scale, fitted, time_ticks

#: Points that are so many times further apart than most aren't joined: nothing came between.
_GAP = 2.6
_DASHES = ("", "7 3", "2 3")
_LETTER, _LANE, _ROW, _HEAD, _FOOT, _GUTTER = 6.6, 24.0, 17.0, 26.0, 26.0, 14.0
#: Rows of labels above the first panel, at most.
_ROWS = 4

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A series: its runs are not joined to each other; each has points of (seconds since 1970, value)."""

    name: str
    runs: Sequence[Sequence[Point]]


@dataclass(frozen=True)
class Plot:
    """A panel of a picture.

    Attributes:
        title: with the unit, where the axis doesn't say it.
        lines: three at most; the first is the main one.
        unit: writes a value of the axis.
        note: stands at the right of the title.
        height: of its plot, in the picture's units.
        zero: its axis begins at 0.
        log: by logarithm, where the values are that far apart.
        limit: a value with a line of its own, and what that is called; None for none.
        bars: its first line is drawn as bars: it counts something.
    """

    title: str
    lines: Sequence[Line]
    unit: Callable[[float], str]
    note: str = ""
    height: float = 90.0
    zero: bool = True
    log: bool = False
    limit: tuple[float, str] | None = None
    bars: bool = False


@dataclass(frozen=True)
class TimeMark:
    """A moment with a label; `tone` as of a state."""

    at: float
    label: str
    tone: str = "busy"


@dataclass(frozen=True)
class Lane:
    """Stretches of time of one kind, (start, end) each."""

    name: str
    spans: Sequence[tuple[float, float]]
    tone: str = "warn"


@dataclass(frozen=True)
class Timeline:
    """A picture.

    Attributes:
        name: of its ids, one on a page.
        title, told: what it is, and what it shows, for who can't see it.
        start, end: seconds since 1970.
        step_s: between two points, seconds.
        panels, marks, lanes: what it shows.
    """

    name: str
    title: str
    told: str
    start: float
    end: float
    step_s: float
    panels: Sequence[Plot]
    marks: Sequence[TimeMark] = ()
    lanes: Sequence[Lane] = ()

    def __html__(self) -> str:
        """Twice, for wide pages and for narrow ones: letters that are shrunk can't be read. One of them is shown."""
        return f'<div class="picture">{_Drawing(self, 1000.0, "wide").svg()}{_Drawing(self, 350.0, "small").svg()}</div>'


class _Drawing:
    """One drawing of a picture, `width` wide."""

    def __init__(self, picture: Timeline, width: float, kind: str) -> None:
        self._of, self._width, self._kind = picture, width, kind
        small = kind == "small"
        self._left, self._right = (46.0, width - 44.0) if small else (62.0, width - 62.0)
        self._x = Scale(picture.start, picture.end, self._left, self._right)
        self._ticks = time_ticks(picture.start, picture.end, 3 if small else 9)

    def svg(self) -> Markup:
        """All of it."""
        of, name = self._of, f"{self._of.name}-{self._kind}"
        labels, top = _placed([one for one in of.marks if of.start <= one.at <= of.end], self._x)
        lanes = [one for one in of.lanes if one.spans]
        below, parts = top + _LANE * len(lanes), [Markup("")]
        places = []
        for panel in of.panels:
            places.append(below + _HEAD)
            below += _HEAD + panel.height + _GUTTER
        last = below - _GUTTER
        parts += self._grid(places[0] if places else below, last)
        parts += self._lanes(lanes, top, last)
        parts += (self._mark(mark, row, last) for mark, row, _ in labels)
        for panel, at in zip(of.panels, places, strict=True):
            parts += self._panel(panel, at)
        parts += (self._label(mark, row, anchor) for mark, row, anchor in labels if row is not None)
        body = Markup("\n").join(parts)
        return Markup(
            '<svg class="chart {}" viewBox="0 0 {} {}" role="img" aria-labelledby="{}-t {}-d">'
            '<title id="{}-t">{}</title><desc id="{}-d">{}</desc>{}</svg>'
        ).format(self._kind, _n(self._width), _n(last + _FOOT), name, name, name, of.title, name, of.told, body)

    def _grid(self, top: float, last: float) -> Iterator[Markup]:
        for at, label in self._ticks:
            x = self._x.place(at)
            yield _line(x, top, x, last, "grid")
            yield _text(x, last + 17, label, "middle")

    def _lanes(self, lanes: Sequence[Lane], top: float, last: float) -> Iterator[Markup]:
        for number, lane in enumerate(lanes):
            y = top + _LANE * number
            yield _text(self._left, y + 10, lane.name, "start", f"name {lane.tone}")
            for start, end in lane.spans:
                x = self._x.place(start)
                wide = max(self._x.place(end) - x, 2.0)
                yield _rect(x, y + 14, wide, 6, f"lane {lane.tone}")
                yield _rect(x, y + 20, wide, last - y - 20, f"shade {lane.tone}")

    def _mark(self, mark: TimeMark, row: int | None, last: float) -> Markup:
        x, top = self._x.place(mark.at), _ROW if row is None else _ROW * row + 4
        return Markup('<g class="mark {}"><title>{}</title>{}</g>').format(
            mark.tone, mark.label, _line(x, top, x, last, "")
        )

    def _label(self, mark: TimeMark, row: int, anchor: str) -> Markup:
        x = self._x.place(mark.at) + (4 if anchor == "start" else -4)
        return _text(x, _ROW * row + 13, mark.label, anchor, mark.tone)

    def _panel(self, panel: Plot, top: float) -> Iterator[Markup]:
        values = [value for line in panel.lines for run in line.runs for _, value in run]
        bottom = top + panel.height
        yield _text(self._left, top - 9, panel.title, "start", "name")
        if panel.note:
            yield _text(self._right, top - 9, panel.note, "end")
        if not values:
            yield _line(self._left, bottom, self._right, bottom, "axis")
            yield _text(
                (self._left + self._right) / 2, (top + bottom) / 2 + 4, "Nothing came in this time.", "middle"
            )
            return
        held = [*values, panel.limit[0]] if panel.limit else values
        about = max(2, int(panel.height // 26))
        scale, ticks = fitted(held, bottom, top, ticks=about, log=panel.log, zero=panel.zero, whole=panel.bars)
        for tick in ticks:
            y = scale.place(tick)
            yield _line(self._left, y, self._right, y, "axis" if tick == ticks[0] and not scale.log else "grid")
            yield _text(self._left - 6, y + 4, panel.unit(tick), "end")
        if panel.limit:
            y = scale.place(panel.limit[0])
            yield _line(self._left, y, self._right, y, "limit")
            yield _text(self._right + 5, y + 4, panel.limit[1], "start")
        yield from self._bars(panel.lines[0], scale) if panel.bars else self._lines(panel.lines, scale)

    def _lines(self, lines: Sequence[Line], scale: Scale) -> Iterator[Markup]:
        ends = []
        for number, line in enumerate(lines):
            style = Markup(' stroke-dasharray="{}"').format(_DASHES[number]) if _DASHES[number] else Markup("")
            for run in line.runs:
                for part in _parts(run, self._of.step_s):
                    yield self._stroke(part, scale, f"line l{number + 1}", style)
            if points := [point for run in line.runs for point in run]:
                ends.append((scale.place(max(points)[1]), number, line.name, style))
        if len(lines) > 1:
            yield from self._names(ends, scale)

    def _stroke(self, part: Sequence[Point], scale: Scale, kind: str, style: Markup) -> Markup:
        places = [(self._x.place(at), scale.place(value)) for at, value in part]
        if len(places) == 1:  # alone, it would be no line
            return Markup('<circle class="{}" cx="{}" cy="{}" r="1.5"/>').format(kind, *map(_n, places[0]))
        path = " ".join(f"{_n(x)},{_n(y)}" for x, y in places)
        return Markup('<polyline class="{}"{} points="{}"/>').format(kind, style, path)

    def _names(self, ends: list[tuple[float, int, str, Markup]], scale: Scale) -> Iterator[Markup]:
        """Each line's name beside its end, with a piece of it, none over another."""
        above = scale.stop - 20.0
        low = scale.start + 4 - 14 * (len(ends) - 1)
        for place, (y, number, name, style) in enumerate(sorted(ends)):
            above = max(above + 14, min(y, low + 14 * place))
            x = self._right + 5
            yield Markup('<line class="line l{}"{} x1="{}" y1="{}" x2="{}" y2="{}"/>').format(
                number + 1, style, _n(x), _n(above), _n(x + 13), _n(above)
            )
            yield _text(x + 17, above + 4, name, "start")

    def _bars(self, line: Line, scale: Scale) -> Iterator[Markup]:
        for run in line.runs:
            for at, value in run:
                if value:
                    x, y = self._x.place(at - self._of.step_s / 2), scale.place(value)
                    wide = max(self._x.place(at + self._of.step_s / 2) - x - 0.5, 1.5)
                    yield _rect(x, y, wide, scale.start - y, "bad")


def _placed(marks: Sequence[TimeMark], x: Scale) -> tuple[list[tuple[TimeMark, int | None, str]], float]:
    """Each mark with the row in which its label stands over no other, and to which side of it; None where there is no room,
    which what is quiet comes to first. And how much room the rows take.
    """
    taken: list[list[tuple[float, float]]] = [[] for _ in range(_ROWS)]
    found: list[tuple[TimeMark, int | None, str]] = []
    for mark in sorted(marks, key=lambda one: (one.tone == "quiet", one.at)):
        at, wide = x.place(mark.at), _LETTER * len(mark.label) + 10
        anchor = "start" if at + wide <= x.stop + 40 else "end"
        begin, end = (at, at + wide) if anchor == "start" else (at - wide, at)
        free = (
            number
            for number, spans in enumerate(taken)
            if all(end <= other or begin >= until for other, until in spans)
        )
        if (row := next(free, None)) is not None:
            taken[row].append((begin, end))
        found.append((mark, row, anchor))
    rows = sum(bool(spans) for spans in taken)
    return found, _ROW * rows + (6 if rows else 0)


def _parts(run: Sequence[Point], step_s: float) -> Iterator[list[Point]]:
    """A run cut where nothing came, by how often something does in it."""
    apart = sorted(after[0] - before[0] for before, after in pairwise(run))
    most = _GAP * max(step_s, apart[len(apart) // 2] if apart else 0.0)
    part: list[Point] = list(run[:1])
    for before, point in pairwise(run):
        if point[0] - before[0] > most:
            yield part
            part = []
        part.append(point)
    if part:
        yield part


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return Markup('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(kind, *map(_n, (x1, y1, x2, y2)))


def _rect(x: float, y: float, width: float, height: float, kind: str) -> Markup:
    return Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>').format(
        kind, *map(_n, (x, y, width, height))
    )


def _text(x: float, y: float, said: str, anchor: str, kind: str = "") -> Markup:
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>').format(
        kind, _n(x), _n(y), anchor, escape(said)
    )
