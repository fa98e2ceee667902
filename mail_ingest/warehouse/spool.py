"""Rows on disk between fetching and loading, so that locks are held for the load alone and memory stays bounded.

One Arrow file per table in a folder of its own; the folder goes when the block ends. A spool does not survive its
process: what it held is bought again for nothing (states) or read back from the raw archive (content).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa

from mail_ingest.folders import make_private

#: dlt looks at the schema of every table that it gets: few large ones are cheaper, and memory stays bounded by this.
TABLE_BYTES = 8 * 1024 * 1024
_OWNER = "owner"


class Spool:
    """Collects Arrow batches per table and hands them back in order."""

    def __init__(self, folder: Path) -> None:
        make_private(folder)
        made = Path(tempfile.mkdtemp(prefix=".spool-", dir=folder))
        # held as long as the process lives, so that others can tell what a dead one has left
        self._owner = os.open(made / _OWNER, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._owner, fcntl.LOCK_EX)
        self._folder = made.rename(made.with_name(made.name.removeprefix(".")))
        self._writers: dict[str, pa.ipc.RecordBatchFileWriter] = {}
        self.rows: dict[str, int] = {}
        self.size_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for writer in self._writers.values():
                # nobody reads it any more; on a full disk it cannot be ended, and takes the room that is missing
                with suppress(OSError):
                    writer.close()
        finally:
            self._writers.clear()
            shutil.rmtree(self._folder, ignore_errors=True)
            os.close(self._owner)

    def write(self, table: str, batch: pa.RecordBatch) -> None:
        if batch.num_rows == 0:
            return
        writer = self._writers.get(table)
        if writer is None:
            writer = pa.ipc.new_file(self._folder / f"{table}.arrow", batch.schema)
            self._writers[table] = writer
        writer.write_batch(batch)
        self.rows[table] = self.rows.get(table, 0) + batch.num_rows
        self.size_bytes += batch.nbytes

    def read(self, table: str) -> Iterator[pa.Table]:
        """The table's rows in order, memory-mapped, up to `TABLE_BYTES` at a time. Ends writing."""
        self._close()
        path = self._folder / f"{table}.arrow"
        if not path.exists():
            return
        with pa.memory_map(str(path)) as source:
            reader = pa.ipc.open_file(source)
            batches: list[pa.RecordBatch] = []
            size = 0
            for position in range(reader.num_record_batches):
                batch = reader.get_batch(position)
                if batches and size + batch.nbytes > TABLE_BYTES:
                    yield pa.Table.from_batches(batches)
                    batches, size = [], 0
                batches.append(batch)
                size += batch.nbytes
            if batches:
                yield pa.Table.from_batches(batches)

    def tables(self) -> list[str]:
        return list(self.rows)

    def _close(self) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()


def remove_abandoned(folder: Path) -> None:
    """Removes the spools of processes that are dead, at once; those of living ones stay."""
    for leftover in folder.glob("spool-*"):
        try:
            owner = os.open(leftover / _OWNER, os.O_RDWR)
        except FileNotFoundError:
            continue  # its process has just finished with it, or it is of an earlier version
        try:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(leftover, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(owner)


def remove_leftovers(folder: Path, *, older_than_s: float = 86_400) -> None:
    """Removes spools of processes that were killed, once nobody can still be writing them."""
    import time

    for leftover in (*folder.glob("spool-*"), *folder.glob(".spool-*")):
        with suppress(FileNotFoundError):  # its process has just finished with it
            if time.time() - leftover.stat().st_mtime > older_than_s:
                shutil.rmtree(leftover, ignore_errors=True)
