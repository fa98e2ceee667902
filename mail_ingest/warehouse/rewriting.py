"""Reads messages as they are stored, package by package, and writes other rows in their place, each package at once.

Rows do not go through dlt: a package that a killed process left behind would bring back what was taken away. Written rows get
a load id of their own, noted as completed, by which the build of the analyst tables finds them.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mail_ingest.warehouse.connection import Connection, Warehouse, transaction
from mail_ingest.warehouse.schema import LandingTable

Values = Mapping[str, Any]

_ARRAYS = {"text": "varchar", "json": "varchar", "int": "bigint", "bool": "boolean", "time": "timestamp with time zone"}


@dataclass(frozen=True, slots=True)
class Place:
    """A stored message, and how many characters of text its row holds."""

    message_id: str
    characters: int


class StoredRows:
    """The rows of messages in content tables. `tables`: the one that has a row for each message last."""

    def __init__(self, warehouse: Warehouse, dataset: str, tables: Sequence[LandingTable]) -> None:
        self._warehouse = warehouse
        self._dataset = dataset
        self._tables = tables

    def after(self, account_id: str, message_id: str, limit: int) -> list[Place]:
        """The messages of an account that follow one, in the order of their ids, at most `limit`."""
        with self._warehouse.open() as connection:
            rows = connection.execute(
                f"select message_id, coalesce(length(body_text), 0) from {self._dataset}.{self._tables[-1].name} "
                "where account_id = ? and message_id > ? order by message_id limit ?",
                [account_id, message_id, limit],
            ).fetchall()
        return [Place(*row) for row in rows]

    def read(self, account_id: str, message_ids: Sequence[str]) -> dict[str, dict[str, list[dict[str, Any]]]]:
        """All rows of these messages: by message, by table."""
        found: dict[str, dict[str, list[dict[str, Any]]]] = {message_id: {} for message_id in message_ids}
        with self._warehouse.open() as connection:
            for table in self._tables:
                columns = ", ".join(
                    f"cast({column.name} as varchar)" if column.kind == "json" else column.name
                    for column in table.columns
                )
                rows = connection.execute(
                    f"select {columns} from {self._dataset}.{table.name} where account_id = ? "
                    f"and message_id in (select unnest(cast(? as varchar[]))) order by {', '.join(table.key)}",
                    [account_id, list(message_ids)],
                ).fetchall()
                names = [column.name for column in table.columns]
                for row in rows:
                    values = dict(zip(names, row, strict=True))
                    found[values["message_id"]].setdefault(table.name, []).append(values)
        return found

    def replace(
        self,
        account_id: str,
        rows: Mapping[str, Mapping[str, Sequence[Values]]],
        *,
        marks: tuple[LandingTable, Sequence[Values]],
        unmarked: str,
        moved: Mapping[str, tuple[str, Collection[str]]] | None = None,
    ) -> None:
        """Puts rows (by message, by table) in the place of all that these messages have, in one transaction.

        A message without rows loses those that it has. `marks`: a table that gets a row for each of those; they lose theirs of
        the table `unmarked`. `moved`: packs out of which bytes were copied, with the pack that they are in now and their
        messages, whose rows point there from then on.
        """
        load_id = f"{time.time():.6f}.{secrets.token_hex(3)}"
        message_ids = list(rows)
        with self._warehouse.open() as connection, transaction(connection):
            if rows:
                _note_load(connection, self._dataset, load_id)
            for table in self._tables if rows else ():
                _delete(connection, f"{self._dataset}.{table.name}", account_id, message_ids)
                fresh = [row for message_id in rows for row in rows[message_id].get(table.name, ())]
                _insert(connection, self._dataset, table, fresh, load_id)
            marks_table, marks_rows = marks
            marked = [row["message_id"] for row in marks_rows]
            for name in (marks_table.name, unmarked):
                _delete(connection, f"{self._dataset}.{name}", account_id, marked)
            _insert(connection, self._dataset, marks_table, marks_rows, load_id)
            for old, (new, moved_ids) in (moved or {}).items():
                connection.execute(
                    f"update {self._dataset}.{self._tables[-1].name} set raw_pack = ? where account_id = ? and raw_pack = ? "
                    "and message_id in (select unnest(cast(? as varchar[])))",
                    [new, account_id, old, list(moved_ids)],
                )

    def repoint(self, account_id: str, old: str, new: str | None, message_ids: Collection[str]) -> None:
        """Has the messages that point into a pack point into another one, those of `message_ids` into none."""
        pack = f"update {self._dataset}.{self._tables[-1].name} set raw_pack"
        with self._warehouse.open() as connection, transaction(connection):
            connection.execute(
                f"{pack} = null where account_id = ? and raw_pack = ? "
                "and message_id in (select unnest(cast(? as varchar[])))",
                [account_id, old, list(message_ids)],
            )
            connection.execute(f"{pack} = ? where account_id = ? and raw_pack = ?", [new, account_id, old])

    def points_into(self, account_id: str, packs: Sequence[str]) -> set[str]:
        """Those of these packs that any row points into."""
        with self._warehouse.open() as connection:
            rows = connection.execute(
                f"select distinct raw_pack from {self._dataset}.{self._tables[-1].name} where account_id = ? "
                "and raw_pack in (select unnest(cast(? as varchar[])))",
                [account_id, list(packs)],
            ).fetchall()
        return {row[0] for row in rows}

    def places(self, account_id: str, message_ids: Sequence[str]) -> dict[str, str | None]:
        """The packs that these messages point into; those that are not stored are left out."""
        with self._warehouse.open() as connection:
            rows = connection.execute(
                f"select message_id, raw_pack from {self._dataset}.{self._tables[-1].name} where account_id = ? "
                "and message_id in (select unnest(cast(? as varchar[])))",
                [account_id, list(message_ids)],
            ).fetchall()
        return dict(rows)

    def ids_in(self, table: str, account_id: str, message_ids: Sequence[str]) -> set[str]:
        """Which of these messages have a row in a table."""
        with self._warehouse.open() as connection:
            rows = connection.execute(
                f"select message_id from {self._dataset}.{table} where account_id = ? "
                "and message_id in (select unnest(cast(? as varchar[])))",
                [account_id, list(message_ids)],
            ).fetchall()
        return {row[0] for row in rows}


def _note_load(connection: Connection, dataset: str, load_id: str) -> None:
    """As a completed load: rows of any other would be taken back by the next sync (see `unfinished`)."""
    made = connection.execute(
        "select 1 from information_schema.tables where table_schema = ? and table_name = '_dlt_loads'", [dataset]
    ).fetchone()
    if made:
        connection.execute(
            f"insert into {dataset}._dlt_loads (load_id, schema_name, status, inserted_at, schema_version_hash) "
            "values (?, 'rewritten', 0, now(), '')",
            [load_id],
        )


def _delete(connection: Connection, table: str, account_id: str, message_ids: Sequence[str]) -> None:
    connection.execute(
        f"delete from {table} where account_id = ? and message_id in (select unnest(cast(? as varchar[])))",
        [account_id, list(message_ids)],
    )


def _insert(connection: Connection, dataset: str, table: LandingTable, rows: Sequence[Values], load_id: str) -> None:
    if not rows:
        return
    names = [column.name for column in table.columns]
    arrays = ", ".join(f"unnest(cast(? as {_ARRAYS[column.kind]}[])) as {column.name}" for column in table.columns)
    # JSON is no type of arrays that both databases take
    columns = ", ".join(
        f"cast({column.name} as {'json' if column.kind == 'json' else _ARRAYS[column.kind]})"
        for column in table.columns
    )
    connection.execute(
        f"insert into {dataset}.{table.name} ({', '.join(names)}, _dlt_load_id) "
        f"select {columns}, '{load_id}' from (select {arrays}) as fresh",
        [[row[name] for row in rows] for name in names],
    )
