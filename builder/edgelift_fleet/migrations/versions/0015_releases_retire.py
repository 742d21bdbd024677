"""`release.retired_at` and `retired_why`: a release is kept and given to nobody new. And an index of what serves it.

By ADD COLUMN: none was before.
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.add_column("release", sa.Column("retired_at", sa.Double(), nullable=False, server_default="0"))
    op.add_column("release", sa.Column("retired_why", sa.Text(), nullable=False, server_default=""))
    op.create_index("ix_slot_state_model_version", "slot_state", ["model", "version"])


def downgrade() -> None:
    op.drop_index("ix_slot_state_model_version", "slot_state")
    op.drop_column("release", "retired_why")
    op.drop_column("release", "retired_at")
