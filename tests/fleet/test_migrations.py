"""Every migration goes up and down on both engines with rows in every table, and they are found again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from edgelift_contract.errors import ContractError
from edgelift_fleet.db import MIGRATIONS, SITE, Database
from edgelift_fleet.selector import parse_selector
from edgelift_fleet.selector_terms import Tag
from edgelift_fleet.tables import Base, DeviceRow, RolloutRow

pytestmark = pytest.mark.fleet

#: What stands in columns that hold a form of their own: migrations may read it.
_FORMS = {
    "facts": '{"hardware_class":"arm64-neon"}', "past_epochs": "[]", "waves": '["1","100%"]',
    "plan": '{"waves":["1","100%"],"soak_s":0.0,"max_failures":0,"deadline_s":60.0}', "policy": "{}",
    "kind": "event", "state": "running", "status": "committed", "source": "operator", "outcome": "committed",
    "selector": "all", "previous": "", "last_update": "", "body": "{}",
}  # fmt: skip

#: Revision → tables that it takes away on purpose: what they held lies in others afterwards.
_REPLACED: dict[str, set[str]] = {"0008": {"telemetry"}}

Rows = dict[str, dict[str, Any]]


def revisions() -> list[str]:
    """All of them, the first one first."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()][::-1]


def tables(connection: sa.Connection) -> list[sa.Table]:
    found = sa.MetaData()
    found.reflect(connection)
    return [table for table in found.sorted_tables if table.name != "alembic_version"]


def fill(db: Database) -> None:
    """A row in every table that has none."""
    with db.write(SITE) as session:
        connection = session.connection()
        for table in tables(connection):
            if connection.execute(sa.select(table)).first() is None:
                connection.execute(sa.insert(table).values({c.name: value(c, connection) for c in table.columns}))


def value(column: sa.Column, connection: sa.Connection) -> Any:
    for key in column.foreign_keys:
        return connection.execute(sa.select(key.column)).scalars().first()
    kind = column.type
    if column.name in _FORMS and not isinstance(kind, sa.LargeBinary):
        return _FORMS[column.name]
    if isinstance(kind, sa.Boolean):
        return True
    if isinstance(kind, sa.Float):
        return 5.25
    if isinstance(kind, sa.BigInteger):
        return 2**52
    if isinstance(kind, sa.Integer):
        return 1
    if isinstance(kind, sa.LargeBinary):
        return b"\x00\xff"
    return column.name[: getattr(kind, "length", None) or 64]


def rows(db: Database) -> Rows:
    with db.read() as session:
        connection = session.connection()
        return {
            table.name: dict(connection.execute(sa.select(table)).mappings().one())
            for table in tables(connection)
            if connection.execute(sa.select(sa.func.count()).select_from(table)).scalar()
        }


def held(before: Rows, after: Rows, *, step: str) -> None:
    """Where both forms have a table and a column, both have the same there."""
    for name in before.keys() & after.keys():
        common = before[name].keys() & after[name].keys()
        assert {c: after[name][c] for c in common} == {c: before[name][c] for c in common}, (step, name)


def test_up_down_and_up_again_with_rows_in_every_table(database_url: str) -> None:
    steps = revisions()
    with closing(Database(database_url)) as db:
        db.migrate(steps[0])
        fill(db)
        found = rows(db)
        assert {"device", "telemetry", "rollout_event"} <= found.keys()
        for step in steps[1:]:
            db.migrate(step)
            held(found, rows(db), step=f"up to {step}")
            fill(db)
            found = rows(db)
        assert found.keys() == Base.metadata.tables.keys()
        for step in steps[-2::-1]:
            db.migrate(step)
            after = rows(db)
            held(found, after, step=f"down to {step}")
            found = after
        for step in steps[1:]:
            db.migrate(step)
            after = rows(db)
            held(found, after, step=f"up again to {step}")
            assert found.keys() <= after.keys() | _REPLACED.get(step, set()), f"a table's row was lost by {step}"
            found = after
        with db.engine.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
        db.migrate("base")
        with db.engine.connect() as connection:
            assert tables(connection) == []


def test_a_database_of_a_newer_release_is_left_alone(database_url: str) -> None:
    with closing(Database(database_url)) as db:
        db.migrate()
        with db.write(SITE) as session:
            session.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(ContractError) as refused:
            db.migrate()
        assert refused.value.code == "unknown-schema" and "9999" in refused.value.message


def test_servers_that_start_at_once_migrate_once(postgres_url: str) -> None:
    databases = [Database(postgres_url) for _ in range(4)]
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda db: db.migrate(), databases))
        with databases[0].read() as session:
            assert session.scalars(sa.select(DeviceRow)).all() == []
    finally:
        for db in databases:
            db.close()


@pytest.mark.parametrize(
    ("selector", "after"),
    [
        ("all", "all"),
        ("tag:barn", "tag:barn"),
        ("tag:site=hall-2", "tag:site=hall-2"),
        ("tag:site=hall 2", 'tag:site="hall 2"'),
        ("tag:site=a and tag:b", 'tag:site="a and tag:b"'),
        ("tag:site=hall (2", 'tag:site="hall (2"'),
        ('tag:site=the "old" one', "tag:site='the \"old\" one'"),
        ("tag:site=x=(y)", 'tag:site="x=(y)"'),
    ],
)
def test_selectors_of_old_rollouts_mean_what_they_meant(tmp_path: Path, selector: str, after: str) -> None:
    with closing(Database(f"sqlite:///{tmp_path / 'x.db'}")) as db:
        db.migrate("0011")
        with db.write(SITE) as session:
            for number, plan in ((1, _FORMS["plan"]), (2, '{"waves":["100%"],"seed":5}')):
                row = {c.name: _FORMS.get(c.name, 0) for c in RolloutRow.__table__.columns if c.name != "awaits"}
                row |= {"number": number, "plan": plan, "selector": selector}
                # Not by the class's own table, which gives columns that came later what they are if nobody says.
                session.execute(sa.insert(sa.table("rollout", *map(sa.column, row))).values(**row))
        db.migrate("0012")
        with db.read() as session:
            # The second one is of today, and in today's words.
            assert session.scalars(sa.select(RolloutRow.selector).order_by(RolloutRow.number)).all() == [
                after,
                selector,
            ]
        if selector.startswith("tag:") and "=" in selector:
            found = parse_selector(after)
            assert isinstance(found, Tag) and found.value == selector.partition("=")[2] and not found.glob
        db.migrate("0011")
        with db.read() as session:
            assert session.scalar(sa.select(RolloutRow.selector).where(RolloutRow.number == 1)) == selector
