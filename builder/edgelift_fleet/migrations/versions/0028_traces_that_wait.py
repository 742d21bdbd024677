"""Updates that ended, and of which a receiver of traces is still to be told."""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    op.create_table(
        "update_trace",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("device", sa.String(64), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
    )
    op.create_index("ix_update_trace_device", "update_trace", ["device"])


def downgrade() -> None:
    op.drop_index("ix_update_trace_device", table_name="update_trace")
    op.drop_table("update_trace")
