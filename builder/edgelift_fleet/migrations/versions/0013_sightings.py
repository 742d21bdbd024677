"""Who speaks under a device's id, as several servers tell each other."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.create_table(
        "sighting",
        sa.Column("device", sa.String(length=64), nullable=False),
        sa.Column("epoch", sa.String(length=128), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("via", sa.String(length=16), nullable=False),
        sa.Column("last_at", sa.Double(), nullable=False),
        sa.Column("returns", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("written_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("device", "epoch"),
    )
    op.create_index("ix_sighting_written_at", "sighting", ["written_at"])


def downgrade() -> None:
    op.drop_index("ix_sighting_written_at", "sighting")
    op.drop_table("sighting")
