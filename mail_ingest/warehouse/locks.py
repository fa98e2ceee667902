"""Locks that a dead process frees: locks of the operating system on files under home (on Postgres see `advisory`).

Names: `account:<id>` while an account's state is read and loaded, `content:<id>` while content is bought for it,
`pipeline:<name>` while dlt extracts and loads, `warehouse` while the DuckDB file is open. The command line and Dagster
take the same ones. Taken in that order, so that two processes never wait for each other.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from mail_ingest.errors import BusyError
from mail_ingest.folders import make_private


class Locks:
    """Named locks in one folder. `wait_s` is how long to wait for another process before BusyError."""

    def __init__(self, folder: Path, wait_s: float = 60.0) -> None:
        self._folder = folder
        self.wait_s = wait_s

    @contextmanager
    def hold(self, name: str, *, wait_s: float | None = None) -> Iterator[None]:
        """Holds a lock for the length of the block. Not reentrant, neither across threads nor within one.

        Raises BusyError after `wait_s` seconds (default: the folder's).
        """
        wait_s = self.wait_s if wait_s is None else wait_s
        make_private(self._folder)
        lock = FileLock(self._folder / _file_name(name), thread_local=False)
        try:
            lock.acquire(timeout=max(wait_s, 0), poll_interval=0.05)
        except Timeout:
            raise busy(name, wait_s) from None
        try:
            yield
        finally:
            lock.release()

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
