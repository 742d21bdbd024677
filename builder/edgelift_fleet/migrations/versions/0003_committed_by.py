"""What a device's commit rests on is kept with it: requests that the host has seen, or its goldens alone."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    column = sa.Column("committed_by", sa.String(16), nullable=False, server_default="")
    op.add_column("rollout_device", column)


def downgrade() -> None:
    op.drop_column("rollout_device", "committed_by")
