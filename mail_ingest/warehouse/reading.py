"""Answers to people's queries: read-only, polite to syncs, in bounded memory.

An answer is spooled as Arrow and the warehouse let go before anything is done with it: a DuckDB file that a reader has
open keeps syncs waiting. What a database says about a query is repeated only where it cannot quote mail.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import IO, Any, NoReturn

import pyarrow as pa

from mail_ingest.errors import ConfigError
from mail_ingest.settings import Settings

#: Rows that the databases hand over at a time.
BATCH_ROWS = 2_000
#: A larger answer is spooled on disk, in the system's folder for temporary files.
_SPOOL_MEMORY = 16_000_000


class Answer:
    """The spooled rows of one query, to be read as often as wanted. Memory: at most 16 MB and one batch of rows."""

    def __init__(self, spool: IO[bytes], schema: pa.Schema, row_count: int, held_s: float) -> None:
        self._spool = spool
        self.schema = schema
        self.row_count = row_count
        #: Seconds that the warehouse was open.
        self.held_s = held_s

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows from the first on, a batch at a time."""
        self._spool.seek(0)
        yield from pa.ipc.open_stream(self._spool)

    def table(self) -> pa.Table:
        """All rows in memory."""
        return pa.Table.from_batches(self.batches(), self.schema)


@contextmanager
def ask(settings: Settings, sql: str, parameters: Sequence[Any] = (), *, wait_s: float = 60.0) -> Iterator[Answer]:
    """Answers one SQL statement; the warehouse is closed when the block begins. Creates and changes nothing.

    `?` stands for a parameter; without parameters it is an ordinary character. Decimals come as doubles, columns of one
    name are numbered. `wait_s`: how long to wait for a process that loads into a DuckDB file.

    Raises ConfigError for SQL that is wrong or writes, and where nothing was ever synced; BusyError after `wait_s`;
    WarehouseError where the warehouse cannot be read.
    """
    if not sql.strip():
        raise ConfigError("the query is empty; it takes one SQL statement, such as: select count(*) from mail.messages")
    with tempfile.SpooledTemporaryFile(max_size=_SPOOL_MEMORY) as spool:
        with closing(open_reader(settings, wait_s)) as reader:
            schema, row_count = _fill(spool, *reader.run(sql, parameters))
        yield Answer(spool, schema, row_count, reader.held_s)


def open_reader(settings: Settings, wait_s: float, *, one_state: bool = False) -> Any:
    """What answers queries, to be closed; nothing is opened before the first. `one_state`: all of them see what the first
    saw, as they always do in a DuckDB file, which nobody loads into while it is read."""
    if settings.is_duckdb:
        from mail_ingest.warehouse.embedded_reader import DuckDBReader

        return DuckDBReader(settings, wait_s)
    from mail_ingest.warehouse.postgres_reader import PostgresReader

    return PostgresReader(settings, one_state=one_state)


def _fill(spool: Any, found: pa.Schema, batches: Iterator[pa.RecordBatch]) -> tuple[pa.Schema, int]:
    if not len(found):
        refuse_several()
    schema, rows = plain(found, batches)
    row_count = 0
    with pa.ipc.new_stream(spool, schema) as writer:
        for batch in rows:
            writer.write_batch(batch)
            row_count += batch.num_rows
    return schema, row_count


def plain(found: pa.Schema, batches: Iterator[pa.RecordBatch]) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """An answer in types that are the same on both databases."""
    schema = _plain_schema(found)
    return schema, (
        pa.RecordBatch.from_arrays(
            [_plain(column).cast(field.type) for column, field in zip(batch.columns, schema, strict=True)],
            schema=schema,
        )
        for batch in batches
    )


def _plain_schema(schema: pa.Schema) -> pa.Schema:
    """The same on both databases: sums of integers are decimals on one and opaque text on the other."""
    fields: list[pa.Field] = []
    taken: set[str] = set()
    for field in schema:
        name, number = field.name, 2
        while name in taken:
            name, number = f"{field.name}_{number}", number + 1
        taken.add(name)
        fields.append(pa.field(name, _plain_type(field.type)))
    return pa.schema(fields)


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if isinstance(kind, pa.OpaqueType):
        return pa.float64() if kind.type_name == "numeric" else kind.storage_type
    if isinstance(kind, pa.BaseExtensionType):
        return kind.storage_type
    if pa.types.is_dictionary(kind):
        return kind.value_type
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return pa.timestamp(kind.unit, "UTC")
    return pa.float64() if pa.types.is_decimal(kind) else kind


def _plain(column: pa.Array) -> pa.Array:
    return column.storage if isinstance(column, pa.ExtensionArray) else column


def refuse_wrong(message: str) -> NoReturn:
    """`message`: words of the database that quote the query alone; its first line is repeated."""
    raise ConfigError(
        f"The query is wrong: {(message.strip().splitlines() or ['no reason was given'])[0][:300]}"
    ) from None


def refuse_writing() -> NoReturn:
    raise ConfigError(
        "The query would change the warehouse or reach beyond it; queries only read it, and nothing was changed."
    ) from None


def refuse_failed(kind: str) -> NoReturn:
    """For errors that may quote values, which is to say mail."""
    raise ConfigError(
        f"The query failed on what it read ({kind}); the database's own words may quote mail, and are left out. "
        "try_cast on DuckDB, or a where clause, passes over values that do not fit."
    ) from None


def refuse_several() -> NoReturn:
    raise ConfigError("The query is several statements, or none that gives rows; it takes one.") from None


def nothing_there(where: str) -> ConfigError:
    return ConfigError(f"There is no warehouse yet: {where}; `mail-ingest sync` makes it.")
