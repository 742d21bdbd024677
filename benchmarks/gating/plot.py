"""The share of fleets called bad over the slowdown, as a picture."""

from typing import Any

_WIDTH, _HEIGHT, _LEFT, _TOP, _ACROSS, _DOWN = 720, 420, 60, 20, 420, 340
_COLOURS = ("#1b7837", "#762a83", "#2166ac", "#b2182b", "#e08214", "#35978f", "#4d4d4d", "#c51b7d")


def draw(cases: list[dict[str, Any]]) -> str:
    """SVG: one line per case of the gate, and dashed ones for the naive tests with 5 boards against 20 controls."""
    lines = [
        *((f"gate, {name}", "gate", name, "") for name in dict.fromkeys(c["case"] for c in cases)),
        *(
            (test, test, "5 against 20", "4 3")
            for test in dict.fromkeys(c["test"] for c in cases)
            if test != "gate"
        ),
    ]
    parts = [_axes()]
    for number, (label, test, name, dash) in enumerate(lines):
        points = [(c["slowdown"], c["rate"]) for c in cases if (c["case"], c["test"]) == (name, test)]
        path = " ".join(f"{_x(slow):.1f},{_y(rate):.1f}" for slow, rate in points)
        style = (
            f'fill="none" stroke="{_COLOURS[number % len(_COLOURS)]}" stroke-width="2" stroke-dasharray="{dash}"'
        )
        y = _TOP + 12 + number * 18
        parts.append(f'<polyline points="{path}" {style}/>')
        parts.append(f'<path d="M{_LEFT + _ACROSS + 16} {y - 4}h24" {style}/>')
        parts.append(f'<text x="{_LEFT + _ACROSS + 46}" y="{y}">{label}</text>')
    box = f'viewBox="0 0 {_WIDTH} {_HEIGHT}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {box} font-family="sans-serif" font-size="11">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>\n"])


def _x(slowdown: float) -> float:
    return _LEFT + _ACROSS * slowdown / 0.3


def _y(rate: float) -> float:
    return _TOP + _DOWN * (1 - rate)


def _axes() -> str:
    ticks = [
        *(
            f'<text x="{_x(s):.0f}" y="{_TOP + _DOWN + 16}" text-anchor="middle">+{s:.0%}</text>'
            f'<path d="M{_x(s):.1f} {_TOP}v{_DOWN}" stroke="#ddd"/>'
            for s in (0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
        ),
        *(
            f'<text x="{_LEFT - 6}" y="{_y(r) + 4:.0f}" text-anchor="end">{r:.0%}</text>'
            f'<path d="M{_LEFT} {_y(r):.1f}h{_ACROSS}" stroke="#ddd"/>'
            for r in (0, 0.25, 0.5, 0.75, 1)
        ),
    ]
    said = "fleets called bad, over how much slower the release is (5 % is allowed)"
    title = f'<text x="{_LEFT}" y="{_HEIGHT - 24}">{said}</text>'
    return "\n".join([*ticks, title])
