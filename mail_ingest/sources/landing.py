"""The dlt source: spooled Arrow rows of some landing tables, and the cursors that go with them.

    spool -> one dlt resource per table -> one load package -> gmail.*

Every table is merged by `delete-insert`: after a kill in the load phase the other strategies left duplicates. What stays
when a key comes again is decided by the table's guard, a `source_filter` without correlation, which DuckDB and Postgres
both turn into one anti-join. Cursors live in the source's state, set after the rows were handed over, so that one
package holds both.

Each source comes with the columns of its tables, as `tables` defines them, and a frozen schema contract: a batch with another
column, type or table fails the load before anything of it is written, and never widens the warehouse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import dlt
import pyarrow as pa
from dlt.common.libs.pyarrow import py_arrow_to_table_schema_columns
from dlt.common.schema import Schema
from dlt.extract import DltResource, DltSource

from mail_ingest.sources.tables import (
    ATTACHMENTS,
    DATASET,
    LANDING_TABLES,
    MESSAGE_HTML,
    MESSAGE_RECIPIENTS,
    Table,
)

#: Names of the sources; a source's name is also its dlt schema's and the section its cursors live in.
STATE_SOURCE = "gmail_state"
CONTENT_SOURCE = "gmail_content"
#: Content again, by a newer parser: its rows replace those that are there.
REPARSE_SOURCE = "gmail_reparse"
#: By table of parts: the rest of a key that no part has, and SQL that is true for all other rows.
_PLACEHOLDERS: dict[str, tuple[tuple[object, ...], str]] = {
    MESSAGE_RECIPIENTS.name: (("", -1), "position >= 0"),
    ATTACHMENTS.name: (("-",), "part_id <> '-'"),
    MESSAGE_HTML.name: ((), "body_html IS NOT NULL"),
}

_BY_NAME = {table.name: table for table in LANDING_TABLES}

#: Gives the batches of one table, in order, each time it is called.
ReadBatches = Callable[[str], Iterator[pa.Table]]


def landing_source(
    name: str,
    tables: list[str],
    read: ReadBatches,
    *,
    staging: str,
    cursors: Mapping[str, Mapping[str, Any] | None] | None = None,
) -> DltSource:
    """A source that loads `tables`, and then sets the cursors of accounts (None removes one).

    `staging` is the staging dataset of the pipeline that will run it: the guards name it.
    """

    def set_cursors() -> Iterator[pa.Table]:
        stored = dlt.current.source_state().setdefault("cursors", {})
        for account_id, cursor in (cursors or {}).items():
            if cursor is None:
                stored.pop(account_id, None)
            else:
                stored[account_id] = dict(cursor)
        yield from ()

    @dlt.source(schema=_schema(name, tables), max_table_nesting=0, schema_contract="freeze")
    def source() -> Iterator[DltResource]:
        for table_name in tables:
            yield _resource(_BY_NAME[table_name], read, staging, replaces=name == REPARSE_SOURCE)
        if cursors:
            yield dlt.resource(set_cursors, name="cursors")

    return source()


def _schema(name: str, tables: list[str]) -> Schema:
    """What the tables are known to hold before a row is seen, new columns of an upgrade included."""
    schema = Schema(name)
    for table_name in tables:
        table = _BY_NAME[table_name]
        columns = py_arrow_to_table_schema_columns(table.arrow_schema)
        for column in table.columns:
            if column.kind == "json":
                columns[column.name]["data_type"] = "json"
        schema.update_table({"name": table_name, "columns": columns})
    return schema


def _resource(table: Table, read: ReadBatches, staging: str, *, replaces: bool) -> DltResource:
    def batches() -> Iterator[pa.Table]:
        yield from read(table.name)

    disposition: dict[str, Any] = {"disposition": "merge", "strategy": "delete-insert"}
    guard = "" if replaces else merge_guard(table, staging)
    if guard:
        disposition["source_filter"] = guard
    if replaces and table.name in _PLACEHOLDERS:
        disposition |= replaced_parts(table, staging)
    columns: dict[str, dict[str, Any]] = {
        column.name: {"data_type": "json"} for column in table.columns if column.kind == "json"
    }
    if table.guard == "monotonic":
        columns["history_id"] = {"dedup_sort": "desc"}
    resource: DltResource = dlt.resource(
        batches,
        name=table.name,
        write_disposition=disposition,  # type: ignore[call-overload]
        primary_key=table.key,
        columns=columns,
    )
    return resource


def replaced_parts(table: Table, staging: str) -> dict[str, str]:
    """Merge options with which the staged parts (recipients, attachments, HTML) of a message replace all that it has.

    A merge by key alone deletes the keys that come again, and a newer parser may yield fewer: the third recipient of a
    message would stay for ever where there are two now. dlt's `destination_scope` deletes what it selects instead, in the
    transaction that inserts the staged rows: here, every part of each message that is staged in the same table. A message
    with no part left is staged with a placeholder, which `source_filter` keeps from being inserted. Scopes that name
    another staging table do not work, dlt merges a table before the next one is staged; `hard_delete` would need a column
    in every landing table, and a row for each key that goes.
    """
    return {
        "destination_scope": f"(account_id, message_id) IN (SELECT account_id, message_id FROM {staging}.{table.name})",
        "source_filter": _PLACEHOLDERS[table.name][1],
    }


def placeholder(table: Table, account_id: str, message_id: str) -> tuple[object, ...]:
    """The row that stands for a message in the staging table of its parts, and never leaves it."""
    key = (account_id, message_id, *_PLACEHOLDERS[table.name][0])
    return (*key, *[None] * (len(table.columns) - len(key)))


def merge_guard(table: Table, staging: str) -> str:
    """SQL that keeps staged rows out of the merge: older ones (monotonic), or those that are there (absent), but for
    what refines them."""
    if table.guard == "latest":
        return ""
    keys = list(table.key)
    condition = ""
    if table.guard == "monotonic":
        keys.append("history_id")
        condition = " WHERE t.history_id > st.history_id"
    elif table.refined_by is not None:
        condition = f" WHERE t.{table.refined_by} IS NOT NULL OR st.{table.refined_by} IS NULL"
    names = ", ".join(keys)
    staged = ", ".join(f"st.{key}" for key in keys)
    join = " AND ".join(f"t.{key} = st.{key}" for key in table.key)
    return (
        f"({names}) NOT IN (SELECT {staged} FROM {staging}.{table.name} st "
        f"JOIN {DATASET}.{table.name} t ON {join}{condition})"
    )
