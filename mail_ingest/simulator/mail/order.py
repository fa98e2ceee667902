"""Messages in the order of a listing, so that a page costs its own length however large the mailbox is."""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator

from mail_ingest.simulator.mail.table import MessageTable

_SMALL = 64


class DateOrder:
    """Slots in ascending order of (internal date, id), read from the newest end.

    Members that leave stay as dead entries until they outnumber the live ones; `is_member` tells them apart.
    """

    __slots__ = ("_is_member", "_slots", "_table", "count")

    def __init__(self, table: MessageTable, is_member: Callable[[int], bool]) -> None:
        self._table = table
        self._is_member = is_member
        self._slots = array("I")
        self.count = 0

    def add(self, slot: int) -> None:
        """Takes in a slot that was not a member before."""
        slots = self._slots
        key = self._table.date_key(slot)
        self.count += 1
        if not slots or self._table.date_key(slots[-1]) < key:
            slots.append(slot)
            return
        at = bisect_left(slots, key, key=self._table.date_key)
        if at == len(slots) or slots[at] != slot:  # else: it was a member once, its entry comes back to life
            slots.insert(at, slot)

    def add_many(self, new: Iterable[int]) -> None:
        """Takes in slots that were never members; one sort instead of an insertion each."""
        fresh = array("I", new)
        self.count += len(fresh)
        # by date, then by id: two stable sorts by what arrays hold, without a call for every slot
        by_id = sorted([*self._slots, *fresh], key=self._table.ids.__getitem__)
        self._slots = array("I", sorted(by_id, key=self._table.dates.__getitem__))

    def leave(self) -> None:
        """One member has left (`is_member` is already false for it)."""
        self.count -= 1
        if len(self._slots) > 2 * self.count + _SMALL:
            self._slots = array("I", filter(self._is_member, self._slots))

    def newest_first(self, below: tuple[int, int] | None = None) -> Iterator[int]:
        """Members from the newest to the oldest, only those whose (date, id) is smaller than `below`."""
        slots = self._slots
        end = len(slots) if below is None else bisect_left(slots, below, key=self._table.date_key)
        for at in range(end - 1, -1, -1):
            slot = slots[at]
            if self._is_member(slot):
                yield slot

    def __iter__(self) -> Iterator[int]:
        return filter(self._is_member, iter(self._slots))
