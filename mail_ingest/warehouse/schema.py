"""Creates the landing tables, the analyst views, and the comments on both; nothing where all is as it should be.

Landing tables are made before dlt first loads them, so that every view has what it reads, empty or not. dlt finds them
and leaves them as they are. A digest of all definitions is kept in the warehouse, so a process that changes nothing
spends one query here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

from mail_ingest.warehouse.connection import Connection, Dialect
from mail_ingest.warehouse.marts import Relation, create_views, quote

_SQL_TYPES = {
    "text": "varchar",
    "json": "json",
    "int": "bigint",
    "bool": "boolean",
    "float": "double precision",
    "time": "timestamp with time zone",
}
#: dlt stages JSON as `json`, which becomes `jsonb` when it is merged.
_TYPES: dict[Dialect, dict[str, str]] = {"duckdb": _SQL_TYPES, "postgres": {**_SQL_TYPES, "json": "jsonb"}}


class LandingColumn(Protocol):
    """A column of a landing table; `kind` is a key of the type table above."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def description(self) -> str: ...


class LandingTable(Protocol):
    """A landing table as its owner defines it."""

    @property
    def name(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def key(self) -> tuple[str, ...]: ...
    @property
    def columns(self) -> Sequence[LandingColumn]: ...


def prepare_schema(
    connection: Connection,
    dialect: Dialect,
    dataset: str,
    tables: Sequence[LandingTable],
    relations: Sequence[Relation],
) -> None:
    """Brings tables, views and comments up to their definitions, in one transaction."""
    digest = _digest(dialect, dataset, tables, relations)
    connection.execute("create schema if not exists mail_ingest")
    connection.execute("create table if not exists mail_ingest.definitions (digest varchar not null)")
    if connection.execute("select 1 from mail_ingest.definitions where digest = ?", [digest]).fetchone():
        return
    connection.execute("begin")
    try:
        connection.execute(f"create schema if not exists {dataset}")
        for table in tables:
            _create_table(connection, dialect, dataset, table)
        create_views(connection, relations)
        connection.execute("delete from mail_ingest.definitions")
        connection.execute("insert into mail_ingest.definitions values (?)", [digest])
        connection.execute("commit")
    except BaseException:
        connection.execute("rollback")
        raise


def _create_table(connection: Connection, dialect: Dialect, dataset: str, table: LandingTable) -> None:
    name = f"{dataset}.{table.name}"
    types = _TYPES[dialect]
    columns = ", ".join(
        f"{column.name} {types[column.kind]}{' not null' if column.name in table.key else ''}"
        for column in table.columns
    )
    connection.execute(f"create table if not exists {name} ({columns}, _dlt_load_id varchar)")
    for column in table.columns:
        connection.execute(f"alter table {name} add column if not exists {column.name} {types[column.kind]}")
    if dialect == "postgres":
        # dlt makes none, and a merge would read the whole table for every package
        connection.execute(f"create unique index if not exists {table.name}_key on {name} ({', '.join(table.key)})")
    connection.execute(f"comment on table {name} is {quote(table.description)}")
    for column in table.columns:
        connection.execute(f"comment on column {name}.{column.name} is {quote(column.description)}")
    connection.execute(f"comment on column {name}._dlt_load_id is 'Load package that wrote the row.'")


def _digest(dialect: Dialect, dataset: str, tables: Sequence[LandingTable], relations: Sequence[Relation]) -> str:
    parts = [dialect, dataset]
    for table in tables:
        parts += [table.name, table.description]
        parts += [f"{column.name} {column.kind} {column.description}" for column in table.columns]
    parts += [relation.text for relation in relations]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
