"""How the command line speaks: one JSON document on standard output, or words; logs and progress on standard error.

Whatever is said may hold what strangers wrote (labels, Gmail's words, values of a query). Nothing that does not print is
passed on: no escape moves the terminal's cursor, opens a link, or turns the reading direction round, and no text begins a
line of its own.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from mail_ingest.ingest import Progress as SyncProgress

_LOG_EVERY_S = 10.0
_errors = Console(stderr=True, highlight=False, soft_wrap=True)

logger = logging.getLogger("mail_ingest")


def print_json(document: object) -> None:
    """The one document that `--json` promises."""
    sys.stdout.write(json.dumps(document, indent=2, default=str) + "\n")


def say(text: str) -> None:
    """One line on standard output."""
    sys.stdout.write(printable(text) + "\n")


def fail(text: str) -> None:
    """One sentence on standard error."""
    sys.stderr.write(f"mail-ingest: {printable(text)}\n")


def make_table(columns: list[str], rows: list[list[str]]) -> Table:
    """Plain aligned columns. Values are shown as text, whatever control characters they hold."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        # a pivot makes names of columns from data
        table.add_column(printable(column), overflow="fold")
    for row in rows:
        table.add_row(*(printable(value) for value in row))
    return table


def print_table(columns: list[str], rows: list[list[str]]) -> None:
    """Prints plain aligned columns."""
    # a pipe has no width: lines that were folded at 80 columns could not be searched
    width = None if sys.stdout.isatty() else 500
    Console(highlight=False, markup=False, emoji=False, width=width).print(make_table(columns, rows))


def printable(text: str) -> str:
    """The text on one line: a space for each line break and tab, `?` for everything else that does not print."""
    if text.isprintable():
        return text
    shown = (" " if character in "\n\r\t" else character for character in text)
    return "".join(character if character.isprintable() else "?" for character in shown)


class _TextLines(logging.Formatter):
    """A record a line; lines that follow within a record (a stack) are indented, so that no text can pass for a record."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n    ".join(printable(line) for line in super().format(record).split("\n"))


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        # escapes all that is not ASCII, and so what does not print
        return json.dumps(fields)


def configure_logging(style: str) -> None:
    """Log lines of mail_ingest on standard error, as text or as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines() if style == "json" else _TextLines("%(asctime)s %(levelname)s %(message)s"))
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


class ProgressReport:
    """Progress of a sync: a live bar on a terminal, a log line now and then elsewhere."""

    def __init__(self, *, live: bool | None = None) -> None:
        self._live = sys.stderr.isatty() if live is None else live
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._key = ("", "")
        self._started = self._logged = time.monotonic()

    def __enter__(self) -> Self:
        if self._live:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=_errors,
                transient=True,
            )
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, progress: SyncProgress) -> None:
        now = time.monotonic()
        if (progress.account_id, progress.phase) != self._key:
            self._key = (progress.account_id, progress.phase)
            self._started = self._logged = now
            if self._bar is not None:
                if self._task is not None:
                    self._bar.remove_task(self._task)
                self._task = self._bar.add_task(f"{progress.account_id} {progress.phase}", total=None, rate="")
        rate = progress.done / (now - self._started) if now > self._started else 0.0
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=progress.done, total=progress.total, rate=f"{rate:,.0f}/s")
        elif self._bar is None and now - self._logged >= _LOG_EVERY_S:
            self._logged = now
            left = ""
            if progress.total and rate:
                left = f", {(progress.total - progress.done) / rate / 60:.1f} min left"
            logger.info(
                "%s: %s %d of %s, %.0f/s%s",
                progress.account_id,
                progress.phase,
                progress.done,
                progress.total if progress.total is not None else "?",
                rate,
                left,
            )
