"""`device.reported_at` goes: it was written with every report and read nowhere.

By SQLite's own DROP COLUMN (3.35, 2021), not by making the table anew: other tables' rows refer to it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.drop_column("device", "reported_at")


def downgrade() -> None:
    # What stood there is gone; nothing read it.
    op.add_column("device", sa.Column("reported_at", sa.Double(), nullable=False, server_default="0"))
