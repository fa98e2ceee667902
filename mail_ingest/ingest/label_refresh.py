"""Reads the counts of an account's labels anew: 1 unit a label, and nothing else is touched.

Names, colours and what is gone are current after every sync; counts are read by sweeps alone, which may be months apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mail_ingest.accounts import Account
from mail_ingest.errors import GmailError
from mail_ingest.gmail import Label
from mail_ingest.gmail.sweep import label_was_deleted
from mail_ingest.ingest.labels import with_counts
from mail_ingest.ingest.loading import Package
from mail_ingest.ingest.pipelines import state_pipeline
from mail_ingest.sources.landing import STATE_SOURCE
from mail_ingest.sources.states import write_labels
from mail_ingest.warehouse.spool import Spool

if TYPE_CHECKING:
    from mail_ingest.ingest.engine import Engine


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a refresh did: labels counted, those left out because `max_units` was spent, and units."""

    labels: int
    left_out: int
    units: int


def refresh_labels(engine: Engine, account: Account, max_units: int) -> Refreshed:
    """Counts the labels that the warehouse knows, those first whose counts are oldest, for `max_units` at most.

    Holds the account's lock. Raises what the client raises, and BusyError.
    """
    account_id = account.account_id
    before = engine.governor.ledger.snapshot(account_id)
    with engine.locks.hold(f"account:{account_id}"), Spool(engine.spool_folder) as spool:
        client = engine.client(account, "scheduled")
        stored = [known for known in engine.queries.labels(account_id).values() if known.deleted_at is None]
        stored.sort(key=lambda known: known.counts_at or datetime.min.replace(tzinfo=UTC))
        counted: list[tuple[Label, datetime | None]] = []
        for known in stored[:max_units]:
            try:
                label = client.get_label(known.label.label_id)
            except GmailError as error:
                if not label_was_deleted(client, known.label.label_id, error):
                    raise
                continue  # the next sync takes it from its messages
            counted.append((with_counts(known.label, label), datetime.now(UTC)))
        write_labels(account_id, counted, [], spool.write)
        if counted:
            engine.load(Package(state_pipeline(account), STATE_SOURCE, spool))
    spent = (engine.governor.ledger.snapshot(account_id) - before).total()
    return Refreshed(len(counted), max(len(stored) - max_units, 0), spent.units)
