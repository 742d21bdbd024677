"""An index on `audit.ends`: whether what was begun has ended is found by it, on whichever page its end stands."""

from alembic import op

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    op.create_index("ix_audit_ends", "audit", ["ends"])


def downgrade() -> None:
    op.drop_index("ix_audit_ends", table_name="audit")
