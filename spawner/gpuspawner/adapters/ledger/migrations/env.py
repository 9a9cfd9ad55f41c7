"""Alembic's entry point: migrations run on the connection that the ledger hands over."""

from alembic import context
from gpuspawner.adapters.ledger.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
