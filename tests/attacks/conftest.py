"""Boards under attack: by each way that bytes come, and by what its clock shows where that matters."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.attacks.board import ONLINE, SETTINGS, WAYS, Board
from tests.simulators.file_server import FileServer

from edgelift_agent.system.disk import SHARED_MEMORY

if TYPE_CHECKING:
    from tests.attacks.who import SecureSite


#: On a device's dependencies alone there is no control plane to attack: what needs one can't even be imported.
collect_ignore = [
    path.name
    for path in Path(__file__).parent.glob("test_*.py")
    if importlib.util.find_spec("sqlalchemy") is None and "mark.fleet" in path.read_text()
]


@pytest.fixture(scope="session")
def server() -> Iterator[FileServer]:
    with FileServer() as server:
        yield server


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory: what is written here often need not outlive a power cut."""
    memory = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory, prefix="edgelift-attacks-") as made:
        yield Path(made)


@pytest.fixture(params=WAYS)
def board(request: pytest.FixtureRequest, folder: Path, server: FileServer) -> Board:
    """By each way; its clock is right."""
    return Board(folder, server, request.param)


@pytest.fixture(params=SETTINGS, ids="-".join)
def clocked(request: pytest.FixtureRequest, folder: Path, server: FileServer) -> Board:
    """By each way, with each clock."""
    return Board(folder, server, *request.param)


@pytest.fixture(params=[one for one in SETTINGS if one[0] in ONLINE], ids="-".join)
def online(request: pytest.FixtureRequest, folder: Path, server: FileServer) -> Board:
    """By the ways on which a device can ask, with each clock."""
    return Board(folder, server, *request.param)


@pytest.fixture
def alone(folder: Path, server: FileServer) -> Board:
    """One board, over HTTP."""
    return Board(folder, server)


@pytest.fixture(scope="session")
def secure(tmp_path_factory: pytest.TempPathFactory, mosquitto_program: str) -> Iterator[SecureSite]:
    """A control plane whose devices have certificates: one for all attacks on who a device is."""
    from tests.attacks.who import SecureSite  # late: the others need no control plane

    with SecureSite(tmp_path_factory.mktemp("secure")) as made:
        yield made
