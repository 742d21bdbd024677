"""What all tests share: surroundings that are the same everywhere, property tests that repeat, real servers."""

import os
import shutil

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests import surroundings
from tests.heard import pytest_runtest_teardown  # noqa: F401 - a hook
from tests.order import long_first
from tests.spent import (  # noqa: F401 - hooks
    pytest_runtest_logreport,
    pytest_runtest_logstart,
    pytest_runtest_makereport,
    pytest_terminal_summary,
)

# On import: before any module of tests reads the environment, in the main process and in each worker.
surroundings.settle()

settings.register_profile("edgelift", deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
settings.register_profile(
    "long", deadline=None, max_examples=1000, stateful_step_count=80, suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
)  # fmt: skip
settings.register_profile("unshrunk", settings.get_profile("long"), phases=[Phase.generate])
settings.load_profile("edgelift")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        long_first(items)


@pytest.fixture(scope="session")
def mosquitto_program() -> str:
    """Where mosquitto is; without it the test is skipped, except in CI, where that is a failure."""
    path = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if path is None:
        message = "mosquitto is not installed"
        if os.environ.get("EDGELIFT_REQUIRE_SERVERS"):
            pytest.fail(message)
        pytest.skip(message)
    return path
