"""Which deployment a warehouse belongs to, and the id that it was given when it was made."""

from __future__ import annotations

import uuid

from mail_ingest.errors import ConfigError
from mail_ingest.warehouse.connection import Connection

FIND = "select env, warehouse_id from mail_ingest.deployment"


def claim(connection: Connection, env: str, where: str) -> str:
    """The warehouse's id; a new warehouse is made the deployment's own. `where` names it in errors.

    Raises ConfigError where it belongs to another deployment. No two processes may be here at once.
    """
    connection.execute("create schema if not exists mail_ingest")
    connection.execute("create table if not exists mail_ingest.deployment (env varchar not null, warehouse_id varchar)")
    connection.execute("alter table mail_ingest.deployment add column if not exists warehouse_id varchar")
    row = connection.execute(FIND).fetchone()
    if row is None:
        identity = uuid.uuid4().hex
        connection.execute("insert into mail_ingest.deployment values (?, ?)", [env, identity])
        return identity
    if row[1] is None:
        row = (row[0], uuid.uuid4().hex)
        connection.execute("update mail_ingest.deployment set warehouse_id = ?", [row[1]])
    check(str(row[0]), env, where)
    return str(row[1])


def check(stored: str, env: str, where: str) -> None:
    """Raises ConfigError where the stored deployment is not this process's."""
    if stored != env:
        raise ConfigError(
            f"The {where} belongs to the deployment {stored!r}, this process runs as {env!r} "
            "(MAIL_INGEST_ENV); nothing was written. Use another warehouse, or set MAIL_INGEST_ENV to match."
        )
