"""Folds history records into one state per message, whatever the order in which they arrive.

Gmail promises records in increasing order and has been seen to break the promise
(googleapis/google-api-nodejs-client#3508), repeats records across pages, and does not say whether a record's inner
`labelIds` is the set now or at the event. So for every message and label only the change with the highest history id
counts, and the inner set is used only where nothing else tells a message's labels. Both readings end in the same state.

Memory: about 0.6 KB per message that the replayed history touches.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from mail_ingest.gmail.models import HistoryChange, HistoryRecord, MessageState

ADDED = "added"
REMOVED = "removed"
FROM_HISTORY = "history"
FROM_SWEEP = "sweep"


@dataclass(frozen=True, slots=True)
class StoredState:
    """What the warehouse holds about one message; `first_seen_at` is None for a state that a sweep just made."""

    message_id: str
    thread_id: str
    label_ids: frozenset[str]
    history_id: int
    is_deleted: bool
    first_seen_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StateChange:
    """A message's state as it should be stored now. `stored` is the state it replaces, None for a new message."""

    message_id: str
    thread_id: str
    label_ids: frozenset[str]
    history_id: int
    is_deleted: bool
    stored: StoredState | None


@dataclass(frozen=True, slots=True)
class LabelEvent:
    """One label that came or went; an empty `label_id` is the message itself."""

    history_id: int
    message_id: str
    label_id: str
    action: str
    source: str


@dataclass(slots=True)
class _Touched:
    """All that the records say of one message: per label the last change, and the last word on its existence."""

    thread_id: str
    history_id: int = 0
    labels: dict[str, tuple[int, bool]] = field(default_factory=dict)
    exists: tuple[int, bool] | None = None
    inner: tuple[int, frozenset[str]] | None = None
    added_with: tuple[int, frozenset[str]] | None = None
    added_at: int = 0
    unclear_at: int = -1


#: Reads one message's labels from Gmail (20 units); None when it is gone.
MinimalReader = Callable[[str], MessageState | None]
#: Gives the stored states of the ids that are stored.
StateLookup = Callable[[Sequence[str]], Mapping[str, StoredState]]


class Replay:
    """History records of one account, folded per message."""

    def __init__(self) -> None:
        self._touched: dict[str, _Touched] = {}

    def __len__(self) -> int:
        return len(self._touched)

    def add(self, records: Iterable[HistoryRecord]) -> Iterator[LabelEvent]:
        """Takes records in and yields the events that they tell. The same record twice changes nothing."""
        for record in records:
            typed = set()
            for change in record.changes:
                typed.add(change.message_id)
                yield from self._add_change(record.history_id, change)
            for message_id in record.message_ids:
                if message_id not in typed:
                    self._touch(message_id, "", record.history_id)
            for message_id in record.unclear_ids:
                seen = self._touch(message_id, "", record.history_id)
                seen.unclear_at = max(seen.unclear_at, record.history_id)

    def _add_change(self, hid: int, change: HistoryChange) -> Iterator[LabelEvent]:
        seen = self._touch(change.message_id, change.thread_id, hid)
        labels = change.label_ids
        if labels is not None and change.kind != "messageDeleted" and (seen.inner is None or hid >= seen.inner[0]):
            seen.inner = (hid, labels)
        if change.kind == "messageAdded":
            seen.added_at = max(seen.added_at, hid)
            if seen.exists is None or hid > seen.exists[0]:
                seen.exists = (hid, True)
            if labels is not None:
                seen.added_with = (hid, labels)
            for label_id in ("", *sorted(labels or ())):
                yield LabelEvent(hid, change.message_id, label_id, ADDED, FROM_HISTORY)
        elif change.kind == "messageDeleted":
            if seen.exists is None or hid >= seen.exists[0]:
                seen.exists = (hid, False)
            yield LabelEvent(hid, change.message_id, "", REMOVED, FROM_HISTORY)
        else:
            is_added = change.kind == "labelAdded"
            for label_id in change.changed_label_ids:
                if hid >= seen.labels.get(label_id, (0, False))[0]:
                    seen.labels[label_id] = (hid, is_added)
                yield LabelEvent(hid, change.message_id, label_id, ADDED if is_added else REMOVED, FROM_HISTORY)

    def _touch(self, message_id: str, thread_id: str, history_id: int) -> _Touched:
        seen = self._touched.get(message_id)
        if seen is None:
            seen = self._touched[message_id] = _Touched(thread_id)
        seen.thread_id = seen.thread_id or thread_id
        seen.history_id = max(seen.history_id, history_id)
        return seen

    def message_ids(self) -> list[str]:
        return list(self._touched)

    def explains(self, message_id: str, label_id: str) -> bool:
        """Whether a record told of this label (or, for the empty label, of the message coming or going)."""
        seen = self._touched.get(message_id)
        if seen is None:
            return False
        if not label_id:
            return seen.exists is not None
        return label_id in seen.labels or (seen.added_with is not None and label_id in seen.added_with[1])

    def count_at(self, history_id: int, seen_since: Container[str], seen_count: int) -> int:
        """How many messages there were at `history_id`, going by the `seen_count` messages seen since.

        Messages that came after it are taken out again, messages that went after it are put back.
        """
        count = seen_count
        for message_id, seen in self._touched.items():
            came_later = seen.added_at > history_id
            went_later = seen.exists is not None and not seen.exists[1] and seen.exists[0] > history_id
            if message_id in seen_since:
                count -= came_later
            else:
                count += went_later and not came_later
        return count

    def touches(self, message_id: str) -> bool:
        return message_id in self._touched

    def fold(self, lookup: StateLookup, read_minimal: MinimalReader, *, batch: int = 5_000) -> Iterator[StateChange]:
        """Yields one state per touched message that differs from what is stored and is newer.

        Stored states are looked up `batch` messages at a time. `read_minimal` is called only where neither the store
        nor a record tells the labels, or the thread, or where a record tells of the message in a way that is not known.
        """
        ids = self.message_ids()
        for start in range(0, len(ids), batch):
            part = ids[start : start + batch]
            stored = lookup(part)
            for message_id in part:
                change = self._fold_one(message_id, stored.get(message_id), read_minimal)
                if change is not None:
                    yield change

    def _fold_one(self, message_id: str, stored: StoredState | None, read_minimal: MinimalReader) -> StateChange | None:
        seen = self._touched[message_id]
        floor = stored.history_id if stored else -1
        if seen.history_id <= floor:
            return None
        hid = seen.history_id
        thread_id = seen.thread_id or (stored.thread_id if stored else "")
        is_unclear = seen.unclear_at > floor
        if not is_unclear and seen.exists is not None and not seen.exists[1] and seen.exists[0] > floor:
            labels = stored.label_ids if stored else self._last_known_labels(seen)
            return StateChange(message_id, thread_id, labels, hid, True, stored)
        if is_unclear or not thread_id:
            change = self._read(message_id, thread_id, hid, stored, read_minimal)
            is_same = stored is not None and (change.label_ids, change.is_deleted) == (
                stored.label_ids,
                stored.is_deleted,
            )
            return None if is_same else change
        # a message that was added since: a sweep may have met it between two of its labels
        is_new = seen.exists is not None and seen.exists[1] and seen.exists[0] > floor
        if stored is not None and not stored.is_deleted and not is_new:
            labels = self._apply(stored.label_ids, floor, seen)
            if labels == stored.label_ids and thread_id == stored.thread_id:
                return None
            return StateChange(message_id, thread_id, labels, hid, False, stored)
        if seen.added_with is not None:
            since, base = seen.added_with[0] - 1, seen.added_with[1]
        elif seen.inner is not None:
            since, base = seen.inner
        else:
            return self._read(message_id, thread_id, hid, stored, read_minimal)
        return StateChange(message_id, thread_id, self._apply(base, since, seen), hid, False, stored)

    @staticmethod
    def _read(
        message_id: str, thread_id: str, hid: int, stored: StoredState | None, read_minimal: MinimalReader
    ) -> StateChange:
        state = read_minimal(message_id)
        if state is None:
            labels = stored.label_ids if stored else frozenset()
            return StateChange(message_id, thread_id, labels, hid, True, stored)
        return StateChange(message_id, state.thread_id, state.label_ids, max(hid, state.history_id or 0), False, stored)

    @staticmethod
    def _apply(base: frozenset[str], since: int, seen: _Touched) -> frozenset[str]:
        labels = set(base)
        for label_id, (hid, is_added) in seen.labels.items():
            if hid > since:
                (labels.add if is_added else labels.discard)(label_id)
        return frozenset(labels)

    def _last_known_labels(self, seen: _Touched) -> frozenset[str]:
        if seen.added_with is not None:
            return self._apply(seen.added_with[1], seen.added_with[0] - 1, seen)
        return seen.inner[1] if seen.inner is not None else frozenset()
