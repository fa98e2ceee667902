"""How much memory a DuckDB file may take while its analyst tables are built; more than that is put on disk."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from mail_ingest.warehouse.connection import Connection

logger = logging.getLogger(__name__)

_T = TypeVar("_T")
#: Measured: enough for full builds of 50,000 and of a million messages.
_LEAST = 128_000_000
_PER_MESSAGE = 512
#: Rows of very long texts do not fit, because DuckDB holds some thousands of rows whole; they get so many times as much.
_TIMES, _MOST_TIMES = (1, 4), 16


def with_enough_memory(connection: Connection, dialect: str, transaction: Callable[[], _T]) -> _T:
    """Runs a transaction, which ends itself whatever happens, and again with more memory where that was not enough.

    The bound is 128 MB or 512 bytes a message, whichever is more; then 4 times, then 16 times as much. Raises DuckDB's
    OutOfMemoryException where that is not enough either. Postgres sets its own bounds.
    """
    if dialect != "duckdb":
        return transaction()
    from duckdb import OutOfMemoryException

    [limit, threads] = connection.execute(
        "select current_setting('memory_limit'), current_setting('threads')"
    ).fetchone()
    [messages] = connection.execute(
        "select coalesce(sum(estimated_size), 0) from duckdb_tables() "
        "where schema_name = 'gmail' and table_name = 'message_states'"
    ).fetchone()
    bound = max(_LEAST, _PER_MESSAGE * int(messages))
    try:
        for times in _TIMES:
            connection.execute(f"set memory_limit = '{times * bound}B'")
            try:
                return transaction()
            except OutOfMemoryException:
                logger.debug("a build of the analyst tables takes more than %d MB", times * bound // 1_000_000)
                connection.execute(f"set threads = {threads}")
        connection.execute(f"set memory_limit = '{_MOST_TIMES * bound}B'")
        return transaction()
    finally:
        connection.execute(f"set memory_limit = '{limit}'")
        connection.execute(f"set threads = {threads}")
