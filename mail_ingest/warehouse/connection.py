"""Opens the DuckDB warehouse, one process at a time.

DuckDB lets one process write, and nobody read beside it. So the file is open only while something is read or loaded
(seconds), under the `warehouse` lock; between those moments people may open it. A person's reader that holds the file
is waited for as well.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mail_ingest.errors import BusyError, ConfigError, WarehouseError
from mail_ingest.settings import Settings
from mail_ingest.warehouse.locks import Locks

if TYPE_CHECKING:
    import duckdb

_LEAST_MEMORY = 128_000_000
#: DuckDB needs three times a package's size to merge it; long texts are the worst case.
_MEMORY_PER_BYTE = 5
_MERGING = 100  # DuckDB's own
#: Measured: one thread and 128 MB load packages of 5,000 messages; two threads need more memory, not less time. The
#: storage version is the first that knows zstd; with it for texts of 256 characters and more on average, the file takes
#: 1.5 KB a message instead of 8, at the same CPU time.
DUCKDB_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "threads": 1,
    "memory_limit": f"{_LEAST_MEMORY}B",
    "storage_compatibility_version": "v1.2.0",
    "zstd_min_string_length": 256,
}


class Warehouse:
    """The DuckDB file named by the settings. Opening is lazy; `open` may be nested within a thread.

    `prepare(connection)` runs once per process and warehouse, at the first opening: it creates what is missing.
    """

    def __init__(self, settings: Settings, locks: Locks, prepare: Callable[[duckdb.DuckDBPyConnection], None]) -> None:
        if not settings.is_duckdb:
            raise ConfigError(
                "MAIL_INGEST_WAREHOUSE names a Postgres database; this version loads DuckDB files only. "
                "Use duckdb:///path/to/file.duckdb"
            )
        self.path = settings.duckdb_path
        self._locks = locks
        self._env = settings.env
        self._held = threading.local()
        self._prepare = prepare
        self._prepared = ""

    @property
    def exists(self) -> bool:
        return self.path.exists()

    @contextmanager
    def open(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A read-write connection, closed at the end of the outermost block.

        Raises BusyError when another process keeps the file, WarehouseError when it cannot be opened.
        """
        held: duckdb.DuckDBPyConnection | None = getattr(self._held, "connection", None)
        if held is not None:
            yield held
            return
        import duckdb

        with self._locks.hold("warehouse"):
            connection = self._connect()
            self._held.connection = connection
            try:
                identity = self._check_env(connection)
                if identity != self._prepared:
                    self._prepare(connection)
                    self._prepared = identity
                yield connection
            except (duckdb.IOException, duckdb.OutOfMemoryException, duckdb.FatalException) as error:
                # only these: other errors of DuckDB are ours to mend, and may quote what people wrote
                raise WarehouseError(
                    f"The warehouse {self.path} could not be read or written ({_first_line(error)}). Make room on the disk or "
                    "mend the file; what was loaded before stays, and the next sync goes on from there."
                ) from None
            finally:
                self._held.connection = None
                connection.close()

    def expect_load(self, size_bytes: int, *, more_follow: bool = False) -> None:
        """Prepares for a package of this size; to be called while the warehouse is open, and in force until it closes.

        DuckDB gets the memory that the package needs: a few messages with very long texts take more than thousands of
        ordinary ones. `more_follow` puts off the merging of small row groups that closing brings: without it a year of
        small syncs would fill the file, but between the packages of a long drain the same rows would be rewritten again
        and again (see `merge_row_groups`).
        """
        with self.open() as connection:
            connection.execute(f"set memory_limit = '{max(_LEAST_MEMORY, _MEMORY_PER_BYTE * size_bytes)}B'")
            connection.execute(f"set max_vacuum_tasks = {0 if more_follow else _MERGING}")

    def merge_row_groups(self) -> None:
        """Makes up for the merging that loads have put off; at most `_LEAST_MEMORY` and some seconds.

        Apart from a load, because the memory of both at once would grow with the warehouse. DuckDB merges when it closes a
        file that was written to, so something is written.
        """
        with self.open() as connection:
            connection.execute("update mail_ingest.deployment set env = env")

    def identity(self) -> str:
        """The id that the warehouse was given when it was made: another file in its place has another one."""
        with self.open():
            return self._prepared

    def _connect(self) -> duckdb.DuckDBPyConnection:
        import duckdb

        deadline = time.monotonic() + self._locks.wait_s
        while True:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                config: dict[str, str | bool | int | float | list[str]] = {
                    **DUCKDB_CONFIG,
                    "temp_directory": str(self.path.with_suffix(".tmp")),
                }
                connection = duckdb.connect(str(self.path), config=config)
                connection.execute("set TimeZone = 'UTC'")
                return connection
            except (duckdb.Error, OSError) as error:
                if "Could not set lock on file" not in str(error):
                    raise WarehouseError(
                        f"The warehouse {self.path} cannot be opened ({_first_line(error)}). Check that the path is a "
                        "DuckDB file, that its folder can be written and that the disk has room; nothing was changed."
                    ) from None
                if time.monotonic() > deadline:
                    raise BusyError(
                        f"Another program has the warehouse {self.path} open and did not let go within "
                        f"{self._locks.wait_s:g} s. Close it (a DuckDB shell, a notebook), or wait longer with --wait."
                    ) from None
            time.sleep(0.1)

    def _check_env(self, connection: duckdb.DuckDBPyConnection) -> str:
        connection.execute("create schema if not exists mail_ingest")
        connection.execute(
            "create table if not exists mail_ingest.deployment (env varchar not null, warehouse_id varchar)"
        )
        connection.execute("alter table mail_ingest.deployment add column if not exists warehouse_id varchar")
        row = connection.execute("select env, warehouse_id from mail_ingest.deployment").fetchone()
        if row is None:
            identity = uuid.uuid4().hex
            connection.execute("insert into mail_ingest.deployment values (?, ?)", [self._env, identity])
            return identity
        if row[1] is None:
            row = (row[0], uuid.uuid4().hex)
            connection.execute("update mail_ingest.deployment set warehouse_id = ?", [row[1]])
        if row[0] != self._env:
            raise ConfigError(
                f"The warehouse {self.path} belongs to the deployment {row[0]!r}, this process runs as {self._env!r} "
                "(MAIL_INGEST_ENV); nothing was written. Use another warehouse, or set MAIL_INGEST_ENV to match."
            )
        return str(row[1])


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
