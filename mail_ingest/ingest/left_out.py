"""Messages that are stored, and of which nothing may be, as their whole text has told: bought again, or read by a newer parser.

Their rows go at once, with the mark that they are left out on purpose; bytes in packs and files go by a rewriting, which is
marked before and ended afterwards, or by the account's next sync.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mail_ingest.errors import BusyError, WarehouseError
from mail_ingest.ingest.erasing.resuming import finish_for
from mail_ingest.sources.stored import STORED_TABLES
from mail_ingest.sources.tables import DATASET, FETCH_FAILURES, LEFT_OUT_MESSAGES
from mail_ingest.warehouse.rewriting import StoredRows

if TYPE_CHECKING:
    from mail_ingest.ingest.engine import Engine

logger = logging.getLogger(__name__)


def take_away(engine: Engine, account_id: str, reasons: Mapping[str, str]) -> None:
    """Takes away the rows of these messages, by id with the reason of each. The caller holds the account's content lock."""
    # first: should this process die, the next sync ends what is left
    engine.registry.erasures.begin("privacy", [account_id])
    now = datetime.now(UTC)
    marks = [
        {"account_id": account_id, "message_id": message_id, "reason": reason, "left_out_at": now}
        for message_id, reason in reasons.items()
    ]
    StoredRows(engine.warehouse, DATASET, STORED_TABLES).replace(
        account_id,
        {message_id: {} for message_id in reasons},
        marks=(LEFT_OUT_MESSAGES, marks),
        unmarked=FETCH_FAILURES.name,
    )


def finish_taking_away(engine: Engine, account_id: str) -> None:
    """Has packs and files let go of it; the caller holds no lock. Where others hold the account, its next sync does."""
    try:
        finish_for(engine, account_id)
    except (BusyError, WarehouseError) as error:
        logger.warning("what is left out of %s now stays in files until its next sync: %s", account_id, error)
