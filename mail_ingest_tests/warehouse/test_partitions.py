"""What the warehouse tells of months and days, from rows put into it by hand."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mail_ingest.ingest import Engine
from mail_ingest.warehouse.partitions import PartitionCounts
from mail_ingest.warehouse.queries import Scope
from mail_ingest_tests.conftest import ADDRESS

pytestmark = pytest.mark.warehouses("duckdb", "postgres")

NOW = datetime(2026, 5, 17, tzinfo=UTC)


def _id(moment: str, number: int = 0) -> str:
    """An id of 16 hex digits that arrived at a moment."""
    arrived_ms = int(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp() * 1000)
    return f"{(arrived_ms << 20) + number:016x}"


def _put(engine: Engine, table: str, *rows: dict[str, object]) -> None:
    with engine.warehouse.open() as connection:
        for row in rows:
            values = {"account_id": ADDRESS, **row}
            connection.execute(
                f"insert into gmail.{table} ({', '.join(values)}) values ({', '.join('?' for _ in values)})",
                list(values.values()),
            )


def _states(engine: Engine, *ids: str, is_deleted: bool = False) -> None:
    _put(engine, "message_states", *({"message_id": each, "history_id": 1, "is_deleted": is_deleted} for each in ids))


def _stored(engine: Engine, message_id: str, moment: str) -> None:
    date = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    _put(engine, "messages", {"message_id": message_id, "internal_date": date})


def test_a_date_is_that_of_the_content_then_of_a_listing_then_of_the_id(engine: Engine) -> None:
    stored, listed, hinted = (_id("2024-02-10T12:00:00", number) for number in range(3))
    _states(engine, stored, listed, hinted, "opaque-id", "another")
    _states(engine, _id("2024-02-11T00:00:00"), is_deleted=True)
    _stored(engine, stored, "2024-01-31T23:59:59.999")
    _put(
        engine,
        "message_months",
        {"message_id": stored, "month": "2024-02", "day": "2024-02-10"},
        {"message_id": listed, "month": "2023-12", "day": "2023-12-31"},
        {"message_id": "another", "month": "2023-12", "day": None},
        {"message_id": "no state yet", "month": "2023-12", "day": "2023-12-30"},
    )
    _put(
        engine,
        "fetch_failures",
        {"message_id": hinted, "attempts": 1},
        {"message_id": stored, "attempts": 1, "resolved_at": NOW},
    )

    months = {counts.date: counts for counts in engine.partitions.partition_counts(ADDRESS, "month", Scope())}
    days = {counts.date: counts for counts in engine.partitions.partition_counts(ADDRESS, "day", Scope())}

    assert months == {
        "2024-01": PartitionCounts("2024-01", 1, 1, 0, 0, 0),
        "2023-12": PartitionCounts("2023-12", 3, 0, 0, 3, 3),
        "2024-02": PartitionCounts("2024-02", 1, 0, 1, 1, 0),
        None: PartitionCounts(None, 1, 0, 0, 1, 0),
    }
    assert days == {
        "2024-01-31": PartitionCounts("2024-01-31", 1, 1, 0, 0, 0),
        "2023-12-31": PartitionCounts("2023-12-31", 1, 0, 0, 1, 1),
        "2023-12-30": PartitionCounts("2023-12-30", 1, 0, 0, 1, 1),
        "2024-02-10": PartitionCounts("2024-02-10", 1, 0, 1, 1, 0),
        None: PartitionCounts(None, 2, 0, 0, 2, 0),
    }
    assert engine.partitions.messages_by_date("day") == [("2024-01-31", 1)]
    assert engine.partitions.messages_by_date("month") == [("2024-01", 1)]


def test_a_day_that_was_not_listed_is_told_by_the_id_within_its_month(engine: Engine) -> None:
    inside, imported = _id("2024-02-10T12:00:00"), _id("2026-05-01T00:00:00")
    _states(engine, inside, imported)
    _put(
        engine,
        "message_months",
        {"message_id": inside, "month": "2024-02"},
        {"message_id": imported, "month": "2024-02"},
    )

    assert {counts.date for counts in engine.partitions.partition_counts(ADDRESS, "day", Scope())} == {
        "2024-02-10",
        None,
    }


def test_the_backlog_of_partitions_is_newest_partition_first(engine: Engine) -> None:
    # the older the date, the later the import
    dates = ["2024-03-02", "2024-03-01", "2024-02-29", "2024-01-15"]
    ids = [_id("2026-05-01T00:00:00", number) for number in range(len(dates))]
    elsewhere = _id("2026-05-02T00:00:00")
    _states(engine, *ids, elsewhere)
    _put(
        engine,
        "message_months",
        *({"message_id": key, "month": date[:7], "day": date} for key, date in zip(ids, dates, strict=True)),
        {"message_id": elsewhere, "month": "2023-12", "day": None},
    )

    def found(**scope: tuple[str, ...]) -> list[str]:
        return [row[0] for row in engine.queries.backlog(ADDRESS, Scope(**scope), limit=10, now=NOW)]  # type: ignore[arg-type]

    assert found(partitions=("2024-03-01", "2024-03-02", "2024-02-29")) == ids[:3]
    assert found(partitions=("2024-02", "2024-01"), filed_elsewhere=(elsewhere,)) == [*ids[2:], elsewhere]
    backlog = engine.queries.count_backlog(ADDRESS, Scope(partitions=("2024-03",)), NOW)
    assert (backlog.due, backlog.out_of_scope) == (2, 3)
    listed = Scope(partitions=("2024-03", "2024-02", "2024-01", "2023-12"))
    assert set(engine.partitions.listed_backlog(ADDRESS, listed)) == {
        *((date[:7], date, 1) for date in dates),
        ("2023-12", None, 1),
    }
    assert engine.partitions.count_missing(ADDRESS, listed, [elsewhere, "unknown"]) == 1


def test_what_is_filed_elsewhere_stands_for_another_partition_whether_it_is_stored_or_not(engine: Engine) -> None:
    mine, other, bought, by_month = (_id("2024-02-10T12:00:00", number) for number in range(4))
    _put(
        engine,
        "message_months",
        {"message_id": mine, "month": "2024-02", "day": "2024-02-10"},
        {"message_id": other, "month": "2024-01", "day": "2024-01-31"},
        {"message_id": bought, "month": "2024-01", "day": "2024-01-31"},
        {"message_id": by_month, "month": "2024-02", "day": None},
    )
    _stored(engine, bought, "2024-02-10T12:00:00")
    ids = [mine, other, bought, by_month, "unknown"]

    assert engine.partitions.filed_elsewhere(ADDRESS, "2024-02", ids, is_day=False) == [other, bought]
    # a listing by day refines what only a month was known of
    assert engine.partitions.filed_elsewhere(ADDRESS, "2024-02-10", ids, is_day=True) == [other, bought]


def test_content_sets_right_what_listings_told(engine: Engine) -> None:
    right, edge, old, future, unbought = (_id("2024-02-01T00:00:00", number) for number in range(5))
    _put(
        engine,
        "message_months",
        {"message_id": right, "month": "2024-02", "day": "2024-02-01"},
        {"message_id": edge, "month": "2024-02", "day": None},
        {"message_id": old, "month": "2024-02", "day": "2024-02-01"},
        {"message_id": future, "month": "2024-02", "day": "2024-02-01"},
        {"message_id": unbought, "month": "2024-02", "day": "2024-02-01"},
    )
    for message_id, moment in (
        (right, "2024-02-01T00:00:00"),
        (edge, "2024-01-31T23:59:59.999"),
        (old, "1970-01-01T00:00:01"),
        (future, "2199-01-01T00:00:00"),
    ):
        _stored(engine, message_id, moment)

    engine.partitions.file_by_content(ADDRESS, "2004-04", "2026-05-17")

    with engine.warehouse.open() as connection:
        rows = connection.execute("select message_id, month, day from gmail.message_months").fetchall()
    assert {row[0]: (row[1], row[2]) for row in rows} == {
        right: ("2024-02", "2024-02-01"),
        edge: ("2024-01", None),
        old: ("2004-04", "2004-04-01"),
        future: ("2026-05", "2026-05-17"),
        unbought: ("2024-02", "2024-02-01"),
    }


def test_a_pace_is_units_over_minutes_of_syncs_that_stored_content(engine: Engine) -> None:
    began = datetime(2026, 5, 1, tzinfo=UTC)
    for number, (kind, units, stored, minutes) in enumerate(
        [("schedule", 100, 0, 1), ("schedule", 2_000, 99, 2), ("backfill", 4_000, 200, 4)]
    ):
        _put(
            engine,
            "sync_runs",
            {
                "run_id": str(number),
                "triggered_by": kind,
                "units": units,
                "contents_stored": stored,
                "started_at": began,
                "finished_at": began.replace(minute=minutes),
            },
        )

    spent = engine.partitions.pace(ADDRESS, began)

    assert (spent.other_units, spent.content_units, spent.content_minutes) == (2_100, 6_000, 6)
    assert engine.partitions.pace("nobody@example.com", began).content_minutes == 0
