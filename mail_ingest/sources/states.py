"""State changes, label events and labels -> rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

import orjson
import pyarrow as pa

from mail_ingest.gmail.changes import LabelEvent, StateChange
from mail_ingest.gmail.models import Label
from mail_ingest.sources.batches import RowBuffer, clean
from mail_ingest.sources.tables import LABEL_EVENTS, LABELS, MESSAGE_STATES

_ROWS = 20_000


class StateRows:
    """Turns changes of one account into rows of `message_states` and `label_events`.

    `observed_after` is the observation before this one, None where there was none; `observed_at` this one.
    """

    def __init__(
        self,
        account_id: str,
        write: Callable[[str, pa.RecordBatch], None],
        *,
        observed_after: datetime | None,
        observed_at: datetime,
    ) -> None:
        self._account_id = account_id
        self._observed_after = observed_after
        self._observed_at = observed_at
        self._states = RowBuffer(MESSAGE_STATES, write, rows=_ROWS)
        self._events = RowBuffer(LABEL_EVENTS, write, rows=_ROWS)
        self._label_sets: dict[frozenset[str], str] = {}
        self.states = self.events = self.added = self.deleted = 0

    def add_state(self, change: StateChange) -> None:
        labels = self._label_sets.get(change.label_ids)
        if labels is None:
            if len(self._label_sets) > 50_000:
                self._label_sets.clear()
            labels = orjson.dumps(sorted(change.label_ids)).decode()
            self._label_sets[change.label_ids] = labels
        self._states.add(
            (
                self._account_id,
                change.message_id,
                change.thread_id,
                labels,
                change.history_id,
                change.is_deleted,
                self._observed_at if change.is_deleted else None,
                (change.stored.first_seen_at if change.stored else None) or self._observed_at,
                self._observed_at,
            )
        )
        self.states += 1
        self.added += change.stored is None
        self.deleted += change.is_deleted

    def add_events(self, events: Iterable[LabelEvent]) -> None:
        for event in events:
            self._events.add(
                (
                    self._account_id,
                    event.history_id,
                    event.message_id,
                    event.label_id,
                    event.action,
                    self._observed_after,
                    self._observed_at,
                    event.source,
                )
            )
            self.events += 1

    def flush(self) -> None:
        self._states.flush()
        self._events.flush()


def write_labels(
    account_id: str,
    labels: Iterable[tuple[Label, datetime | None]],
    deleted: Iterable[tuple[Label, datetime]],
    write: Callable[[str, pa.RecordBatch], None],
) -> None:
    """Rows of `labels`: present ones with the time their counts were read, and vanished ones with the time of that."""
    buffer = RowBuffer(LABELS, write)
    for label, counts_at in labels:
        buffer.add(_label_row(account_id, label, counts_at, None))
    for label, deleted_at in deleted:
        buffer.add(_label_row(account_id, label, None, deleted_at))
    buffer.flush()


def _label_row(
    account_id: str, label: Label, counts_at: datetime | None, deleted_at: datetime | None
) -> tuple[object, ...]:
    return (
        account_id,
        label.label_id,
        clean(label.name),
        clean(label.type),
        clean(label.message_list_visibility),
        clean(label.label_list_visibility),
        clean(label.text_color),
        clean(label.background_color),
        label.messages_total,
        label.messages_unread,
        label.threads_total,
        label.threads_unread,
        counts_at,
        deleted_at,
    )
