"""A test that leaves the log silent is found out, and the next one hears again."""

import logging

import pytest

from tests.heard import silenced

OURS = logging.getLogger("edgelift_fleet.of_a_test")


def test_what_silences_is_named_and_lifted(caplog: pytest.LogCaptureFixture) -> None:
    assert silenced() == []
    logging.disable(logging.CRITICAL)
    OURS.disabled = True
    OURS.warning("nobody hears this")
    assert caplog.text == ""
    assert silenced() == ["logging.disable(50)", f"the logger {OURS.name}"]
    OURS.warning("this is heard")
    assert "this is heard" in caplog.text and silenced() == []
