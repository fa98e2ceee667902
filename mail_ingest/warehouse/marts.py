"""The SQL under `sql/`: analyst relations, read from files whose headers say what they are. Checks are in `checks`.

A file holds one `select`; this module supplies the rest. The header is comment lines of the form

    -- mail.messages: one row per known message.
    -- key: account_id, message_id
    -- reads: mail_staging.message_states, mail_staging.messages
    -- refresh: incremental
    -- changes by: account_id, message_id
    -- changes from: mail_staging.message_states; mail_staging.messages
    -- updated from: mail_staging.message_states (thread_id, label_ids)
    -- index: account_id, internal_date desc; account_id, thread_id
    -- order: account_id, internal_date
    -- text: subject, from_name, snippet, body_text
    -- column account_id: account that holds the message.

and becomes the comments on the relation and its columns, its lineage in Dagster, its place in the order of creation, and
what `builds` needs to keep it up to date. `changes from` names a relation as often as the `select` reads it, in the same
order, each time with the columns that hold what the table changes by. `index` is for Postgres; `order` is how DuckDB stores the
rows of a full build, which lets it pass over row groups of other accounts. `text` names the columns that copies may leave
out. The text is the same for DuckDB and Postgres.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from graphlib import TopologicalSorter
from importlib.resources import files
from pathlib import Path

from mail_ingest.warehouse import row_security
from mail_ingest.warehouse.connection import Connection, Dialect


@dataclass(frozen=True)
class Source:
    """A relation that another one reads. `columns` are those that the reader's columns of change are called in it."""

    name: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Mirror:
    """A staging view that a table follows row by row, for the rows that meet `condition`."""

    name: str
    condition: str


@dataclass(frozen=True)
class Relation:
    """One relation of the analyst layers. `columns` maps names to descriptions, in order.

    `refresh` is view, or incremental for a table. `changes_by` are the columns by which a table is renewed: all rows of
    a value of these depend on the rows of `changes_from` with the same value, and on nothing else but small relations.
    `updated_from` is one of these, whose changes touch the named columns alone in rows that are there already.
    `changes_through` are small relations, of which a changed row renews what holds the same values. `append_only` are
    landing tables whose vanished rows can be told in no other way than by building anew. `texts` are columns that hold words
    of mail, or names of people and files.
    """

    name: str
    description: str
    key: tuple[str, ...]
    reads: tuple[str, ...]
    columns: dict[str, str]
    text: str
    refresh: str = "view"
    changes_by: tuple[str, ...] = ()
    changes_from: tuple[Source, ...] = ()
    changes_through: tuple[Source, ...] = ()
    updated_from: tuple[Source, ...] = ()
    mirrors: tuple[Mirror, ...] = ()
    append_only: tuple[str, ...] = ()
    indexes: tuple[str, ...] = field(default=())
    order: str = ""
    texts: tuple[str, ...] = ()

    @property
    def schema(self) -> str:
        return self.name.split(".")[0]

    @property
    def short_name(self) -> str:
        return self.name.split(".")[1]

    @property
    def is_table(self) -> bool:
        return self.refresh == "incremental"

    @property
    def select(self) -> str:
        """The text without its header, and without a semicolon."""
        return select_of(self.text)


def sql_folder() -> Path:
    """Where the SQL files are: inside the installed package, or beside it in a checkout."""
    inside = Path(str(files("mail_ingest"))) / "sql"
    return inside if inside.is_dir() else Path(str(files("mail_ingest"))).parent / "sql"


@cache
def load_relations() -> tuple[Relation, ...]:
    """Every relation, those that are read before those that read them."""
    relations = {}
    for layer in ("staging", "marts"):
        for path in sql_paths(layer):
            relation = _relation(path)
            relations[relation.name] = relation
    order = TopologicalSorter({name: set(relation.reads) for name, relation in relations.items()}).static_order()
    return tuple(relations[name] for name in order if name in relations)


def kinds_of_relations(connection: Connection) -> dict[str, str]:
    """`VIEW` or `BASE TABLE` by name, of all relations that are there: one query, which takes as long as one for each would."""
    rows = connection.execute(
        "select table_schema, table_name, table_type from information_schema.tables "
        "where table_schema not in ('information_schema', 'pg_catalog')"
    ).fetchall()
    return {f"{schema}.{name}": kind for schema, name, kind in rows}


def create_views(connection: Connection, relations: Iterable[Relation], dialect: Dialect) -> None:
    """Creates or replaces the relations as views, in the order given, with their comments."""
    is_restricted = row_security.is_made(connection, dialect)
    for relation in relations:
        connection.execute(f"create schema if not exists {relation.schema}")
        if is_restricted and relation.schema == "mail":
            row_security.create_view(connection, relation)
        else:
            connection.execute(f"create or replace view {relation.name} as {relation.select}")
        comment(connection, relation, "view")


def comment(connection: Connection, relation: Relation, kind: str) -> None:
    """Comments a relation, a `table` or a `view`, and its columns."""
    columns = (
        f"comment on column {relation.name}.{column} is {quote(description)}"
        for column, description in relation.columns.items()
    )
    connection.execute("; ".join([f"comment on {kind} {relation.name} is {quote(relation.description)}", *columns]))


def sql_paths(layer: str) -> list[Path]:
    """The files of one folder of `sql/`, by name."""
    return sorted((sql_folder() / layer).glob("*.sql"))


def _relation(path: Path) -> Relation:
    text = path.read_text()
    first = re.match(r"-- ([a-z0-9_]+\.[a-z0-9_]+): (.+)", text)
    if first is None:
        raise ValueError(f"{path.name} does not begin with a line `-- schema.name: what one row is`")
    fields = header_of(text)
    columns = {key.removeprefix("column "): value for key, value in fields.items() if key.startswith("column ")}
    changes_by = _list(fields.get("changes by", ""))
    return Relation(
        name=first[1],
        description=_sentence(first[2]),
        key=_list(fields.get("key", "")),
        reads=_list(fields.get("reads", "")),
        columns={name: _sentence(value) for name, value in columns.items()},
        text=text,
        refresh=fields.get("refresh", "view"),
        changes_by=changes_by,
        changes_from=tuple(_source(part, changes_by) for part in _list(fields.get("changes from", ""), ";")),
        changes_through=tuple(_source(part, ()) for part in _list(fields.get("changes through", ""), ";")),
        updated_from=tuple(_source(part, ()) for part in _list(fields.get("updated from", ""), ";")),
        mirrors=tuple(_mirror(part) for part in _list(fields.get("mirrors", ""), ";")),
        append_only=_list(fields.get("full when rows vanish from", "")),
        order=fields.get("order", ""),
        indexes=_list(fields.get("index", ""), ";"),
        texts=_list(fields.get("text", "")),
    )


def _source(text: str, columns: tuple[str, ...]) -> Source:
    """`schema.name`, `schema.name (columns)` or `schema.name on columns`."""
    match = re.fullmatch(r"([a-z0-9_.]+)(?: \((.+)\)| on (.+))?", text)
    if match is None:
        raise ValueError(f"{text!r} names no source")
    return Source(match[1], _list(match[2] or match[3] or "") or columns)


def _mirror(text: str) -> Mirror:
    name, _, condition = text.partition(" where ")
    return Mirror(name, condition or "true")


def header_of(text: str) -> dict[str, str]:
    """The fields of the comment lines that a file begins with."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        match = re.match(r"-- ([a-z0-9_ .]+?): (.+)", line)
        if match is None:
            break
        fields[match[1]] = match[2]
    return fields


def select_of(text: str) -> str:
    """The text without its comment lines, and without a semicolon."""
    return "\n".join(line for line in text.splitlines() if not line.startswith("-- ")).strip().rstrip(";")


def _list(value: str, separator: str = ",") -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(separator) if part.strip())


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def quote(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"
