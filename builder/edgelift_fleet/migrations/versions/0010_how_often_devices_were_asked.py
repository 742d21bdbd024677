"""`rollout_device.tried`: how often a device was asked again after a failure. By ADD COLUMN: nobody was before."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("rollout_device", sa.Column("tried", sa.Integer(), nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("rollout_device", "tried")
