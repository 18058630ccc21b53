"""How Alembic reaches the database: on the connection that `app.db.upgrade` hands over, in its transaction."""

from alembic import context

from app.tables import Table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    render_as_batch=True,
    transactional_ddl=False,  # the caller's transaction holds the lock and covers all migrations at once
)
context.run_migrations()
