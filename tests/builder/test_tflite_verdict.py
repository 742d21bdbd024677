"""int8 TFLite leaves in float what the judge of the task asks for, and no more: float layers cost time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.builder.conftest import BuiltFolder, stands
from tests.builder.recipes import TFLITE

pytestmark = pytest.mark.builder

RECIPE = f'name = "verdict"\naccuracy_drop_pp = 1.5\n{TFLITE}'


def made(build_tiny: Callable[..., BuiltFolder], folder: Path, source: str) -> dict[str, Any]:
    (folder / "r.toml").write_text(RECIPE)
    report = build_tiny(source, folder / "r.toml").report
    found: dict[str, Any] = next(c for c in report["candidates"] if c["variant"] == "int8")
    return found


def test_a_score_that_decides_nothing_is_not_kept_float(
    build_tiny: Callable[..., BuiltFolder], tmp_path: Path
) -> None:
    found = made(build_tiny, tmp_path, "quiet_score")
    assert stands(found), found["reason"]
    assert not found["left_float"], found["remarks"]


def test_without_labels_it_counts_as_any_other(build_tiny: Callable[..., BuiltFolder], tmp_path: Path) -> None:
    """To keep it the last layer would have to stay float, which is nearly all of the model."""
    found = made(build_tiny, tmp_path, "quiet_score_unlabelled")
    assert not found["shipped"] and "not smaller" in found["reason"]
