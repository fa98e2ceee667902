"""Per-message state in columns: about 45 bytes a message, so that a million messages are 45 MB and no object each.

A message is known by its slot, the row number; slots are never reused, a deleted message keeps its row. Threads are
numbered the same way. Ids usually arrive in ascending order, so they are found by bisection in the id column itself;
the few that do not (imports with old dates) go to a dictionary.
"""

import random
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence


class MessageTable:
    """Columns of all messages ever seen in one mailbox, and the threads that link them."""

    __slots__ = (
        "_others",
        "_sorted",
        "_threads_by_id",
        "alive",
        "dates",
        "history",
        "ids",
        "label_sets",
        "live_messages",
        "live_threads",
        "previous",
        "thread_ids",
        "thread_last",
        "thread_sizes",
        "threads",
    )

    def __init__(self) -> None:
        self.ids = array("Q")
        self.dates = array("q")  # internal date, epoch milliseconds
        self.history = array("Q")  # id of the record that last changed the message
        self.label_sets = array("I")
        self.threads = array("I")  # thread number
        self.previous = array("i")  # slot of the message before it in its thread, -1 for the first
        self.alive = bytearray()
        self.thread_ids = array("Q")
        self.thread_last = array("i")
        self.thread_sizes = array("I")  # live messages
        self.live_messages = 0
        self.live_threads = 0
        self._sorted = 0
        self._others: dict[int, int] = {}
        self._threads_by_id: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def slot_of(self, message_number: int) -> int | None:
        """The slot of a message, deleted or not; None for an id that never existed."""
        at = bisect_left(self.ids, message_number, 0, self._sorted)
        if at < self._sorted and self.ids[at] == message_number:
            return at
        return self._others.get(message_number)

    def live_slot(self, message_number: int) -> int | None:
        slot = self.slot_of(message_number)
        return slot if slot is not None and self.alive[slot] else None

    def thread_of(self, thread_id: int) -> int | None:
        """The number of the thread with this id, whether or not the message that began it is still there."""
        slot = self.slot_of(thread_id)
        if slot is not None and self.thread_ids[self.threads[slot]] == thread_id:
            return self.threads[slot]
        return self._threads_by_id.get(thread_id)

    def open_thread(self, thread_id: int) -> int:
        """Number of the thread with this id, made if it is new."""
        known = self.thread_of(thread_id)
        if known is not None:
            return known
        self._threads_by_id[thread_id] = len(self.thread_ids)
        return self._new_thread(thread_id)

    def append(self, message_number: int, thread: int | None, date_ms: int, history_id: int, label_set: int) -> int:
        """Adds a live message and returns its slot; without a thread number the message begins its own thread."""
        slot = len(self.ids)
        if thread is None:
            known = self._threads_by_id.get(message_number)
            thread = self._new_thread(message_number) if known is None else known
        if slot == self._sorted and (not slot or message_number > self.ids[-1]):
            self._sorted += 1
        else:
            self._others[message_number] = slot
        self.ids.append(message_number)
        self.dates.append(date_ms)
        self.history.append(history_id)
        self.label_sets.append(label_set)
        self.threads.append(thread)
        self.previous.append(self.thread_last[thread])
        self.alive.append(1)
        self.thread_last[thread] = slot
        self.live_messages += 1
        self.live_threads += not self.thread_sizes[thread]
        self.thread_sizes[thread] += 1
        return slot

    def extend(self, ids: Sequence[int], thread_ids: Sequence[int], dates: Sequence[int], history: Sequence[int],
               label_sets: Sequence[int]) -> int:  # fmt: skip
        """Adds many messages and returns the slot of the first."""
        first = len(self.ids)
        numbers: dict[int, int] = {}
        for message, thread_id, date_ms, history_id, label_set in zip(
            ids, thread_ids, dates, history, label_sets, strict=True
        ):
            thread = numbers.get(thread_id)
            if thread is None and thread_id != message:
                thread = self.open_thread(thread_id)
            slot = self.append(message, thread, date_ms, history_id, label_set)
            if thread is None:
                numbers[thread_id] = self.threads[slot]
        return first

    def kill(self, slot: int) -> None:
        """Marks a message as permanently deleted."""
        thread = self.threads[slot]
        self.alive[slot] = 0
        self.live_messages -= 1
        self.thread_sizes[thread] -= 1
        self.live_threads -= not self.thread_sizes[thread]

    def thread_id(self, slot: int) -> int:
        return self.thread_ids[self.threads[slot]]

    def thread_slots(self, thread: int) -> list[int]:
        """Live messages of a thread, oldest first."""
        slots = []
        slot = self.thread_last[thread]
        while slot >= 0:
            if self.alive[slot]:
                slots.append(slot)
            slot = self.previous[slot]
        return sorted(slots, key=self.date_key)

    def date_key(self, slot: int) -> tuple[int, int]:
        """Place of a message in the order of a listing: internal date, then id."""
        return self.dates[slot], self.ids[slot]

    def live_slots(self) -> Iterator[int]:
        return (slot for slot, alive in enumerate(self.alive) if alive)

    def _new_thread(self, thread_id: int) -> int:
        self.thread_ids.append(thread_id)
        self.thread_last.append(-1)
        self.thread_sizes.append(0)
        return len(self.thread_ids) - 1


def live_sample(table: MessageTable, count: int, rng: random.Random) -> list[int]:
    """Slots of so many different live messages, or of all where there are fewer."""
    live = list(table.live_slots())
    return rng.sample(live, min(count, len(live)))
