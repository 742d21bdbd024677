"""Debian's Chromium, driven by Playwright from PyPI: nothing is downloaded."""

import os
import shutil

import pytest


def find_chromium() -> str:
    """The browser's program; empty where there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or ""


#: As other tests that need a program: left out where it is missing, but not where all of them are asked for.
needs_chromium = pytest.mark.skipif(
    not find_chromium() and not os.environ.get("EDGELIFT_REQUIRE_SERVERS"), reason="chromium is not installed"
)
