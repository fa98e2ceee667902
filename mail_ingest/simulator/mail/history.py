"""The change log of a mailbox, as `users.history.list` reads it.

One record per mutation; a record can hold several messages and several kinds of change. Every change remembers the
labels of its message after that step, because recorded answers carry them.
Source: https://developers.google.com/workspace/gmail/api/reference/rest/v1/users.history/list
"""

import random
from bisect import bisect_right
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple


class ChangeKind(IntEnum):
    MESSAGE_ADDED = 0
    MESSAGE_DELETED = 1
    LABELS_ADDED = 2
    LABELS_REMOVED = 3
    TOUCHED = 4
    """The message is named in `messages` alone; real logs have such records after a message was sent."""


class Change(NamedTuple):
    kind: ChangeKind
    slot: int
    label_set: int
    """Number of the message's label set after this step."""
    delta: tuple[str, ...] = ()
    """Label ids added or removed."""


class HistoryRecord(NamedTuple):
    id: int
    at_s: float
    changes: tuple[Change, ...]


class HistoryLog:
    """Records in ascending order of id, with random gaps between ids, and the oldest cursor that still works."""

    def __init__(self, first_id: int, at_s: float, rng: random.Random) -> None:
        self.current = first_id
        self.current_at_s = at_s
        self.floor = first_id
        """Cursors smaller than this are too old."""
        self.records: list[HistoryRecord] = []
        self._rng = rng

    def next_id(self) -> int:
        """Takes the next id without a record: for mail that is older than anything the log keeps."""
        self.current += self._rng.randrange(1, 24)
        return self.current

    def append(self, changes: Sequence[Change], at_s: float) -> int:
        self.current_at_s = at_s
        self.records.append(HistoryRecord(self.next_id(), at_s, tuple(changes)))
        return self.current

    def after(self, cursor: int) -> int:
        """Position in `records` of the first record after the cursor (exclusive)."""
        return bisect_right(self.records, cursor, key=lambda record: record.id)

    def is_expired(self, cursor: int) -> bool:
        """True for cursors that are too old, and for ids that this mailbox has not reached."""
        return not self.floor <= cursor <= self.current

    def expire(self, floor: int | None) -> None:
        """Forgets records up to the floor; None forgets everything, even the id that was handed out last."""
        self.floor = max(self.floor, self.current + 1 if floor is None else floor)
        del self.records[: self.after(self.floor)]

    def expire_before(self, oldest_at_s: float) -> None:
        """Applies a retention: what happened before that moment is forgotten, a quiet mailbox's last id included."""
        kept = next((at for at, record in enumerate(self.records) if record.at_s >= oldest_at_s), len(self.records))
        if kept:
            self.floor = max(self.floor, self.records[kept - 1].id)
            del self.records[:kept]
        if not self.records and self.current_at_s < oldest_at_s:
            self.floor = self.current + 1
