"""`rollout_member`: who was selected when a rollout began that takes no others in. Rollouts from before take them in."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "rollout_member",
        sa.Column("rollout", sa.Integer(), sa.ForeignKey("rollout.number"), nullable=False),
        sa.Column("device", sa.String(64), sa.ForeignKey("device.id"), nullable=False),
        sa.PrimaryKeyConstraint("rollout", "device"),
    )


def downgrade() -> None:
    op.drop_table("rollout_member")
