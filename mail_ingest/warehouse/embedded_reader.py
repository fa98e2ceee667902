"""Queries on a DuckDB file beside syncs: opened read-only, when no process loads into it.

A file that is open for reading keeps a sync from opening it for a load; the sync waits up to its own --wait.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import duckdb
import pyarrow as pa

from mail_ingest.errors import BusyError, WarehouseError
from mail_ingest.settings import Settings
from mail_ingest.warehouse.reading import (
    BATCH_ROWS,
    nothing_there,
    refuse_failed,
    refuse_several,
    refuse_writing,
    refuse_wrong,
)

_POLL_S = 0.1
_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "memory_limit": "512MB",
    "threads": 2,
    # a query reads the warehouse, and neither writes nor reads files beside it
    "enable_external_access": False,
    "autoinstall_known_extensions": False,
}
#: Their messages quote the query and names of tables and columns.
_OF_THE_QUERY = (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException, duckdb.SyntaxException)
_OF_THE_FILE = (duckdb.IOException, duckdb.FatalException, duckdb.InternalException, duckdb.SerializationException)


class DuckDBReader:
    """The file that the settings name, open from the first query on. Creates nothing, takes no lock of ours."""

    def __init__(self, settings: Settings, wait_s: float) -> None:
        self._path = settings.duckdb_path
        self._wait_s = wait_s
        self._spilled: tempfile.TemporaryDirectory[str] | None = None
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._opened_at = 0.0
        self.held_s = 0.0

    def run(self, sql: str, parameters: Sequence[Any]) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """The columns of one statement, and its rows, read as they are taken. Beyond 512 MB DuckDB spills to disk."""
        connection = self._connection or self._open()
        with _errors():
            if len(connection.extract_statements(sql)) != 1:
                refuse_several()
            rows = connection.execute(sql, list(parameters)).to_arrow_reader(BATCH_ROWS)
        return rows.schema, _taken(rows)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self.held_s = time.monotonic() - self._opened_at
        if self._spilled is not None:
            self._spilled.cleanup()

    def _open(self) -> duckdb.DuckDBPyConnection:
        if not self._path.exists():
            raise nothing_there(f"the file {self._path} does not exist")
        # not the folder beside the file, which belongs to the process that loads
        self._spilled = tempfile.TemporaryDirectory(prefix="mail_ingest_query_")
        config = {**_CONFIG, "temp_directory": self._spilled.name}
        deadline = time.monotonic() + self._wait_s
        while True:
            try:
                connection = duckdb.connect(str(self._path), read_only=True, config=config)
            except duckdb.Error as error:
                if "Could not set lock on file" not in str(error):
                    raise WarehouseError(
                        f"The warehouse {self._path} cannot be read ({type(error).__name__}). Check that the path is a "
                        "DuckDB file and that you may read it."
                    ) from None
                if time.monotonic() > deadline:
                    raise BusyError(
                        f"Another process loads into the warehouse {self._path}, and did not let go within "
                        f"{self._wait_s:g} s. Try again when it is done, or wait longer with --wait."
                    ) from None
                time.sleep(_POLL_S)
                continue
            self._connection, self._opened_at = connection, time.monotonic()
            connection.execute("set TimeZone = 'UTC'")
            made = connection.execute("select 1 from duckdb_schemas() where schema_name = 'mail'").fetchone()
            if made is None:
                raise nothing_there(f"nothing was loaded into {self._path}")
            return connection


def _taken(rows: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    with _errors():
        try:
            yield from rows
        except (pa.ArrowException, OSError):
            # DuckDB's own classes are lost on the way through Arrow
            refuse_failed("after it had begun")


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except duckdb.InterruptException:
        raise KeyboardInterrupt from None
    except _OF_THE_QUERY as error:
        refuse_wrong(str(error))
    except duckdb.PermissionException:
        refuse_writing()
    except duckdb.OutOfMemoryException:
        refuse_failed("it takes more memory or disk than there is")
    except _OF_THE_FILE as error:
        raise WarehouseError(
            f"The warehouse could not be read ({type(error).__name__}); nothing was changed. Mend the file or the disk."
        ) from None
    except duckdb.Error as error:
        words = str(error)
        if "read-only mode" in words and words.startswith("Invalid Input Error: Cannot execute statement of type"):
            refuse_writing()
        if "prepared statement parameters" in words or words.startswith("Invalid Input Error: Parameter argument"):
            refuse_wrong("it has more or fewer parameters than values were given")
        refuse_failed(type(error).__name__)
