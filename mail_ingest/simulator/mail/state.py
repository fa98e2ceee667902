"""The state of one mailbox and the few primitive steps that change it; every step keeps all indexes true.

Steps return `Change`s; `record` turns a list of changes into one history record. Nothing here checks Gmail's rules
(that is the API's business) and nothing locks (callers hold the simulator's lock).
"""

import random
from collections.abc import Callable, Iterable, Sequence

from mail_ingest.simulator.mail import ids
from mail_ingest.simulator.mail.content import Contents, Source
from mail_ingest.simulator.mail.history import Change, ChangeKind, HistoryLog
from mail_ingest.simulator.mail.labels import SYSTEM_LABELS, Label, LabelSets
from mail_ingest.simulator.mail.order import DateOrder
from mail_ingest.simulator.mail.table import MessageTable

HIDDEN_BY_DEFAULT = frozenset({"SPAM", "TRASH"})


class LabelMembers:
    """The messages of one label, newest first, with the counts that `labels.get` gives."""

    __slots__ = ("_thread_counts", "_version", "order", "unread")

    def __init__(self, order: DateOrder) -> None:
        self.order = order
        self.unread = 0
        self._version = 0
        self._thread_counts: tuple[int, int, int] = (0, 0, 0)  # of which version, threads, unread threads

    def changed(self) -> None:
        self._version += 1

    def thread_counts(self, table: MessageTable, unread: Callable[[int], bool]) -> tuple[int, int]:
        """Threads with at least one message here, and with at least one unread one; kept until something changes."""
        if self._thread_counts[0] != self._version:
            threads: set[int] = set()
            unread_threads: set[int] = set()
            for slot in self.order:
                threads.add(table.threads[slot])
                if unread(slot):
                    unread_threads.add(table.threads[slot])
            self._thread_counts = (self._version, len(threads), len(unread_threads))
        return self._thread_counts[1:]


class MailboxState:
    """Messages, labels and history of one mailbox."""

    def __init__(self, clock: Callable[[], float], rng: random.Random, sets: LabelSets) -> None:
        self.clock = clock
        self.rng = rng
        self.table = MessageTable()
        self.sets = sets
        self.labels: dict[str, Label] = {label.id: label for label in SYSTEM_LABELS}
        self.contents = Contents()
        self.order = DateOrder(self.table, lambda slot: bool(self.table.alive[slot]))
        self.members: dict[str, LabelMembers] = {}
        self.history = HistoryLog(rng.randrange(1_000, 90_000), clock(), rng)
        self.deleted: list[int] = []
        self.on_record: Callable[[Sequence[Change]], None] | None = None

    # reading

    def label_ids(self, slot: int) -> frozenset[str]:
        return self.sets[self.table.label_sets[slot]]

    def is_unread(self, slot: int) -> bool:
        return "UNREAD" in self.sets[self.table.label_sets[slot]]

    def members_of(self, label_id: str) -> LabelMembers:
        known = self.members.get(label_id)
        if known is None:
            known = self.members[label_id] = LabelMembers(
                DateOrder(
                    self.table,
                    lambda slot: bool(self.table.alive[slot]) and label_id in self.sets[self.table.label_sets[slot]],
                )
            )
        return known

    # steps

    def insert(self, date_ms: int, label_ids: Iterable[str], raw: bytes | None, thread_id: int | None,
               arrival_ms: int | None = None) -> Change:  # fmt: skip
        """Adds a message; its id carries the arrival time, which is the internal date unless told otherwise.

        Without bytes the message belongs to the run of a source that was put before.
        """
        number = ids.message_number(date_ms if arrival_ms is None else arrival_ms, self.rng)
        while self.table.slot_of(number) is not None or self.table.thread_of(number) is not None:
            number += 1
        return self.insert_known(number, date_ms, label_ids, raw, thread_id)

    def insert_known(self, number: int, date_ms: int, label_ids: Iterable[str], raw: bytes | None,
                     thread_id: int | None) -> Change:  # fmt: skip
        """Adds a message whose id is given."""
        label_set = self.sets.number(label_ids)
        thread = None if thread_id is None or thread_id == number else self.table.open_thread(thread_id)
        slot = self.table.append(number, thread, date_ms, self.history.current, label_set)
        if raw is not None:
            self.contents.put(slot, raw)
        self.order.add(slot)
        for label_id in self.sets[label_set]:
            members = self.members_of(label_id)
            members.order.add(slot)
            members.unread += self.is_unread(slot)
            members.changed()
        return Change(ChangeKind.MESSAGE_ADDED, slot, label_set)

    def insert_run(self, numbers: Sequence[int], thread_ids: Sequence[int], dates: Sequence[int],
                   label_sets: Sequence[int], source: Source) -> int:  # fmt: skip
        """Adds old mail in bulk, without history records; cursors from before it no longer work."""
        history = [self.history.next_id() for _ in numbers]
        first = self.table.extend(numbers, thread_ids, dates, history, label_sets)
        self.contents.put_run(first, source)
        slots = range(first, first + len(numbers))
        self.order.add_many(slots)
        by_set: dict[int, list[int]] = {}
        for slot, label_set in zip(slots, label_sets, strict=True):
            by_set.setdefault(label_set, []).append(slot)
        by_label: dict[str, list[int]] = {}
        for label_set, alike in by_set.items():
            labels = self.sets[label_set]
            for label_id in labels:
                by_label.setdefault(label_id, []).extend(alike)
                if "UNREAD" in labels:
                    self.members_of(label_id).unread += len(alike)
        for label_id, labelled in by_label.items():
            members = self.members_of(label_id)
            members.order.add_many(labelled)
            members.changed()
        self.history.expire(self.history.current)
        return first

    def add_labels(self, slot: int, label_ids: Iterable[str]) -> Change | None:
        """Adds what the message does not have yet; None when that is nothing."""
        before = self.label_ids(slot)
        delta = frozenset(label_ids) - before
        if not delta:
            return None
        self._relabel(slot, before, before | delta)
        return Change(ChangeKind.LABELS_ADDED, slot, self.table.label_sets[slot], tuple(sorted(delta)))

    def remove_labels(self, slot: int, label_ids: Iterable[str]) -> Change | None:
        before = self.label_ids(slot)
        delta = frozenset(label_ids) & before
        if not delta:
            return None
        self._relabel(slot, before, before - delta)
        return Change(ChangeKind.LABELS_REMOVED, slot, self.table.label_sets[slot], tuple(sorted(delta)))

    def remove(self, slot: int) -> Change:
        """Deletes a message for good."""
        label_set = self.table.label_sets[slot]
        unread = self.is_unread(slot)
        self.table.kill(slot)
        self.order.leave()
        for label_id in self.sets[label_set]:
            members = self.members_of(label_id)
            members.order.leave()
            members.unread -= unread
            members.changed()
        self.contents.drop(slot)
        self.deleted.append(self.table.ids[slot])
        return Change(ChangeKind.MESSAGE_DELETED, slot, label_set)

    def record(self, changes: Sequence[Change]) -> int:
        """Writes one history record and stamps its id on the messages it changed."""
        record_id = self.history.append(changes, self.clock())
        for change in changes:
            self.table.history[change.slot] = record_id
        if self.on_record is not None:
            self.on_record(changes)
        return record_id

    def _relabel(self, slot: int, before: frozenset[str], after: frozenset[str]) -> None:
        was_unread, is_unread = "UNREAD" in before, "UNREAD" in after
        self.table.label_sets[slot] = self.sets.number(after)
        for label_id in before - after:
            members = self.members_of(label_id)
            members.order.leave()
            members.unread -= was_unread
            members.changed()
        for label_id in after - before:
            members = self.members_of(label_id)
            members.order.add(slot)
            members.unread += is_unread
            members.changed()
        if was_unread != is_unread:
            for label_id in before & after:
                members = self.members_of(label_id)
                members.unread += is_unread - was_unread
                members.changed()
