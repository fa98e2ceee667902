"""Rewrites one account as somebody instructs, and ends rewritings that a killed process has left."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from mail_ingest.accounts.erasures import Rewriting
from mail_ingest.errors import BusyError, WarehouseError
from mail_ingest.ingest.erasing.account_rows import AccountRows, Instructions, Tally
from mail_ingest.ingest.erasing.contact import finish_contact
from mail_ingest.ingest.erasing.evidence import Evidence
from mail_ingest.ingest.erasing.label_names import rewrite_label_names
from mail_ingest.ingest.erasing.mailbox import finish_mailbox, leave_out_what_others_have
from mail_ingest.ingest.erasing.proof import Proof
from mail_ingest.ingest.erasing.receipts import Erasure, finish, receipt_of
from mail_ingest.ingest.erasing.turns import hold_account

if TYPE_CHECKING:
    from mail_ingest.ingest.engine import Engine

logger = logging.getLogger(__name__)


def rewrite_account(
    engine: Engine, account_id: str, instructions: Instructions, *, is_dry_run: bool = False
) -> Erasure:
    """Rewrites what is stored of one account, as a stricter privacy tier does, and proves it.

    From the first change on the account is marked: should this process die, the account's next sync ends the rewriting before it
    does anything else, by `Engine.privacy_instructions`. Raises BusyError, WarehouseError; the next call goes on.
    """
    if is_dry_run:
        tally = Tally()
        if engine.warehouse.exists:
            account = engine.registry.find(account_id)
            AccountRows(engine, account, instructions, Evidence(""), tally).plan()
        return Erasure(receipt_of("privacy", "", tally, [account_id], Proof(), [], is_dry_run=True))
    with engine.locks.hold("rewriting"):
        return _rewrite(engine, account_id, instructions)


def _rewrite(engine: Engine, account_id: str, instructions: Instructions) -> Erasure:
    erasures = engine.registry.erasures
    account = engine.registry.find(account_id)
    rewriting_id = erasures.begin("privacy", [account_id])
    evidence, tally = Evidence(rewriting_id), Tally()
    with hold_account(engine, account_id):
        while True:
            if engine.warehouse.exists:
                AccountRows(engine, account, instructions, evidence, Tally()).plan()
                evidence.settle()
                leave_out_what_others_have(engine, account_id, evidence)
                if instructions.policy is not None and instructions.policy.tier == "hashed":
                    rewrite_label_names(engine, account, instructions.policy)
            AccountRows(engine, account, instructions, evidence, tally).run()
            erasures.rows_done(rewriting_id, account_id)
            latest = _as_of_now(engine, account_id, instructions)
            if latest is instructions:
                break
            instructions, evidence = latest, evidence.taken_over(rewriting_id)
    return finish(engine, rewriting_id, "privacy", evidence, tally, [account_id], subject=erasures.hash_of(account_id))


def _as_of_now(engine: Engine, account_id: str, instructions: Instructions) -> Instructions:
    """The instructions of the account's present privacy, the same where it has not changed: whoever makes it stricter while
    rows are rewritten finds the account marked already, and this rewriting ends the mark."""
    if instructions.policy is None:
        return instructions
    latest = engine.privacy_instructions(engine.registry.find(account_id))
    return instructions if latest.policy == instructions.policy else latest


def finish_all(engine: Engine) -> list[Erasure]:
    """Ends every rewriting that has no receipt yet."""
    done = []
    seen: set[str] = set()
    with engine.locks.hold("rewriting"):
        for rewriting in engine.registry.erasures.unfinished():
            if rewriting.rewriting_id not in seen:
                seen.add(rewriting.rewriting_id)
                erasure = _finish(engine, rewriting, None)
                if erasure is not None:
                    done.append(erasure)
    return done


def finish_for(engine: Engine, account_id: str) -> None:
    """Ends what was left of rewritings of an account, before it is synced. Costs one query where there is nothing.

    Does nothing while another process is at it: whom it erases is kept out already, and it takes the account's locks when its
    turn comes. Raises BusyError, WarehouseError where rows are left that have to go; files alone keep no sync waiting.
    """
    if not _left_of(engine, account_id):
        return
    is_ours = False
    try:
        with engine.locks.hold("rewriting", wait_s=0.0):
            is_ours = True
            for rewriting in _left_of(engine, account_id):
                _finish(engine, rewriting, account_id)
    except (BusyError, WarehouseError) as error:
        if not is_ours and isinstance(error, BusyError):
            return
        if any(left.rows_done_at is None for left in engine.registry.erasures.unfinished(account_id)):
            raise
        logger.warning("a rewriting of %s waits for its files: %s", account_id, error)


def _left_of(engine: Engine, account_id: str) -> list[Rewriting]:
    """The rewritings for which something can be done by way of this account. Where its rows are done and those of others are
    not, it is left alone: whoever does the last of them does the files."""
    erasures = engine.registry.erasures
    unfinished = erasures.unfinished(account_id)
    if all(rewriting.rows_done_at is None for rewriting in unfinished):
        return unfinished
    waiting = {other.rewriting_id for other in erasures.unfinished() if other.rows_done_at is None}
    return [each for each in unfinished if each.rows_done_at is None or each.rewriting_id not in waiting]


def _finish(engine: Engine, rewriting: Rewriting, account_id: str | None) -> Erasure | None:
    """Ends one rewriting, or one account's part of it. The caller holds the lock `rewriting`."""
    if rewriting.kind == "account":
        return finish_mailbox(engine, rewriting)
    left = [
        other.account_id
        for other in engine.registry.erasures.unfinished()
        if other.rewriting_id == rewriting.rewriting_id and account_id in (None, other.account_id)
    ]
    if rewriting.kind == "contact":
        return finish_contact(engine, rewriting, left)
    account = engine.registry.find(rewriting.account_id)
    return _rewrite(engine, account.account_id, engine.privacy_instructions(account))
