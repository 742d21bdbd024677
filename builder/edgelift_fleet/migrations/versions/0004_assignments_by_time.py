"""An index on `assignment.issued_at`: what another process assigned is found by its time."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_index("ix_assignment_issued_at", "assignment", ["issued_at"])


def downgrade() -> None:
    op.drop_index("ix_assignment_issued_at", table_name="assignment")
