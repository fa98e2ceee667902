"""The reads that backfills need: messages by month or day of their internal date, known, stored, failed or missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from mail_ingest.settings import PartitionKind
from mail_ingest.warehouse.connection import Dialect, Warehouse
from mail_ingest.warehouse.queries import Scope

#: When Gmail accepted a message, by the milliseconds that lead its id.
_ARRIVED: dict[Dialect, str] = {
    "duckdb": "to_timestamp(try_cast('0x' || substr(k.message_id, 1, 11) as bigint) / 1000.0)",
    "postgres": "to_timestamp(('x' || lpad(substr(k.message_id, 1, 11), 16, '0'))::bit(64)::bigint / 1000.0)",
}

_LASTED = "extract(epoch from finished_at - started_at) / 60"
_PACE = (
    "sum(units) filter (where triggered_by <> 'backfill'), "
    "sum(units) filter (where contents_stored > 0), "
    f"sum({_LASTED}) filter (where contents_stored > 0)"
)


@dataclass(frozen=True, slots=True)
class PartitionCounts:
    """What is known of one account's live messages of a month or day; `date` is None for those without a known date.

    `missing` have no content; of these `listed` were found by listing that month or day, the others are there by the time
    that their ids carry. `failed` could not be fetched or parsed.
    """

    date: str | None
    known: int
    stored: int
    failed: int
    missing: int
    listed: int


@dataclass(frozen=True, slots=True)
class Spending:
    """Units of syncs other than backfills; units and minutes of syncs that stored content."""

    other_units: float = 0.0
    content_units: float = 0.0
    content_minutes: float = 0.0


class PartitionQueries:
    """Reads of one warehouse by date; every function opens it for itself."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    def listed_backlog(self, account_id: str, scope: Scope) -> list[tuple[str, str | None, int]]:
        """Live messages without content that were listed for the scope's partitions, by month, and by day where one was
        listed."""
        condition, values = scope.condition()
        with self._warehouse.open() as connection:
            return connection.execute(
                f"select mm.month, mm.day, count(*) {scope.missing()} and {condition} group by mm.month, mm.day",
                [account_id, *values],
            ).fetchall()

    def filed_elsewhere(
        self, account_id: str, partition: str, message_ids: Sequence[str], *, is_day: bool
    ) -> list[str]:
        """Which of these messages, found by listing a partition, stand in `message_months` for another."""
        with self._warehouse.open() as connection:
            rows = connection.execute(
                f"select message_id from gmail.message_months where account_id = ? and {'day' if is_day else 'month'} <> ? "
                "and message_id in (select unnest(cast(? as varchar[]))) order by message_id",
                [account_id, partition, list(message_ids)],
            ).fetchall()
        return [row[0] for row in rows]

    def count_missing(self, account_id: str, scope: Scope, message_ids: Sequence[str]) -> int:
        """How many of these messages are live and have no content; of the scope everything counts but its partitions."""
        if not message_ids:
            return 0
        asked = replace(scope, partitions=(), filed_elsewhere=(), message_ids=tuple(message_ids))
        condition, values = asked.condition()
        with self._warehouse.open() as connection:
            row = connection.execute(
                f"select count(*) {asked.missing()} and {condition}", [account_id, *values]
            ).fetchone()
        return int(row[0]) if row else 0

    def messages_by_date(self, kind: PartitionKind) -> list[tuple[str, int]]:
        """Months (such as 2026-05) or days of the stored messages' internal dates, with how many messages; newest first."""
        with self._warehouse.open() as connection:
            return connection.execute(
                f"select {_date_text('m.internal_date', kind)} as date, count(*) "
                "from gmail.messages m group by 1 order by 1 desc"
            ).fetchall()

    def partition_counts(self, account_id: str, kind: PartitionKind, scope: Scope) -> list[PartitionCounts]:
        """What is known of an account's messages by month or day, and what of it a backfill within the scope would buy.

        The date is the internal one where content is stored, else what a listing told, else the time that ids of 16 hex
        digits carry; None where nothing tells it.
        """
        arrived = _ARRIVED[self._warehouse.dialect]
        told = "mm.month"
        hint = f"case when k.message_id ~ '^[0-9a-f]{{16}}$' then {_date_text(arrived, kind)} end"
        if kind == "day":
            month = f"case when k.message_id ~ '^[0-9a-f]{{16}}$' then {_date_text(arrived, 'month')} end"
            # where only the month was listed, the id may tell the day within it
            told, hint = "mm.day", f"case when mm.month is null or mm.month = {month} then {hint} end"
        condition, values = scope.condition()
        with self._warehouse.open() as connection:
            rows = connection.execute(
                f"with missing as (select s.message_id {scope.missing()} and {condition}), "
                "known as (select s.account_id, s.message_id, missing.message_id is not null as is_missing "
                "from gmail.message_states s left join missing on missing.message_id = s.message_id "
                "where s.account_id = ? and not s.is_deleted union all "
                # listed messages without a state arrived after the last state sync, or before the first
                "select mm.account_id, mm.message_id, true from gmail.message_months mm where mm.account_id = ? "
                "and mm.message_id not in (select message_id from gmail.message_states where account_id = ?)) "
                f"select coalesce({_date_text('m.internal_date', kind)}, {told}, {hint}) as date, count(*), "
                "count(m.message_id), count(f.message_id), "
                "count(*) filter (where k.is_missing), "
                f"count(*) filter (where k.is_missing and {told} is not null) from known k "
                "left join gmail.messages m on m.account_id = k.account_id and m.message_id = k.message_id "
                "left join gmail.message_months mm on mm.account_id = k.account_id and mm.message_id = k.message_id "
                "left join gmail.fetch_failures f on f.account_id = k.account_id and f.message_id = k.message_id "
                "and f.resolved_at is null group by 1",
                [account_id, *values, *[account_id] * 3],
            ).fetchall()
        return [PartitionCounts(*row) for row in rows]

    def pace(self, account_id: str, since: datetime) -> Spending:
        """What an account's recorded syncs have spent since a moment."""
        with self._warehouse.open() as connection:
            row = connection.execute(
                f"select {_PACE} from gmail.sync_runs where account_id = ? and started_at >= ?", [account_id, since]
            ).fetchone()
        return Spending(*(float(value or 0) for value in row)) if row else Spending()

    def file_by_content(self, account_id: str, first_month: str, running_day: str) -> None:
        """Sets months and days in `message_months` by the internal dates of content that is stored by now.

        A listing is wider than its window, so it may have filed a message of the next month or day.
        """
        day = f"greatest(least({_date_text('m.internal_date', 'day')}, ?), ?)"
        with self._warehouse.open() as connection:
            connection.execute(
                f"update gmail.message_months set month = substr({day}, 1, 7), "
                f"day = case when message_months.day is not null then {day} end "
                "from gmail.messages m where message_months.account_id = ? and m.account_id = message_months.account_id "
                "and m.message_id = message_months.message_id "
                f"and (message_months.month <> substr({day}, 1, 7) or message_months.day <> {day})",
                [*[running_day, f"{first_month}-01"] * 2, account_id, *[running_day, f"{first_month}-01"] * 2],
            )


def _date_text(moment: str, kind: PartitionKind) -> str:
    """SQL for the month or day of a point in time, in UTC."""
    return f"substr(cast({moment} at time zone 'UTC' as varchar), 1, {10 if kind == 'day' else 7})"
