"""`device.hardware_class` and `device.timezone`: what rollouts select and wait by, out of the facts.

By ADD COLUMN, which both databases do in place; a device from before tells its time zone with its next report.
"""

import json

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("device", sa.Column("hardware_class", sa.String(64), nullable=False, server_default=""))
    op.add_column("device", sa.Column("timezone", sa.String(64), nullable=False, server_default=""))
    op.create_index("ix_device_hardware_class", "device", ["hardware_class"])
    connection = op.get_bind()
    device = sa.table("device", sa.column("id"), sa.column("facts"), sa.column("hardware_class"))
    rows = connection.execute(sa.select(device.c.id, device.c.facts)).all()
    known = [{"of": row.id, "named": _hardware_class(row.facts)} for row in rows]
    if known:
        fill = sa.update(device).where(device.c.id == sa.bindparam("of"))
        connection.execute(fill.values(hardware_class=sa.bindparam("named")), known)


def downgrade() -> None:
    op.drop_index("ix_device_hardware_class", "device")
    op.drop_column("device", "timezone")
    op.drop_column("device", "hardware_class")


def _hardware_class(facts: str) -> str:
    try:
        return str(json.loads(facts).get("hardware_class", ""))[:64]
    except (ValueError, AttributeError):
        return ""  # its next report says it
