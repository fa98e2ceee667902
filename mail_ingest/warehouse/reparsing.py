"""The reads that reparsing needs: which stored messages have rows of an older parser, and where their bytes are."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from mail_ingest.warehouse.connection import Warehouse

_OUTDATED = (
    "from gmail.messages where account_id = ? and coalesce(parser_version, 0) < ? "
    "and (? or message_id in (select unnest(cast(? as varchar[]))))"
)


@dataclass(frozen=True, slots=True)
class Outdated:
    """A stored message whose parsed columns are older than the parser; what of its row has to stay."""

    message_id: str
    raw_pack: str
    sha256: str
    fetched_at: datetime
    source: str
    parser_version: int


def outdated(
    warehouse: Warehouse,
    account_id: str,
    version: int,
    *,
    limit: int,
    message_ids: Collection[str] = (),
    without: Collection[str] = (),
) -> list[Outdated]:
    """Messages older than a parser's version whose bytes are in a pack, pack by pack, at most `limit`.

    Of `message_ids`, if there are any; never those in `without`.
    """
    ids = list(message_ids)
    with warehouse.open() as connection:
        rows = connection.execute(
            f"select message_id, raw_pack, sha256, fetched_at, source, coalesce(parser_version, 0) {_OUTDATED} "
            "and raw_pack is not null and message_id not in (select unnest(cast(? as varchar[]))) "
            "order by raw_pack, message_id limit ?",
            [account_id, version, not ids, ids, list(without), limit],
        ).fetchall()
    return [Outdated(row[0], row[1], row[2], row[3].astimezone(UTC), row[4], row[5]) for row in rows]


def count_outdated(
    warehouse: Warehouse, account_id: str, version: int, *, message_ids: Collection[str] = (), without_pack: bool
) -> int:
    """How many messages are older than a parser's version; `without_pack`: only those whose bytes are in no pack."""
    ids = list(message_ids)
    condition = "and raw_pack is null" if without_pack else ""
    with warehouse.open() as connection:
        row = connection.execute(
            f"select count(*) {_OUTDATED} {condition}", [account_id, version, not ids, ids]
        ).fetchone()
    return int(row[0]) if row else 0
