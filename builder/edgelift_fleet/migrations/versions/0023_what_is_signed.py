"""Signed metadata, and what each device asks to have signed for it."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    op.create_table(
        "signed",
        sa.Column("repository", sa.String(16), primary_key=True),
        sa.Column("role", sa.String(80), primary_key=True),
        sa.Column("version", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("body", sa.Text(), nullable=False),
    )
    op.add_column("device", sa.Column("nonce", sa.String(32), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("device", "nonce")
    op.drop_table("signed")
