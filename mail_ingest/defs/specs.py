"""Every convention of keys, groups, kinds, owners, columns and descriptions of assets, decided once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

import dagster as dg

from mail_ingest.settings import load_settings
from mail_ingest.sources.tables import DATASET, LANDING_TABLES, Table
from mail_ingest.warehouse.configuration import DEFAULT, write_configuration
from mail_ingest.warehouse.configuration import SCHEMA as SETTINGS_SCHEMA
from mail_ingest.warehouse.marts import Relation, create_views, load_relations

OWNERS = ["team:data-engineering"]
STATE_GROUP = "gmail_state"
CONTENT_GROUP = "gmail_content"
_RELATION_GROUPS = {"mail_staging": "staging", "mail": "analyst_tables"}
RELATION_GROUPS = tuple(_RELATION_GROUPS.values())
#: Kinds of landing columns as DuckDB and Postgres both write them.
_SQL_TYPES = {
    "text": "text",
    "json": "json",
    "int": "bigint",
    "bool": "boolean",
    "time": "timestamptz",
    "float": "double precision",
}
#: DuckDB's own names for the same.
_SHORT_TYPES = {
    "VARCHAR": "text",
    "JSON": "json",
    "BIGINT": "bigint",
    "BOOLEAN": "boolean",
    "TIMESTAMP WITH TIME ZONE": "timestamptz",
    "DOUBLE": "double precision",
}


def asset_key(relation: str) -> dg.AssetKey:
    """The key of a table or view: its schema and its name."""
    return dg.AssetKey(relation.split("."))


def table_name(table: Table) -> str:
    """A landing table's name with its schema."""
    return f"{DATASET}.{table.name}"


def landing_spec(
    table: Table,
    *,
    group: str,
    about: str,
    deps: Iterable[Table] = (),
    partitions_def: dg.PartitionsDefinition[str] | None = None,
    skippable: bool = False,
) -> dg.AssetSpec:
    """The asset of a landing table; `about` says how it is filled."""
    columns = [(column.name, _SQL_TYPES[column.kind], column.description) for column in table.columns]
    return dg.AssetSpec(
        asset_key(table_name(table)),
        deps=[asset_key(table_name(other)) for other in deps],
        description=f"{table.description}\n\nKey: {', '.join(table.key)}.\n\n{about}",
        group_name=group,
        owners=OWNERS,
        kinds={"gmail", "dlt", _warehouse_kind()},
        metadata=_metadata(table_name(table), columns, table.key),
        partitions_def=partitions_def,
        skippable=skippable,
    )


def relation_spec(relation: Relation) -> dg.AssetSpec:
    """The asset of an analyst relation, or of the staging view below it."""
    # a column that the SQL does not describe is one of the landing tables', of those that are read if they have it
    read = [table for table in LANDING_TABLES if table_name(table) in relation.reads]
    inherited = {column.name: column.description for table in [*LANDING_TABLES, *read] for column in table.columns}
    columns = [
        (name, sql_type, relation.columns.get(name) or inherited.get(name))
        for name, sql_type in _relation_columns()[relation.name]
    ]
    return dg.AssetSpec(
        asset_key(relation.name),
        deps=[asset_key(name) for name in relation.reads if not name.startswith(f"{SETTINGS_SCHEMA}.")],
        description=f"{relation.description}\n\nKey: {', '.join(relation.key)}.\n\n{_refresh(relation)}",
        group_name=_RELATION_GROUPS[relation.schema],
        owners=OWNERS,
        kinds={"sql", _warehouse_kind(), "table" if relation.is_table else "view"},
        metadata={
            **_metadata(relation.name, columns, relation.key),
            "sql": dg.MetadataValue.md(f"```sql\n{relation.text}\n```"),
        },
    )


def _warehouse_kind() -> str:
    return "duckdb" if load_settings().is_duckdb else "postgres"


def _refresh(relation: Relation) -> str:
    if not relation.is_table:
        return "A view: it needs no materialization."
    if not relation.changes_by:
        return "A table, built anew when what it depends on is set otherwise."
    return f"A table. Each build renews the rows whose {', '.join(relation.changes_by)} changed since the last one."


def _metadata(
    relation: str, columns: Iterable[tuple[str, str, str | None]], key: tuple[str, ...]
) -> Mapping[str, object]:
    return {
        "dagster/relation_identifier": relation,
        "dagster/column_schema": dg.TableSchema(
            columns=[
                dg.TableColumn(
                    name,
                    sql_type,
                    description=description,
                    constraints=dg.TableColumnConstraints(nullable=name not in key),
                )
                for name, sql_type, description in columns
            ]
        ),
    }


@cache
def _relation_columns() -> Mapping[str, list[tuple[str, str]]]:
    """Names and types of the columns of every analyst relation, by relation.

    The SQL alone says them, so the views are made over empty tables in memory: 0.1 s, and nothing is opened.
    """
    import duckdb

    relations = load_relations()
    with duckdb.connect(":memory:", config={"threads": 1}) as connection:
        connection.execute(f"create schema {DATASET}")
        for table in LANDING_TABLES:
            columns = ", ".join(f"{column.name} {_SQL_TYPES[column.kind]}" for column in table.columns)
            connection.execute(f"create table {table_name(table)} ({columns}, _dlt_load_id text)")
        write_configuration(connection, DEFAULT, "duckdb")
        create_views(connection, relations)
        return {
            relation.name: [
                (str(column[0]), _SHORT_TYPES.get(str(column[1]), str(column[1]).lower()))
                for column in connection.execute(f"describe {relation.name}").fetchall()
            ]
            for relation in relations
        }
