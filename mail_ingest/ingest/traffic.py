"""How many messages accounts had within a day and a week, which adaptive schedules go by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from mail_ingest.gmail.models import first_id_of
from mail_ingest.warehouse.connection import Warehouse

#: Ids of 16 hex digits carry the time of arrival, and are a range of the key. Others count from when they were first seen.
_QUERY = """
select
    account_id,
    count(case when message_id >= ? and length(message_id) = 16 or length(message_id) <> 16 and first_seen_at >= ? then 1 end),
    count(*)
from gmail.message_states
where account_id in (select unnest(cast(? as varchar[])))
    and (message_id >= ? and length(message_id) = 16 or length(message_id) <> 16 and first_seen_at >= ?)
group by account_id
"""


def measure_traffic(warehouse: Warehouse, account_ids: Sequence[str], now: datetime) -> Mapping[str, tuple[int, int]]:
    """Messages that arrived or were sent within a day and within a week, by account_id: one query for all of them."""
    day, week = now - timedelta(days=1), now - timedelta(days=7)
    with warehouse.open() as connection:
        rows = connection.execute(
            _QUERY, [first_id_of(day), day, list(account_ids), first_id_of(week), week]
        ).fetchall()
    counted = {account_id: (int(in_day), int(in_week)) for account_id, in_day, in_week in rows}
    return {account_id: counted.get(account_id, (0, 0)) for account_id in account_ids}
