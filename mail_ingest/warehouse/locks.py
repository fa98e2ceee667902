"""Locks that a dead process frees: locks of the operating system on files under home (on Postgres see `advisory`).

Names: `account:<id>` while an account's state is read and loaded, `content:<id>` while content is bought for it (and
`next:content:<id>` while somebody waits for that),
`pipeline:<name>` while dlt extracts and loads, `warehouse` while the DuckDB file is open. The command line and Dagster
take the same ones. Taken in that order, so that two processes never wait for each other. `run:<id>`, which nobody waits
for, shows that the worker of a run of Dagster's lives.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mail_ingest.errors import BusyError
from mail_ingest.folders import make_private

#: Seconds between two tries to get a lock.
POLL_S = 0.05


class Locks:
    """Named locks in one folder. `wait_s` is how long to wait for another process before BusyError."""

    def __init__(self, folder: Path, wait_s: float = 60.0) -> None:
        self._folder = folder
        self.wait_s = wait_s
        self.before_waiting: Callable[[], None] = lambda: None
        """Called before a lock that somebody else holds is waited for: whoever waits must not keep what others need."""
        self.while_waiting: Callable[[], None] = lambda: None
        """Called every `POLL_S` while a lock is waited for; what it raises ends the waiting."""

    @contextmanager
    def hold(self, name: str, *, wait_s: float | None = None) -> Iterator[None]:
        """Holds a lock for the length of the block. Not reentrant, neither across threads nor within one.

        Raises BusyError after `wait_s` seconds (default: the folder's).
        """
        wait_s = self.wait_s if wait_s is None else wait_s
        make_private(self._folder)
        lock = FileLock(self._folder / _file_name(name), thread_local=False)
        deadline = time.monotonic() + wait_s
        has_waited = False
        while not lock.is_locked:
            try:
                lock.acquire(timeout=0)
            except Timeout:
                if not has_waited:
                    has_waited = True
                    self.before_waiting()
                    continue
                if time.monotonic() >= deadline:
                    raise busy(name, wait_s) from None
                self.while_waiting()
                time.sleep(POLL_S)
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def hold_in_turn(self, name: str, *, wait_s: float | None = None) -> Iterator[None]:
        """Holds a lock that somebody takes again and again, such as for every package of a long backfill: who waits for it
        is next, because whoever wants it has to queue first. With `hold` alone the one who lets go would win mostly.
        """
        wait_s = self.wait_s if wait_s is None else wait_s
        deadline = time.monotonic() + wait_s
        with ExitStack() as held:
            try:
                with self.hold(f"next:{name}", wait_s=wait_s):
                    held.enter_context(self.hold(name, wait_s=max(deadline - time.monotonic(), 0)))
            except BusyError:
                raise busy(name, wait_s) from None
            yield

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Within the block many threads hold locks, for which one connection is enough where they are held in a database."""
        yield

    def forget(self, name: str) -> None:
        """Removes what a lock that nobody asks for any more, such as a finished run's, has left behind."""
        (self._folder / _file_name(name)).unlink(missing_ok=True)

    def check(self) -> None:
        """Raises WarehouseError where a lock that this thread holds was lost; a lock of the operating system cannot be."""


def busy(name: str, wait_s: float) -> BusyError:
    """What is said when another process holds a lock for too long."""
    return BusyError(
        f"Another process holds {name} and did not let go within {wait_s:g} s; nothing was changed by this one. "
        "Try again when it is done, or wait longer with --wait."
    )


def _file_name(name: str) -> str:
    readable = re.sub(r"[^A-Za-z0-9._-]+", "_", name)[:80]
    return f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:8]}.lock"
