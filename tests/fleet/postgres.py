"""A real PostgreSQL as a process: made in a second from one `initdb` a session, killed and started again by tests."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from edgelift_fleet.db import Database
from tests.waiting import LONG_S

#: Also in tests of what is logged: it must be found nowhere.
PASSWORD = "Swordfish-%40 1/2"  # with what a URL must escape
_USER = "edgelift"
#: On every cluster of the tests: a database in today's form, of which `ready` makes copies.
READY = "ready"


def find_postgres() -> Path | None:
    """The folder of the newest PostgreSQL's programs; Debian keeps them off the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    if found:
        return found[-1].parent
    other = shutil.which("initdb")
    return Path(other).resolve().parent if other else None


class Postgres:
    """One cluster, with a data folder and a port of its own. Durable against `kill -9`, not against a power cut."""

    def __init__(self, programs: Path, template: Path | None = None) -> None:
        """Bind; `template` is the data folder of a cluster that has stopped, to begin from."""
        self._programs = programs
        # It refuses to run as root, and tests' own folders are root's alone.
        self._who = _servant() if os.geteuid() == 0 else {}
        self.folder = Path(tempfile.mkdtemp(prefix="edgelift-pg-"))
        self.data = self.folder / "data"
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        if self._who:
            os.chown(self.folder, self._who["user"], self._who["group"])
        if template is None:
            self._initdb()
        else:
            self._run("cp", "-r", str(template), str(self.data))

    def _initdb(self) -> None:
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        self._run(
            str(self._programs / "initdb"), "-D", str(self.data), "-U", _USER, "--encoding=UTF8", "--locale=C",
            "--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync",
        )  # fmt: skip

    def _run(self, *command: str) -> None:
        done = subprocess.run(command, capture_output=True, text=True, cwd="/", **self._who, check=False)
        assert done.returncode == 0, done.stderr

    def start(self) -> Postgres:
        """Start it, on the same port as before if it had one; returns once it lets clients in."""
        deadline = time.monotonic() + LONG_S
        while True:
            self.port = self.port or _free_port()
            with (self.folder / "log").open("ab") as log:
                self.process = subprocess.Popen(
                    [str(self._programs / "postgres"), "-D", str(self.data), "-p", str(self.port),
                     "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={self.folder}",
                     "-c", "fsync=off", "-c", "max_connections=200", "-c", "shared_buffers=32MB"],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", **self._who,
                )  # fmt: skip
            while self.process.poll() is None:
                try:
                    psycopg.connect(self._info("postgres")).close()
                    return self
                except psycopg.OperationalError:
                    time.sleep(0.05)
            # The port was taken meanwhile, or the children of one that was killed have not yet ended.
            assert time.monotonic() < deadline, (self.folder / "log").read_text()[-3000:]
            time.sleep(0.1)

    def kill(self) -> None:
        """`kill -9`, as the kernel does when memory is short: its children end by themselves."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Stop it as an operator does, and wait."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(LONG_S)

    def remove(self) -> None:
        """Stop it, without writing what is deleted at once, and delete what it had."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait(LONG_S)
        shutil.rmtree(self.folder, ignore_errors=True)

    def database(self, name: str = "site") -> str:
        """Make an empty database; returns its URL, password included."""
        with psycopg.connect(self._info("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return f"postgresql://{_USER}:Swordfish-%2540%201%2F2@127.0.0.1:{self.port}/{name}"

    def clone(self, name: str, other: str) -> None:
        """Make a database that is as another one, to which nobody is connected."""
        with psycopg.connect(self._info("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{other}"')

    def ask(self, name: str, query: str) -> list[tuple]:
        """What a query answers on one of its databases."""
        with psycopg.connect(self._info(name), autocommit=True) as connection:
            cursor = connection.execute(query)
            return cursor.fetchall() if cursor.description else []

    def _info(self, name: str) -> str:
        return psycopg.conninfo.make_conninfo(
            host="127.0.0.1", port=self.port, user=_USER, password=PASSWORD, dbname=name, connect_timeout=30
        )


def _servant() -> dict[str, object]:
    for name in ("postgres", "nobody"):
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}
    raise AssertionError("this machine has no user that PostgreSQL could run as")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def postgres_programs() -> Path:
    """Where PostgreSQL is; without it the test is skipped, except in CI, where that is a failure."""
    found = find_postgres()
    if found is None:
        if os.environ.get("EDGELIFT_REQUIRE_SERVERS"):
            pytest.fail("PostgreSQL is not installed")
        pytest.skip("PostgreSQL is not installed")
    return found


@pytest.fixture(scope="session")
def postgres(postgres_programs: Path, _template: Path) -> Iterator[Postgres]:
    """A cluster that tests share, each with a database of its own; nobody kills it."""
    made = Postgres(postgres_programs, _template)
    try:
        yield made.start()
    finally:
        made.remove()


@pytest.fixture(scope="session")
def _template(postgres_programs: Path) -> Iterator[Path]:
    made = Postgres(postgres_programs)
    try:
        made.start()
        with contextlib.closing(Database(made.database(READY))) as db:
            db.migrate()
        made.stop()
        yield made.data
    finally:
        made.remove()


@pytest.fixture
def own_postgres(postgres_programs: Path, _template: Path) -> Iterator[Postgres]:
    """A cluster of the test's own."""
    made = Postgres(postgres_programs, _template)
    try:
        yield made.start()
    finally:
        made.remove()


_made = iter(range(1_000_000))


@pytest.fixture
def postgres_url(postgres: Postgres) -> str:
    """A new database on the shared cluster."""
    return postgres.database(f"site{next(_made)}")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new, empty database on each of the two engines."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'x.db'}"
    return str(request.getfixturevalue("postgres_url"))
