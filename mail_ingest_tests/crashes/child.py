"""Syncs in a process of its own, and kills that process at a chosen point of our code or of dlt's.

Processes are forked from a server that has imported everything once (two seconds each otherwise): real ones all the same,
with files, locks and a death of their own. Packs and packages are small here, so that a small mailbox fills several.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

PACKAGE_MESSAGES = 60
PACK_MESSAGES = 25
HISTORY_PAGE = 50
FEW_PACKS = 3

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["mail_ingest.ingest.engine", "dlt.pipeline.pipeline", "duckdb", "psycopg2", __name__])


@dataclass(frozen=True, slots=True)
class Point:
    """Where a process dies: before or after the `nth` call of `target` (`module:Class.method`) that is about `about`.

    What a call is about is one of its text arguments, the method of a Gmail call, or the table of a load job. `first`
    names a table whose load jobs run before all others: dlt takes them in the order of the folder, which is no order.
    """

    target: str
    nth: int = 1
    when: str = "before"
    about: str = ""
    first: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended: its exit code (-9: killed), and the runs that it reported, if it lived to."""

    exit_code: int | None
    runs: list[dict[str, Any]]


def sync_in_process(environment: dict[str, str], point: Point | None = None, **options: object) -> Ended:
    """Syncs all accounts in a new process, which dies at `point`."""
    return _in_process(_sync, environment, point, options)


def erase_in_process(environment: dict[str, str], point: Point | None = None, **whom: str) -> Ended:
    """Erases a `contact`, or narrows an `account` to a `tier`, in a new process, which dies at `point`."""
    return _in_process(_erase, environment, point, whom)


def retain_in_process(environment: dict[str, str], point: Point | None = None, *, days: int) -> Ended:
    """Runs the retention as of so many days from now in a new process, which dies at `point`; a few packs are many to it."""
    return _in_process(_retain, environment, point, days)


def _in_process(job: Callable[..., None], *arguments: object) -> Ended:
    ours, theirs = _context.Pipe(duplex=False)
    process = _context.Process(target=job, args=(*arguments, theirs))
    process.start()
    theirs.close()
    try:
        runs = ours.recv()
    except EOFError:
        runs = []
    process.join(120)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise AssertionError("the process did not end within two minutes")
    return Ended(process.exitcode, runs)


def lose_working_folder(home: Path) -> None:
    """What a new container does to a process that was killed: dlt's working folder and the spools are gone."""
    for name in ("dlt", "spool"):
        shutil.rmtree(home / name, ignore_errors=True)


def _sync(environment: dict[str, str], point: Point | None, options: dict[str, Any], answer: Connection) -> None:
    os.environ.update(environment)
    from mail_ingest.gmail import client
    from mail_ingest.ingest import SyncOptions, content, packs
    from mail_ingest.ingest.engine import Engine
    from mail_ingest.settings import load_settings

    content.PACKAGE_MESSAGES, packs.PACK_MESSAGES, client.PAGE_SIZE = PACKAGE_MESSAGES, PACK_MESSAGES, HISTORY_PAGE
    if point is not None:
        _plan(point)
    engine = Engine(load_settings(), wait_s=5.0, sleep=lambda seconds: None)
    runs = engine.sync(engine.accounts(), SyncOptions(**options))
    answer.send([run.as_json() for run in runs])
    answer.close()
    engine.close()


def _erase(environment: dict[str, str], point: Point | None, whom: dict[str, str], answer: Connection) -> None:
    os.environ.update(environment)
    from mail_ingest.accounts import PrivacySettings
    from mail_ingest.ingest.engine import Engine
    from mail_ingest.ingest.erasing import account_rows
    from mail_ingest.ingest.erasing.contact import erase_contact
    from mail_ingest.ingest.privacy_change import change_privacy, consequences
    from mail_ingest.settings import load_settings

    account_rows.PACKAGE_MESSAGES = 4
    if point is not None:
        _plan(point)
    engine = Engine(load_settings(), wait_s=5.0)
    if "contact" in whom:
        erase_contact(engine, whom["contact"])
    else:
        account, privacy = engine.registry.get(whom["account"]), PrivacySettings(tier=whom["tier"])
        change_privacy(engine, account, privacy, consequences(engine, account, privacy))
    answer.send([])
    answer.close()
    engine.close()


def _retain(environment: dict[str, str], point: Point | None, days: int, answer: Connection) -> None:
    os.environ.update(environment)
    from mail_ingest.ingest import repacking, retention
    from mail_ingest.ingest.engine import Engine
    from mail_ingest.settings import load_settings

    repacking.MANY_SMALL, retention.LEAST_FILE_BYTES, retention.FREE_SHARE = FEW_PACKS, 0, 0.0
    if point is not None:
        _plan(point)
    engine = Engine(load_settings(), wait_s=5.0)
    done = retention.retain(engine, now=datetime.now(UTC) + timedelta(days=days))
    answer.send([done.as_json()])
    answer.close()
    engine.close()


def _plan(point: Point) -> None:
    if point.first:
        from dlt.common.storages.load_package import PackageStorage

        _wrap(PackageStorage, "list_new_jobs", lambda listed: lambda *args: _sorted(listed(*args), point.first))
    owner, name = find(point.target)
    calls = itertools.count(1)

    def killing(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            is_the_one = (not point.about or point.about in _about(args)) and next(calls) == point.nth
            if is_the_one and point.when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*args, **kwargs)
            if is_the_one:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    _wrap(owner, name, killing)


def find(target: str) -> tuple[Any, str]:
    """The owner and the name of the function that a target names."""
    module, _, path = target.partition(":")
    owner: Any = importlib.import_module(module)
    *classes, name = path.split(".")
    for part in classes:
        owner = getattr(owner, part)
    return owner, name


def _wrap(owner: Any, name: str, wrapper: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    function = getattr(owner, name)
    setattr(owner, name, functools.wraps(function)(wrapper(function)))


def _about(args: tuple[Any, ...]) -> set[str]:
    words = set()
    for argument in args:
        if isinstance(argument, str):
            words.add(argument)
        words.add(str(getattr(argument, "method", "")))
        words.add(_table(str(getattr(argument, "_file_path", ""))))
    return words


def _table(job_file: str) -> str:
    return job_file.rsplit("/", 1)[-1].split(".")[0]


def _sorted(jobs: list[str], first: str) -> list[str]:
    return sorted(jobs, key=lambda job: (_table(job) != first, job))
