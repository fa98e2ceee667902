"""Listings by date: which messages belong to a month or day, asked of Gmail before any of their content is bought.

    partitions, newest first -> ids by page (5 units for 500) -> gmail.message_months

All partitions are listed before anything is bought, so that the price of a range is known and one load lands them. Listings
overlap, and `message_months` keeps what it knows: a message that stands there for the neighbour is handed back as filed
elsewhere, so that the run which has found it buys it, whichever partition it belongs to in the end.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mail_ingest.accounts import Account
from mail_ingest.gmail import GmailClient
from mail_ingest.ingest.loading import Package
from mail_ingest.ingest.pipelines import content_pipeline
from mail_ingest.ingest.run import OnProgress, Progress, SyncRun
from mail_ingest.ingest.windows import kind_of, window_query
from mail_ingest.sources.batches import RowBuffer
from mail_ingest.sources.landing import CONTENT_SOURCE
from mail_ingest.sources.tables import MESSAGE_MONTHS
from mail_ingest.warehouse.spool import Spool

if TYPE_CHECKING:
    from mail_ingest.ingest.engine import Engine

logger = logging.getLogger(__name__)

_ROWS = 20_000


def list_partitions(
    engine: Engine,
    account: Account,
    client: GmailClient,
    run: SyncRun,
    partitions: Sequence[str],
    on_progress: OnProgress,
) -> tuple[str, ...]:
    """Lists partitions one after another, newest first, and lands what belongs to them; ids that are filed elsewhere.

    Notes in `run` what was listed. Where the quota ends the listing, what was listed before is kept. Memory: the ids of two
    neighbouring partitions, about 0.1 KB each.
    """
    elsewhere: list[str] = []
    listed: dict[str, tuple[str, ...]] = {}
    neighbour: set[str] = set()
    with Spool(engine.spool_folder) as spool:
        buffer = RowBuffer(MESSAGE_MONTHS, spool.write, rows=_ROWS)

        def land() -> None:
            buffer.flush()
            if spool.rows:
                engine.load(Package(content_pipeline(account, is_backfill=True), CONTENT_SOURCE, spool))
            run.partitions_listed.update(listed)

        try:
            for partition in sorted(partitions, reverse=True):
                found: set[str] = set()
                query = window_query(partition, engine.settings.content_start)
                for page in client.iter_message_ids(query=query or None):
                    found.update(ref.message_id for ref in page.refs)
                is_day = kind_of(partition) == "day"
                for message_id in found - neighbour:
                    buffer.add((run.account_id, message_id, partition[:7], partition if is_day else None))
                others = _filed_elsewhere(engine, run.account_id, partition, list(found), is_day=is_day)
                elsewhere += others
                listed[partition] = tuple(others)
                neighbour = found
                on_progress(Progress(run.account_id, "partitions listed", len(listed), len(partitions)))
        except BaseException:
            try:
                land()
            except Exception as error:  # noqa: BLE001  why the listing ended says when to go on
                logger.warning(
                    "what was listed of %s before could not be stored (%s)", run.account_id, type(error).__name__
                )
            raise
        land()
    return tuple(elsewhere)


def file_by_content(engine: Engine, account: Account) -> None:
    """Files what was listed by the internal dates of what is stored by now."""
    # a load of another process into the same table waits meanwhile
    with engine.locks.hold(f"pipeline:{content_pipeline(account, is_backfill=True)}"):
        today = f"{datetime.now(UTC):%Y-%m-%d}"
        engine.partitions.file_by_content(account.account_id, engine.settings.content_start, today)


def _filed_elsewhere(
    engine: Engine, account_id: str, partition: str, message_ids: list[str], *, is_day: bool
) -> list[str]:
    found: list[str] = []
    for start in range(0, len(message_ids), _ROWS):
        some = message_ids[start : start + _ROWS]
        found += engine.partitions.filed_elsewhere(account_id, partition, some, is_day=is_day)
    return found
