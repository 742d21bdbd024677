"""A site with three releases, and somebody who looks at its console."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.console.visiting import Visitor, visiting
from tests.fleet.conftest import engine as engine
from tests.fleet.conftest import releases as releases
from tests.fleet.conftest import site as site


@pytest.fixture
def visitor(site: Path) -> Iterator[Visitor]:
    with visiting(site) as found:
        yield found
