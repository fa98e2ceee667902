"""Postgres keeps deleted rows in its files until they are used again: rewrites tables so that these are gone at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import psycopg2
import psycopg2.errors
import psycopg2.extensions

#: How long readers may be kept waiting behind us before we let them pass and try again.
_LOCK_TIMEOUT = "2s"
_POLL_S = 0.2
_CLEARS_STATISTICS = 18_00_00


def vacuum(
    connection: psycopg2.extensions.connection, tables: Sequence[str], wait_s: float, check: Callable[[], None]
) -> list[str]:
    """Rewrites these tables (quoted, with their schemas), TOAST and indexes included; what could not be, in words."""
    left = []
    if not _old_transactions_ended(connection, wait_s):
        left.append("rows that a transaction which began before the rewriting may still see")
    deadline = time.monotonic() + wait_s
    with connection.cursor() as cursor:
        cursor.execute(f"set lock_timeout = '{_LOCK_TIMEOUT}'")
        for table in tables:
            check()
            cause = _rewrite(connection, cursor, table, deadline)
            if cause:
                left.append(f"dead rows of {table}: {cause}")
    left.append("the server's write-ahead log, replicas and backups")
    return left


def _rewrite(
    connection: psycopg2.extensions.connection, cursor: psycopg2.extensions.cursor, table: str, deadline: float
) -> str:
    """Why the table could not be rewritten, empty where it was."""
    while True:
        del connection.notices[:]
        try:
            cursor.execute(f"vacuum (full, analyze) {table}")
        except psycopg2.errors.UndefinedTable:
            return ""  # dropped meanwhile
        except psycopg2.errors.InsufficientPrivilege:
            return "only its owner may rewrite it"
        except psycopg2.errors.LockNotAvailable:
            if time.monotonic() < deadline:
                time.sleep(_POLL_S)
                continue
            with suppress(psycopg2.errors.LockNotAvailable):
                # what this reaches is used for other rows next
                cursor.execute(f"vacuum {table}")
            return "others were reading it all the time; they go with the next rows that are written there"
        if any("permission denied" in text for text in connection.notices):
            return "only its owner may rewrite it"
        return _forget_values(connection, cursor, table)


def _forget_values(connection: psycopg2.extensions.connection, cursor: psycopg2.extensions.cursor, table: str) -> str:
    """Takes away what the planner knows of a table that has become empty: `analyze` leaves the frequent values and bounds of the
    rows that were there last. Why it could not, empty where it did."""
    of_table = "from pg_stats where schemaname || '.' || tablename = replace(%s, '\"', '')"
    cursor.execute(f"select exists (select 1 {of_table}) and not exists (select 1 from {table})", [table])
    [is_left] = cursor.fetchone() or (False,)
    if not is_left:
        return ""
    if connection.server_version < _CLEARS_STATISTICS:
        return "it is empty, and the planner's statistics keep some values until it has rows again, but for Postgres 18 and later"
    cursor.execute(
        "select pg_clear_attribute_stats(cast(schemaname as text), cast(tablename as text), cast(attname as text), inherited) "
        f"{of_table}",
        [table],
    )
    return ""


def _old_transactions_ended(connection: psycopg2.extensions.connection, wait_s: float) -> bool:
    """Waits until no transaction is left that began before now: the rows that it may see cannot be taken away."""
    deadline = time.monotonic() + wait_s
    with connection.cursor() as cursor:
        cursor.execute("select clock_timestamp()")
        [now] = cursor.fetchone() or (None,)
        while True:
            cursor.execute(
                "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() "
                "and backend_xmin is not null and xact_start < %s",
                [now],
            )
            [count] = cursor.fetchone() or (0,)
            if not count:
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
