"""The warehouse as a DuckDB file, opened by one process at a time.

DuckDB lets one process write, and nobody read beside it. So the file is open only while something is read or loaded
(seconds), under the `warehouse` lock; between those moments people may open it. A person's reader that holds the file
is waited for as well. Opening and closing cost more than most questions, so a sync keeps a connection from one
question to the next and lets it go before it waits for anything: an answer of Gmail's, or a lock. Where several threads
sync, one waits while another one asks, so none can tell whether the file is needed no more: it is let go when nobody has
asked for a moment, and in any case after a second.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from mail_ingest.errors import BusyError, WarehouseError
from mail_ingest.folders import made_like, make_private
from mail_ingest.settings import Settings
from mail_ingest.warehouse.connection import Prepare, Room, Warehouse
from mail_ingest.warehouse.deployment import claim
from mail_ingest.warehouse.locks import Locks

if TYPE_CHECKING:
    import duckdb

#: While threads share the file: seconds without a question after which it is let go, how long it is kept at most, and how
#: long others then have it for themselves; they try every tenth of a second.
_IDLE_S = 0.25
_LONGEST_KEPT_S = 1.0
_OTHERS_TURN_S = 0.15
_LEAST_MEMORY = 128_000_000
#: DuckDB needs three times a package's size to merge it; long texts are the worst case.
_MEMORY_PER_BYTE = 5
_MERGING = 100  # DuckDB's own
#: A thread waits at least this long for the others of its process, which may be loading.
_LEAST_WAIT_S = 60.0
#: Measured: one thread and 128 MB load packages of 5,000 messages; two threads need more memory, not less time. The
#: storage version is the first that knows zstd; with it for texts of 256 characters and more on average, the file takes
#: 1.5 KB a message instead of 8, at the same CPU time.
DUCKDB_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "threads": 1,
    "memory_limit": f"{_LEAST_MEMORY}B",
    "storage_compatibility_version": "v1.2.0",
    "zstd_min_string_length": 256,
}


@dataclass(slots=True)
class _Opened:
    """A connection, and the `warehouse` lock that goes with it. `must_close`: it is not to be kept for another question."""

    connection: duckdb.DuckDBPyConnection
    lock: ExitStack
    is_claimed: bool = False
    must_close: bool = False


class DuckDBWarehouse(Warehouse):
    """The DuckDB file named by the settings."""

    dialect = "duckdb"

    def __init__(self, settings: Settings, locks: Locks, prepare: Prepare) -> None:
        self.path = settings.duckdb_path
        self._locks = locks
        self._env = settings.env
        self._held = threading.local()
        self._prepare = prepare
        self._prepared = ""
        self._kept: _Opened | None = None
        self._keeper: int | None = None
        self._keeping = threading.Lock()
        self._is_shared = False
        self._turn = threading.Lock()
        self._opened_at = self._used_at = self._closed_at = 0.0
        locks.before_waiting = self.let_go

    @property
    def exists(self) -> bool:
        return self.path.exists()

    @contextmanager
    def open(self) -> Iterator[duckdb.DuckDBPyConnection]:
        held = self._held_here()
        if held is not None:
            try:
                with self._troubles_told():
                    yield held.connection
            except BaseException:
                # also where the outer block goes on: what broke must not be kept for another question
                held.must_close = True
                raise
            return
        with self._turn_of_this_thread():
            yield from self._open()

    def _open(self) -> Iterator[duckdb.DuckDBPyConnection]:
        opened = self._take_kept() or self._opened()
        self._held.opened = opened
        try:
            with self._troubles_told():
                if not opened.is_claimed:
                    identity = claim(opened.connection, self._env, f"warehouse {self.path}")
                    if identity != self._prepared:
                        self._prepare(opened.connection, self.dialect)
                        self._prepared = identity
                    opened.is_claimed = True
                yield opened.connection
        except BaseException:
            opened.must_close = True
            raise
        finally:
            self._held.opened = None
            self._used_at = time.monotonic()
            is_due = self._is_shared and self._used_at - self._opened_at >= _LONGEST_KEPT_S
            if opened.must_close or is_due or not self._may_keep():
                self._close(opened)
            else:
                self._kept = opened

    def _may_keep(self) -> bool:
        return self._is_shared or self._keeper == threading.get_ident()

    @contextmanager
    def _turn_of_this_thread(self) -> Iterator[None]:
        if not self._is_shared:
            yield
            return
        wait_s = max(self._locks.wait_s, _LEAST_WAIT_S)
        if not self._turn.acquire(timeout=wait_s):
            raise BusyError(
                f"This process was using the warehouse {self.path} itself for more than {wait_s:g} s, for a load or for another "
                "account; the account's next sync goes on."
            )
        try:
            yield
        finally:
            self._turn.release()

    @contextmanager
    def shared(self) -> Iterator[None]:
        self.let_go()
        self._is_shared = True
        try:
            yield
        finally:
            self._is_shared = False
            self.let_go()

    @contextmanager
    def keep_open(self) -> Iterator[None]:
        self._keeper = threading.get_ident()
        try:
            yield
        finally:
            self._keeper = None
            self.let_go()

    def let_go(self) -> None:
        if self._is_shared:
            self._let_go_when_idle()
            return
        with self._keeping:
            # other threads wait here too: none of them should ask Gmail while the file is still being closed
            kept, self._kept = self._kept, None
            if kept is not None:
                self._close(kept)

    def _let_go_when_idle(self) -> None:
        if self._kept is None or time.monotonic() - self._used_at < _IDLE_S or not self._turn.acquire(blocking=False):
            return
        try:
            kept, self._kept = self._kept, None
            if kept is not None:
                self._close(kept)
        finally:
            self._turn.release()

    def _held_here(self) -> _Opened | None:
        """What this thread is in the middle of using."""
        return getattr(self._held, "opened", None)

    def _opened(self) -> _Opened:
        if self._is_shared:
            time.sleep(max(self._closed_at + _OTHERS_TURN_S - time.monotonic(), 0.0))
        with ExitStack() as stack:
            stack.enter_context(self._locks.hold("warehouse"))
            # DuckDB makes the file, its log and what it spills with the rights of the umask
            stack.enter_context(made_like(self.path))
            opened = _Opened(self._connect(), stack.pop_all())
        self._opened_at = time.monotonic()
        return opened

    def _take_kept(self) -> _Opened | None:
        with self._keeping:
            if not self._may_keep():
                return None
            kept, self._kept = self._kept, None
            return kept

    def _close(self, opened: _Opened) -> None:
        with opened.lock, self._troubles_told():
            opened.connection.close()
        self._closed_at = time.monotonic()

    @contextmanager
    def _troubles_told(self) -> Iterator[None]:
        import duckdb

        try:
            yield
        except (duckdb.IOException, duckdb.OutOfMemoryException, duckdb.FatalException) as error:
            # only these: other errors of DuckDB are ours to mend, and may quote what people wrote
            raise WarehouseError(
                f"The warehouse {self.path} could not be read or written ({_first_line(error)}). Make room on the disk or "
                "mend the file; what was loaded before stays, and the next sync goes on from there."
            ) from None

    def alone_at_first(self, dataset: str) -> AbstractContextManager[None]:  # noqa: ARG002
        # the `warehouse` lock is held anyway
        return nullcontext()

    def destination(self, staging_layout: str) -> Any:
        import dlt

        with self.open() as connection:
            return dlt.destinations.duckdb(connection, create_indexes=False, staging_dataset_name_layout=staging_layout)

    def expect_load(self, size_bytes: int, *, more_follow: bool = False) -> None:
        """DuckDB gets the memory that the package needs: a few messages with very long texts take more than thousands of
        ordinary ones. `more_follow` puts off the merging of small row groups that closing brings: without it a year of
        small syncs would fill the file, but between the packages of a long drain the same rows would be rewritten again
        and again.
        """
        memory = max(_LEAST_MEMORY, _MEMORY_PER_BYTE * size_bytes)
        with self.open() as connection:
            connection.execute(f"set memory_limit = '{memory}B'")
            connection.execute(f"set max_vacuum_tasks = {0 if more_follow else _MERGING}")
            if memory > _LEAST_MEMORY or more_follow:
                self._close_afterwards()

    def _close_afterwards(self) -> None:
        held = self._held_here()
        if held is not None:
            held.must_close = True

    def merge_row_groups(self) -> None:
        """Takes at most `_LEAST_MEMORY` and some seconds.

        Apart from a load, because the memory of both at once would grow with the warehouse. DuckDB merges when it closes a
        file that was written to, so something is written.
        """
        self.let_go()
        with self.open() as connection:
            connection.execute("update mail_ingest.deployment set env = env")
            self._close_afterwards()

    def write_anew(self, tables: Sequence[str]) -> list[str]:  # noqa: ARG002  the file is written as a whole
        """Copies what the file holds into a new one, which then takes its place: a DuckDB file keeps old bytes in free blocks.

        The old file stays locked until it is replaced, so nobody reads or writes it meanwhile. Takes as much room again
        as what is stored, and the memory of a load.
        """
        path = self.path.resolve()
        fresh = _fresh_of(path)
        with self.open() as connection:
            self._close_afterwards()
            for leftover in (fresh, _log_of(fresh)):
                leftover.unlink(missing_ok=True)
            connection.execute("checkpoint")
            [name] = connection.execute("select current_database()").fetchone() or ("",)
            connection.execute(f"attach '{_quoted(fresh)}' as rewritten (storage_version 'v1.2.0')")
            # it is nobody else's before it is in its place, whoever may read the old one
            fresh.chmod(0o600)
            try:
                connection.execute(f'copy from database "{name}" to rewritten')
                connection.execute("checkpoint rewritten")
            finally:
                connection.execute("detach rewritten")
            if _log_of(path).exists() or _log_of(fresh).exists():
                # a log that is left would be replayed into the other file
                raise WarehouseError(
                    f"The warehouse {path} could not be written anew: its log was not taken into the file. Nothing was "
                    "changed; close other programs that use it, and run the command again."
                )
            # for readers of a group's, people may open it; it stays as they leave it
            fresh.chmod(stat.S_IMODE(path.stat().st_mode))
            _sync(fresh)
            fresh.replace(path)
            _sync(path.parent)
        return ["blocks of the disk that the old warehouse file had, until they are used again"]

    def room(self) -> Room | None:
        path = self.path.resolve()
        with self.open() as connection:
            fresh = _fresh_of(path)
            for leftover in (fresh, _log_of(fresh)):
                leftover.unlink(missing_ok=True)
            connection.execute("checkpoint")
            [block, total, free] = connection.execute(
                "select block_size, total_blocks, free_blocks from pragma_database_size() "
                "where database_name = current_database()"
            ).fetchone() or (0, 0, 0)
        return Room(block * total, block * free, shutil.disk_usage(path.parent).free)

    def search(self, query: str, write: Callable[[bytes], None]) -> None:
        with self.open() as connection:
            for batch in connection.execute(query).to_arrow_reader(2_000):
                for column in batch.columns:
                    _, ends, data = column.buffers()
                    if data is not None:
                        # behind the last text the buffer holds whatever was in memory before
                        width = 8 if pa.types.is_large_string(column.type) else 4
                        last = (column.offset + len(column)) * width
                        write(data[: int.from_bytes(ends[last : last + width], sys.byteorder)].to_pybytes())

    def all_tables(self) -> list[str]:
        with self.open() as connection:
            rows = connection.execute(
                "select schema_name, table_name from duckdb_tables() where not internal and not temporary order by 1, 2"
            ).fetchall()
        return [f'"{schema}"."{name}"' for schema, name in rows]

    def text_of(self, table: str) -> str:
        with self.open() as connection:
            rows = connection.execute(f"select column_name from (describe {table})").fetchall()
        columns = ", ".join(f'cast("{name}" as varchar)' for (name,) in rows)
        # the last line break keeps neighbours in memory from being read as one word
        return f"select concat_ws(chr(10), {columns}) || chr(10) as line from {table} as searched"

    def files(self) -> list[Path]:
        path = self.path.resolve()
        return [found for found in (path, _log_of(path)) if found.exists()]

    def close(self) -> None:
        self.let_go()

    def identity(self) -> str:
        with self.open():
            return self._prepared

    def _connect(self) -> duckdb.DuckDBPyConnection:
        import duckdb

        deadline = time.monotonic() + self._locks.wait_s
        while True:
            try:
                make_private(self.path.parent)
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
            self._locks.while_waiting()
            time.sleep(0.1)


def _log_of(path: Path) -> Path:
    """DuckDB's write-ahead log of a file."""
    return path.with_name(f"{path.name}.wal")


def _fresh_of(path: Path) -> Path:
    """The file that is to take the place of one that is written anew."""
    return path.with_name(f"{path.name}.rewritten")


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


def _sync(path: Path) -> None:
    """Waits until a file, or a folder's list of files, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
