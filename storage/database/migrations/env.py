"""What Alembic runs: the migrations, on the connection and in the transaction of storage.database.migration."""

from __future__ import annotations

from alembic import context

from storage.database.schema import TABLES

context.configure(connection=context.config.attributes["connection"], target_metadata=TABLES)
with context.begin_transaction():
    context.run_migrations()
