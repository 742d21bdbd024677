"""A real site, a real server process, simulated devices over real links."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgelift_fleet.registry import publish
from edgelift_fleet.site import create_site
from edgelift_fleet.testing import FleetSimulator, simulated_fleet
from tests import forking
from tests.fleet.postgres import _template as _template
from tests.fleet.postgres import database_url as database_url
from tests.fleet.postgres import own_postgres as own_postgres
from tests.fleet.postgres import postgres as postgres
from tests.fleet.postgres import postgres_programs as postgres_programs
from tests.fleet.postgres import postgres_url as postgres_url
from tests.fleet.ready import copy_of_site, new_database
from tests.fleet.releases import make_release
from tests.waiting import LONG_S

ROOT = Path(__file__).parents[2]

#: Runs a test, and the `site` that it asks for, on SQLite and on PostgreSQL.
both_engines = pytest.mark.parametrize("engine", ["sqlite", "postgresql"], indirect=True)


def edgelift(
    *arguments: object, timeout_s: float = 600, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command as a user would."""
    words, environ = [str(one) for one in arguments], {**environment(), **(env or {})}
    if forking.may_fork(env or {}):
        return forking.run("edgelift", words, environ, timeout_s)
    return subprocess.run(
        [sys.executable, "-c", "from edgelift.cli import main; main()", *words],
        capture_output=True, text=True, timeout=timeout_s, env=environ,
        stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{ROOT / 'agent'}:{ROOT / 'builder'}", "COLUMNS": "200"}


class Server:
    """`edgelift serve` as a process of its own. As a context it is started, and stopped at the end."""

    def __init__(
        self, site: Path, *options: str, env: dict[str, str] | None = None, descriptors: int | None = None
    ) -> None:
        self.site, self.options, self.env = site, options, env or {}
        #: As a system would that allows no more.
        self.limited = ["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh"] if descriptors else []
        self.process: subprocess.Popen[bytes] | forking.Forked | None = None
        self.log = site.parent / f"{site.name}.log"

    def start(self) -> "Server":
        words = ["serve", "--site", str(self.site), "--port", "0", "-v", *self.options]
        environ = {**environment(), **self.env}
        with self.log.open("ab") as log:
            if not self.limited and forking.may_fork(self.env):
                self.process = forking.Forked("edgelift", words, environ, stdout=subprocess.PIPE, stderr=log)
            else:
                self.process = subprocess.Popen(
                    [*self.limited, sys.executable, "-c", "from edgelift.cli import main; main()", *words],
                    stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, env=environ,
                )  # fmt: skip
        assert self.process.stdout is not None
        self.ready_line = self.process.stdout.readline().decode()
        assert self.ready_line.startswith("Serving "), self.log.read_text()[-3000:]
        return self

    def __enter__(self) -> "Server":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def info(self) -> dict:
        return json.loads((self.site / "run" / "server.json").read_text())

    @property
    def url(self) -> str:
        return self.info["url"]

    @property
    def token(self) -> str:
        return (self.site / "secrets" / "enrolment-token").read_text().strip()

    @property
    def operator(self) -> str:
        return (self.site / "secrets" / "operator-token").read_text().strip()

    def stop(self, how: int = signal.SIGTERM, timeout_s: float = LONG_S) -> int:
        """End it; returns its exit status."""
        assert self.process is not None and self.process.stdout is not None
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            status = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the server did not stop:\n{self.log.read_text()[-3000:]}") from None
        finally:
            self.process.stdout.close()
        # Of every test with a server: whatever was refused was refused as the document says.
        undeclared = [
            line for line in self.log.read_text(errors="replace").splitlines() if " undeclared refusal " in line
        ]
        assert not undeclared, undeclared[:5]
        return status


@pytest.fixture(scope="session")
def releases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """`digits@1` … `digits@3` as release folders."""
    folder = tmp_path_factory.mktemp("releases")
    for version in "123":
        make_release(folder / f"digits@{version}", version)
    return {f"digits@{version}": folder / f"digits@{version}" for version in "123"}


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    """Of `site`'s database: `sqlite`, unless `both_engines` says otherwise."""
    return getattr(request, "param", "sqlite")


@pytest.fixture
def site(tmp_path: Path, releases: dict[str, Path], engine: str, request: pytest.FixtureRequest) -> Path:
    """A site with three releases."""
    url = "" if engine == "sqlite" else request.getfixturevalue("postgres_url")
    return make_site(tmp_path / "site", releases, url)


@pytest.fixture(scope="session")
def idle_site(tmp_path_factory: pytest.TempPathFactory, releases: dict[str, Path]) -> Path:
    """A site with three releases that several tests share."""
    return make_site(tmp_path_factory.mktemp("shared") / "site", releases)


def make_site(folder: Path, releases: dict[str, Path], database: str = "") -> Path:
    """A site with these releases, on SQLite, or on a new and empty database."""
    if not database:
        return copy_of_site(folder, releases)
    made, _ = create_site(folder, database=database)
    with contextlib.closing(new_database(made.database)) as db:
        for folder in releases.values():
            publish(made, db, folder)
    return made.folder


@pytest.fixture
def server(site: Path) -> Iterator[Server]:
    """A server without a broker."""
    with Server(site, "--broker", "none") as made:
        yield made


@pytest.fixture
def mqtt_server(site: Path, mosquitto_program: str) -> Iterator[Server]:
    """A server with a mosquitto of its own."""
    with Server(site) as made:
        yield made


@pytest.fixture
def fleet(server: Server) -> Iterator[FleetSimulator]:
    """Simulated devices of `server`, over HTTP."""
    with simulated_fleet(server.site) as simulator:
        yield simulator


@pytest.fixture
def mqtt_fleet(mqtt_server: Server) -> Iterator[FleetSimulator]:
    """Simulated devices of `mqtt_server`."""
    with simulated_fleet(mqtt_server.site) as simulator:
        yield simulator
