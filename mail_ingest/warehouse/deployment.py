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
    row = _stored(connection)
    if row is not None:
        # before anything is written: another deployment's warehouse is not ours to bring forward
        check(str(row[0]), env, where)
        if row[1] is not None:
            return str(row[1])
    connection.execute("create schema if not exists mail_ingest")
    connection.execute("create table if not exists mail_ingest.deployment (env varchar not null, warehouse_id varchar)")
    connection.execute("alter table mail_ingest.deployment add column if not exists warehouse_id varchar")
    identity = uuid.uuid4().hex
    if row is None:
        connection.execute("insert into mail_ingest.deployment values (?, ?)", [env, identity])
    else:
        connection.execute("update mail_ingest.deployment set warehouse_id = ?", [identity])
    return identity


def _stored(connection: Connection) -> tuple[str, str | None] | None:
    """Deployment and id as they are stored, the id None where the warehouse is older than ids."""
    # not `columns`, for which DuckDB binds every view: that takes longer than all the rest of opening
    found = connection.execute(
        "select 1 from information_schema.tables where table_schema = 'mail_ingest' and table_name = 'deployment'"
    )
    if found.fetchone() is None:
        return None
    result = connection.execute("select * from mail_ingest.deployment")
    names = [column[0] for column in result.description or ()]
    row = result.fetchone()
    if row is None:
        return None
    stored = dict(zip(names, row, strict=True))
    return str(stored["env"]), stored.get("warehouse_id")


def check(stored: str, env: str, where: str) -> None:
    """Raises ConfigError where the stored deployment is not this process's."""
    if stored != env:
        raise ConfigError(
            f"The {where} belongs to the deployment {stored!r}, this process runs as {env!r} "
            "(MAIL_INGEST_ENV); nothing was written. Use another warehouse, or set MAIL_INGEST_ENV to match."
        )
