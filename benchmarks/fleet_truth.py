"""Compares a warehouse of thousands of mailboxes with what the local Gmail server really holds, all of them in one pass."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import duckdb
import psycopg2

from benchmarks.fleet_runs import Fleet

_SAMPLED = 100
_SEED = 7
_STATES = (
    "select account_id, message_id, thread_id, cast(label_ids as varchar) as label_ids from {}gmail.message_states "
    "where not is_deleted"
)
_CONTENTS = "select account_id, message_id, internal_date, sha256 from {}gmail.messages"


@dataclass(frozen=True, slots=True)
class Found:
    """`states`: messages whose existence, thread or labels are not the mailbox's, or that are there twice. `missing`: new
    messages without content; `surplus`: contents of older ones. `differing`: those of `sampled` that are not the mailbox's."""

    states: int
    missing: int
    surplus: int
    sampled: int
    differing: int


def compare(fleet: Fleet) -> Found:
    """Reads both sides once. Nothing may be synced meanwhile."""
    truth = fleet.folder / "truth.csv"
    fleet.gmail.download("messages", truth)
    with _stored(fleet) as connection:
        connection.execute(
            "create table truth as select address as account_id, message_id, thread_id, coalesce(label_ids, '') as label_ids, "
            "make_timestamptz(internal_date_ms * 1000) as internal_date "
            f"from read_csv('{truth}', header = true, columns = {{'address': 'varchar', 'message_id': 'varchar', "
            "'thread_id': 'varchar', 'label_ids': 'varchar', 'internal_date_ms': 'bigint'})"
        )
        since = [fleet.content_since]
        found = Found(
            states=_count(connection, _DIFFERING_STATES) + _count(connection, _DOUBLE_STATES),
            missing=_count(connection, _MISSING_CONTENTS, since),
            surplus=_count(connection, "select count(*) from contents where internal_date < ?", since),
            sampled=min(
                _SAMPLED,
                _count(connection, "select count(*) from contents semi join truth using (account_id, message_id)"),
            ),
            differing=_differing(connection, fleet),
        )
    truth.unlink()
    return found


#: Label ids of both sides in one form: sorted, with semicolons between them.
_DIFFERING_STATES = """
with normal as (
    select account_id, message_id, thread_id,
        array_to_string(list_sort(string_split(regexp_replace(label_ids, '[\\[\\]" ]', '', 'g'), ',')), ';') as label_ids
    from states
)
select count(*)
from truth full join normal on truth.account_id = normal.account_id and truth.message_id = normal.message_id
where truth.thread_id is distinct from normal.thread_id or truth.label_ids is distinct from normal.label_ids
"""
_DOUBLE_STATES = "select count(*) - count(distinct (account_id, message_id)) from states"
_MISSING_CONTENTS = (
    "select count(*) from truth anti join contents using (account_id, message_id) where internal_date >= ?"
)


@contextmanager
def _stored(fleet: Fleet) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database of its own, which sees the warehouse's tables as `states` and `contents`. Bounded to 2 GB of memory."""
    working = fleet.folder / "compared.duckdb"
    with duckdb.connect(str(working)) as connection:
        connection.execute("set memory_limit = '2GB'; set TimeZone = 'UTC'; set preserve_insertion_order = false")
        if not fleet.postgres:
            connection.execute(f"attach '{fleet.settings.duckdb_path}' as warehouse (read_only)")
            for name, query in (("states", _STATES), ("contents", _CONTENTS)):
                connection.execute(f"create temporary view {name} as {query.format('warehouse.')}")
        else:
            _copy_out(fleet, "states", _STATES)
            _copy_out(fleet, "contents", _CONTENTS)
            connection.execute(
                f"create table states as select * from read_csv('{_file(fleet, 'states')}', header = true, all_varchar = true)"
            )
            connection.execute(
                "create table contents as select account_id, message_id, cast(internal_date as timestamptz) as internal_date, "
                f"sha256 from read_csv('{_file(fleet, 'contents')}', header = true, all_varchar = true)"
            )
        yield connection
    for path in (working, _file(fleet, "states"), _file(fleet, "contents")):
        path.unlink(missing_ok=True)


def _copy_out(fleet: Fleet, name: str, query: str) -> None:
    with closing(psycopg2.connect(fleet.postgres)) as connection, _file(fleet, name).open("wb") as file:
        with connection.cursor() as cursor:
            cursor.copy_expert(f"copy ({query.format('')}) to stdout (format csv, header true)", file)


def _file(fleet: Fleet, name: str) -> Path:
    return fleet.folder / f"{name}.csv"


def _differing(connection: duckdb.DuckDBPyConnection, fleet: Fleet) -> int:
    """Of some stored messages that the mailboxes still have: how many have other bytes there."""
    drawn = connection.execute(
        "select account_id, message_id, sha256 from contents semi join truth using (account_id, message_id) "
        f"order by md5('{_SEED}' || message_id) limit {_SAMPLED}"
    ).fetchall()
    differing = 0
    for account_id, message_id, sha256 in drawn:
        with urlopen(f"{fleet.gmail.url}/simulator/accounts/{account_id}/raw/{message_id}", timeout=60) as answer:
            differing += hashlib.sha256(answer.read()).hexdigest() != sha256
    return differing


def _count(connection: duckdb.DuckDBPyConnection, query: str, parameters: list[object] | None = None) -> int:
    row = connection.execute(query, parameters or []).fetchone()
    return int(row[0]) if row else 0
