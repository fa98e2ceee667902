"""Erases what is stored of one account's mail: archive, landing tables, cursor, analyst tables, and its name at last.

Every step may be repeated. The account is `removed` from the first one on, and forgotten in the last, so a process that
dies in between is made up for by running the command again. Of an account that a discovery registered the name stays: the
next discovery would read it all again.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mail_ingest.accounts import Account
from mail_ingest.ingest.erasing.turns import hold_account
from mail_ingest.ingest.loading import Package
from mail_ingest.ingest.pipelines import content_pipelines, own_pipelines, state_pipeline
from mail_ingest.ingest.watches import end_watch
from mail_ingest.sources.landing import STATE_SOURCE
from mail_ingest.sources.tables import LANDING_TABLES
from mail_ingest.warehouse.grants import forget_account
from mail_ingest.warehouse.holds import forget_holds
from mail_ingest.warehouse.spool import Spool

if TYPE_CHECKING:
    from mail_ingest.ingest.engine import Engine

logger = logging.getLogger(__name__)

BEING_ERASED = "its data are being erased; should this stay, run the command again"


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased: messages known to the warehouse, and files of the raw archive."""

    messages: int
    packs: int


def erase_account(engine: Engine, address: str) -> Erased:
    """Removes an account and all that is stored of it. Raises BusyError where a sync holds it; then nothing was done.

    Raises ConfigError for an account that was never registered, WarehouseError where something could not be erased; what
    is left then is erased by the next call.
    """
    engine.registry.check_deployment()
    account = engine.registry.find(address)
    account_id = account.account_id
    with hold_account(engine, account_id):
        if engine.warehouse.exists:
            engine.check_warehouse()
        if account.state != "removed":
            end_watch(engine, account)
            engine.registry.remove(account_id, BEING_ERASED)
        packs = engine.archive.erase(account_id)
        messages = _erase_from_warehouse(engine, account) if engine.warehouse.exists else 0
        engine.registry.forget(account_id)
    return Erased(messages, packs)


def _erase_from_warehouse(engine: Engine, account: Account) -> int:
    for name in (state_pipeline(account), *content_pipelines(account)):
        # a package that is loaded later would bring rows back
        engine.pipelines.finish_pending(name)
    messages = _erase_rows(engine, account.account_id)
    _erase_cursor(engine, account)
    for name in own_pipelines(account):
        engine.pipelines.erase(name)
    engine.build_analyst_tables()
    return messages


def _erase_rows(engine: Engine, account_id: str) -> int:
    """Deletes the account's rows, table by table: a transaction for each, the accounts' own last."""
    tables = sorted((table.name for table in LANDING_TABLES), key=lambda name: name == "accounts")
    with engine.warehouse.open() as connection:
        [messages] = connection.execute(
            "select count(*) from gmail.message_states where account_id = ?", [account_id]
        ).fetchone()
        for name in tables:
            engine.locks.check()
            connection.execute(f"delete from gmail.{name} where account_id = ?", [account_id])
        forget_account(connection, engine.warehouse.dialect, account_id)
        held = forget_holds(connection, account_id)
    if held:
        logger.warning("%d holds of %s went with its mail: an erasure goes before them", held, account_id)
    return int(messages)


def _erase_cursor(engine: Engine, account: Account) -> None:
    """Takes the account's cursor out of its shard's state, and out of the earlier states that dlt keeps."""
    name = state_pipeline(account)
    if engine.cursor(account) is not None:
        with Spool(engine.spool_folder) as spool:
            engine.load(Package(name, STATE_SOURCE, spool, {account.account_id: None}))
    engine.pipelines.forget_earlier_states(name)
