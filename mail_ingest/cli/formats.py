"""Answers as a table for people, CSV, JSON and Parquet; all but the table in full, a batch of rows in memory at a time."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import IO, Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from rich.console import Console

from mail_ingest.cli.output import make_table
from mail_ingest.errors import ConfigError
from mail_ingest.warehouse.reading import Answer

TABLE_ROWS = 200
#: What spreadsheets take for the beginning of a formula, or strip in front of one
#: (https://owasp.org/www-community/attacks/CSV_Injection).
_FORMULA = r"^[=+\-@\t\r\n\x{FF1D}\x{FF0B}\x{FF0D}\x{FF20}]"
_CELL_CHARACTERS = 120


def write_table(answer: Answer, target: IO[bytes]) -> None:
    """The first rows in aligned columns, long texts cut, and how many rows are left out."""
    shown = [[_cell(value) for value in row.values()] for _, row in zip(range(TABLE_ROWS), _rows(answer), strict=False)]
    text = io.StringIO()
    # a pipe has no width: lines that were folded at 80 columns could not be searched
    width = Console().width if target.isatty() else _CELL_CHARACTERS * max(1, len(answer.schema)) + 100
    Console(file=text, highlight=False, markup=False, emoji=False, width=width).print(
        make_table(answer.schema.names, shown)
    )
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    left_out = answer.row_count - len(shown)
    if left_out:
        lines.append(f"... and {left_out:,} more rows; --format csv, json or parquet has all of them")
    elif not shown:
        lines.append("(no rows)")
    target.write(("\n".join(lines) + "\n").encode())


def write_csv(answer: Answer, target: IO[bytes], *, disarm: bool = False) -> int:
    """RFC 4180 with a header; nulls are empty, empty texts are quoted. Lists and structures are JSON.

    Gives how many texts a spreadsheet would take for formulas: anybody may write a subject that is one. With `disarm` these
    get an apostrophe in front, and are texts to it; without, values are exact.
    """
    schema = pa.schema([pa.field(field.name, _csv_type(field.type)) for field in answer.schema])
    names = pa.array(schema.names, pa.string())
    formulas = _count(_FORMULA, names)
    written = pa.schema(list(zip(_disarmed(names).to_pylist(), schema.types, strict=True))) if disarm else schema
    with pa.csv.CSVWriter(target, written) as writer:
        for batch in answer.batches():
            columns = [_for_csv(column, field.type) for column, field in zip(batch.columns, schema, strict=True)]
            texts = [number for number, column in enumerate(columns) if pa.types.is_string(column.type)]
            formulas += sum(_count(_FORMULA, columns[number]) for number in texts)
            if disarm:
                for number in texts:
                    columns[number] = _disarmed(columns[number])
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=written))
    return formulas


def write_json(answer: Answer, target: IO[bytes]) -> None:
    """One array of objects, an object a line. Durations are seconds, bytes are hexadecimal, NaN is null."""
    separator = b"[\n"
    for row in _rows(answer):
        target.write(separator + orjson.dumps(row, default=_as_json, option=orjson.OPT_UTC_Z))
        separator = b",\n"
    target.write(b"\n]\n" if answer.row_count else b"[]\n")


def write_parquet(answer: Answer, target: IO[bytes]) -> None:
    """Raises ConfigError for a column that Parquet has no type for."""
    for field in answer.schema:
        if pa.types.is_interval(field.type):
            raise ConfigError(f"Parquet has no intervals; cast the column {field.name!r} to a number or a text")
    with pa.parquet.ParquetWriter(target, answer.schema, compression="zstd") as writer:
        for batch in answer.batches():
            writer.write_batch(batch)


WRITERS: dict[str, Callable[[Answer, IO[bytes]], None]] = {
    "table": write_table,
    "json": write_json,
    "parquet": write_parquet,
}


def _rows(answer: Answer) -> Iterator[dict[str, Any]]:
    for batch in answer.batches():
        yield from batch.to_pylist()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        text = f"{value:.12g}"
    elif isinstance(value, datetime):
        text = value.strftime("%Y-%m-%d %H:%M:%S")
    else:
        text = " ".join(str(value).split())
    return text if len(text) <= _CELL_CHARACTERS else text[: _CELL_CHARACTERS - 1] + "…"


def _is_plain(kind: pa.DataType) -> bool:
    if pa.types.is_string(kind) or pa.types.is_null(kind):
        return True
    return bool(pa.types.is_date(kind) or (pa.types.is_primitive(kind) and not pa.types.is_temporal(kind)))


def _csv_type(kind: pa.DataType) -> pa.DataType:
    return kind if _is_plain(kind) else pa.string()


def _for_csv(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if column.type == kind:
        return column
    return pa.array([None if value is None else _text(value) for value in column.to_pylist()], pa.string())


def _count(pattern: str, texts: pa.Array) -> int:
    return pc.sum(pc.match_substring_regex(texts, pattern)).as_py() or 0


def _disarmed(texts: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(texts, f"({_FORMULA})", r"'\1")


def _text(value: object) -> str:
    """As in JSON, texts without their quotes."""
    written = orjson.dumps(value, default=_as_json, option=orjson.OPT_UTC_Z).decode()
    return str(orjson.loads(written)) if written.startswith('"') else written


def _as_json(value: object) -> object:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        return value.hex()
    return str(value)
