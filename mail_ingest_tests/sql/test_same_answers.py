"""Both databases answer alike: the same rows land in either, and every relation of `mail` holds the same."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from mail_ingest.warehouse.marts import load_relations
from mail_ingest_tests.sql.databases import ADA, Database, at
from mail_ingest_tests.sql.test_incremental_builds import Landing

RELATIONS = [relation for relation in load_relations() if relation.schema == "mail"]


def test_both_databases_hold_the_same_in_every_relation(both_databases: tuple[Database, Database]) -> None:
    held = []
    for database in both_databases:
        landing = Landing(database, seed=7)
        landing.rename_label()
        for _ in range(12):
            landing.change()
        _land_what_stands_beside_mail(database, [message_id for _, message_id in landing.states])
        database.build()
        held.append({relation.name: _held(database, relation.name, relation.columns) for relation in RELATIONS})
    embedded, served = held

    assert {name for name, rows in embedded.items() if not rows} == set()
    for name, rows in embedded.items():
        assert rows == served[name], name


def _land_what_stands_beside_mail(database: Database, message_ids: list[str]) -> None:
    run = {"account_id": ADA, "kind": "partial", "outcome": "success", "units": 7, "waited_s": 1.25}
    part = {"account_id": ADA, "size_bytes": 3, "is_inline": False, "file_name": "计划 Ä.pdf"}
    database.load(
        accounts=[
            {"account_id": ADA, "status": "active", "messages_total": 3, "last_synced_at": at("2026-03-09 07:00")}
        ],
        sync_runs=[
            {
                **run,
                "run_id": f"r{day}",
                "started_at": at(f"2026-03-0{day} 07:00"),
                "finished_at": at(f"2026-03-0{day} 07:01"),
            }
            for day in (1, 9)
        ],
        attachments=[{**part, "message_id": message_id, "part_id": "1"} for message_id in message_ids],
    )


def _held(database: Database, relation: str, columns: object) -> list[tuple[Any, ...]]:
    rows = database.rows(f"select {', '.join(columns)} from {relation}")  # type: ignore[call-overload]
    return sorted((tuple(_plain(value) for value in row) for row in rows), key=repr)


def _plain(value: object) -> object:
    """A value as Python knows it, whichever driver made it."""
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    # one driver's number for an integer is the other's decimal
    return float(value) if isinstance(value, (int, Decimal)) and not isinstance(value, bool) else value
