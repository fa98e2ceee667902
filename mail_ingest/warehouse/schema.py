"""Creates the landing tables, the analyst views and tables, and the comments on all; nothing where all is as it should be.

Landing tables are made before dlt first loads them, so that every view has what it reads, empty or not. dlt finds them
and leaves them as they are. A digest of all definitions is kept in the warehouse, so a process that changes nothing
spends one query here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol

from mail_ingest.warehouse import holds, row_security
from mail_ingest.warehouse.builds import AnalystTables
from mail_ingest.warehouse.configuration import write_configuration
from mail_ingest.warehouse.connection import Connection, Dialect, transaction
from mail_ingest.warehouse.marts import create_views, kinds_of_relations, quote
from mail_ingest.warehouse.memory import with_enough_memory

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
    analyst_tables: AnalystTables,
) -> None:
    """Brings tables, views and comments up to their definitions, in one transaction.

    Analyst tables whose definition changed are built anew in it, so that views and queries find the columns they name.
    """
    is_restricted = row_security.is_wanted(connection, dialect)
    digest = _digest(dialect, dataset, tables, analyst_tables, row_security.TEXT if is_restricted else "")
    connection.execute("create schema if not exists mail_ingest")
    connection.execute("create table if not exists mail_ingest.definitions (digest varchar not null)")
    if connection.execute("select 1 from mail_ingest.definitions where digest = ?", [digest]).fetchone():
        return
    with_enough_memory(
        connection, dialect, lambda: _prepare(connection, dialect, dataset, tables, analyst_tables, digest)
    )


def _prepare(
    connection: Connection,
    dialect: Dialect,
    dataset: str,
    tables: Sequence[LandingTable],
    analyst_tables: AnalystTables,
    digest: str,
) -> None:
    with transaction(connection):
        connection.execute(f"create schema if not exists {dataset}")
        there = kinds_of_relations(connection)
        for table in tables:
            _create_table(connection, dialect, dataset, table, is_new=f"{dataset}.{table.name}" not in there)
        holds.make_holds(connection)
        write_configuration(connection, analyst_tables.configuration, dialect)
        if row_security.is_wanted(connection, dialect):
            row_security.make_grants(connection)
        views = [relation for relation in analyst_tables.relations if not relation.is_table]
        for view in reversed(views):
            # neither database replaces a view by one with other columns, or a table by a view
            if view.name in there:
                kind = "view" if there[view.name] == "VIEW" else "table"
                connection.execute(f"drop {kind} if exists {view.name} cascade")
        # tables read staging views and other tables, and the views of the marts read all of them
        create_views(connection, [view for view in views if view.schema != "mail"], dialect)
        analyst_tables.build_within(connection)
        if row_security.is_made(connection, dialect):
            row_security.secure_tables(connection, analyst_tables.relations, anew=True)
        create_views(connection, [view for view in views if view.schema == "mail"], dialect)
        connection.execute("delete from mail_ingest.definitions")
        connection.execute("insert into mail_ingest.definitions values (?)", [digest])


def _create_table(connection: Connection, dialect: Dialect, dataset: str, table: LandingTable, *, is_new: bool) -> None:
    name = f"{dataset}.{table.name}"
    types = _TYPES[dialect]
    columns = ", ".join(
        f"{column.name} {types[column.kind]}{' not null' if column.name in table.key else ''}"
        for column in table.columns
    )
    if is_new:
        connection.execute(f"create table if not exists {name} ({columns}, _dlt_load_id varchar)")
    else:
        for column in table.columns:
            connection.execute(f"alter table {name} add column if not exists {column.name} {types[column.kind]}")
    if dialect == "postgres":
        # dlt makes none, and a merge would read the whole table for every package
        connection.execute(f"create unique index if not exists {table.name}_key on {name} ({', '.join(table.key)})")
    comments = [
        f"comment on table {name} is {quote(table.description)}",
        *(f"comment on column {name}.{column.name} is {quote(column.description)}" for column in table.columns),
        f"comment on column {name}._dlt_load_id is 'Load package that wrote the row.'",
    ]
    connection.execute("; ".join(comments))


def _digest(
    dialect: Dialect, dataset: str, tables: Sequence[LandingTable], analyst_tables: AnalystTables, security: str
) -> str:
    parts = [dialect, dataset, analyst_tables.configuration.digest, security, holds.TEXT]
    for table in tables:
        parts += [table.name, table.description]
        parts += [f"{column.name} {column.kind} {column.description}" for column in table.columns]
    parts += [relation.text for relation in analyst_tables.relations]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
