"""Which landing rows are new since the last build of the analyst tables, by the loads that brought them.

Every landing row names the load that wrote it (`_dlt_load_id`), and a table's rows of one load appear in one transaction.
So a build remembers how many rows each table has of each load: a load that is new, or has more rows than it had, brought
rows; one that has fewer lost some, to newer loads or altogether. Nothing relies on the order in which loads begin, end or
are noted in `_dlt_loads`: a package that a killed process left behind may land weeks after younger ones, and a load that
is never finished has rows all the same.

Whoever deletes rows on purpose, as the retention does, may note their keys in the same transaction (`note_vanished`): the next
build renews these, instead of building all that reads the table in full.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mail_ingest.warehouse.connection import Connection


@dataclass(frozen=True)
class Loads:
    """How many rows each landing table has, and the tables in which a load has fewer rows than at the last build.

    Loads that brought rows are in the temporary table `new_loads` (table_name, load_id; '' for rows without a load).
    """

    rows: Mapping[str, int]
    shrunk: frozenset[str]


def compare_loads(connection: Connection, schema: str, tables: Sequence[str], dialect: str) -> Loads:
    """Counts the rows of each load and compares with the last build's counts. Costs one pass over a narrow column."""
    execute = connection.execute
    execute(
        f"create table if not exists {schema}.loads "
        "(table_name varchar not null, load_id varchar not null, row_count bigint not null)"
    )
    execute("drop table if exists present_loads")
    execute(f"create temporary table present_loads as select * from {schema}.loads limit 0")
    for table in tables:
        if dialect == "postgres":
            _index(connection, *table.split("."))
        execute(
            f"insert into present_loads select '{table}', coalesce(_dlt_load_id, ''), count(*) "
            f"from {table} group by _dlt_load_id"
        )
    execute("drop table if exists new_loads")
    execute(
        "create temporary table new_loads as select present_loads.table_name, present_loads.load_id from present_loads "
        f"left join {schema}.loads as loads on present_loads.table_name = loads.table_name "
        "and present_loads.load_id = loads.load_id where present_loads.row_count > coalesce(loads.row_count, 0)"
    )
    if dialect == "postgres":
        execute("analyze new_loads")
    shrunk = execute(
        f"select distinct loads.table_name from {schema}.loads as loads "
        "left join present_loads on present_loads.table_name = loads.table_name "
        "and present_loads.load_id = loads.load_id where loads.row_count > coalesce(present_loads.row_count, 0)"
    ).fetchall()
    rows = dict(execute("select table_name, cast(sum(row_count) as bigint) from present_loads group by 1").fetchall())
    return Loads({table: rows.get(table, 0) for table in tables}, frozenset(row[0] for row in shrunk))


def _index(connection: Connection, schema: str, table: str) -> None:
    """Indexes a landing table by load, once. `if not exists` would keep loads waiting each time, until the build is done."""
    name = f"{table}_load_id"
    asked = "select 1 from pg_indexes where schemaname = ? and indexname = ?"
    if connection.execute(asked, [schema, name]).fetchone() is None:
        connection.execute(f"create index {name} on {schema}.{table} (_dlt_load_id)")


def remember_loads(connection: Connection, schema: str) -> None:
    """Keeps the counts that `compare_loads` found, for the next build. Belongs into the transaction of the build."""
    columns = "table_name, load_id, row_count"
    connection.execute(f"delete from {schema}.loads where ({columns}) not in (select {columns} from present_loads)")
    connection.execute(
        f"insert into {schema}.loads select {columns} from present_loads "
        f"where ({columns}) not in (select {columns} from {schema}.loads)"
    )
    connection.execute(f"delete from {schema}.vanished")


def make_vanished(connection: Connection, schema: str) -> None:
    """Makes the table of the keys of rows that vanished since the last build."""
    connection.execute(
        f"create table if not exists {schema}.vanished "
        "(table_name varchar not null, account_id varchar not null, message_id varchar not null)"
    )


def note_vanished(
    connection: Connection, schema: str, dialect: str, table: str, condition: str, values: Sequence[object]
) -> None:
    """Notes that the rows of a landing table that meet a condition (SQL on `t`) are deleted in this transaction.

    To be called before they are. Their loads count as many rows less from now on, so that nothing but these keys is missed. Does
    nothing where nothing was built yet.
    """
    made = connection.execute(
        "select 1 from information_schema.tables where table_schema = ? and table_name = 'loads'", [schema]
    ).fetchone()
    if made is None:
        return
    if dialect == "postgres":
        # a build counts rows and remembers the counts in one transaction, which this must not come between
        connection.execute(f"lock table {schema}.relations in exclusive mode")
    make_vanished(connection, schema)
    connection.execute(
        f"insert into {schema}.vanished select distinct '{table}', t.account_id, t.message_id "
        f"from {table} as t where {condition}",
        list(values),
    )
    connection.execute(
        f"update {schema}.loads set row_count = loads.row_count - gone.row_count from (select coalesce(t._dlt_load_id, '') as "
        f"load_id, count(*) as row_count from {table} as t where {condition} group by 1) as gone "
        f"where loads.table_name = '{table}' and loads.load_id = gone.load_id",
        list(values),
    )
