"""The SQL under `sql/`: analyst relations and checks, read from files whose headers say what they are.

A file holds one `select`; this module supplies the rest. The header is comment lines of the form

    -- mail.messages: one row per known message.
    -- key: account_id, message_id
    -- reads: mail_staging.message_states, mail_staging.messages
    -- refresh: view
    -- column account_id: account that holds the message.

and becomes the comments on the relation and its columns, its lineage in Dagster and its place in the order of creation.
A file whose name ends in `.duckdb.sql` or `.postgres.sql` is for that database alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from importlib.resources import files
from pathlib import Path

from mail_ingest.warehouse.connection import Connection

_DIALECTS = ("duckdb", "postgres")


@dataclass(frozen=True)
class Relation:
    """One relation of the analyst layers. `columns` maps names to descriptions, in order."""

    name: str
    description: str
    key: tuple[str, ...]
    reads: tuple[str, ...]
    columns: dict[str, str]
    text: str

    @property
    def schema(self) -> str:
        return self.name.split(".")[0]


@dataclass(frozen=True)
class Check:
    """One claim about a relation. Its `select` returns the rows that break the claim; none means it holds."""

    name: str
    relation: str
    description: str
    severity: str
    text: str


def sql_folder() -> Path:
    """Where the SQL files are: inside the installed package, or beside it in a checkout."""
    inside = Path(str(files("mail_ingest"))) / "sql"
    return inside if inside.is_dir() else Path(str(files("mail_ingest"))).parent / "sql"


@cache
def load_relations(dialect: str = "duckdb") -> tuple[Relation, ...]:
    """Every relation for one database, those that are read before those that read them."""
    relations = {}
    for layer in ("staging", "marts"):
        for path in _paths(layer, dialect):
            relation = _relation(path)
            relations[relation.name] = relation
    order = TopologicalSorter({name: set(relation.reads) for name, relation in relations.items()}).static_order()
    return tuple(relations[name] for name in order if name in relations)


@cache
def load_checks(dialect: str = "duckdb") -> tuple[Check, ...]:
    """Every check, by name."""
    checks = []
    for path in _paths("checks", dialect):
        text = path.read_text()
        fields = _header(text)
        checks.append(
            Check(_stem(path), fields["table"], fields["catches"], fields.get("severity", "error"), _select(text))
        )
    return tuple(checks)


def create_views(connection: Connection, relations: Iterable[Relation]) -> None:
    """Creates or replaces the relations in the order given, with their comments."""
    for relation in relations:
        connection.execute(f"create schema if not exists {relation.schema}")
        connection.execute(f"create or replace view {relation.name} as {_select(relation.text)}")
        connection.execute(f"comment on view {relation.name} is {quote(relation.description)}")
        for column, description in relation.columns.items():
            connection.execute(f"comment on column {relation.name}.{column} is {quote(description)}")


def run_check(connection: Connection, check: Check, limit: int = 5) -> tuple[int, Sequence[str]]:
    """How many rows break the claim, and the keys of the first few. Checks return keys only, never text of mail."""
    total = connection.execute(f"select count(*) from ({check.text}) as broken").fetchone()
    rows = connection.execute(f"select * from ({check.text}) as broken limit {limit}").fetchall()
    return (total[0] if total else 0), [" ".join(str(value) for value in row) for row in rows]


def _paths(layer: str, dialect: str) -> list[Path]:
    others = tuple(f".{other}.sql" for other in _DIALECTS if other != dialect)
    return sorted(path for path in (sql_folder() / layer).glob("*.sql") if not path.name.endswith(others))


def _relation(path: Path) -> Relation:
    text = path.read_text()
    first = re.match(r"-- ([a-z0-9_]+\.[a-z0-9_]+): (.+)", text)
    if first is None:
        raise ValueError(f"{path.name} does not begin with a line `-- schema.name: what one row is`")
    fields = _header(text)
    columns = {key.removeprefix("column "): value for key, value in fields.items() if key.startswith("column ")}
    return Relation(
        name=first[1],
        description=_sentence(first[2]),
        key=_list(fields.get("key", "")),
        reads=_list(fields.get("reads", "")),
        columns={name: _sentence(value) for name, value in columns.items()},
        text=text,
    )


def _header(text: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in text.splitlines():
        match = re.match(r"-- ([a-z0-9_ .]+?): (.+)", line)
        if match is None:
            break
        fields[match[1]] = match[2]
    return fields


def _select(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith("--")).strip().rstrip(";")


def _stem(path: Path) -> str:
    return path.name.removesuffix(".sql").removesuffix(".duckdb").removesuffix(".postgres")


def _list(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def quote(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"
