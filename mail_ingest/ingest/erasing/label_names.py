"""Names of stored labels in the form that the tier `hashed` allows; those of deleted labels too, which no sync lands again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mail_ingest.accounts import Account
from mail_ingest.ingest.loading import Package
from mail_ingest.ingest.pipelines import state_pipeline
from mail_ingest.ingest.privacy import private_labels
from mail_ingest.privacy import Policy
from mail_ingest.sources.landing import STATE_SOURCE
from mail_ingest.sources.states import write_labels
from mail_ingest.warehouse.spool import Spool

if TYPE_CHECKING:
    from mail_ingest.ingest.engine import Engine


def rewrite_label_names(engine: Engine, account: Account, policy: Policy) -> None:
    """Lands the labels again whose names hold addresses. The caller holds the account's lock."""
    private = private_labels(policy)
    account_id = account.account_id
    # what a sync that died had made by an earlier privacy must not land after this
    engine.pipelines.finish_pending(state_pipeline(account))
    with Spool(engine.spool_folder) as spool:
        changed = [
            (private(account_id, stored.label), stored)
            for stored in engine.queries.labels(account_id).values()
            if private(account_id, stored.label) != stored.label
        ]
        write_labels(
            account_id,
            [(label, stored.counts_at) for label, stored in changed if stored.deleted_at is None],
            [(label, stored.deleted_at) for label, stored in changed if stored.deleted_at is not None],
            spool.write,
        )
        if spool.rows:
            engine.load(Package(state_pipeline(account), STATE_SOURCE, spool))
    engine.pipelines.empty_staging(state_pipeline(account))
