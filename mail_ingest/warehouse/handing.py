"""Where tables read others, and which keys a changed table hands on to its readers: those of rows that are not what they were.

A reader names the columns that it takes from a table, each time it reads it. So a message that was read and nothing else hands
its thread on to the table that counts unread mail, and nothing to the tables that know no labels.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mail_ingest.warehouse.connection import Connection
from mail_ingest.warehouse.marts import Relation, Source

_COLUMN = re.compile(r"([a-z_0-9]+)(?: as [a-z_0-9]+)?")


@dataclass(frozen=True)
class Reading:
    """One place at which a table reads another. `columns` are those that it takes, its key among them or not."""

    reader: Relation
    source: Source
    columns: tuple[str, ...]


def readings(relation: Relation, tables: Iterable[Relation]) -> Iterator[Reading]:
    """Every place at which one of the tables reads `relation` and changes with it."""
    for reader in tables:
        for source, (start, _) in places(reader):
            if source.name == relation.name:
                yield Reading(reader, source, _taken(reader, start))


def places(relation: Relation) -> list[tuple[Source, tuple[int, int]]]:
    """Where the select of a table reads what its changes come from: the first line `from name` belongs to the first source
    of that name, and so on."""
    found: list[tuple[Source, tuple[int, int]]] = []
    for name in dict.fromkeys(source.name for source in relation.changes_from):
        sources = [source for source in relation.changes_from if source.name == name]
        lines = [match.span() for match in re.finditer(rf"from {re.escape(name)}$", relation.select, re.MULTILINE)]
        if len(lines) != len(sources):
            raise ValueError(
                f"{relation.name} must read {name} by {len(sources)} line(s) `from {name}`, not {len(lines)}"
            )
        found += zip(sources, lines, strict=True)
    return found


def restricted(relation: Relation, dialect: str) -> str:
    """A table's select with the relations that its changes come from cut down to `changed_keys`."""
    text = relation.select
    for source, (start, end) in sorted(places(relation), key=lambda place: place[1], reverse=True):
        is_changed = among_changed(source.columns, relation.changes_by, dialect)
        text = text[:start] + f"from (select * from {source.name} where {is_changed}) as changed" + text[end:]
    return text


def among_changed(named: Sequence[str], columns: Sequence[str], dialect: str) -> str:
    """A condition: the columns `named` hold one of the keys in `changed_keys`, which are called `columns` there.

    DuckDB takes a Bloom filter into its scan only for one column, and only from keys that are filtered themselves; with it,
    other columns are read for the rows of these keys alone. So the last column is asked for first, and the filter drops none.
    """
    condition = f"({', '.join(named)}) in (select {', '.join(columns)} from changed_keys)"
    if dialect == "duckdb":
        one, key = named[-1], columns[-1]
        condition = (
            f"{one} in (select {key} from changed_keys where length(cast({key} as varchar)) >= 0) and {condition}"
        )
    return condition


class Snapshots:
    """The rows of `changed_keys` before and after a change, in the columns that readers take.

    The rows after it may be any relation that has them, so that the table need not be read once more.
    """

    def __init__(self, connection: Connection, relation: Relation, readers: Sequence[Reading], dialect: str) -> None:
        self._execute = connection.execute
        self._dialect = dialect
        self._relation = relation
        self._readings = readers

    @property
    def has_rows(self) -> bool:
        """Whether `take` keeps anything: somebody reads the table."""
        return bool(self._readings)

    def take(self, name: str) -> None:
        """Keeps the rows as they are now in a temporary table; on DuckDB with their places in the table, as `place_of_row`."""
        if not self._readings:
            return
        keys = self._relation.changes_by
        place = ", rowid as place_of_row" if self._dialect == "duckdb" else ""
        columns = dict.fromkeys(column for reading in self._readings for column in self._compared(reading))
        self._execute(f"drop table if exists {name}")
        self._execute(
            f"create temporary table {name} as select {', '.join(columns)}{place} from {self._relation.name} "
            f"where {among_changed(keys, keys, self._dialect)}"
        )

    def differences(self, before: str, after: str) -> Iterator[tuple[Relation, str]]:
        """For each reader selects of the keys that it has to renew."""
        for reading in self._readings:
            columns, named = ", ".join(self._compared(reading)), ", ".join(reading.source.columns)
            for one, other in ((before, after), (after, before)):
                yield (
                    reading.reader,
                    f"select distinct {named} from (select {columns} from {one} except select {columns} from {other}) as moved",
                )

    def _compared(self, reading: Reading) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self._relation.key, *reading.source.columns, *reading.columns)))


def _taken(relation: Relation, end: int) -> tuple[str, ...]:
    """The columns of the select that ends at a line `from`."""
    listed = relation.select[:end].rpartition("select\n")[2]
    columns = []
    for part in listed.split(","):
        match = _COLUMN.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"{relation.name} must list the columns that it takes, one by one, where it reads a table")
        columns.append(match[1])
    return tuple(columns)
