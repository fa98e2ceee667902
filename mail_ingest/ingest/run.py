"""One sync of one account: what was asked, what it did, and the row that `sync_runs` keeps of it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

import orjson

from mail_ingest.accounts import Account
from mail_ingest.gmail import Findings, Ledger, Purpose, Snapshot
from mail_ingest.sources.batches import RowBuffer
from mail_ingest.sources.tables import SYNC_RUNS
from mail_ingest.warehouse.spool import Spool

Mode = Literal["auto", "partial", "full"]
Outcome = Literal["success", "partial", "failed", "busy", "cancelled"]


@dataclass(frozen=True, slots=True)
class SyncOptions:
    """What one sync should do.

    `since` and `label` (name or id) narrow which content is bought in this run, `partitions` (months such as 2026-05, days
    such as 2026-05-03) turn it into a backfill of those, newest first; state is complete whatever they say. `list_only`
    asks Gmail which messages belong to the partitions, and for nothing else. `accept_shrink`: a person has looked, and the
    mailbox really lost as many messages as a sweep says. `retry` buys only what failed before, at once whatever its next try, and
    of that `message_ids` alone if there are any. `leaves_long_drains`: where many accounts are synced, one with much to buy is
    left to a request for a run of its own. `triggered_by` and `priority` (0 where somebody waits
    for it, see `accounts.wishes`) say how much of the project's quota it may spend.
    """

    mode: Mode = "auto"
    max_messages: int | None = None
    since: datetime | None = None
    label: str | None = None
    partitions: tuple[str, ...] = ()
    list_only: bool = False
    content: bool = True
    accept_shrink: bool = False
    retry: bool = False
    message_ids: tuple[str, ...] = ()
    leaves_long_drains: bool = False
    triggered_by: str = "person"
    priority: int = 0

    @property
    def purpose(self) -> Purpose:
        """What its units are for: backfills have a smaller share, and what nobody waits for leaves some to people."""
        if self.partitions:
            return "backfill"
        return "asked" if self.triggered_by in ("person", "push") and self.priority == 0 else "scheduled"

    @property
    def may_go_side_by_side(self) -> bool:
        """Whether it is a sync as schedules ask for it, which many accounts can have together."""
        return not (self.partitions or self.list_only or self.retry or self.label or self.since or self.accept_shrink)


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a sync of one account is. `done` of `total` messages, in this phase: states or contents."""

    account_id: str
    phase: str
    done: int
    total: int | None


OnProgress = Callable[[Progress], None]


@dataclass
class SyncRun:
    """Counts of one sync as they grow.

    `days` are those (such as 2026-05-03) in which content was stored, `partitions_listed` those of a backfill whose messages
    Gmail has listed, with the ids that stand for another one in `message_months`: of partitions that are not there nothing
    is known. `dead_letters` are the account's, however long ago they failed. `owner_active_at`: when the mailbox's owner was
    last seen to have read or sent something, None where the sync saw nothing of it.
    `findings` are the client's, `recorded_fields` those of them that the run's row holds so far.
    """

    account_id: str
    triggered_by: str
    ledger: Ledger
    account_group: str | None = None
    kind: str = "none"
    run_id: str = field(default_factory=lambda: f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}")
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    outcome: Outcome = "success"
    error: str = ""
    error_class: str | None = None
    resume_at: datetime | None = None
    states_changed: int = 0
    messages_added: int = 0
    messages_deleted: int = 0
    label_changes: int = 0
    labels_changed: int = 0
    contents_stored: int = 0
    contents_adopted: int = 0
    contents_failed: int = 0
    contents_gone: int = 0
    contents_left_out: int = 0
    backlog: int = 0
    out_of_scope: int = 0
    dead_letters: int = 0
    is_recorded: bool = False
    recorded_outcome: Outcome | None = None
    owner_active_at: datetime | None = None
    days: set[str] = field(default_factory=set)
    partitions_listed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    findings: Findings = field(default_factory=Findings)
    recorded_fields: tuple[str, ...] = ()
    finished_at: datetime | None = None
    _before: Snapshot | None = None

    def __post_init__(self) -> None:
        self._before = self.ledger.snapshot(self.account_id)

    @property
    def spent(self) -> Snapshot:
        """What this sync has spent so far at Gmail."""
        now = self.ledger.snapshot(self.account_id)
        return now - self._before if self._before is not None else now

    def saw_owner(self, moment: datetime) -> None:
        """Notes that the mailbox's owner read or sent something then."""
        self.owner_active_at = max(moment, self.owner_active_at or moment)

    @property
    def changed_anything(self) -> bool:
        return bool(
            self.states_changed
            or self.label_changes
            or self.labels_changed
            or self.contents_stored
            or self.contents_adopted
            or self.contents_failed
            or self.contents_left_out
        )

    @property
    def unexpected_fields(self) -> tuple[str, ...]:
        """What differed in Gmail's answers so far; see `gmail.contract`."""
        return self.findings.lines()

    @property
    def duration_s(self) -> float:
        return ((self.finished_at or datetime.now(UTC)) - self.started_at).total_seconds()

    def record(self, spool: Spool) -> None:
        """Puts the run's row, as it stands, into a package."""
        spent = self.spent
        total = spent.total()
        by_method = spent.account(self.account_id)
        fields = self.recorded_fields = self.unexpected_fields
        self.recorded_outcome = self.outcome
        buffer = RowBuffer(SYNC_RUNS, spool.write)
        buffer.add(
            (
                self.account_id,
                self.run_id,
                self.kind,
                self.triggered_by,
                self.started_at,
                datetime.now(UTC),
                self.outcome,
                self.error_class,
                self.states_changed,
                self.messages_added,
                self.messages_deleted,
                self.label_changes,
                self.contents_stored,
                self.contents_failed,
                self.backlog,
                total.units,
                total.calls,
                total.refusals,
                total.bytes,
                total.waited_s,
                orjson.dumps({method: usage.units for method, usage in sorted(by_method.items())}).decode(),
                orjson.dumps({method: usage.calls for method, usage in sorted(by_method.items())}).decode(),
                self.contents_left_out,
                orjson.dumps(fields).decode() if fields else None,
            )
        )
        buffer.flush()

    def as_json(self) -> dict[str, object]:
        """The run for scripts and for Dagster's metadata: account, counts, units; never text of mail."""
        total = self.spent.total()
        return {
            "account_id": self.account_id,
            "account_group": self.account_group,
            "run_id": self.run_id,
            "kind": self.kind,
            "outcome": self.outcome,
            "error": self.error or None,
            "error_class": self.error_class,
            "resume_at": self.resume_at.isoformat() if self.resume_at else None,
            "states_changed": self.states_changed,
            "messages_added": self.messages_added,
            "messages_deleted": self.messages_deleted,
            "label_changes": self.label_changes,
            "contents_stored": self.contents_stored,
            "contents_failed": self.contents_failed,
            "contents_gone": self.contents_gone,
            "contents_adopted": self.contents_adopted,
            "contents_left_out": self.contents_left_out,
            "backlog": self.backlog,
            "out_of_scope": self.out_of_scope,
            "dead_letters": self.dead_letters,
            "units": total.units,
            "calls": total.calls,
            "refusals": total.refusals,
            "bytes_received": total.bytes,
            "waited_s": round(total.waited_s, 3),
            "duration_s": round(self.duration_s, 3),
            "unexpected_fields": list(self.unexpected_fields),
        }


def why_skipped(account: Account) -> str:
    """Why an account is left out of a sync that does not name it, and what a person can do."""
    due = f"until {account.next_due_at:%Y-%m-%d %H:%M:%S} UTC" if account.next_due_at else ""
    if account.state == "cooling_down":
        why = f"cooling down {due} after {account.state_reason}"
    elif account.state != "active":
        return f"{account.state.replace('_', ' ')}. {account.state_reason}".rstrip()
    elif account.consecutive_failures:
        why = f"waits {due} after {account.consecutive_failures} failed syncs in a row"
    else:
        why = f"waits {due}" + (" for Gmail's quota" if account.last_error_class == "QuotaError" else "")
    return f"{why}. `mail-ingest sync {account.account_id}` tries at once"
