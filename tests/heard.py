"""What is logged is heard in every test: one that silences it for those after it fails itself, by its own name.

`logging.disable` and a logger's `disabled` hold for the whole process, and a file of tests shares it with whatever came
before: without this, a test that goes by a warning is red now and then, in another file than the one at fault.
"""

from __future__ import annotations

import logging
from collections.abc import Generator

import pytest

#: Loggers whose words tests go by.
_OURS = "edgelift"


def silenced() -> list[str]:
    """What keeps warnings back, in words; lifted on the way, so that one test alone fails of it."""
    found = []
    if logging.root.manager.disable >= logging.WARNING:
        found.append(f"logging.disable({logging.root.manager.disable})")
        logging.disable(logging.NOTSET)
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and name.startswith(_OURS):
            if logger.disabled or not logger.propagate or logger.level > logging.WARNING:
                found.append(f"the logger {name}")
            logger.disabled, logger.propagate = False, True
            logger.setLevel(logging.NOTSET)
    return found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    result = yield
    if found := silenced():
        pytest.fail(f"{item.nodeid} leaves silent what tests go by: {', '.join(found)}", pytrace=False)
    return result
