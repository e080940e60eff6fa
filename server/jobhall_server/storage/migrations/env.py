"""What Alembic runs for every command: the migrations, within the transaction of whoever called it."""

from __future__ import annotations

from alembic import context

from jobhall_server.storage.migrations import version_table
from jobhall_server.storage.schema import PREFIX_DEFAULT, tables

attributes = context.config.attributes
prefix = attributes.get("prefix", PREFIX_DEFAULT)
options = {"target_metadata": tables(prefix).metadata, "version_table": version_table(prefix).name, "prefix": prefix}
if context.is_offline_mode():
    context.configure(dialect_name=attributes["dialect_name"], **options)
else:
    context.configure(connection=attributes["connection"], render_as_batch=True, **options)
with context.begin_transaction():
    context.run_migrations()
