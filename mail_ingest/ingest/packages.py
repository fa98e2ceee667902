"""The load packages of one state sync: spools of states and events, loaded in order, the cursor last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from mail_ingest.gmail.changes import REMOVED, LabelEvent, StateChange
from mail_ingest.gmail.models import arrived_at
from mail_ingest.ingest.loading import Load, Package
from mail_ingest.ingest.run import SyncRun
from mail_ingest.sources.landing import STATE_SOURCE
from mail_ingest.sources.states import StateRows
from mail_ingest.warehouse.spool import Spool

#: States and events that a load package holds at most.
PART_ROWS = 200_000


class StatePackages:
    """The spools of one state sync: usually one, more where a sweep found more than a package may hold."""

    def __init__(
        self,
        run: SyncRun,
        *,
        pipeline: str,
        load: Load,
        spool_folder: Path,
        observed_after: datetime | None,
        observed_at: datetime,
    ) -> None:
        self._run = run
        self._pipeline = pipeline
        self._load_package = load
        self._spool_folder = spool_folder
        self._observed_after = observed_after
        self._observed_at = observed_at
        self._stack = ExitStack()
        self._full: list[Spool] = []
        self._ahead: list[tuple[Spool, StateRows]] = []
        self.states = self.added = self.deleted = self._events = 0
        self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _open(self) -> None:
        self.spool, self.rows = self._new()

    def _new(self) -> tuple[Spool, StateRows]:
        spool = self._stack.enter_context(Spool(self._spool_folder))
        return spool, StateRows(
            self._run.account_id,
            spool.write,
            observed_after=self._observed_after,
            observed_at=self._observed_at,
        )

    def add(self, change: StateChange, events: Sequence[LabelEvent] = ()) -> None:
        """A state, and the events that only its comparison with the stored one tells.

        These land in packages of their own, before the states: once a state has landed, nothing tells them any more.
        """
        self.rows.add_state(change)
        if events:
            if not self._ahead or self._ahead[-1][1].events >= PART_ROWS:
                self._ahead.append(self._new())
            self._ahead[-1][1].add_events(events)
            self._look_for_owner(events)
        self.states += 1
        self.added += change.stored is None
        self.deleted += change.is_deleted
        if change.stored is None and "SENT" in change.label_ids:
            sent_at = arrived_at(change.message_id)
            if sent_at is not None:
                self._run.saw_owner(min(sent_at, self._observed_at))
        self._roll()

    def add_events(self, events: Iterable[LabelEvent]) -> None:
        """Events that history tells. They have keys of their own, so they may land before the states they led to."""
        for event in events:
            self.rows.add_events((event,))
            self._look_for_owner((event,))
            self._roll()

    def _look_for_owner(self, events: Iterable[LabelEvent]) -> None:
        """Whoever reads takes the label UNREAD away; history has no times, so it counts as of now."""
        if any(event.label_id == "UNREAD" and event.action == REMOVED for event in events):
            self._run.saw_owner(self._observed_at)

    def _roll(self) -> None:
        if self.rows.states + self.rows.events >= PART_ROWS:
            self.rows.flush()
            self._full.append(self.spool)
            self._events += self.rows.events
            self._open()

    def note(self) -> None:
        """Adds what was added since the last time to the counts of the run."""
        run = self._run
        run.states_changed += self.states
        run.messages_added += self.added
        run.messages_deleted += self.deleted
        run.label_changes += self._events + self.rows.events + sum(rows.events for _, rows in self._ahead)
        self.states = self.added = self.deleted = self._events = 0

    def land(self) -> None:
        """Loads the states and the events of history that were added so far, with neither cursor nor run; more may be
        added afterwards."""
        self.note()
        self.rows.flush()
        for spool in (*self._full, self.spool):
            if spool.rows:
                self._load(spool, None)
        self._full.clear()
        self._open()

    def load(self, cursors: Mapping[str, Mapping[str, Any]]) -> None:
        """Loads all packages in order; the cursor and the run's row, with what was noted, go with the last."""
        self.rows.flush()
        for spool, rows in self._ahead:
            rows.flush()
            self._load(spool, None)
        for spool in self._full:
            self._load(spool, None)
        self._run.record(self.spool)
        self._load(self.spool, cursors)
        self._run.is_recorded = True

    def _load(self, spool: Spool, cursors: Mapping[str, Mapping[str, Any]] | None) -> None:
        self._load_package(Package(self._pipeline, STATE_SOURCE, spool, cursors))
