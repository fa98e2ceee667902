"""Every convention of keys, groups, kinds, owners, columns and descriptions of assets, decided once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from functools import cache

import dagster as dg

from mail_ingest.settings import load_settings
from mail_ingest.sources.tables import DATASET, LANDING_TABLES, Table
from mail_ingest.warehouse.configuration import COLUMNS as CONFIGURED
from mail_ingest.warehouse.configuration import DEFAULT, write_configuration
from mail_ingest.warehouse.configuration import SCHEMA as SETTINGS_SCHEMA
from mail_ingest.warehouse.lineage import Parent, column_parents
from mail_ingest.warehouse.marts import Relation, create_views, load_relations

OWNERS = ["team:data-engineering"]
STATE_GROUP = "gmail_state"
CONTENT_GROUP = "gmail_content"
STAGING = "mail_staging"
_RELATION_GROUPS = {STAGING: "staging", "mail": "analyst_tables"}
RELATION_GROUPS = tuple(_RELATION_GROUPS.values())
#: `hourly_sync` reports the state tables whenever Gmail answered for any account, changed or not. It leaves out hours in which
#: the sync before still runs, and ends that after six.
#:
#: The content tables have no policy, because none would be true. Dagster measures a partitioned asset by the newest
#: materialization of any partition: a mailbox without new mail has no month to report, and a backfill of an old month would
#: make the running one look fresh. Their checks say what is missing.
STATE_FRESHNESS = dg.FreshnessPolicy.time_window(warn_window=timedelta(hours=2), fail_window=timedelta(hours=8))
#: `nightly_checks` materializes every table for analysts. Views need none: they are as fresh as what they read.
TABLE_FRESHNESS = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=26))
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
    freshness: dg.FreshnessPolicy | None = None,
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
        freshness_policy=freshness,
    )


def relation_spec(relation: Relation) -> dg.AssetSpec:
    """The asset of an analyst relation, or of the staging view below it."""
    # a column that the SQL does not describe is one of the landing tables', of those that are read if they have it
    read = [table for table in LANDING_TABLES if table_name(table) in relation.reads]
    inherited = {column.name: column.description for table in [*LANDING_TABLES, *read] for column in table.columns}
    parents = _parents()[relation.name]
    columns = [
        (name, sql_type, _with_parents(relation.columns.get(name) or inherited.get(name), parents[name]))
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
            "dagster/column_lineage": column_lineage(relation),
            "sql": dg.MetadataValue.md(f"```sql\n{relation.text}\n```"),
        },
        freshness_policy=TABLE_FRESHNESS if relation.is_table else None,
    )


def column_lineage(relation: Relation) -> dg.TableColumnLineage:
    """Which columns of other assets each column is made of. What people set is in the warehouse, and is no asset."""
    return dg.TableColumnLineage(
        {
            name: [
                dg.TableColumnDep(asset_key(parent), column)
                for parent, column in parents
                if not parent.startswith(f"{SETTINGS_SCHEMA}.")
            ]
            for name, parents in _parents()[relation.name].items()
        }
    )


def _with_parents(description: str | None, parents: Sequence[Parent]) -> str | None:
    """Dagster's own UI keeps lineage of columns and does not draw it, so the description tells the same."""
    if not description or not parents:
        return description
    return f"{description}\n\nFrom {', '.join(f'`{parent}.{column}`' for parent, column in parents)}."


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
def _parents() -> Mapping[str, Mapping[str, Sequence[Parent]]]:
    """The parents of all columns of every analyst relation, by relation and column. Takes 0.2 s, and opens nothing."""
    known = {relation: dict(columns) for relation, columns in _relation_columns().items()}
    for table in LANDING_TABLES:
        known[table_name(table)] = {column.name: _SQL_TYPES[column.kind] for column in table.columns}
        known[table_name(table)]["_dlt_load_id"] = "text"
    return {relation.name: column_parents(relation, {**known, **CONFIGURED}) for relation in load_relations()}


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
        create_views(connection, relations, "duckdb")
        return {
            relation.name: [
                (str(column[0]), _SHORT_TYPES.get(str(column[1]), str(column[1]).lower()))
                for column in connection.execute(f"describe {relation.name}").fetchall()
            ]
            for relation in relations
        }
