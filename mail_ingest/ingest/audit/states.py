"""The mailbox against `message_states`: sweeps ids and labels, and tells drift from what changed after the last sync.

    mailbox now    = sweep, with the history since applied
    warehouse now  = stored state, with the history since its cursor applied

What differs between these two is drift. What differs only before the history is applied is `pending`: the next sync
brings it. Where that history has expired, or the budget does not reach through it, nobody can tell (`undecided`).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace

from mail_ingest.errors import GmailError, HistoryExpiredError, MessageGoneError
from mail_ingest.gmail import GmailClient, Label, MessageState, Profile
from mail_ingest.gmail.changes import Replay, StateChange, StoredState
from mail_ingest.gmail.contract import PAGE_SIZE
from mail_ingest.gmail.sweep import SweptMailbox, label_was_deleted
from mail_ingest.ingest.audit.budget import Budget
from mail_ingest.ingest.audit.report import Audit, LabelCount
from mail_ingest.ingest.cursor import Cursor
from mail_ingest.ingest.labels import identity, labels_digest
from mail_ingest.sources.batches import clean
from mail_ingest.warehouse.queries import Queries, StoredLabel

#: History pages (500 changes each) for which a sweep leaves units.
_RESERVED_PAGES = 5
#: Missing messages that a second listing looks for; a page can skip ids while the mailbox changes under it.
_CONFIRMED = 10_000


class StateAudit:
    """Compares one account's states. The caller holds the account's lock."""

    def __init__(
        self,
        client: GmailClient,
        queries: Queries,
        audit: Audit,
        budget: Budget,
        *,
        cursor: Cursor,
        profile: Profile,
        labels: list[Label],
    ) -> None:
        self._client = client
        self._queries = queries
        self._audit = audit
        self._account_id = audit.account_id
        self._budget = budget
        self._cursor = cursor
        self._profile = profile
        self._labels = labels
        self._swept = SweptMailbox()
        self._comparable: set[str] = set()
        self._unread: set[str] = set()
        self._replay = Replay()
        self._can_tell = True
        self._mailbox_counts: Counter[str] = Counter()
        self._stored_counts: Counter[str] = Counter()
        self._label_drift: Counter[str] = Counter()
        self._extra: set[str] = set()
        self._in_mailbox = 0

    def run(self, history_cost: int) -> None:
        known = self._queries.labels(self._account_id)
        self._compare_label_rows(known)
        ids = -(-max(self._profile.messages_total or 0, 1) // PAGE_SIZE)
        self._budget.reserved = history_cost * _RESERVED_PAGES
        if not self._budget.reaches("messages and labels", "messages.list", ids):
            return
        for page in self._client.iter_message_ids():
            self._swept.add(page.refs)
        self._sweep_labels()
        self._budget.reserved = 0
        self._read_history()
        listed = {label.label_id for label in self._labels}
        # no live message carries a label that the warehouse knows to be gone
        self._comparable |= {key for key, label in known.items() if label.deleted_at is not None and key not in listed}
        self._compare()
        self._confirm_extra(ids)
        self._audit.labels = [
            LabelCount(key, self._mailbox_counts[key], self._stored_counts[key], self._label_drift[key])
            for key in sorted(self._comparable)
        ]

    def _compare_label_rows(self, known: Mapping[str, StoredLabel]) -> None:
        if self._cursor.labels_digest != labels_digest(self._labels):
            return  # the list has changed since: the next sync writes it
        stored = {key: identity(label.label) for key, label in known.items() if label.deleted_at is None}
        listed = {label.label_id: identity(replace(label, name=clean(label.name) or "")) for label in self._labels}
        self._audit.wrong_label_rows = sum(stored.get(key) != listed.get(key) for key in stored.keys() | listed.keys())

    def _sweep_labels(self) -> None:
        # in random order: a budget that never reaches all of them reaches each of them some night
        for label in random.sample(self._labels, len(self._labels)):
            what = f"label {label.label_id}"
            if not self._budget.reaches(what, "labels.get"):
                continue
            try:
                total = self._client.get_label(label.label_id).messages_total or 0
                if total and not self._budget.reaches(what, "messages.list", -(-total // PAGE_SIZE)):
                    continue
                for page in self._client.iter_message_ids(label_id=label.label_id) if total else ():
                    self._swept.add_label(label.label_id, page.refs)
            except GmailError as error:
                if not label_was_deleted(self._client, label.label_id, error):
                    raise
                continue
            self._comparable.add(label.label_id)

    def _read_history(self) -> None:
        """Everything since the cursor: what came after the last sync, and what came while we swept."""
        try:
            # a quiet mailbox has no history to ask for, and may answer 404 (lieer#203)
            page_token, wanted = None, not self._is_quiet()
            while wanted:
                if not self._budget.reaches("history since the last sync", "history.list"):
                    self._can_tell = False
                    return
                page = self._client.list_history(self._cursor.history_id, page_token)
                for _ in self._replay.add(page.records):
                    pass
                page_token = page.next_page_token
                wanted = page_token is not None
        except HistoryExpiredError:
            self._can_tell = False
            self._audit.cursor_expired = True
        if self._cursor.incomparable_up_to >= self._profile.history_id:
            # the mailbox began its history anew: stored ids and new ones cannot be put in order
            self._can_tell = False
            self._budget.left_out.append("order of changes: the mailbox has begun its history anew")

    def _is_quiet(self) -> bool:
        if self._cursor.history_id != self._profile.history_id:
            return False
        return self._client.get_profile().history_id == self._cursor.history_id

    def _compare(self) -> None:
        pinned = self._profile.history_id
        replayed = {change.message_id: change for change in self._replay.fold(self._swept_states, self._minimal)}
        rolled = {change.message_id: change for change in self._replay.fold(self._stored_states, self._swept_minimal)}
        seen: set[str] = set()
        with closing(self._queries.iter_states(self._account_id)) as states:
            for stored in states:
                message_id = stored.message_id
                now = replayed.get(message_id) or self._swept.state(message_id, pinned)
                self._swept.mark(message_id)
                if message_id in replayed:
                    seen.add(message_id)
                self._compare_one(stored, now, rolled.get(message_id))
        for message_id in self._swept.unmarked():
            if message_id not in replayed:
                self._compare_unknown(message_id, self._swept.state(message_id, pinned))
        for message_id, change in replayed.items():
            if message_id not in seen and not change.is_deleted:
                self._compare_unknown(message_id, change)
        self._audit.mailbox = self._in_mailbox

    def _compare_one(
        self, stored: StoredState, now: StateChange | StoredState | None, rolled: StateChange | None
    ) -> None:
        audit, message_id = self._audit, stored.message_id
        exists = now is not None and not now.is_deleted
        told = self._replay.explains(message_id, "")
        self._in_mailbox += exists
        if not stored.is_deleted:
            audit.warehouse += 1
            self._stored_counts.update(stored.label_ids & self._comparable)
        if exists and now is not None:
            self._mailbox_counts.update(now.label_ids & self._comparable)
        if message_id in self._unread:
            audit.undecided += 1
        elif stored.is_deleted:
            if exists:
                self._note("wrong_deletion", told)
        elif not exists or now is None:
            if self._note("extra", told) and len(self._extra) < _CONFIRMED:
                self._extra.add(message_id)
        else:
            if not self._differs(stored, now):
                return
            base = rolled if rolled is not None and not rolled.is_deleted else stored
            if self._note("wrong_labels", not self._differs(base, now)):
                self._label_drift.update((base.label_ids ^ now.label_ids) & self._comparable)

    def _compare_unknown(self, message_id: str, now: StateChange | StoredState | None) -> None:
        """A message of the mailbox that the warehouse does not know."""
        self._in_mailbox += 1
        labels = now.label_ids & self._comparable if now is not None else frozenset()
        self._mailbox_counts.update(labels)
        if message_id in self._unread:
            self._audit.undecided += 1
        elif self._note("missing", self._replay.explains(message_id, "")):
            self._label_drift.update(labels)

    def _differs(self, one: StateChange | StoredState, other: StateChange | StoredState) -> bool:
        return one.thread_id != other.thread_id or bool((one.label_ids ^ other.label_ids) & self._comparable)

    def _note(self, kind: str, told_by_history: bool) -> bool:
        """Counts a difference as drift, unless history explains it or cannot be asked; whether it was drift."""
        if not self._can_tell:
            self._audit.undecided += 1
        elif told_by_history:
            self._audit.pending += 1
        else:
            setattr(self._audit, kind, getattr(self._audit, kind) + 1)
            return True
        return False

    def _confirm_extra(self, pages: int) -> None:
        """Believes that messages are gone from the mailbox only where a second listing lacks them too."""
        if not self._extra or not self._budget.reaches("second listing of ids", "messages.list", pages):
            return
        for page in self._client.iter_message_ids():
            found = {ref.message_id for ref in page.refs} & self._extra
            self._extra -= found
            self._audit.extra -= len(found)

    def _swept_states(self, message_ids: Sequence[str]) -> Mapping[str, StoredState]:
        found = {message_id: self._swept.state(message_id, self._profile.history_id) for message_id in message_ids}
        return {message_id: state for message_id, state in found.items() if state is not None}

    def _stored_states(self, message_ids: Sequence[str]) -> Mapping[str, StoredState]:
        return self._queries.lookup_states(self._account_id, message_ids)

    def _minimal(self, message_id: str) -> MessageState | None:
        """What only Gmail can tell: 20 units a message, or undecided."""
        if not self._budget.allows("messages.get"):
            self._unread.add(message_id)
            return None
        try:
            return self._client.get_message_state(message_id)
        except MessageGoneError:
            return None

    def _swept_minimal(self, message_id: str) -> MessageState | None:
        state = self._swept.state(message_id, self._profile.history_id)
        return None if state is None else MessageState(message_id, state.thread_id, state.label_ids, None, None, None)
