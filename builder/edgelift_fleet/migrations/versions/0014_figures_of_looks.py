"""Looks of gates keep their figures, and whether they show anything."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.add_column("rollout_look", sa.Column("unmeasured", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("rollout_look", sa.Column("figures", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    with op.batch_alter_table("rollout_look") as table:
        table.drop_column("figures")
        table.drop_column("unmeasured")
