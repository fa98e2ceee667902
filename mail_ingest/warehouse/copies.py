"""Where an export is written: one DuckDB file, or a folder of Parquet files; put in place once it is whole."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Protocol

import duckdb
import pyarrow as pa
import pyarrow.parquet

from mail_ingest.errors import ConfigError, MailIngestError, WarehouseError
from mail_ingest.warehouse.marts import Relation, comment

FORMATS = ("duckdb", "parquet")
#: A row group of Parquet ends at so many rows, or so many bytes of them.
_GROUP_ROWS, _GROUP_BYTES = 100_000, 64_000_000
#: What a process left that was killed is taken away after so long; a younger one may not have locked its folder yet.
_LEFT_BEHIND_S = 60.0
_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "memory_limit": "512MB",
    "threads": 2,
    # as in the warehouse: texts of mail take a fifth of the room
    "storage_compatibility_version": "v1.2.0",
    "zstd_min_string_length": 256,
}
_TYPES = {
    pa.string(): "varchar",
    pa.int64(): "bigint",
    pa.float64(): "double",
    pa.bool_(): "boolean",
    pa.date32(): "date",
    pa.timestamp("us", "UTC"): "timestamp with time zone",
}


class Copy(Protocol):
    """A copy under way."""

    def write(self, relation: Relation, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> int:
        """Writes a relation with its comments; how many rows it has."""
        ...


def check_output(output: Path, form: str, *, is_forced: bool, warehouse: Path | None) -> None:
    """Raises ConfigError for an output that cannot be written, or would replace what is no earlier copy."""
    if form not in FORMATS:
        raise ConfigError(f"--format is {form!r}; it takes duckdb or parquet")
    if not output.absolute().parent.is_dir():
        raise ConfigError(f"the folder {output.absolute().parent} does not exist; the copy is written into it")
    if not output.exists():
        return
    if warehouse is not None and warehouse.exists() and output.samefile(warehouse):
        raise ConfigError(f"{output} is the warehouse itself; name another file")
    if not is_forced:
        raise ConfigError(f"{output} exists already; --force replaces it")
    if output.is_dir() and (form == "duckdb" or any(path.suffix != ".parquet" for path in output.iterdir())):
        raise ConfigError(
            f"{output} is a folder, and not one of Parquet files alone, so it is not replaced; name another"
        )
    if form == "parquet" and not output.is_dir():
        raise ConfigError(f"{output} is a file, and Parquet takes a folder; name another")


@contextmanager
def copy_to(output: Path, form: str) -> Iterator[Copy]:
    """A copy that takes the place of `output` when the block has ended well, and leaves nothing otherwise.

    Raises WarehouseError where it cannot be written.
    """
    try:
        with _folder_beside(output) as folder:
            unfinished = folder / "copy"
            opened: AbstractContextManager[Copy] = _duckdb(unfinished) if form == "duckdb" else _parquet(unfinished)
            with opened as copy:
                yield copy
            if output.is_dir():
                output.rename(folder / "replaced")
            # a log of the file that is replaced would be taken for one of the new file
            output.with_name(f"{output.name}.wal").unlink(missing_ok=True)
            unfinished.replace(output)
    except MailIngestError:
        raise
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        reason = "the disk is full" if _is_full(error) else f"{type(error).__name__}"
        raise WarehouseError(
            f"The copy {output} could not be written: {reason}. Nothing is left of it, and the warehouse is as it was; make "
            "room or name another folder, then export again."
        ) from None


def _is_full(error: Exception) -> bool:
    return any(words in str(error) for words in ("No space left", "File too large", "Disk quota exceeded"))


@contextmanager
def _folder_beside(output: Path) -> Iterator[Path]:
    """A folder of this process alone, on the same file system. Takes away those that killed processes left."""
    parent, prefix, suffix = output.absolute().parent, f".{output.name}.", ".unfinished"
    for left in parent.glob(f"{prefix}*{suffix}"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _LEFT_BEHIND_S:
                with _locked(left):
                    shutil.rmtree(left)
    folder = Path(tempfile.mkdtemp(prefix=prefix, suffix=suffix, dir=parent))
    try:
        with _locked(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Raises OSError where another process has it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _duckdb(path: Path) -> Iterator[Copy]:
    with duckdb.connect(str(path), config={**_CONFIG, "temp_directory": f"{path}.tmp"}) as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute("create schema mail")
        yield _DuckDBCopy(connection)


class _DuckDBCopy:
    """Tables alone: what a view reads may not be there. Keys are not null and named in the comment; a constraint would be an
    index, which takes 200 bytes a row of memory, whatever the limit."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def write(self, relation: Relation, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> int:
        columns = ", ".join(
            f"{field.name} {_TYPES[field.type]}{' not null' if field.name in relation.key else ''}" for field in schema
        )
        self._connection.execute(f"create table {relation.name} ({columns})")
        source = _Source(batches)
        self._connection.register("rows_to_write", pa.RecordBatchReader.from_batches(schema, source.rows()))
        try:
            self._connection.execute(f"insert into {relation.name} select * from rows_to_write")
        except duckdb.Error:
            # the class of what went wrong while reading is lost on the way through Arrow
            if source.error is not None:
                raise source.error from None
            raise
        finally:
            self._connection.unregister("rows_to_write")
        comment(self._connection, relation, "table")
        return source.row_count


@contextmanager
def _parquet(path: Path) -> Iterator[Copy]:
    path.mkdir()
    yield _ParquetCopy(path)


class _ParquetCopy:
    """One file per relation; descriptions are metadata of the file and of its columns."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, relation: Relation, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> int:
        described = pa.schema(
            [
                field.with_metadata({"description": relation.columns[field.name]}).with_nullable(
                    field.name not in relation.key
                )
                for field in schema
            ],
            metadata={"description": relation.description, "key": ", ".join(relation.key)},
        )
        row_count, waiting, size = 0, [], 0
        with pa.parquet.ParquetWriter(
            self._folder / f"{relation.short_name}.parquet", described, compression="zstd"
        ) as writer:
            for batch in batches:
                waiting.append(batch)
                row_count += batch.num_rows
                size += batch.nbytes
                if size >= _GROUP_BYTES or sum(each.num_rows for each in waiting) >= _GROUP_ROWS:
                    writer.write_table(pa.Table.from_batches(waiting, schema).cast(described))
                    waiting, size = [], 0
            if waiting:
                writer.write_table(pa.Table.from_batches(waiting, schema).cast(described))
        return row_count


class _Source:
    """Rows on their way through Arrow, counted, with the error that ended them."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self.row_count = 0
        self.error: BaseException | None = None

    def rows(self) -> Iterator[pa.RecordBatch]:
        try:
            for batch in self._batches:
                self.row_count += batch.num_rows
                yield batch
        except BaseException as error:
            self.error = error
            raise
