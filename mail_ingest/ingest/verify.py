"""Verification: sweeps a mailbox and says where the warehouse differs from it. Reads only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from mail_ingest.accounts import Account
from mail_ingest.errors import HistoryExpiredError, MessageGoneError, WrongMailboxError
from mail_ingest.gmail import GmailClient, MessageState
from mail_ingest.gmail.changes import LabelEvent, Replay, StoredState
from mail_ingest.gmail.sweep import compare, replay_since, sweep_mailbox
from mail_ingest.ingest.engine import Engine
from mail_ingest.ingest.scope import account_horizon
from mail_ingest.warehouse.queries import Scope


@dataclass(frozen=True, slots=True)
class Drift:
    """Messages in which warehouse and mailbox differ, and what is known to be missing without being drift.

    `missing`: in the mailbox, unknown to the warehouse; `extra`: live in the warehouse, gone from the mailbox;
    `wrong_deletion`: marked deleted, but in the mailbox; `wrong_labels`: known with another thread or other labels.
    """

    account_id: str
    mailbox: int
    missing: int
    extra: int
    wrong_labels: int
    wrong_deletion: int
    backlog: int
    out_of_scope: int
    unresolved_failures: int
    units: int

    @property
    def drift(self) -> int:
        return self.missing + self.extra + self.wrong_labels + self.wrong_deletion

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "drift": self.drift}


def verify_account(engine: Engine, account: Account) -> Drift:
    """Compares one account with its mailbox, under the account's lock. Costs as many units as a full sync of state."""
    client = engine.client(account)
    before = engine.governor.ledger.snapshot(account.account_id)
    with engine.locks.hold(f"account:{account.account_id}"):
        engine.cursor(account)  # finishes a load that an earlier process left pending
        profile = client.get_profile()
        if profile.email_address.lower() != account.account_id:
            raise WrongMailboxError(
                f"The credentials of {account.account_id} open the mailbox {profile.email_address.lower()}; nothing was "
                "compared. Connect the account again with credentials of its own mailbox.",
                account_id=account.account_id,
            )
        labels = client.list_labels()
        swept, _ = sweep_mailbox(client, labels)
        pinned = profile.history_id

        def lookup(message_ids: Sequence[str]) -> Mapping[str, StoredState]:
            found = ((message_id, swept.state(message_id, pinned)) for message_id in message_ids)
            return {message_id: state for message_id, state in found if state is not None}

        replay = Replay()
        try:
            replay_since(client, pinned, replay, _drop)
        except HistoryExpiredError:
            replay = Replay()
        replayed = {
            change.message_id: change for change in replay.fold(lookup, lambda message_id: _minimal(client, message_id))
        }
        listed = {label.label_id for label in labels} | set(engine.queries.labels(account.account_id))
        missing = extra = wrong_labels = wrong_deletion = 0
        for change, _ in compare(
            swept,
            replay,
            replayed,
            engine.queries.iter_states(account.account_id),
            history_id=pinned,
            lasting_labels=lambda label_id: label_id not in listed,
        ):
            if change.stored is None:
                missing += not change.is_deleted
            elif change.is_deleted:
                extra += 1
            elif change.stored.is_deleted:
                wrong_deletion += 1
            else:
                wrong_labels += 1
    backlog = engine.queries.count_backlog(account.account_id, Scope(since=account_horizon(account)), datetime.now(UTC))
    return Drift(
        account_id=account.account_id,
        mailbox=len(swept),
        missing=missing,
        extra=extra,
        wrong_labels=wrong_labels,
        wrong_deletion=wrong_deletion,
        backlog=backlog.due + backlog.waiting,
        out_of_scope=backlog.out_of_scope,
        unresolved_failures=engine.queries.unresolved_failures(account.account_id),
        units=(engine.governor.ledger.snapshot(account.account_id) - before).total().units,
    )


def _drop(events: Iterable[LabelEvent]) -> None:
    """Runs through events for their effect on the replay alone."""
    for _ in events:
        pass


def _minimal(client: GmailClient, message_id: str) -> MessageState | None:
    try:
        return client.get_message_state(message_id)
    except MessageGoneError:
        return None
