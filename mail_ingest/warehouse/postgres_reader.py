"""Queries on Postgres, in a read-only transaction; rows come as Arrow, as they are taken.

ADBC sends a statement in libpq's extended protocol, which takes one statement: a second one cannot end the transaction
and begin another that writes.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import adbc_driver_manager
import psycopg2
import pyarrow as pa
from adbc_driver_postgresql import dbapi
from psycopg2.extensions import make_dsn

from mail_ingest.errors import WarehouseError
from mail_ingest.settings import Settings
from mail_ingest.warehouse.postgres import fill_in
from mail_ingest.warehouse.reading import (
    nothing_there,
    refuse_failed,
    refuse_several,
    refuse_writing,
    refuse_wrong,
)
from mail_ingest.warehouse.server import Server

_SESSION = "-c TimeZone=UTC -c default_transaction_read_only=on"
_ONE_STATE = "-c default_transaction_isolation=repeatable\\ read"
#: Writing in a read-only transaction, and trying to leave it.
_READ_ONLY = "25"
_SYNTAX = "42601"
#: Classes of SQLSTATE whose messages quote the query and names alone: syntax and names, features, names of databases.
_OF_THE_QUERY = ("42", "0A", "3F")
_OF_THE_SERVER = ("08", "53", "57", "58", "XX")
_MESSAGE = re.compile(r"ERROR:\s+([^\n]*)")


class PostgresReader:
    """The database that the settings name, on a connection of its own. `one_state`: all queries in one transaction, which
    sees what was there when the first of them began; otherwise each sees what is there when it begins."""

    def __init__(self, settings: Settings, *, one_state: bool = False) -> None:
        self._server = Server(settings.warehouse)
        self._one_state = one_state
        self._connection: Any = None
        self._cursor: Any = None
        self._opened_at = 0.0
        self.held_s = 0.0

    def run(self, sql: str, parameters: Sequence[Any]) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """The columns of one statement, and its rows, read as they are taken."""
        self._opened_at = self._opened_at or time.monotonic()
        with self._errors(), self._server.borrow() as connection, connection.cursor() as cursor:
            # asked of the catalog, which every user may read
            cursor.execute("select 1 from pg_namespace where nspname = 'mail'")
            if cursor.fetchone() is None:
                raise nothing_there(f"nothing was loaded into {self._server.where}")
            filled = fill_in(cursor, sql, parameters)
        with self._errors():
            if self._connection is None:
                options = f"{self._server.parameters.get('options', '')} {_SESSION}".strip()
                options += f" {_ONE_STATE}" if self._one_state else ""
                self._connection = dbapi.connect(make_dsn(**{**self._server.parameters, "options": options}))
            else:
                self._cursor.close()
                if not self._one_state:
                    self._connection.rollback()
            self._cursor = self._execute(filled.strip().rstrip(";") + "\n")
            rows = self._cursor.fetch_record_batch()
        return rows.schema, self._taken(rows)

    def _execute(self, sql: str) -> Any:
        cursor = self._connection.cursor()
        try:
            cursor.execute(sql)
        except adbc_driver_manager.ProgrammingError as error:
            if "could not begin COPY" not in str(error) or error.sqlstate != _SYNTAX:
                raise
            # COPY streams rows, and takes no EXPLAIN or SHOW, whose answers are short
            cursor.close()
            self._connection.rollback()
            cursor = self._connection.cursor()
            cursor.adbc_statement.set_options(**{"adbc.postgresql.use_copy": "false"})
            cursor.execute(sql)
        return cursor

    def close(self) -> None:
        if self._cursor is not None:
            self._cursor.close()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self.held_s = time.monotonic() - self._opened_at
        self._server.close()

    def _taken(self, rows: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        with self._errors():
            try:
                yield from rows
            except (pa.ArrowException, OSError) as error:
                # what happens on the way has no SQLSTATE
                if "ERROR:" in str(error):
                    refuse_failed("after it had begun")
                raise adbc_driver_manager.OperationalError(
                    "the connection was lost", status_code=adbc_driver_manager.AdbcStatusCode.IO
                ) from None

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (adbc_driver_manager.Error, psycopg2.Error, pa.ArrowException) as error:
            state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or ""
            found = _MESSAGE.search(str(error))
            words = found[1] if found else ""
            if state[:2] == _READ_ONLY:
                refuse_writing()
            if "multiple commands" in words or (not state and str(error).endswith("': ")):
                refuse_several()
            if state[:2] in _OF_THE_QUERY and words:
                refuse_wrong(words)
            if not state or state[:2] in _OF_THE_SERVER:
                raise WarehouseError(
                    f"The warehouse {self._server.where} could not be read ({state or type(error).__name__}); nothing "
                    "was changed."
                ) from None
            refuse_failed(f"SQLSTATE {state}")
