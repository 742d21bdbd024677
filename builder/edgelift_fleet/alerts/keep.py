"""What stands of alerts in the database: read whole, and written by what changed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.orm import Session

from edgelift_fleet.alerts.decide import Key, StandingTrouble
from edgelift_fleet.alerts.tell import AlertGroup
from edgelift_fleet.db import insert_rows
from edgelift_fleet.messages.alerts import AlertMessage
from edgelift_fleet.tables import AlertDeliveryRow, AlertGroupRow, AlertRow, Base, table_of

#: Messages that wait for one receiver: the oldest is given up for a newer one. And those given up that are kept, and how
#: long, seconds.
MAX_WAITING, MAX_GIVEN_UP, GIVEN_UP_KEPT_S = 500, 100, 30 * 86_400.0


class KeptAlerts(NamedTuple):
    """Troubles and alerts as the database has them."""

    standings: dict[Key, StandingTrouble]
    groups: dict[Key, AlertGroup]


def read_kept(session: Session) -> KeptAlerts:
    """All of it, in two statements."""
    row, group = AlertRow, AlertGroupRow
    columns = (row.code, row.subject, row.state, row.since, row.fired_at, row.state_at, row.text)
    standings: list[StandingTrouble] = [
        StandingTrouble._make(found) for found in session.execute(sa.select(*columns))
    ]
    columns_of_group = (group.code, group.about, group.began_at, group.told_at, group.told)
    groups = [AlertGroup._make(found) for found in session.execute(sa.select(*columns_of_group))]
    return KeptAlerts({one.key: one for one in standings}, {one.key: one for one in groups})


def write_kept(session: Session, before: KeptAlerts, after: KeptAlerts) -> None:
    """Write what is different; inside a write transaction."""
    _write(session, AlertRow, before.standings, after.standings, ("code", "subject"))
    _write(session, AlertGroupRow, before.groups, after.groups, ("code", "about"))


def _write(
    session: Session, kind: type[Base], before: Mapping[Key, Any], after: Mapping[Key, Any], keys: tuple[str, str]
) -> None:
    table = table_of(kind)
    mine = sa.and_(*(table.c[name] == sa.bindparam(f"key_{name}") for name in keys))
    gone = [
        dict(zip((f"key_{name}" for name in keys), key, strict=True))
        for key in sorted(before.keys() - after.keys())
    ]
    if gone:
        session.connection().execute(sa.delete(table).where(mine), gone)
    insert_rows(session, kind, [after[key]._asdict() for key in sorted(after.keys() - before.keys())])
    changed = [key for key in sorted(after.keys() & before.keys()) if after[key] != before[key]]
    if changed:
        names = [name for name in after[changed[0]]._fields if name not in keys]
        values: dict[str, Any] = {name: sa.bindparam(f"new_{name}") for name in names}
        rows = [
            {
                f"key_{name}" if name in keys else f"new_{name}": value
                for name, value in after[key]._asdict().items()
            }
            for key in changed
        ]
        session.connection().execute(sa.update(table).where(mine).values(values), rows)


def add_deliveries(session: Session, messages: Iterable[tuple[str, AlertMessage]], now: float) -> None:
    """Have (receiver, message) delivered; inside the transaction that made them."""
    insert_rows(
        session, AlertDeliveryRow,
        [
            {
                "receiver": receiver, "id": message.id, "made_at": now, "next_at": now, "taken_until": 0.0, "tries": 0,
                "given_up_at": 0.0, "error": "", "body": msgspec.json.encode(message).decode(),
            }
            for receiver, message in messages
        ],
    )  # fmt: skip


def bound_deliveries(session: Session, receivers: Collection[str], now: float) -> list[str]:
    """Keep no more than are worth it, and none of receivers that there are no more. Inside a write transaction.

    Returns:
        Receivers of which messages were given up because too many waited.
    """
    row = AlertDeliveryRow
    session.execute(
        sa.delete(row).where(
            sa.or_(
                row.receiver.not_in(receivers),
                sa.and_(row.given_up_at > 0, row.given_up_at < now - GIVEN_UP_KEPT_S),
            )
        )
    )
    crowded = []
    for name in receivers:
        mine = (row.receiver == name, row.given_up_at == 0)
        if _beyond(
            session,
            mine,
            row.made_at,
            MAX_WAITING,
            {"given_up_at": now, "error": f"More than {MAX_WAITING} waited."},
        ):
            crowded.append(name)
        _beyond(session, (row.receiver == name, row.given_up_at > 0), row.given_up_at, MAX_GIVEN_UP, None)
    return crowded


def _beyond(
    session: Session, mine: Sequence[sa.ColumnElement[bool]], order: Any, most: int, values: dict[str, Any] | None
) -> bool:
    """Change those beyond the newest `most`, or delete them where there are no `values`; were there any?"""
    row = AlertDeliveryRow
    query = sa.select(row.receiver, row.id).where(*mine).order_by(order.desc(), row.id)
    old = session.execute(query.offset(most).limit(10_000)).all()
    for receiver, name in old:
        this = (row.receiver == receiver, row.id == name)
        session.execute(sa.update(row).where(*this).values(values) if values else sa.delete(row).where(*this))
    return bool(old)
