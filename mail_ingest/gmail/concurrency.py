"""How many calls of one mailbox may be under way at once.

Gmail counts them across all clients of the mailbox, so the bound is learned from its refusals.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_CALLS_PER_STEP = 20


class InFlight:
    """Lets at most `limit` calls through at once; halves on refusal, and grows by one after 20 x limit calls went well.

    Calls that left before the last halving do not halve again: one burst of refusals is one event.
    """

    def __init__(self, ceiling: int) -> None:
        if ceiling < 1:
            raise ValueError("at least one call must be allowed in flight")
        self._ceiling = ceiling
        self._limit = ceiling
        self._under_way = 0
        self._halvings = 0
        self._went_well = 0
        self._changed = threading.Condition()

    @property
    def limit(self) -> int:
        return self._limit

    def widen(self, ceiling: int) -> None:
        """Allows more, where somebody needs more than who came first."""
        with self._changed:
            if ceiling > self._ceiling:
                if self._limit == self._ceiling:
                    self._limit = ceiling
                self._ceiling = ceiling
                self._changed.notify_all()

    @contextmanager
    def slot(self) -> Iterator[int]:
        """Waits for a free place and holds it; gives the mark that `refused` takes."""
        with self._changed:
            self._changed.wait_for(lambda: self._under_way < self._limit)
            self._under_way += 1
            mark = self._halvings
        try:
            yield mark
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify()

    def refused(self, mark: int) -> None:
        """Gmail refused a call for there being too many."""
        with self._changed:
            if mark == self._halvings:
                self._limit = max(self._limit // 2, 1)
                self._halvings += 1
                self._went_well = 0

    def went_well(self) -> None:
        """A call was answered; enough of them widen the limit again."""
        with self._changed:
            self._went_well += 1
            if self._limit < self._ceiling and self._went_well >= _CALLS_PER_STEP * self._limit:
                self._limit += 1
                self._went_well = 0
                self._changed.notify()
