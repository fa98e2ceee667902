"""Ends a sync at the next safe point: because a signal came, or because somebody cancelled it in the control database.

The client asks before every request, and while it waits; so do locks that are waited for. What was fetched is loaded first.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from mail_ingest.errors import CancelledError

logger = logging.getLogger(__name__)

#: The control database is asked this often whether a sync was cancelled.
ASK_EVERY_S = 1.0
#: Longer waits are cut into pieces of this length, so that a sync that waits for quota can be stopped.
_NAP_S = 1.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSign:
    """Whether the sync under way should end. Thread-safe.

    `stop` is for the process: nothing is begun after it. `watch` is for one account's sync: `is_cancelled` is asked once a
    second at most. A sign `within` another one stops with it: one for each account of those that are synced side by side.
    """

    def __init__(self, within: StopSign | None = None) -> None:
        self._within = within
        self._stopped_by = ""
        self._account_id = ""
        self._is_cancelled: Callable[[], bool] = _never
        self._lock = threading.Lock()
        self._asked_at = 0.0
        self._is_shown = False
        self._was_told = False

    @property
    def stopped_by(self) -> str:
        """Why everything is to end; empty where it is not."""
        return self._stopped_by or (self._within.stopped_by if self._within is not None else "")

    def stop(self, why: str) -> None:
        """Asks everything to end. May be called from a signal handler."""
        self._stopped_by = self._stopped_by or why

    @contextmanager
    def watch(self, account_id: str, is_cancelled: Callable[[], bool]) -> Iterator[None]:
        """For the length of one account's sync."""
        self._account_id, self._is_cancelled = account_id, is_cancelled
        self._asked_at, self._is_shown, self._was_told = time.monotonic(), False, False
        try:
            yield
        finally:
            self._account_id, self._is_cancelled = "", _never

    @contextmanager
    def watch_many(self) -> Iterator[None]:
        """While accounts are synced side by side, each with a sign of its own within this one: what they share, as the waits for
        a project's quota, ends when everything is to end. The thread in the block itself does not: it loads what was fetched."""
        with self.watch("several accounts", _never):
            self._was_told = True
            yield

    def check(self) -> None:
        """Raises CancelledError where the sync should end."""
        if not self._account_id or not (self.stopped_by or self._is_shown or self._ask()):
            return
        self._was_told = True
        why = f"was stopped ({self.stopped_by})" if self.stopped_by else "was cancelled"
        raise CancelledError(
            f"The sync of {self._account_id} {why}. What was loaded stays, and the next sync goes on from there."
        )

    def check_once(self) -> None:
        """The same, until somebody was told: what was fetched by then must be able to wait for its turn to be loaded."""
        if not self._was_told:
            self.check()

    def sleeper(self, sleep: Callable[[float], None]) -> Callable[[float], None]:
        """A sleep that ends with CancelledError within a second."""

        def nap(seconds: float) -> None:
            self.check()
            while seconds > _NAP_S and self._account_id:
                sleep(_NAP_S)
                seconds -= _NAP_S
                self.check()
            sleep(seconds)

        return nap

    def _ask(self) -> bool:
        with self._lock:
            if time.monotonic() - self._asked_at >= ASK_EVERY_S:
                self._is_shown = self._is_cancelled()
                self._asked_at = time.monotonic()
            return self._is_shown


def _never() -> bool:
    return False


@contextmanager
def stop_on_signals(
    sign: StopSign, *, tell: Callable[[str], None] = lambda _: None, patience_s: float | None = None
) -> Iterator[None]:
    """SIGINT and SIGTERM stop at the next safe point; a second one does what it did before this block, at once.

    `tell` hears the name of the first one, within the signal handler. `patience_s`: where no safe point was reached that
    long after the first signal, it is sent again; a process that does not end by that either is ended by force as long
    after, which a sync survives like any kill. Outside of the main thread, which alone gets signals, nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    timers: list[threading.Timer] = []

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def on_signal(number: int, _frame: FrameType | None) -> None:
        restore()
        name = signal.Signals(number).name
        sign.stop(name)
        tell(name)
        if patience_s is not None:
            timers.append(_timer(patience_s, lambda: os.kill(os.getpid(), number)))
            timers.append(_timer(2 * patience_s, lambda: os._exit(1)))

    for number in _SIGNALS:
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        restore()
        for timer in timers:
            timer.cancel()


def _timer(seconds: float, act: Callable[[], None]) -> threading.Timer:
    timer = threading.Timer(seconds, act)
    timer.daemon = True
    timer.start()
    return timer
