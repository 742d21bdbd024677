"""docs/recipes.md tells every step, every gate's code, and no step that there is not."""

from __future__ import annotations

import re

import pytest

from edgelift_builder.steps import STEPS
from edgelift_contract.errors import CODES
from tests.builder.conftest import ROOT

pytestmark = pytest.mark.builder

TEXT = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")


def sections() -> dict[str, str]:
    """Heading → what stands below it."""
    parts = re.split(r"^### (.+)$", TEXT, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_every_step_has_its_section_and_no_other_has() -> None:
    told = [name for heading in sections() for name in re.findall(r"`([a-z0-9-]+)`", heading)]
    assert sorted(told) == sorted(STEPS)


def test_every_section_names_its_source_and_a_figure() -> None:
    for heading, text in sections().items():
        assert "Source:" in text or "Held by" in text, heading
        assert re.search(r"\d", text), heading


def test_every_gate_is_a_code_that_travels() -> None:
    gates = TEXT.split("## Gates")[1].split("## Goldens")[0]
    rows = [
        line.split("|")[2] for line in gates.splitlines() if line.startswith("|") and "`" in line.split("|")[2]
    ]
    named = {code for row in rows for code in re.findall(r"`([a-z0-9-]+)`", row)}
    assert len(rows) >= 6 and named <= set(CODES)
