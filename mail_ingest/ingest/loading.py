"""Hands spooled rows to the pipelines: one spool is one load package, or several accounts' spools are one together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from mail_ingest.warehouse.pipeline import Pipelines
from mail_ingest.warehouse.spool import TABLE_BYTES, Spool

Cursors = Mapping[str, Mapping[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Package:
    """A spool on its way to a pipeline. `cursors` are set with its rows; None removes an account's."""

    pipeline: str
    source: str
    spool: Spool
    cursors: Cursors | None = None
    more_follow: bool = False


class Load(Protocol):
    """Loads a package, and returns once it is in the warehouse. Raises MailIngestError; see `Pipelines.load`."""

    def __call__(self, package: Package, /) -> None: ...


class Loader:
    """Loads packages through dlt, each by itself or several of one pipeline and source as one."""

    def __init__(self, pipelines: Pipelines) -> None:
        self._pipelines = pipelines

    def __call__(self, package: Package) -> None:
        self.together([package], keeps_refused=True)

    def together(self, packages: Sequence[Package], *, keeps_refused: bool = False) -> None:
        """Loads packages of different accounts, all for one pipeline and source, as one: half a second of work that does not
        depend on the number of rows is then done once. Memory: `TABLE_BYTES`, and what the load takes.

        What is refused does not stay pending, and may be tried apart."""
        from mail_ingest.sources.landing import landing_source

        first = packages[0]
        tables = list(dict.fromkeys(table for package in packages for table in package.spool.tables()))
        cursors = {name: cursor for package in packages for name, cursor in (package.cursors or {}).items()}

        def read(table: str) -> Iterator[pa.Table]:
            yield from _joined(batch for package in packages for batch in package.spool.read(table))

        self._pipelines.load(
            first.pipeline,
            lambda staging: landing_source(first.source, tables, read, staging=staging, cursors=cursors or None),
            size_bytes=sum(package.spool.size_bytes for package in packages),
            more_follow=first.more_follow,
            keeps_refused=keeps_refused,
        )


def _joined(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in few tables."""
    held: list[pa.Table] = []
    size = 0
    for table in tables:
        if held and size + table.nbytes > TABLE_BYTES:
            yield pa.concat_tables(held)
            held, size = [], 0
        held.append(table)
        size += table.nbytes
    if held:
        yield held[0] if len(held) == 1 else pa.concat_tables(held)
