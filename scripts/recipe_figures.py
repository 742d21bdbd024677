"""Writes the figures of `scripts/bench build --json FILE` into docs/recipes.md: `python scripts/recipe_figures.py FILE`.

The three tables anew, and every "`model` variant: size ÷…" in the text, by model, variant and format (ONNX where none is
named). What the page says besides is for a person to check against the new figures.
"""

import json
import re
import sys
import textwrap
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "recipes.md"
FIGURES = re.compile(
    r"`(?P<model>\w+)`(?P<gap>\s+)(?P<variant>[\w-]+)(?:\s+(?P<format>tflite|torchscript))?:"
    r"\s+size\s+÷[\d.]+,\s+latency\s+÷[\d.]+,\s+[+-][\d.]+\s+(?:points|%)\s+\(-?[\d.]+\s+to\s+-?[\d.]+\)(\s+\((?!channels|with|one)[a-z-]+\))?"
)


def main(file: str) -> None:
    found = json.loads(Path(file).read_text())
    text = PAGE.read_text(encoding="utf-8")
    text = _table(text, "| model | family |", [_chosen(m) for m in found["models"]])
    text = _table(text, "| to reach |", [f"| {b['what']} {b['bar']} | {b['value']:.3g} |" for b in found["bars"]])
    text = _table(text, "| model | best plain recipe |", [_beside(m) for m in found["models"]])
    made = {
        (m["name"], c["recipe"], c["format"]): c
        for m in found["models"]
        for c in [m, *m["lost"]]
        if c["latency_ratio"]
    }
    missing: list[str] = []
    text = FIGURES.sub(lambda match: _one(match, made, missing), text)
    PAGE.write_text("\n\n".join(map(_wrapped, text.split("\n\n"))), encoding="utf-8")
    if missing:
        sys.exit(f"left as they were, for the file has no such figures: {', '.join(missing)}")


def _chosen(m: dict) -> str:
    low, high = m["loss_interval"]
    return (
        f"| `{m['name']}` | {m['family']} | {m['parameters'] / 1e6:.2f} M | `{m['recipe']}` {m['format']} |"
        f" {m['size_ratio']:.2f} | {m['latency_ratio']:.2f} | {m['fastest_float_ratio']:.2f} |"
        f" {m['loss']:.2f} ({low:.2f} … {high:.2f}) | {m['budget']:g}{'' if m['unit'] == 'points' else ' %'} |"
    )


def _beside(m: dict) -> str:
    value, low, high = m["peer_latency_ratio"]
    ours, best = (next(p for p in m["peers"] if p["name"] == name) for name in ("ours", m["peer"]))
    return (
        f"| `{m['name']}` | `{m['peer']}` | {value:.3f} ({low:.3f} … {high:.3f}) | {m['default_latency_ratio'][0]:.3f} |"
        f" {best['size_bytes'] / ours['size_bytes']:.2f} | {m['peer_loss']:+.2f}{'' if m['unit'] == 'points' else ' %'} |"
    )


def _table(text: str, head: str, rows: list[str]) -> str:
    """Replace the rows of the table that begins with `head`."""
    start = text.index(head)
    body = text.index("\n", text.index("|---", start)) + 1
    return text[:body] + "\n".join(rows) + text[text.index("\n\n", body) :]


def _wrapped(block: str) -> str:
    """A paragraph with figures, to the page's width again; its heading stays."""
    if "Measured" not in block or "    " in block:
        return block
    head, lines = [], block.rstrip("\n").split("\n")
    while lines and lines[0].startswith("#"):
        head.append(lines.pop(0))
    end = "\n" if block.endswith("\n") else ""
    return (
        "\n".join([*head, textwrap.fill(" ".join(lines), 118, break_long_words=False, break_on_hyphens=False)])
        + end
    )


def _one(match: re.Match[str], made: dict, missing: list[str]) -> str:
    form = match["format"] or "onnx"
    c = made.get((match["model"], match["variant"], form))
    if c is None:
        missing.append(f"{match['model']} {match['variant']} {form}")
        return match[0]
    low, high = c["loss_interval"]
    unit = "points" if c["unit"] == "points" else "%"
    code = f" ({c['code']})" if c.get("code") else ""
    named = f"{match['variant']} {match['format']}" if match["format"] else match["variant"]
    return (
        f"`{match['model']}`{match['gap']}{named}: size ÷{c['size_ratio']:.2f}, latency"
        f" ÷{c['latency_ratio']:.2f}, {c['loss']:+.2f} {unit} ({low:.2f} to {high:.2f}){code}"
    )


if __name__ == "__main__":
    main(sys.argv[1])
