"""Claims about the warehouse: a file in `sql/checks` for each, and one for every key that a table declares.

A file holds one `select` of the rows that break the claim; none means that it holds. Its header is comment lines of the form

    -- table: gmail.messages
    -- catches: content of a message that no state sync has seen.
    -- do: what a person does about it.
    -- severity: error, or warn for what may well be
    -- blocking: yes, where tables that are built on rows like these would be wrong
    -- looks: yes, where the select reads `looks` (see `looks_at`)

Key checks are made from the declared keys and are no files of their own: twenty-five times the same two lines would only
differ from the declarations by mistake. Postgres has a constraint for each key as well; DuckDB has none.

What a check selects is shown to people, so it selects keys, times and counts, and never text of mail or an address of a
correspondent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

from mail_ingest.accounts import Look
from mail_ingest.warehouse.connection import Connection
from mail_ingest.warehouse.marts import header_of, select_of, sql_paths

#: Columns of keys that hold addresses of correspondents.
_PRIVATE = frozenset({"address"})
_LOOK = ("account_id", "state", "looked_at", "registered_at")
EXAMPLES = 5


@dataclass(frozen=True)
class Check:
    """One claim about a relation, with the query for the rows that break it. `remedy` is what to do about them.

    A failed check whose `is_blocking` is true keeps Dagster from building what reads the relation.
    """

    name: str
    relation: str
    description: str
    remedy: str
    severity: str
    text: str
    is_blocking: bool = False
    reads_looks: bool = False

    @property
    def claim(self) -> str:
        """The name without the table's."""
        return self.name.split("__", 1)[1]


@dataclass(frozen=True)
class Broken:
    """How many rows break a claim, and what the first of them are."""

    rows: int
    examples: tuple[str, ...] = ()


@cache
def load_checks() -> tuple[Check, ...]:
    """The checks in `sql/checks`, by name."""
    checks = []
    for path in sql_paths("checks"):
        text = path.read_text()
        fields = header_of(text)
        checks.append(
            Check(
                path.stem,
                fields["table"],
                fields["catches"],
                fields["do"],
                fields["severity"],
                select_of(text),
                is_blocking=fields.get("blocking") == "yes",
                reads_looks=fields.get("looks") == "yes",
            )
        )
    return tuple(checks)


def key_check(relation: str, key: Sequence[str], remedy: str, *, is_blocking: bool = False) -> Check:
    """The claim that no two rows of a relation have the same key."""
    shown = ", ".join(column for column in key if column not in _PRIVATE) or "count(*) as row_count"
    return Check(
        f"{relation.split('.')[1]}__key_is_unique",
        relation,
        f"two rows of one {', '.join(key)}, which everything that joins or counts them would count twice.",
        remedy,
        "error",
        f"select {shown}\nfrom {relation}\ngroup by {', '.join(key)}\nhaving count(*) > 1",
        is_blocking=is_blocking,
    )


def run_check(connection: Connection, check: Check) -> Broken:
    """Counts the rows that break a claim and reads the first few. The database does the work: a row costs no memory here."""
    [rows] = connection.execute(f"select count(*) from ({check.text}) as broken").fetchone()
    if not rows:
        return Broken(0)
    result = connection.execute(f"select * from ({check.text}) as broken limit {EXAMPLES}")
    names = [str(column[0]) for column in result.description or ()]
    return Broken(rows, tuple(_example(names, row) for row in result.fetchall()))


@contextmanager
def looks_at(connection: Connection, looks: Sequence[Look]) -> Iterator[None]:
    """Lets checks read `looks` for the length of the block: what only the control database knows.

    A mailbox in which nothing happens leaves no trace in the warehouse, however often Gmail is asked.
    """
    lists = (
        [look.account_id for look in looks],
        [look.state for look in looks],
        [look.looked_at.isoformat() if look.looked_at else None for look in looks],
        [look.registered_at.isoformat() for look in looks],
    )
    account_ids, states, looked_at, registered_at = (f"unnest(cast(? as varchar[])) as {name}" for name in _LOOK)
    connection.execute("drop table if exists looks")
    connection.execute(
        "create temporary table looks as select account_id, state, cast(looked_at as timestamp with time zone) as looked_at, "
        "cast(registered_at as timestamp with time zone) as registered_at "
        f"from (select {account_ids}, {states}, {looked_at}, {registered_at}) as given",
        list(lists),
    )
    try:
        yield
    finally:
        connection.execute("drop table if exists looks")


def _example(names: Sequence[str], row: Sequence[object]) -> str:
    return re.sub(r"\s+", " ", ", ".join(f"{name} {value}" for name, value in zip(names, row, strict=True)))
