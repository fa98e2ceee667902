"""A whole mailbox: what `account remove --erase` does, and after it the files, the search and the receipt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mail_ingest.errors import ConfigError
from mail_ingest.ingest.erasing.account_rows import AccountRows, Instructions, Tally
from mail_ingest.ingest.erasing.evidence import Evidence
from mail_ingest.ingest.erasing.proof import Proof
from mail_ingest.ingest.erasing.receipts import Erasure, finish, receipt_of
from mail_ingest.ingest.erasure import erase_account
from mail_ingest.sources.stored import STORED_TABLES, StoredMessage
from mail_ingest.sources.tables import DATASET

if TYPE_CHECKING:
    from mail_ingest.accounts import Account
    from mail_ingest.accounts.erasures import Rewriting
    from mail_ingest.ingest.engine import Engine

#: Ids of messages are the account's own, and are searched for beside what people wrote.
_IDS = 2_000


def _nothing(message: StoredMessage) -> None:
    """What may stay of a message."""


def erase_mailbox(engine: Engine, address: str, *, is_dry_run: bool = False) -> Erasure:
    """Removes an account with all that is stored of it, and proves it. Raises ConfigError for one that was never registered,
    BusyError where a sync or a reader holds it."""
    account_id = address.strip().lower()
    erasures = engine.registry.erasures
    is_begun = any(other.kind == "account" for other in erasures.unfinished(account_id))
    account = None if is_begun and account_id not in engine.registry.states() else engine.registry.find(account_id)
    if is_dry_run:
        if account is None:
            raise ConfigError(f"the erasure of {account_id} was begun; the command without --dry-run ends it")
        tally = Tally()
        _take_evidence(engine, account, Evidence(""), tally)
        return Erasure(receipt_of("account", "", tally, [account_id], Proof(), [], is_dry_run=True))
    with engine.locks.hold("rewriting"):
        return _erase(engine, account_id, account)


def finish_mailbox(engine: Engine, rewriting: Rewriting) -> Erasure:
    """Ends an erasure that died. An account that was registered again since is left alone. The caller holds `rewriting`."""
    account_id = rewriting.account_id
    is_left = engine.registry.states().get(account_id, ("", None))[0] == "removed" and rewriting.rows_done_at is None
    return _erase(engine, account_id, engine.registry.find(account_id) if is_left else None)


def _erase(engine: Engine, account_id: str, account: Account | None) -> Erasure:
    """Erases rows and packs unless that is done (`account` is None then), and the rest."""
    erasures = engine.registry.erasures
    hashed = erasures.hash_of(account_id)
    rewriting_id = erasures.begin("account", [account_id])
    evidence, tally = Evidence(rewriting_id), Tally()
    left = []
    if account is not None:
        _take_evidence(engine, account, evidence, tally)
        tally.packs_deleted = erase_account(engine, account_id).packs
        if account.discovered_from:
            left.append("the mailbox's name in the control database: a discovery would read it all again")
    erasures.rows_done(rewriting_id, account_id)
    return finish(
        engine,
        rewriting_id,
        "account",
        evidence,
        tally,
        [account_id],
        subject=hashed,
        is_whole_account=True,
        not_reached=left,
    )


def _take_evidence(engine: Engine, account: Account, evidence: Evidence, tally: Tally) -> None:
    """Counts the account's mail, and takes strings that stand in no other account's."""
    if not engine.warehouse.exists:
        return
    AccountRows(engine, account, Instructions(_nothing, True, lambda _: ""), evidence, tally).plan()
    with engine.warehouse.open() as connection:
        ids = connection.execute(
            f"select message_id from {DATASET}.message_states where account_id = ? order by message_id limit {_IDS}",
            [account.account_id],
        ).fetchall()
    evidence.note_ids(row[0] for row in ids)
    evidence.settle()
    leave_out_what_others_have(engine, account.account_id, evidence)


def leave_out_what_others_have(engine: Engine, account_id: str, evidence: Evidence) -> None:
    """Leaves out strings that stand in other accounts' rows: mail between two mailboxes is in both."""
    quoted = account_id.replace("'", "''")
    for table in STORED_TABLES:
        columns = ", ".join(column.name for column in table.columns)
        source = f"(select {columns} from {DATASET}.{table.name} where account_id <> '{quoted}')"
        engine.warehouse.search(engine.warehouse.text_of(source), evidence.stays)
