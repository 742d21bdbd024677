"""Rollouts keep what their gates compare with, and each look that they took."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_table(
        "rollout_wave",
        sa.Column("rollout", sa.Integer(), sa.ForeignKey("rollout.number"), primary_key=True),
        sa.Column("wave", sa.Integer(), primary_key=True),
        sa.Column("began_at", sa.Double(), nullable=False),
        sa.Column("alpha", sa.Double(), nullable=False),
        sa.Column("controls", sa.Text(), nullable=False),
        sa.Column("overruled", sa.Boolean(), nullable=False),
    )
    op.create_table(
        "rollout_look",
        sa.Column("rollout", sa.Integer(), sa.ForeignKey("rollout.number"), primary_key=True),
        sa.Column("wave", sa.Integer(), primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("breach", sa.Boolean(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("measured", sa.Text(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("rollout_look")
    op.drop_table("rollout_wave")
