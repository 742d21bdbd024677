"""A release whose source told of its numbers, in names that a terminal or a page must not take for its own."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from edgelift_contract.manifest import TensorSpec
from edgelift_contract.meaning import TensorMeaning
from edgelift_fleet.db import Database
from edgelift_fleet.registry import publish
from edgelift_fleet.site import load_site
from tests.fleet.releases import make_release

HOSTILE = ["<script>alert(1)</script>", "[red]dog[/red]", "the\u202eend", "Löwe 猫"]
SCORES = TensorSpec("y", "FP32", [-1, 4], TensorMeaning(labels=HOSTILE, axis=1))
PIXELS = TensorSpec("x", "FP32", [-1, 4], TensorMeaning(unit="°C", scale=[0.5], offset=[-40.0]))
TABLE: dict[str, Any] = {"camera": "no\u202erth <b>", "threshold": 0.25, "year": 2026, "colour": False}
TOLD: dict[str, Any] = {"inputs": [PIXELS], "outputs": [SCORES], "metadata": TABLE}


def bring(site: Path, folder: Path, **changes: Any) -> None:
    """Publish `digits@9`, some fields of its manifests changed, to a site."""
    make_release(folder, "9", **changes)
    made = load_site(site)
    with contextlib.closing(Database(made.database)) as db:
        publish(made, db, folder)
