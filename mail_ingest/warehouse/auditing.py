"""The reads that an audit of stored content needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mail_ingest.warehouse.connection import Warehouse


def packs(warehouse: Warehouse, account_id: str) -> dict[str, int]:
    """Packs that stored messages point into, with how many do; those without one under the empty string."""
    with warehouse.open() as connection:
        rows = connection.execute(
            "select coalesce(raw_pack, ''), count(*) from gmail.messages where account_id = ? group by 1 order by 1",
            [account_id],
        ).fetchall()
    return dict(rows)


def ids_by_pack(warehouse: Warehouse, account_id: str, some: Sequence[str]) -> dict[str, set[str]]:
    """The messages that point into each of these packs."""
    with warehouse.open() as connection:
        rows = connection.execute(
            "select raw_pack, array_agg(message_id) from gmail.messages "
            "where account_id = ? and raw_pack in (select unnest(cast(? as varchar[]))) group by 1",
            [account_id, list(some)],
        ).fetchall()
    return {row[0]: set(row[1]) for row in rows}


def sample(
    warehouse: Warehouse, account_id: str, count: int, *, is_live: bool = False
) -> list[tuple[str, str | None, str, str]]:
    """(id, pack, hash, form) of stored messages chosen at random, at most `count`; `is_live`: not deleted ones."""
    live = "and message_id in (select message_id from gmail.message_states where account_id = m.account_id and not is_deleted)"
    with warehouse.open() as connection:
        return connection.execute(
            "select message_id, raw_pack, sha256, coalesce(privacy, 'full') from gmail.messages m "
            f"where account_id = ? {live if is_live else ''} "
            "order by random() limit ?",
            [account_id, count],
        ).fetchall()


def rows_of(
    warehouse: Warehouse, table: str, account_id: str, message_ids: Sequence[str]
) -> dict[str, list[dict[str, Any]]]:
    """All rows that a content table has of these messages, as dicts, by message."""
    found: dict[str, list[dict[str, Any]]] = {message_id: [] for message_id in message_ids}
    with warehouse.open() as connection:
        result = connection.execute(
            f"select * from gmail.{table} where account_id = ? and message_id in (select unnest(cast(? as varchar[])))",
            [account_id, list(message_ids)],
        )
        names = [column[0] for column in result.description or ()]
        for values in result.fetchall():
            row = dict(zip(names, values, strict=True))
            found[row["message_id"]].append(row)
    return found


def duplicates(warehouse: Warehouse, account_id: str) -> int:
    """Rows of states and content beyond the first of their message."""
    with warehouse.open() as connection:
        row = connection.execute(
            "select sum(extra) from (select count(*) - count(distinct message_id) as extra from gmail.message_states "
            "where account_id = ? union all select count(*) - count(distinct message_id) from gmail.messages "
            "where account_id = ?) as both_tables",
            [account_id, account_id],
        ).fetchone()
    return int(row[0] or 0) if row else 0


def without_state(warehouse: Warehouse, account_id: str) -> int:
    """Stored messages that no state knows."""
    with warehouse.open() as connection:
        row = connection.execute(
            "select count(*) from gmail.messages m left join gmail.message_states s "
            "on s.account_id = m.account_id and s.message_id = m.message_id "
            "where m.account_id = ? and s.message_id is null",
            [account_id],
        ).fetchone()
    return int(row[0]) if row else 0
