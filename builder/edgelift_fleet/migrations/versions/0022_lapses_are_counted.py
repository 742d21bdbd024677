"""How often a board served something else after it had committed is counted."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    op.add_column("rollout_device", sa.Column("lapses", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    with op.batch_alter_table("rollout_device") as batch:
        batch.drop_column("lapses")
