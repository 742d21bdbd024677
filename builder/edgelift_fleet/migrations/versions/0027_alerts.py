"""Alerts; what is broken around a device's agent, as it says; and for which wave a rollout waits for a person."""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    op.add_column("device", sa.Column("degraded", sa.Text(), nullable=False, server_default=""))
    op.add_column("rollout", sa.Column("awaits", sa.Integer(), nullable=False, server_default="0"))
    op.create_table(
        "alert",
        sa.Column("code", sa.String(32), primary_key=True),
        sa.Column("subject", sa.String(64), primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("fired_at", sa.Double(), nullable=False),
        sa.Column("state_at", sa.Double(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
    )
    op.create_table(
        "alert_group",
        sa.Column("code", sa.String(32), primary_key=True),
        sa.Column("about", sa.String(64), primary_key=True),
        sa.Column("began_at", sa.Double(), nullable=False),
        sa.Column("told_at", sa.Double(), nullable=False),
        sa.Column("told", sa.Integer(), nullable=False),
    )
    op.create_table(
        "alert_delivery",
        sa.Column("receiver", sa.String(32), primary_key=True),
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("made_at", sa.Double(), nullable=False),
        sa.Column("next_at", sa.Double(), nullable=False),
        sa.Column("taken_until", sa.Double(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("given_up_at", sa.Double(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
    )
    op.create_table(
        "alert_silence",
        sa.Column("id", sa.String(16), primary_key=True),
        sa.Column("code", sa.String(32), nullable=False),
        sa.Column("selector", sa.Text(), nullable=False),
        sa.Column("rollout", sa.String(16), nullable=False),
        sa.Column("until", sa.Double(), nullable=False),
        sa.Column("made_at", sa.Double(), nullable=False),
        sa.Column("made_by", sa.String(80), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=False),
    )


def downgrade() -> None:
    for name in ("alert_silence", "alert_delivery", "alert_group", "alert"):
        op.drop_table(name)
    # Not by a copy of the table, as of others: what refers to it would keep the old one from going.
    op.drop_column("rollout", "awaits")
    op.drop_column("device", "degraded")
