"""Collects rows column by column and hands them on as Arrow batches of bounded size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from mail_ingest.sources.tables import Table

#: Rows a batch; measured best between DuckDB's and Arrow's cost per batch and memory.
BATCH_ROWS = 500


class RowBuffer:
    """Rows of one table on their way to `write(table_name, batch)`, handed on every `BATCH_ROWS` rows."""

    def __init__(self, table: Table, write: Callable[[str, pa.RecordBatch], None], rows: int = BATCH_ROWS) -> None:
        self._table = table
        self._write = write
        self._rows = rows
        self._schema = table.arrow_schema
        self._pending: list[Sequence[Any]] = []
        self.count = 0

    def add(self, row: Sequence[Any]) -> None:
        """Adds one row; values in the order of the table's columns."""
        self._pending.append(row)
        self.count += 1
        if len(self._pending) >= self._rows:
            self.flush()

    def flush(self) -> None:
        if not self._pending:
            return
        rows, self._pending = self._pending, []
        self._write(self._table.name, record_batch(self._schema, rows))


def record_batch(schema: pa.Schema, rows: Sequence[Sequence[Any]]) -> pa.RecordBatch:
    """Rows, values in the order of the schema, as Arrow columns. Raises what Arrow raises for a value that does not fit."""
    columns = list(zip(*rows, strict=True))
    try:
        arrays = [pa.array(values, type=field.type) for values, field in zip(columns, schema, strict=True)]
    except UnicodeEncodeError:
        # no parser should let a lone surrogate through; were one to, a single message must not stop the account
        columns = [tuple(clean(v) if isinstance(v, str) else v for v in values) for values in columns]
        arrays = [pa.array(values, type=field.type) for values, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def clean(text: str | None) -> str | None:
    """The text without NUL characters, which Postgres refuses, and without lone surrogates, which nothing can encode."""
    if text is None:
        return None
    if "\x00" in text:
        text = text.replace("\x00", "")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            text = text.encode("utf-8", "replace").decode()
    return text
