"""What was set aside of a device's telemetry, because no board can have measured it."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.create_table(
        "telemetry_doubt",
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("windows", sa.BigInteger(), nullable=False),
        sa.Column("gauges", sa.BigInteger(), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("last_at", sa.Double(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["device"], ["device.id"]),
        sa.PrimaryKeyConstraint("device"),
    )


def downgrade() -> None:
    op.drop_table("telemetry_doubt")
