"""How Alembic reaches the database: the connection is handed in by `Database.migrate`."""

from alembic import context

from edgelift_fleet.tables import Base

connection = context.config.attributes["connection"]
context.configure(
    connection=connection, target_metadata=Base.metadata, render_as_batch=True, transactional_ddl=True
)
with context.begin_transaction():
    context.run_migrations()
