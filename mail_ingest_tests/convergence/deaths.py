"""Processes that die: a sync in a forked child, killed by SIGKILL at a chosen point.

A fork costs 10 ms, and what dies is a real process: nothing is closed, flushed or tidied up, and the operating system
frees the locks. That is what an exception cannot do, which runs every `finally` on its way.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

from mail_ingest.warehouse.connection import Dialect
from mail_ingest_tests.convergence.steps import Death

_HANGS_S = 120.0


def _points(dialect: Dialect) -> dict[str, tuple[object, str, str]]:
    """Where a process may die: object, name of its function, and whether before or after it."""
    import dlt
    from dlt.common.storages import LoadStorage
    from dlt.destinations.impl.duckdb.sql_client import DuckDbSqlClient
    from dlt.destinations.impl.postgres.sql_client import Psycopg2SqlClient

    from mail_ingest.accounts import Registry
    from mail_ingest.accounts.erasures import Erasures
    from mail_ingest.gmail import Transport
    from mail_ingest.warehouse.advisory import AdvisoryLocks
    from mail_ingest.warehouse.archive import PackWriter, RawArchive
    from mail_ingest.warehouse.builds import AnalystTables
    from mail_ingest.warehouse.embedded import DuckDBWarehouse
    from mail_ingest.warehouse.locks import Locks
    from mail_ingest.warehouse.pipeline import Pipelines
    from mail_ingest.warehouse.postgres import PostgresWarehouse
    from mail_ingest.warehouse.rewriting import StoredRows
    from mail_ingest.warehouse.spool import Spool

    sql_client, locks = (DuckDbSqlClient, Locks) if dialect == "duckdb" else (Psycopg2SqlClient, AdvisoryLocks)
    warehouse = DuckDBWarehouse if dialect == "duckdb" else PostgresWarehouse
    return {
        "a row is spooled": (Spool, "write", "before"),
        "a message is archived": (PackWriter, "add", "after"),
        "a pack closes": (PackWriter, "close", "before"),
        "a pack has closed": (PackWriter, "close", "after"),
        "a load begins": (Pipelines, "load", "before"),
        "a load has ended": (Pipelines, "load", "after"),
        "dlt extracts": (dlt.Pipeline, "extract", "before"),
        "dlt has extracted": (dlt.Pipeline, "extract", "after"),
        "dlt has normalized": (dlt.Pipeline, "normalize", "after"),
        "a loaded package is put away": (LoadStorage, "get_loaded_package_path", "before"),
        "dlt has loaded": (dlt.Pipeline, "load", "after"),
        "SQL is executed": (sql_client, "execute_query", "before"),
        "a file is renamed": (os, "rename", "before"),
        "a file was renamed": (os, "rename", "after"),
        "a file is replaced": (os, "replace", "before"),
        "a request is sent": (Transport, "request", "before"),
        "an answer has come": (Transport, "request", "after"),
        "a lock is taken": (locks, "hold", "before"),
        "the registry is told of the start": (Registry, "sync_started", "before"),
        "the registry is told of the end": (Registry, "sync_finished", "before"),
        "the registry was told of the end": (Registry, "sync_finished", "after"),
        "an account's settings have changed": (Registry, "change", "after"),
        "accounts are marked": (Erasures, "begin", "after"),
        "a person is kept out": (Erasures, "begin_keeping_out", "after"),
        "rows are replaced": (StoredRows, "replace", "before"),
        "rows were replaced": (StoredRows, "replace", "after"),
        "a pack was rewritten": (RawArchive, "rewrite", "after"),
        "rows point to another pack": (StoredRows, "repoint", "after"),
        "a pack is erased": (RawArchive, "erase_pack", "before"),
        "all packs were erased": (RawArchive, "erase", "after"),
        "an account's rows are done": (Erasures, "rows_done", "before"),
        "analyst tables are built": (AnalystTables, "build", "before"),
        "files are written anew": (warehouse, "write_anew", "before"),
        "files were written anew": (warehouse, "write_anew", "after"),
        "a receipt is kept": (Erasures, "finish", "before"),
    }


#: Any call of any Python function, in the main thread: the points that nobody thought of.
ANY_CALL = "a function is called"

#: How often a sync of a small mailbox comes to a point, about.
POINTS = {
    "a row is spooled": 8,
    "a message is archived": 4,
    "a pack closes": 3,
    "a pack has closed": 3,
    "a load begins": 2,
    "a load has ended": 2,
    "dlt extracts": 2,
    "dlt has extracted": 2,
    "dlt has normalized": 2,
    "a loaded package is put away": 2,
    "dlt has loaded": 2,
    "SQL is executed": 40,
    "a file is renamed": 30,
    "a file was renamed": 30,
    "a file is replaced": 6,
    "a request is sent": 20,
    "an answer has come": 20,
    "a lock is taken": 20,
    "the registry is told of the start": 1,
    "the registry is told of the end": 1,
    "the registry was told of the end": 1,
    ANY_CALL: 150_000,
}


#: How often a rewriting of a small mailbox comes to a point, about.
POINTS_OF_REWRITINGS = {
    "an account's settings have changed": 1,
    "a person is kept out": 1,
    "accounts are marked": 1,
    "rows are replaced": 2,
    "rows were replaced": 2,
    "a pack was rewritten": 2,
    "rows point to another pack": 2,
    "a pack is erased": 2,
    "all packs were erased": 1,
    "an account's rows are done": 1,
    "analyst tables are built": 2,
    "files are written anew": 1,
    "files were written anew": 1,
    "a receipt is kept": 1,
    ANY_CALL: 60_000,
}


def run_in_child(work: Callable[[], Any], death: Death | None, dialect: Dialect) -> Any:
    """What `work` returns in a forked process; None when that process died of `death`.

    Raises AssertionError when the child raised, hung, or died of anything else.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _child(work, death, dialect, writing)
    os.close(writing)
    try:
        answer = _read(reading, child)
    finally:
        os.close(reading)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL, f"the child died of signal {os.WTERMSIG(status)}"
        assert answer is not None, "the child hung"
        assert death is not None
        return None
    outcome, value = pickle.loads(answer or b"")
    assert outcome == "returned", value
    return value


def _child(work: Callable[[], Any], death: Death | None, dialect: Dialect, writing: int) -> None:
    """Never returns: whatever happens, the child must not go on as the test run that it is a copy of."""
    try:
        if death is not None:
            _arm(death, dialect)
        try:
            answer = pickle.dumps(("returned", work()))
        except BaseException:
            answer = pickle.dumps(("raised", traceback.format_exc()))
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(answer)
    finally:
        os._exit(0)


def _read(reading: int, child: int) -> bytes | None:
    """Everything the child wrote until it ended; None when it had to be killed."""
    pieces = []
    deadline = time.monotonic() + _HANGS_S
    while True:
        ready, _, _ = select.select([reading], [], [], max(deadline - time.monotonic(), 0))
        if not ready:
            os.kill(child, signal.SIGKILL)
            return None
        piece = os.read(reading, 65_536)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


def _arm(death: Death, dialect: Dialect) -> None:
    if death.point == ANY_CALL:
        _arm_any_call(death.nth)
        return
    owner, name, when = _points(dialect)[death.point]
    original = getattr(owner, name)
    left = death.nth
    lock = threading.Lock()

    def is_due() -> bool:
        nonlocal left
        with lock:
            left -= 1
            return left == 0

    def dying(*args: Any, **kwargs: Any) -> Any:
        if when == "before" and is_due():
            _die()
        result = original(*args, **kwargs)
        if when == "after" and is_due():
            _die()
        return result

    setattr(owner, name, dying)


def _arm_any_call(nth: int) -> None:
    left = nth

    def profile(_: object, event: str, __: object) -> None:
        nonlocal left
        if event == "call":
            left -= 1
            if left == 0:
                _die()

    sys.setprofile(profile)
