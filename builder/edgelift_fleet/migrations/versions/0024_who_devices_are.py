"""Certificates of devices, and tokens by which they enrol."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    op.create_table(
        "identity",
        sa.Column("serial", sa.String(40), primary_key=True),
        sa.Column("device", sa.String(64), nullable=False),
        sa.Column("public_key", sa.String(64), nullable=False),
        sa.Column("issued_at", sa.Double(), nullable=False),
        sa.Column("not_after", sa.Double(), nullable=False),
        sa.Column("address", sa.String(64), nullable=False),
        sa.Column("token", sa.String(16), nullable=False),
        sa.Column("shown_at", sa.Double(), nullable=False),
        sa.Column("succeeded_by", sa.String(40), nullable=False),
        sa.Column("revoked_at", sa.Double(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("contested_by", sa.String(64), nullable=False),
        sa.Column("contested_at", sa.Double(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_identity_device", "identity", ["device"])
    op.create_index("ix_identity_number", "identity", ["number"])
    op.create_table(
        "enrol_token",
        sa.Column("id", sa.String(16), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("made_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("uses", sa.Integer(), nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("revoked_at", sa.Double(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("enrol_token")
    op.drop_table("identity")
