"""Selectors from before there was a language keep their meaning: what stood after `tag:key=` was the value, all of it.

Only rollouts from then are rewritten: they have no seed. Values of letters, digits and simple signs read the same in both.
"""

import json
import re
from collections.abc import Callable

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

_OLD = re.compile(r"^tag:(?P<key>[^=]+)=(?P<value>.*[^\w./:@,+-].*)\Z", re.DOTALL)
_NEW = re.compile(r"^tag:(?P<key>[^=]+)=(?P<quote>[\"'])(?P<value>.*)(?P=quote)\Z", re.DOTALL)


def upgrade() -> None:
    _rewrite(_quoted)


def downgrade() -> None:
    _rewrite(lambda selector: f"tag:{m['key']}={m['value']}" if (m := _NEW.match(selector)) else selector)


def _quoted(selector: str) -> str:
    match = _OLD.match(selector)
    if match is None:
        return selector
    quote = "'" if '"' in match["value"] else '"'
    return f"tag:{match['key']}={quote}{match['value']}{quote}"


def _rewrite(change: Callable[[str], str]) -> None:
    connection = op.get_bind()
    rollout = sa.table("rollout", sa.column("number"), sa.column("selector"), sa.column("plan"))
    for row in connection.execute(sa.select(rollout)).all():
        if _has_seed(row.plan) or change(row.selector) == row.selector:
            continue
        written = sa.update(rollout).where(rollout.c.number == row.number).values(selector=change(row.selector))
        connection.execute(written)


def _has_seed(plan: str) -> bool:
    try:
        return json.loads(plan).get("seed") is not None
    except (ValueError, AttributeError):
        return True  # nobody can read it: it is left as it is
