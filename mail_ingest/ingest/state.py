"""State syncs of one account: which messages exist, in which threads, with which labels.

    cursor alive, mailbox unchanged   profile + labels.list, 2 units, nothing loaded
    cursor alive                      history replayed over the stored states
    no cursor, or history expired     ids and labels swept, then the history since the sweep began replayed

Rows, events, labels, the cursor and the run's own row go into one load package. Only a sweep of more than
`PART_ROWS` (see `packages`) messages takes several, each with the events that belong to its rows, and the cursor in the last.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mail_ingest.accounts import Standing
from mail_ingest.errors import HistoryExpiredError, MessageGoneError, SweepRefusedError, WrongMailboxError
from mail_ingest.gmail import GmailClient, Label, MessageState, Profile
from mail_ingest.gmail.changes import FROM_SWEEP, REMOVED, LabelEvent, Replay, StateChange, StoredState
from mail_ingest.gmail.sweep import SweptMailbox, check_sweep_is_believable, compare, replay_since, sweep_mailbox
from mail_ingest.ingest.cursor import Cursor
from mail_ingest.ingest.labels import gone_labels, identity, labels_digest, vanished_labels, with_counts, without
from mail_ingest.ingest.loading import Load
from mail_ingest.ingest.packages import StatePackages
from mail_ingest.ingest.privacy import private_labels
from mail_ingest.ingest.run import Mode, OnProgress, Progress, SyncRun
from mail_ingest.privacy import Policy
from mail_ingest.sources.batches import RowBuffer
from mail_ingest.sources.landing import STATE_SOURCE
from mail_ingest.sources.states import write_labels
from mail_ingest.sources.tables import ACCOUNTS
from mail_ingest.warehouse.pipeline import Pipelines
from mail_ingest.warehouse.queries import Queries, StoredLabel

logger = logging.getLogger(__name__)

#: Messages that a second sweep may show beyond the first before neither is believed.
MOST_MISSED = 200


@dataclass(frozen=True, slots=True)
class KnownCursor:
    """An account's cursor, and the copy of it that was loaded with the last package of states; read while the account's lock
    was held."""

    cursor: Cursor | None
    loaded: int | None

    @property
    def is_reached(self) -> bool:
        """Whether the warehouse holds what the cursor vouches for.

        It holds more where a package landed in part and its working folder, with the newer cursor, is gone: history
        replayed from the older cursor then brings the rest, and changes nothing that is there.
        """
        return self.cursor is not None and self.loaded is not None and self.loaded >= self.cursor.history_id


class StateSync:
    """One state sync. The caller holds the account's lock from before `run` until it returns."""

    def __init__(
        self,
        client: GmailClient,
        run: SyncRun,
        *,
        pipeline: str,
        pipelines: Pipelines,
        load: Load,
        queries: Queries,
        spool_folder: Path,
        standing: Standing,
        policy: Policy,
        has_backlog: Callable[[], bool],
        content_follows: bool,
        accept_shrink: bool,
        on_progress: OnProgress,
        known: KnownCursor | None = None,
    ) -> None:
        """`has_backlog`: whether content within the account's scope is missing. `known`: see `KnownCursor`."""
        self._known = known
        self._content_follows = content_follows
        self._accept_shrink = accept_shrink
        self._client = client
        self._run = run
        self._account_id = run.account_id
        self._pipeline = pipeline
        self._pipelines = pipelines
        self._load = load
        self._queries = queries
        self._spool_folder = spool_folder
        self._standing = standing
        self._policy = policy
        self._label_rows = private_labels(policy)
        self._has_backlog = has_backlog
        self._on_progress = on_progress
        self._now = datetime.now(UTC)

    def run(self, mode: Mode) -> Profile:
        """Brings the stored state up to the mailbox. Raises what the client raises; then nothing was changed."""
        known = self._known or self._read_cursor()
        cursor = known.cursor
        if cursor is not None and not known.is_reached:
            logger.warning(
                "the warehouse does not stand where the cursor of %s says, as after a restored backup; sweeping it anew",
                self._account_id,
            )
            cursor = None
        profile = self._client.get_profile()
        check_mailbox(profile, self._account_id)
        labels = self._list_labels()
        # taken after the profile: changes up to here are what this observation bounds from above
        self._now = datetime.now(UTC)
        if cursor is not None and profile.history_id < max(cursor.history_id, cursor.incomparable_up_to):
            # ids were seen going backwards between runs (lieer#203): swept until they have passed the old ones
            cursor = replace(cursor, incomparable_up_to=max(cursor.history_id, cursor.incomparable_up_to))
            self._full(replace(cursor, history_id=profile.history_id), profile, labels, is_expired=True)
            return profile
        is_expired = False
        if cursor is not None and mode != "full":
            if cursor.history_id == profile.history_id and cursor.labels_digest == labels_digest(labels):
                self._run.kind = "partial"
                return profile
            try:
                self._partial(cursor, profile, labels)
                return profile
            except HistoryExpiredError:
                if mode == "partial":
                    raise
                is_expired = True
                logger.info(
                    "history of %s has expired at the cursor; sweeping ids and labels instead", self._account_id
                )
        self._full(cursor, profile, labels, is_expired=is_expired)
        return profile

    def _read_cursor(self) -> KnownCursor:
        stored = self._pipelines.read_state(self._pipeline, STATE_SOURCE).get("cursors", {}).get(self._account_id)
        if not stored:
            return KnownCursor(None, None)
        return KnownCursor(Cursor.from_state(stored), self._queries.loaded_cursor(self._account_id))

    def _incomparable_up_to(self, profile: Profile) -> int:
        """The highest history id that is stored, where the mailbox has not come so far: its history began anew, and the
        cursor that knew it is gone."""
        highest = self._queries.highest_history_id(self._account_id)
        return highest if highest > profile.history_id else 0

    # -- partial -------------------------------------------------------------------------------------------------

    def _partial(self, cursor: Cursor, profile: Profile, labels: list[Label]) -> None:
        self._run.kind = "partial"
        with self._queries.at_once():
            known = self._queries.labels(self._account_id)
            # a sweep may have died after its events, and the history that had expired for it may be there all the same
            self._pipelines.remove_early_events(self._account_id)
        with self._packages(cursor.observed_at) as packages:
            replay, history_id = Replay(), profile.history_id
            if profile.history_id != cursor.history_id:
                try:
                    history_id = replay_since(self._client, cursor.history_id, replay, packages.add_events)
                except HistoryExpiredError:
                    self._land_beginning(replay, profile.history_id, labels, known, packages)
                    raise
            changes = {change.message_id: change for change in replay.fold(self._lookup, self._read_minimal)}
            labels = self._refresh_labels(labels, known, changes.values())
            vanished = vanished_labels(labels, known, cursor.observed_at)
            gone = gone_labels(labels, known) | self._passing_labels(labels, known, changes.values())
            for change in changes.values():
                packages.add(without(change, gone))
            for stored in self._queries.states_with_label(self._account_id, vanished) if vanished else ():
                if stored.message_id not in changes:
                    kept = stored.label_ids - gone
                    packages.add(
                        StateChange(stored.message_id, stored.thread_id, kept, history_id, False, stored),
                        self._label_deletions(stored, gone, replay, history_id),
                    )
            self._write_labels(packages, labels, known, vanished, counts={})
            self._finish(packages, profile, replace(cursor, history_id=history_id, labels_digest=labels_digest(labels)))

    def _land_beginning(
        self,
        replay: Replay,
        pinned: int,
        labels: list[Label],
        known: Mapping[str, StoredLabel],
        packages: StatePackages,
    ) -> None:
        """Lands what history told before it broke off: its events, and the states that they led to.

        The sweep is compared with those states, so its events go on where the history ended. States newer than the sweep's
        `pinned` history id are left out: the sweep may be older than they are. Neither cursor nor run is written: a process
        that dies here leaves a history that has expired.
        """
        if not len(replay):
            return
        folded = replay.fold(self._lookup, self._read_minimal)
        changes = [change for change in folded if change.history_id <= pinned]
        passing = self._passing_labels(self._refresh_labels(labels, known, changes), known, changes)
        for change in changes:
            packages.add(without(change, passing))
        packages.land()

    def _refresh_labels(self, labels: list[Label], known: Mapping[str, StoredLabel], changes: Any) -> list[Label]:
        """Labels again, once, where a change names one that the list did not know."""
        listed = {label.label_id for label in labels} | set(known)
        if any(change.label_ids - listed for change in changes):
            return self._list_labels()
        return labels

    def _list_labels(self) -> list[Label]:
        """The labels with their names in the form in which they may be stored."""
        return [self._label_rows(self._account_id, label) for label in self._client.list_labels()]

    def _passing_labels(
        self, labels: list[Label], known: Mapping[str, StoredLabel], changes: Iterable[StateChange]
    ) -> frozenset[str]:
        """Labels that changes name, that no list ever showed, and that a message which should carry them does not.

        They came and went between two syncs, and Gmail may tell of their going in no record. It leaves other labels out of
        its list for good, so one message is read (20 units) for each such label that is new to the message.
        """
        listed = {label.label_id for label in labels} | set(known)
        carriers: dict[str, list[str]] = {}
        for change in changes:
            before = change.stored.label_ids if change.stored is not None else frozenset()
            for label_id in () if change.is_deleted else change.label_ids - listed - before:
                carriers.setdefault(label_id, []).append(change.message_id)
        passing = set()
        for label_id, message_ids in carriers.items():
            states = (self._read_minimal(message_id) for message_id in message_ids)
            state = next((state for state in states if state is not None), None)
            if state is not None and label_id not in state.label_ids:
                passing.add(label_id)
        return frozenset(passing)

    def _lookup(self, message_ids: Sequence[str]) -> Mapping[str, StoredState]:
        return self._queries.lookup_states(self._account_id, message_ids)

    def _read_minimal(self, message_id: str) -> MessageState | None:
        """A message's state, None where it is gone. Asked twice before that is believed: no later history would tell that
        a message which a passing 404 hid is there."""
        for _ in range(2):
            with suppress(MessageGoneError):
                return self._client.get_message_state(message_id)
        return None

    @staticmethod
    def _label_deletions(
        stored: StoredState, gone: frozenset[str], replay: Replay, history_id: int
    ) -> list[LabelEvent]:
        return [
            LabelEvent(history_id, stored.message_id, label_id, REMOVED, FROM_SWEEP)
            for label_id in sorted(stored.label_ids & gone)
            if not replay.explains(stored.message_id, label_id)
        ]

    # -- full ----------------------------------------------------------------------------------------------------

    def _full(self, cursor: Cursor | None, profile: Profile, labels: list[Label], *, is_expired: bool) -> None:
        self._run.kind = "full"
        known = self._queries.labels(self._account_id)
        with self._packages(cursor.observed_at if cursor else None) as packages:
            # with a cursor that lives, the events since then are had for 2 units a page
            since = profile.history_id if cursor is None or is_expired else cursor.history_id
            labels, counts, history_id = self._sweep(profile, labels, known, since, packages)
            self._write_labels(packages, labels, known, vanished_labels(labels, known), counts)
            incomparable = cursor.incomparable_up_to if cursor else self._incomparable_up_to(profile)
            now = Cursor(history_id, self._now, labels_digest(labels), self._now, incomparable)
            self._finish(packages, profile, now)

    def _sweep(
        self,
        profile: Profile,
        labels: list[Label],
        known: Mapping[str, StoredLabel],
        since: int,
        packages: StatePackages,
    ) -> tuple[list[Label], dict[str, Label], int]:
        """Sweeps, replays, and writes what differs; the labels now, their counts, and the history id to go on from.

        A function of its own because the swept mailbox, the largest thing in memory, must be gone when the load begins.
        """
        pinned = profile.history_id
        swept, counts = sweep_mailbox(
            self._client,
            labels,
            on_ids=lambda found: self._on_progress(
                Progress(self._account_id, "ids", found, max(found, profile.messages_total or 0))
            ),
        )
        if not self._accept_shrink:
            # without Gmail's word what is stored stands for it: an empty sweep must not delete a mailbox
            total = profile.messages_total
            total = self._queries.count_live(self._account_id) if total is None else total
            check_sweep_is_believable(len(swept), total, self._account_id)
        self._pipelines.remove_early_events(self._account_id)
        replay, history_id = self._replay_since(since, pinned, labels, known, packages)

        def lookup(message_ids: Sequence[str]) -> Mapping[str, StoredState]:
            found = ((message_id, swept.state(message_id, pinned)) for message_id in message_ids)
            return {message_id: state for message_id, state in found if state is not None}

        replayed = {change.message_id: change for change in replay.fold(lookup, self._read_minimal)}
        if replay.count_at(pinned, swept, len(swept)) != profile.messages_total:
            replayed |= self._sweep_again(swept, replay, pinned)
        labels = self._refresh_labels(labels, known, replayed.values())
        listed = {label.label_id for label in labels} | set(known)
        gone = gone_labels(labels, known) | self._passing_labels(labels, known, replayed.values())
        with closing(self._queries.iter_states(self._account_id)) as stored:
            pairs = compare(
                swept,
                replay,
                replayed,
                stored,
                history_id=pinned,
                lasting_labels=lambda label_id: label_id not in listed,
            )
            for change, events in pairs:
                packages.add(without(change, gone), events)
        return labels, counts, history_id

    def _sweep_again(self, swept: SweptMailbox, replay: Replay, pinned: int) -> dict[str, StateChange]:
        """States of messages that a second sweep of ids shows and the first one missed.

        Called where sweep and replay do not add up to the profile's total: pages can skip ids while the mailbox changes
        under them, and only what both sweeps lack is believed to be gone. Each message found costs 20 units.
        """
        logger.info("the sweep of %s does not add up to the profile's total; ids are swept again", self._account_id)
        found: dict[str, StateChange] = {}
        for page in self._client.iter_message_ids():
            for ref in page.refs:
                if ref.message_id in swept or ref.message_id in found or replay.touches(ref.message_id):
                    continue
                if len(found) >= MOST_MISSED:
                    raise SweepRefusedError(
                        f"Two sweeps of {self._account_id} differ in more than {MOST_MISSED} messages; nothing was written. "
                        "The mailbox is changing too fast to be listed: run the sync again."
                    )
                state = self._read_minimal(ref.message_id)
                if state is not None:
                    last = max(pinned, state.history_id or 0)
                    found[ref.message_id] = StateChange(
                        ref.message_id, state.thread_id, state.label_ids, last, False, None
                    )
        return found

    def _replay_since(
        self,
        since: int,
        pinned: int,
        labels: list[Label],
        known: Mapping[str, StoredLabel],
        packages: StatePackages,
    ) -> tuple[Replay, int]:
        replay = Replay()
        try:
            return replay, replay_since(self._client, since, replay, packages.add_events)
        except HistoryExpiredError:
            if since != pinned:
                self._land_beginning(replay, pinned, labels, known, packages)
                return self._replay_since(pinned, pinned, labels, known, packages)
            # right after a sweep this means only that the quiet mailbox has no history (lieer#203), not that we missed any
            logger.info("%s has no history after the sweep's cursor", self._account_id)
            return replay, pinned

    # -- both ----------------------------------------------------------------------------------------------------

    def _packages(self, observed_after: datetime | None) -> StatePackages:
        return StatePackages(
            self._run,
            pipeline=self._pipeline,
            load=self._load,
            spool_folder=self._spool_folder,
            observed_after=observed_after,
            observed_at=self._now,
        )

    def _write_labels(
        self,
        packages: StatePackages,
        labels: list[Label],
        known: Mapping[str, StoredLabel],
        vanished: list[str],
        counts: Mapping[str, Label],
    ) -> None:
        """Rows for labels that are new, renamed, counted or gone."""
        rows: list[tuple[Label, datetime | None]] = []
        for label in labels:
            stored = known.get(label.label_id)
            counted = counts.get(label.label_id)
            if counted is not None:
                rows.append((with_counts(label, counted), self._now))
            elif stored is None or stored.deleted_at is not None:
                rows.append((label, None))
            elif identity(stored.label) != identity(label):
                rows.append((with_counts(label, stored.label), stored.counts_at))
        changed = sum(
            1
            for label, _ in rows
            if label.label_id not in known or identity(known[label.label_id].label) != identity(label)
        )
        self._run.labels_changed += changed + len(vanished)
        write_labels(
            self._account_id,
            rows,
            [(known[label_id].label, self._now) for label_id in vanished],
            packages.spool.write,
        )

    def _finish(self, packages: StatePackages, profile: Profile, cursor: Cursor) -> None:
        cursor = replace(cursor, observed_at=self._now)
        packages.note()
        run = self._run
        buffer = RowBuffer(ACCOUNTS, packages.spool.write)
        buffer.add(
            (
                self._account_id,
                profile.messages_total,
                profile.threads_total,
                cursor.history_id,
                cursor.full_sync_at,
                self._now,
                *self._standing,
            )
        )
        buffer.flush()
        if self._content_follows and (run.messages_added or self._has_backlog()):
            # the last package of content says how it ended; should none come, this is what is true
            run.outcome = "partial"
        packages.load({self._account_id: cursor.to_state()})


def check_mailbox(profile: Profile, account_id: str) -> None:
    """Raises WrongMailboxError where a profile is of another mailbox than the account's."""
    if profile.email_address.lower() != account_id:
        raise WrongMailboxError(
            f"The credentials of {account_id} open the mailbox {profile.email_address.lower()}; nothing was "
            "read from it. Connect the account again with credentials of its own mailbox.",
            account_id=account_id,
        )
