"""Moves an account from one shard to another, its cursor with it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mail_ingest.accounts import Account
from mail_ingest.ingest.loading import Package
from mail_ingest.ingest.pipelines import content_pipeline, state_pipeline
from mail_ingest.sources.landing import STATE_SOURCE
from mail_ingest.warehouse.spool import Spool

if TYPE_CHECKING:
    from mail_ingest.ingest.engine import Engine


def move_account(engine: Engine, account: Account, shard: int) -> None:
    """Puts an account on another shard; it goes on from where it is.

    The cursor is written to the new shard's pipeline first, and taken out of the old one's last: killed in between, the account
    has it wherever it is looked for, and the next move writes it anew. Raises BusyError where the account is being synced.
    """
    with (
        engine.locks.hold(f"account:{account.account_id}"),
        engine.locks.hold_in_turn(f"content:{account.account_id}"),
    ):
        # whoever waited may have waited for another move
        account = engine.registry.get(account.account_id)
        if account.shard == shard:
            return
        moved = replace(account, shard=shard)
        # what the old shard's packages hold of the account lands before anything of the new one's
        engine.pipelines.finish_pending(state_pipeline(account), content_pipeline(account, is_backfill=False))
        cursor = engine.cursor(account)
        if cursor is None:
            engine.registry.move(account.account_id, shard)
            return
        with Spool(engine.spool_folder) as spool:
            engine.load(Package(state_pipeline(moved), STATE_SOURCE, spool, {account.account_id: cursor.to_state()}))
            engine.registry.move(account.account_id, shard)
            engine.load(Package(state_pipeline(account), STATE_SOURCE, spool, {account.account_id: None}))
