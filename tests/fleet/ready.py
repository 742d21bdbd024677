"""Databases in today's form, as copies of one that all migrations made: they are the same twenty steps for each test.

What the migrations do, and that they make what today's tables say, is tests/fleet/test_migrations.py's.
"""

from __future__ import annotations

import functools
import shutil
import tempfile
from contextlib import closing
from pathlib import Path

import psycopg
import sqlalchemy as sa

from edgelift_fleet.db import Database
from edgelift_fleet.engines import parse_url
from edgelift_fleet.registry import publish
from edgelift_fleet.site import create_site
from tests.fleet.postgres import READY

#: Gone at the process's end.
_folder = functools.cache(lambda: tempfile.TemporaryDirectory(prefix="edgelift-ready-"))


def new_database(where: Path | str | sa.URL) -> Database:
    """Open a database that is empty, with this release's tables in it."""
    url = parse_url(where) if isinstance(where, str) else where
    if isinstance(url, Path):
        shutil.copyfile(_sqlite(), url)
    elif url.get_backend_name() == "sqlite":
        shutil.copyfile(_sqlite(), str(url.database))
    else:
        _clone(url)
    made = Database(url)
    made.migrate()  # which looks, and finds nothing to do
    return made


def copy_of_site(folder: Path, releases: dict[str, Path]) -> Path:
    """A new site on SQLite, with secrets of its own and these releases published."""
    made, _ = create_site(folder)
    ready = _site(tuple(releases.values()))
    shutil.copyfile(ready / "edgelift.db", folder / "edgelift.db")
    (folder / "edgelift.db").chmod(0o600)
    shutil.copytree(ready / "blobs", folder / "blobs", copy_function=shutil.copy, dirs_exist_ok=True)
    return made.folder


@functools.cache
def _sqlite() -> Path:
    file = Path(_folder().name) / "ready.db"
    with closing(Database(file)) as db:
        db.migrate()
    return file


@functools.cache
def _site(releases: tuple[Path, ...]) -> Path:
    made, _ = create_site(Path(tempfile.mkdtemp(dir=_folder().name)) / "site")
    with closing(new_database(made.folder / "edgelift.db")) as db:
        for folder in releases:
            publish(made, db, folder)
    return made.folder


def _clone(url: sa.URL) -> None:
    """Put a copy of the cluster's ready database in an empty one's place, where the cluster has one."""
    who = {"host": url.host, "port": url.port, "user": url.username, "password": url.password}
    with psycopg.connect(**who, dbname="postgres", autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [READY]).fetchone():
            connection.execute(f'DROP DATABASE "{url.database}"')
            connection.execute(f'CREATE DATABASE "{url.database}" TEMPLATE "{READY}"')
