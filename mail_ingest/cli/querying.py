"""`mail-ingest query`: an answer from the warehouse, beside syncs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated

import typer

from mail_ingest.cli.output import fail
from mail_ingest.cli.syncing import Wait
from mail_ingest.errors import ConfigError
from mail_ingest.settings import Settings, load_settings

_FORMATS = ("table", "csv", "json", "parquet")
#: A reader that kept a DuckDB file for longer is told so: a sync may have waited for it.
_LONG_S = 5.0


def query(
    sql: Annotated[str, typer.Argument(help="One SQL statement; - reads it from standard input.", metavar="SQL")] = "-",
    form: Annotated[str, typer.Option("--format", help="table (200 rows at most), csv, json or parquet.")] = "table",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write instead of standard output.")
    ] = None,
    spreadsheet: Annotated[
        bool,
        typer.Option(
            "--spreadsheet",
            help="With --format csv: texts that a spreadsheet would run as formulas get an apostrophe in front.",
        ),
    ] = False,
    wait: Wait = 60.0,
) -> None:
    """Answers one SQL statement, read-only: on the tables of the schema mail, while syncs run.

    Waits for a process that loads into a DuckDB file, and lets go of the file before the answer is printed. Exit code 2
    for SQL that is wrong or writes, 3 where the file was not to be had within --wait.
    """
    if form not in _FORMATS:
        raise ConfigError(f"--format is {form!r}; it takes table, csv, json or parquet")
    if form == "parquet" and output is None:
        raise ConfigError("--format parquet needs --output FILE; Parquet is not for terminals and pipes")
    if spreadsheet and form != "csv":
        raise ConfigError(f"--spreadsheet is for --format csv, and the format is {form}")
    if sql == "-":
        sql = sys.stdin.read()
    from mail_ingest.cli.formats import WRITERS, write_csv
    from mail_ingest.warehouse.reading import ask

    settings = load_settings()
    with ask(settings, sql, wait_s=wait) as answer:
        tell_of_holding(settings, answer.held_s, "query")
        formulas = 0
        with _opened(output) as target:
            if form == "csv":
                formulas = write_csv(answer, target, disarm=spreadsheet)
            else:
                WRITERS[form](answer, target)
        if formulas and not spreadsheet:
            fail(
                f"{formulas:,} texts begin like formulas (=, +, -, @), which mail may be written for: a spreadsheet might run "
                "them; --spreadsheet writes them so that none does"
            )


def tell_of_holding(settings: Settings, held_s: float, what: str) -> None:
    """Says so where a reader had a DuckDB file open for long."""
    if settings.is_duckdb and held_s > _LONG_S:
        fail(f"the {what} had the warehouse open for {held_s:.0f} s, in which no sync could load")


@contextmanager
def _opened(output: Path | None) -> Iterator[IO[bytes]]:
    """Standard output, or a file that is there once it is whole."""
    if output is None:
        try:
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            # the reader of the pipe has seen enough; Python would complain when it flushes at the end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    unfinished = output.with_name(f".{output.name}.unfinished")
    try:
        with unfinished.open("wb") as file:
            yield file
        unfinished.replace(output)
    finally:
        unfinished.unlink(missing_ok=True)
