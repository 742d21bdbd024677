"""In which order files are handed to the workers: long ones first, so that none is left to one worker at the end."""

from __future__ import annotations

from collections import Counter

import pytest

#: Files of half a minute and more, whatever the number of their tests.
LONG = frozenset({
    "test_backend_cases.py", "test_backup.py", "test_by_browser.py", "test_cases.py", "test_cases_onnx.py",
    "test_crash_points.py", "test_demo.py", "test_emulate.py", "test_engines.py", "test_examples.py", "test_fuzz.py",
    "test_large.py", "test_loop.py", "test_migrations.py", "test_newcomer.py", "test_onnx_kinds.py", "test_quarantine.py",
    "test_refusals.py", "test_release.py", "test_restore.py", "test_runtimes.py", "test_saturation.py",
    "test_search.py", "test_sequences.py", "test_sharing.py", "test_signals.py", "test_skew.py",
    "test_source_docs.py", "test_text.py", "test_the_way.py", "test_tflite_int8.py", "test_tflite_kinds.py",
    "test_torch_kinds.py",
})  # fmt: skip


def long_first(items: list[pytest.Item]) -> None:
    """Sort by file: the long ones, then those of many tests; within a file nothing changes."""
    counts = Counter(item.path for item in items)
    items.sort(key=lambda item: (item.path.name not in LONG, -counts[item.path], str(item.path)))
