"""Rollouts keep what they take back, who was told, and every end by name.

By plain added columns: SQLite's way of making a table anew would drop rows that others refer to.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def _columns() -> list[tuple[str, sa.Column[Any]]]:
    return [
        ("rollout", sa.Column("back", sa.String(16), nullable=False, server_default="")),
        ("rollout", sa.Column("cohort", sa.Integer(), nullable=False, server_default="0")),
        ("rollout", sa.Column("approved", sa.Integer(), nullable=False, server_default="1")),
        ("rollout", sa.Column("due_at", sa.Double(), nullable=False, server_default="0")),
        ("rollout_device", sa.Column("told_at", sa.Double(), nullable=False, server_default="0")),
        ("rollout_device", sa.Column("held", sa.Boolean(), nullable=False, server_default=sa.false())),
        ("rollout_event", sa.Column("body", sa.Text(), nullable=False, server_default="")),
    ]


def upgrade() -> None:
    for table, column in _columns():
        op.add_column(table, column)
    # Until now a rollback took back one wave, whoever was assigned something counted as told, and what nothing suited
    # counted as failed.
    op.execute("UPDATE rollout SET back = 'wave' WHERE state IN ('rolling-back', 'rolled-back')")
    op.execute(
        "UPDATE rollout SET state = 'wave-rolled-back' WHERE state = 'rolled-back' AND EXISTS (SELECT 1 FROM"
        " rollout_device d WHERE d.rollout = rollout.number AND d.status = 'committed')"
    )
    op.execute("UPDATE rollout_device SET told_at = assigned_at")
    op.execute("UPDATE rollout_device SET status = 'unsuited' WHERE artifact = '' AND status = 'failed'")


def downgrade() -> None:
    op.execute("UPDATE rollout_device SET status = 'failed' WHERE status IN ('unsuited', 'silent')")
    op.execute("UPDATE rollout_device SET status = 'superseded' WHERE status IN ('left', 'let-go')")
    op.execute("UPDATE rollout_device SET status = 'waiting' WHERE status IN ('offline', 'held')")
    op.execute("UPDATE rollout SET state = 'rolled-back' WHERE state = 'wave-rolled-back'")
    op.execute("UPDATE rollout SET state = 'running' WHERE state = 'scheduled'")
    for table, column in _columns():
        op.drop_column(table, column.name)
