"""A warehouse with landing tables and analyst relations, in a DuckDB file or an embedded Postgres, for rows by hand."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from mail_ingest.settings import parse_business_hours
from mail_ingest.sources.tables import DATASET, LANDING_TABLES
from mail_ingest.warehouse.builds import AnalystTables, Build
from mail_ingest.warehouse.configuration import Configuration
from mail_ingest.warehouse.connection import Connection, Dialect
from mail_ingest.warehouse.marts import load_relations
from mail_ingest.warehouse.schema import prepare_schema

ADA = "ada@example.com"
HOURS = "Mon-Fri 09:00-17:00 Europe/Berlin"
CONFIGURATION = Configuration(parse_business_hours(HOURS))
_TABLES = {table.name: table for table in LANDING_TABLES}


class Database:
    """One warehouse under test. `load` stands for a dlt load: rows replace those of the same key, and carry its id."""

    def __init__(self, connection: Connection, dialect: Dialect) -> None:
        self.connection = connection
        self.dialect = dialect
        self.configuration = CONFIGURATION
        self._loads = 0
        self.prepare()

    @property
    def tables(self) -> AnalystTables:
        return AnalystTables(load_relations(), self.configuration, self.dialect)

    def prepare(self) -> None:
        prepare_schema(self.connection, self.dialect, DATASET, LANDING_TABLES, self.tables)

    def configure(self, hours: str | None = None, internal_domains: tuple[str, ...] = ()) -> None:
        """What another environment would set."""
        self.configuration = Configuration(
            parse_business_hours(hours) if hours else self.configuration.hours, internal_domains
        )
        self.prepare()

    def build(self) -> Build:
        return self.tables.build(self.connection)

    def rebuild(self) -> Build:
        return self.tables.rebuild(self.connection)

    def load(self, load_id: str | None = None, **rows: Iterable[Mapping[str, object]]) -> str:
        """One package with rows of some tables; dictionaries and lists become JSON."""
        self._loads += 1
        load_id = load_id or f"17000{self._loads:05d}.5"
        for name, landed in rows.items():
            table = _TABLES[name]
            for row in landed:
                assert row.keys() <= {column.name for column in table.columns}, row
                same = " and ".join(f"{column} = ?" for column in table.key)
                self.connection.execute(f"delete from gmail.{name} where {same}", [row[column] for column in table.key])
                values = [
                    json.dumps(value, separators=(",", ":")) if isinstance(value, list) else value
                    for value in row.values()
                ]
                self.connection.execute(
                    f"insert into gmail.{name} ({', '.join(row)}, _dlt_load_id) values ({', '.join('?' * len(row))}, ?)",
                    [*values, load_id],
                )
        return load_id

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.connection.execute(query).fetchall()]

    def contents(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every analyst table, in an order of its own."""
        found = {}
        for relation in load_relations():
            if relation.is_table:
                rows = self.rows(f"select {', '.join(relation.columns)} from {relation.name}")
                found[relation.name] = sorted(rows, key=repr)
        return found

    # -- rows with defaults: a test says what is special about them ------------------------------------------------

    def state(self, message_id: str, labels: Sequence[str] = ("INBOX",), **special: object) -> dict[str, object]:
        return {
            "account_id": ADA,
            "message_id": message_id,
            "thread_id": "t1",
            "label_ids": sorted(labels),
            "history_id": 1,
            "is_deleted": False,
            "first_seen_at": at("2026-03-02 08:00"),
            "changed_at": at("2026-03-02 08:00"),
            **special,
        }

    def message(self, message_id: str, moment: str = "2026-03-02 07:00", **special: object) -> dict[str, object]:
        return {
            "account_id": ADA,
            "message_id": message_id,
            "thread_id": "t1",
            "internal_date": at(moment),
            "subject": "Plan",
            "from_address": "bo@partner.example",
            "attachment_count": 0,
            **special,
        }

    def recipient(self, message_id: str, kind: str, address: str, **special: object) -> dict[str, object]:
        return {
            "account_id": ADA,
            "message_id": message_id,
            "kind": kind,
            "position": 0,
            "name": "",
            "address": address,
            "group_name": "",
            **special,
        }

    def event(
        self,
        message_id: str,
        label_id: str,
        action: str,
        history_id: int,
        after: str | None,
        observed: str,
        **special: object,
    ) -> dict[str, object]:
        return {
            "account_id": ADA,
            "history_id": history_id,
            "message_id": message_id,
            "label_id": label_id,
            "action": action,
            "observed_after": at(after) if after else None,
            "observed_at": at(observed),
            "source": "history",
            **special,
        }


def at(moment: str) -> datetime:
    """A moment in UTC."""
    return datetime.fromisoformat(f"{moment}+00:00")
