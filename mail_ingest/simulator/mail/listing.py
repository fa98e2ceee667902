"""Walks through messages and threads in the order of a listing, page by page."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from mail_ingest.simulator.mail.search import Query
from mail_ingest.simulator.mail.search_terms import Candidate
from mail_ingest.simulator.mail.state import HIDDEN_BY_DEFAULT, MailboxState

ESTIMATE_CEILING = 201
"""Where `resultSizeEstimate` saturates (measured by others, and in recordings)."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where the next page begins: below this (date, id), after so many results."""

    below: tuple[int, int] | None = None
    served: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    slots: list[int]
    next: Position | None
    """None on the last page."""
    estimate: int


class Listing:
    """The messages of one mailbox that a query finds."""

    def __init__(self, state: MailboxState, label_ids: list[str], query: Query | None, *, shows_bins: bool) -> None:
        self._state = state
        self._labels = frozenset(label_ids)
        self._query = query
        self._hidden = frozenset() if shows_bins else HIDDEN_BY_DEFAULT
        self._visible_sets: dict[int, bool] = {}

    def newest_first(self, below: tuple[int, int] | None = None) -> Iterator[int]:
        """All matching messages below a position; walks the smallest label that is asked for."""
        state, query = self._state, self._query
        required = self._labels | (query.required_labels if query is not None else set())
        order = min(
            (state.members_of(label_id).order for label_id in required),
            key=lambda label_order: label_order.count,
            default=state.order,
        )
        if query is None:
            walk = order.newest_first(below)
            # the members of one label, or everything there is, need no second look
            yield from filter(self._is_visible, walk) if self._hidden or len(required) > 1 else walk
            return
        if query.before_s is not None:
            bound = (int(query.before_s) * 1000 + 1000, 0)
            below = bound if below is None else min(below, bound)
        oldest_ms = None if query.after_s is None else int(query.after_s) * 1000
        for slot in order.newest_first(below):
            if oldest_ms is not None and state.table.dates[slot] < oldest_ms:
                return
            if self._is_visible(slot) and query.predicate(Candidate(state, slot)):
                yield slot

    def matches(self, slot: int) -> bool:
        return self._is_visible(slot) and (self._query is None or self._query.predicate(Candidate(self._state, slot)))

    def page(self, position: Position, size: int, *, by_offset: bool) -> Page:
        """One page of messages. By offset, everything that was served before is walked again."""
        walk = self.newest_first(None if by_offset else position.below)
        if by_offset:
            for _ in range(position.served):
                next(walk, None)
        slots = list(islice(walk, size))
        return self._finish(slots, walk, position)

    def thread_page(self, position: Position, size: int) -> Page:
        """One page of threads, each by its newest matching message."""
        walk = filter(self._is_newest_of_its_thread, self.newest_first(position.below))
        slots = list(islice(walk, size))
        return self._finish(slots, walk, position)

    def _finish(self, slots: list[int], walk: Iterator[int], position: Position) -> Page:
        served = position.served + len(slots)
        ahead = sum(1 for _ in islice(walk, max(1, ESTIMATE_CEILING - served)))
        if not ahead:
            return Page(slots, None, served)
        following = Position(self._state.table.date_key(slots[-1]), served)
        return Page(slots, following, min(served + ahead, ESTIMATE_CEILING))

    def _is_visible(self, slot: int) -> bool:
        number = self._state.table.label_sets[slot]
        known = self._visible_sets.get(number)
        if known is None:
            labels = self._state.sets[number]
            known = self._visible_sets[number] = self._labels <= labels and self._hidden.isdisjoint(labels)
        return known

    def _is_newest_of_its_thread(self, slot: int) -> bool:
        thread = self._state.table.thread_slots(self._state.table.threads[slot])
        return not any(self.matches(newer) for newer in thread[thread.index(slot) + 1 :])
