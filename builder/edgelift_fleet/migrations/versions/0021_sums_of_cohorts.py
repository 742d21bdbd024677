"""Sums over sets of devices that are asked for are remembered. What they hold is made from other tables, there and back."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    op.create_table(
        "telemetry_cohort",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("members", sa.LargeBinary(), nullable=False),
        sa.Column("days_from", sa.BigInteger(), nullable=False),
        sa.Column("hours_from", sa.BigInteger(), nullable=False),
        sa.Column("asked_at", sa.Double(), nullable=False),
        sa.Column("ready_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("digest"),
    )
    op.create_table(
        "telemetry_cohort_sum",
        sa.Column("cohort", sa.Integer(), nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["cohort"], ["telemetry_cohort.id"]),
        sa.PrimaryKeyConstraint("cohort", "level", "start"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("telemetry_cohort_sum")
    op.drop_table("telemetry_cohort")
