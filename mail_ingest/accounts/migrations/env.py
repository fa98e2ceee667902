"""Runs the migrations on the connection that `database.migrate` hands over."""

from alembic import context

from mail_ingest.accounts.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table="control_version",
    render_as_batch=True,
)
context.run_migrations()
