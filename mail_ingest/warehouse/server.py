"""Connections to a Postgres server, kept for the next use, and what a failed one is called.

Nothing here repeats the URL or the words of an error that may quote it: the password is in it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg2
import psycopg2.extensions
import psycopg2.extras

from mail_ingest.errors import ConfigError, WarehouseError

#: A peer that is gone without a word (a machine that lost power) is noticed after about a minute, on either side.
_KEEPALIVES = {"keepalives": 1, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
_SESSION = (
    "set TimeZone = 'UTC'",
    "set tcp_keepalives_idle = 30",
    "set tcp_keepalives_interval = 10",
    "set tcp_keepalives_count = 3",
)
_LZ4_IS_KNOWN = "select count(*) from pg_settings where name = 'default_toast_compression' and 'lz4' = any(enumvals)"
_CONNECT_TIMEOUT_S = 15
#: What a server says when it turns a connection down, and what it means; the first that is found counts.
_REFUSALS = {
    "authentication": "it refuses the user name or the password",
    "pg_hba": "it takes no connections from here, or not without TLS",
    "permission denied": "the user may not connect to this database",
    "role ": "it has no such user, or the user may not log in",
    "database ": "it has no such database",
    "too many": "it has no connection left",
    "connection slots": "it has no connection left",
    "starting up": "it is starting",
    "shutting down": "it is stopping",
    "recovery": "it is in recovery",
}
#: What libpq says before a server has answered.
_FAILURES = {
    "fe_sendauth": "it asks for a password, and the URL has none",
    "translate host name": "nobody knows its host name",
    "certificate": "TLS could not be agreed on",
    "SSL": "TLS could not be agreed on",
}


class Server:
    """One database of one server. Connections are made when needed, and safe to use after a fork."""

    def __init__(self, url: str) -> None:
        self._parameters = _parse(url)
        self._lock = threading.Lock()
        self._idle: list[psycopg2.extensions.connection] = []
        self._owner = os.getpid()
        self._inherited: list[psycopg2.extensions.connection] = []
        self._has_lz4: bool | None = None

    @property
    def parameters(self) -> dict[str, str]:
        """What libpq needs to connect, the password included: secret."""
        return {**self._parameters, "connect_timeout": str(_CONNECT_TIMEOUT_S)}

    @property
    def where(self) -> str:
        """The server and database, for people."""
        host = self._parameters["host"]
        place = host if host.startswith("/") else f"{host}:{self._parameters.get('port', '5432')}"
        return f"{self._parameters['dbname']} at {place}"

    @contextmanager
    def borrow(self) -> Iterator[psycopg2.extensions.connection]:
        """A live connection in autocommit mode, for this block alone. Raises WarehouseError where none can be had."""
        connection = self._take()
        try:
            yield connection
        finally:
            self._give_back(connection)

    @contextmanager
    def connected(self) -> Iterator[psycopg2.extensions.connection]:
        """A connection of its own, for settings of a session that nobody else should have."""
        connection = self.connect()
        try:
            yield connection
        finally:
            connection.close()

    def connect(self) -> psycopg2.extensions.connection:
        """A new connection, the caller's to close."""
        try:
            connection = psycopg2.connect(**{"application_name": "mail_ingest", **_KEEPALIVES, **self.parameters})
            connection.autocommit = True
            with connection.cursor() as cursor:
                for statement in _SESSION:
                    cursor.execute(statement)
                if self._has_lz4 is None:
                    cursor.execute(_LZ4_IS_KNOWN)
                    self._has_lz4 = bool((cursor.fetchone() or (0,))[0])
                if self._has_lz4:
                    # analyst tables and rows that are replaced hold as long texts as what dlt loads
                    cursor.execute("set default_toast_compression = 'lz4'")
        except psycopg2.Error as error:
            raise WarehouseError(
                f"The warehouse {self.where} cannot be opened: {_meaning(error)}. Check MAIL_INGEST_WAREHOUSE and the server; "
                "nothing was changed."
            ) from None
        # JSON as text, as DuckDB gives it
        psycopg2.extras.register_default_json(connection, loads=_as_it_is)
        psycopg2.extras.register_default_jsonb(connection, loads=_as_it_is)
        return connection

    @property
    def has_lz4(self) -> bool:
        """Whether the server was built with lz4, which compresses texts in 60 % of the time that its own method takes."""
        if self._has_lz4 is None:
            # whoever connects first asks
            with self.borrow():
                pass
        return bool(self._has_lz4)

    def close(self) -> None:
        """Closes the connections that nobody uses."""
        with self._lock:
            self._leave_inherited()
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _take(self) -> psycopg2.extensions.connection:
        while True:
            with self._lock:
                self._leave_inherited()
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return self.connect()
            if is_alive(connection):
                return connection
            connection.close()

    def _give_back(self, connection: psycopg2.extensions.connection) -> None:
        with suppress(psycopg2.Error):
            if (
                not connection.closed
                and connection.info.transaction_status != psycopg2.extensions.TRANSACTION_STATUS_IDLE
            ):
                # a block that failed between begin and commit
                connection.rollback()
        with self._lock:
            if not connection.closed and self._owner == os.getpid():
                self._idle.append(connection)
                return
        if self._owner == os.getpid():
            connection.close()

    def _leave_inherited(self) -> None:
        """After a fork: the parent's connections are kept, unused, because closing them would end the parent's sessions."""
        if self._owner != os.getpid():
            self._inherited += self._idle
            self._idle = []
            self._owner = os.getpid()


def is_alive(connection: psycopg2.extensions.connection) -> bool:
    """Whether the server still answers on a connection; one round trip."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("select 1")
    except psycopg2.Error:
        return False
    return True


def _parse(url: str) -> dict[str, str]:
    """Connection parameters. Errors quote nothing: where an `@` or a `/` was not encoded, the password is anywhere."""
    try:
        parameters: dict[str, str] = psycopg2.extensions.parse_dsn(url)
    except psycopg2.Error:
        parameters = {}
    host, database, port = (parameters.get(name, "") for name in ("host", "dbname", "port"))
    if not host or not database or "@" in host + database or "/" in database or not (port or "5432").isdigit():
        raise ConfigError(
            "MAIL_INGEST_WAREHOUSE cannot be read as postgresql://user:password@host:port/database; special characters "
            "in the password have to be percent-encoded"
        )
    return parameters


def _as_it_is(text: Any) -> Any:
    return text


def _meaning(error: psycopg2.Error) -> str:
    text = str(error)
    _, refused, answer = text.partition("FATAL:")
    for words, meaning in (_REFUSALS if refused else _FAILURES).items():
        if words in (answer or text):
            return meaning
    return "it does not answer" if not refused else "it refuses"
