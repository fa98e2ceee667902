"""The same locks, held in a Postgres database: for processes on several machines.

A lock is an advisory lock of a session. The server frees it when the session ends, however that happens, so a process
that holds one may lose it without noticing: `check` tells, and is asked before anything is written.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg2
import psycopg2.extensions

from mail_ingest.errors import WarehouseError
from mail_ingest.warehouse.locks import POLL_S, Locks, busy
from mail_ingest.warehouse.server import Server, is_alive

#: dlt's working folder is this machine's, and another deployment may share it.
_OF_THE_MACHINE = "pipeline:"


class AdvisoryLocks(Locks):
    """Named locks of one deployment in one database; `folder` is for those that guard this machine's files as well."""

    def __init__(self, folder: Path, wait_s: float, server: Server, env: str) -> None:
        super().__init__(folder, wait_s)
        self._server = server
        self._env = env
        self._of_thread = threading.local()
        self._session: _Session | None = None

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Within the block all threads hold their locks in one session. Where it is lost, all of them are, and `check` says so
        until the block ends."""
        with self._server.connected() as connection:
            self._session = _Session(connection)
            try:
                yield
            finally:
                self._session = None

    @contextmanager
    def hold(self, name: str, *, wait_s: float | None = None) -> Iterator[None]:
        """Holds a lock for the length of the block, on a connection of its own. Not reentrant.

        Raises BusyError after `wait_s` seconds, WarehouseError where the server cannot be reached.
        """
        wait_s = self.wait_s if wait_s is None else wait_s
        key = self._key(name)
        if self._session is not None:
            with self._held_in(self._session, key, name, wait_s):
                if name.startswith(_OF_THE_MACHINE):
                    with super().hold(name, wait_s=wait_s):
                        yield
                else:
                    yield
            return
        with self._server.borrow() as connection:
            held = self._held()
            try:
                self._acquire(connection, key, name, wait_s)
                held.append((name, connection))
                if name.startswith(_OF_THE_MACHINE):
                    with super().hold(name, wait_s=wait_s):
                        yield
                else:
                    yield
            finally:
                held[:] = [(other, its) for other, its in held if its is not connection]
                # a session that is gone has let go already
                with suppress(psycopg2.Error), connection.cursor() as cursor:
                    cursor.execute("select pg_advisory_unlock_all()")

    def check(self) -> None:
        if self._session is not None:
            if not self._session.is_alive():
                raise _lost("the locks of this process")
            return
        for name, connection in self._held():
            if not is_alive(connection):
                raise _lost(name)

    @contextmanager
    def _held_in(self, session: _Session, key: int, name: str, wait_s: float) -> Iterator[None]:
        self._wait_for(lambda: session.take(key), name, wait_s)
        try:
            yield
        finally:
            session.let_go(key)

    def _acquire(self, connection: psycopg2.extensions.connection, key: int, name: str, wait_s: float) -> None:
        self._wait_for(lambda: _try_to_lock(connection, key), name, wait_s)

    def _wait_for(self, take: Callable[[], bool], name: str, wait_s: float) -> None:
        deadline = time.monotonic() + wait_s
        while True:
            try:
                if take():
                    return
            except psycopg2.Error as error:
                raise WarehouseError(
                    f"The warehouse {self._server.where} went away while {name} was waited for ({type(error).__name__}); "
                    "nothing was changed."
                ) from None
            if time.monotonic() > deadline:
                raise busy(name, wait_s)
            self.while_waiting()
            time.sleep(POLL_S)

    def _held(self) -> list[tuple[str, psycopg2.extensions.connection]]:
        if not hasattr(self._of_thread, "held"):
            self._of_thread.held = []
        held: list[tuple[str, psycopg2.extensions.connection]] = self._of_thread.held
        return held

    def _key(self, name: str) -> int:
        digest = hashlib.sha256(f"mail_ingest/{self._env}/{name}".encode()).digest()
        return int.from_bytes(digest[:8], "big", signed=True)


class _Session:
    """One connection that holds locks for many threads. A lock of the server's is the session's, so which thread has it is
    known here."""

    def __init__(self, connection: psycopg2.extensions.connection) -> None:
        self._connection = connection
        self._turn = threading.Lock()
        self._held: set[int] = set()

    def take(self, key: int) -> bool:
        with self._turn:
            if key in self._held or not _try_to_lock(self._connection, key):
                return False
            self._held.add(key)
            return True

    def let_go(self, key: int) -> None:
        # a session that is gone has let go already
        with self._turn, suppress(psycopg2.Error), self._connection.cursor() as cursor:
            self._held.discard(key)
            cursor.execute("select pg_advisory_unlock(%s)", [key])

    def is_alive(self) -> bool:
        with self._turn:
            return is_alive(self._connection)


def _try_to_lock(connection: psycopg2.extensions.connection, key: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("select pg_try_advisory_lock(%s)", [key])
        return bool((cursor.fetchone() or (False,))[0])


def _lost(name: str) -> WarehouseError:
    return WarehouseError(
        f"The connection that held {name} was lost, and the lock with it; nothing was written since. What was "
        "loaded before stays, and the next sync goes on from there."
    )
