"""A build's child process ends by itself as soon as nobody asks it any more, started the long way and forked."""

from __future__ import annotations

import atexit
import os
from pathlib import Path

import pytest

from edgelift_builder.child import Child, OnFailure, Process
from edgelift_builder.measure import memory
from tests.builder.conftest import forked
from tests.forked import CHILD

pytestmark = [pytest.mark.builder, pytest.mark.onnx]


@pytest.mark.parametrize("start", [Process, forked(CHILD)], ids=["started", "forked"])
def test_nothing_is_left_to_take_apart_when_the_parent_hangs_up(
    start: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Child, "start", start)
    child = Child(tmp_path / "log")
    assert child.call(os.getppid, on_failure=OnFailure("it")) > 0
    child.call(memory._import, "onnxruntime", on_failure=OnFailure("it"))
    child.call(atexit.register, print, "taken apart", on_failure=OnFailure("it"))
    child._pipe.close()
    assert child._process.wait(timeout=None) == 0
    child.close()
    assert "taken apart" not in (tmp_path / "log").read_text()
