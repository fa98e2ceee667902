"""The warehouse as a Postgres database, which many processes read and write side by side.

dlt loads through connections of its own; ours are for reading, for definitions and for locks, and are never left inside
a transaction.
"""

from __future__ import annotations

import itertools
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, cast

import psycopg2
import psycopg2.errors
import psycopg2.extensions

from mail_ingest.errors import ConfigError, WarehouseError
from mail_ingest.settings import Settings
from mail_ingest.warehouse.advisory import AdvisoryLocks
from mail_ingest.warehouse.connection import Connection, Cursor, Prepare, Result, Room, Warehouse
from mail_ingest.warehouse.deployment import FIND, check, claim
from mail_ingest.warehouse.server import Server
from mail_ingest.warehouse.vacuuming import vacuum

logger = logging.getLogger(__name__)

#: Connections that the threads of one process ask on at a time; a server has a hundred by default, for all processes.
_CONNECTIONS = 6
_QUOTED_OR_SPECIAL = re.compile(r"'(?:[^']|'')*'|\?|%")
#: Errors that tell of the server, not of us; others may quote what people wrote.
_OF_THE_SERVER = (
    psycopg2.OperationalError,
    psycopg2.InterfaceError,
    psycopg2.errors.InsufficientPrivilege,
    psycopg2.errors.ReadOnlySqlTransaction,
)


class PostgresConnection(Connection):
    """One connection of psycopg2 with the interface of DuckDB's. Autocommits outside of `begin` and `commit`."""

    _names = itertools.count()

    def __init__(self, connection: psycopg2.extensions.connection) -> None:
        self._connection = connection

    def execute(self, query: str, parameters: Any = (), /) -> Result:
        cursor = self._connection.cursor()
        return cast("Result", _execute(cursor, query, parameters))

    def cursor(self) -> Cursor:
        """Rows stay on the server until they are fetched, also where other statements run meanwhile."""
        return _StreamedCursor(self._connection.cursor(name=f"streamed_{next(self._names)}", withhold=True))

    def begin(self) -> None:
        self.execute("begin")

    def commit(self) -> None:
        self.execute("commit")

    def rollback(self) -> None:
        self.execute("rollback")


class _StreamedCursor:
    def __init__(self, cursor: psycopg2.extensions.cursor) -> None:
        self._cursor = cursor
        self.fetchone, self.fetchmany, self.fetchall = cursor.fetchone, cursor.fetchmany, cursor.fetchall

    @property
    def description(self) -> Sequence[Any] | None:
        return cast("Sequence[Any] | None", self._cursor.description)

    def execute(self, query: str, parameters: Any = (), /) -> object:
        return _execute(self._cursor, query, parameters)

    def close(self) -> None:
        self._cursor.close()


class PostgresWarehouse(Warehouse):
    """The database that the settings name. `locks` are locks in the same database."""

    dialect = "postgres"

    def __init__(self, settings: Settings, server: Server, locks: AdvisoryLocks, prepare: Prepare) -> None:
        self._server = server
        self._locks = locks
        self._env = settings.env
        self._held = threading.local()
        self._prepare = prepare
        self._prepared = ""
        self._room: threading.BoundedSemaphore | None = None
        self._sharer = 0

    @property
    def exists(self) -> bool:
        if self._prepared:
            return True
        with self._errors(), self._server.borrow() as connection:
            found = PostgresConnection(connection).execute("select to_regclass('mail_ingest.deployment')").fetchone()
        return bool(found and found[0])

    @contextmanager
    def open(self) -> Iterator[PostgresConnection]:
        held: PostgresConnection | None = getattr(self._held, "connection", None)
        if held is not None:
            yield held
            return
        with self._place(), self._errors(), self._server.borrow() as server_connection:
            connection = PostgresConnection(server_connection)
            self._held.connection = connection
            try:
                if not self._prepared or self._stored_identity(connection) != self._prepared:
                    self._prepared = self._make(connection)
                yield connection
            finally:
                self._held.connection = None

    @contextmanager
    def alone_at_first(self, dataset: str) -> Iterator[None]:
        # two loads that make the same table at once would both fail
        with self.open() as connection:
            made = connection.execute(
                "select count(*) from information_schema.tables "
                "where table_schema = ? and table_name in ('_dlt_loads', '_dlt_pipeline_state', '_dlt_version')",
                [dataset],
            ).fetchone()
        if made[0] == 3:
            yield
            return
        with self._locks.hold("first load"):
            yield

    def destination(self, staging_layout: str) -> Any:
        import dlt

        return dlt.destinations.postgres(
            _credentials(self._server), create_indexes=False, staging_dataset_name_layout=staging_layout
        )

    def expect_load(self, size_bytes: int, *, more_follow: bool = False) -> None:
        """Postgres needs nothing beforehand."""

    def merge_row_groups(self) -> None:
        """Autovacuum tidies up."""

    def write_anew(self, tables: Sequence[str]) -> list[str]:
        """Rewrites these tables, with their indexes and long texts, so that no dead row is left in their files.

        Readers of a table wait while it is rewritten; a reader that holds it for longer than the locks' wait leaves it to
        an ordinary `vacuum`, and is told of. Old transactions that may still see the rows are waited for as long.
        """
        with self._errors(), self._server.connected() as connection:
            return vacuum(connection, [*tables, "pg_catalog.pg_statistic"], self._locks.wait_s, self._locks.check)

    def room(self) -> Room | None:
        """Autovacuum gives the room of dead rows to others."""
        return None

    def search(self, query: str, write: Callable[[bytes], None]) -> None:
        with self._errors(), self._server.borrow() as connection, connection.cursor() as cursor:
            cursor.copy_expert(f"copy ({query}) to stdout", _Sink(write))

    def all_tables(self) -> list[str]:
        with self.open() as connection:
            rows = connection.execute(
                "select format('%I.%I', n.nspname, c.relname) from pg_class c inner join pg_namespace n "
                "on n.oid = c.relnamespace where c.relkind in ('r', 'm', 'p') and n.nspname not like 'pg\\_%' "
                "and n.nspname <> 'information_schema' and has_table_privilege(c.oid, 'select') order by 1"
            ).fetchall()
        return [name for (name,) in rows]

    def text_of(self, table: str) -> str:
        return f"select * from {table} as searched"

    def files(self) -> list[Path]:
        """Those of the database's relations, where the server is on this machine and lets its files be read."""
        with self.open() as connection:
            try:
                [folder] = connection.execute("select current_setting('data_directory')").fetchone()
            except psycopg2.Error:
                return []
            rows = connection.execute(
                "select pg_relation_filepath(oid) from pg_class where pg_relation_filepath(oid) is not null"
            ).fetchall()
        # a relation beyond 1 GB has files that end in .1, .2 and so on
        found = [path for (name,) in rows for path in sorted(Path(folder, name).parent.glob(f"{Path(name).name}*"))]
        return [path for path in found if path.is_file() and os.access(path, os.R_OK)]

    def identity(self) -> str:
        with self.open():
            return self._prepared

    def keep_open(self) -> AbstractContextManager[None]:
        # connections are kept anyway, and keep nobody else out
        return nullcontext()

    @contextmanager
    def shared(self) -> Iterator[None]:
        """At most `_CONNECTIONS` threads ask at a time, beside the one that entered the block."""
        self._room, self._sharer = threading.BoundedSemaphore(_CONNECTIONS), threading.get_ident()
        try:
            yield
        finally:
            self._room = None

    def let_go(self) -> None:
        pass

    @contextmanager
    def _place(self) -> Iterator[None]:
        room = self._room
        if room is None or threading.get_ident() == self._sharer:
            yield
            return
        with room:
            yield

    def close(self) -> None:
        self._server.close()

    def _stored_identity(self, connection: PostgresConnection) -> str:
        try:
            row = connection.execute(FIND).fetchone()
        except (psycopg2.errors.UndefinedTable, psycopg2.errors.InvalidSchemaName):
            return ""
        if row is None or row[1] is None:
            return ""
        check(row[0], self._env, f"warehouse {self._server.where}")
        return str(row[1])

    def _make(self, connection: PostgresConnection) -> str:
        self._check_characters(connection)
        # processes that start together would make the same things
        with self._locks.hold("prepare"):
            stored = self._stored_identity(connection)
            identity = stored or claim(connection, self._env, f"warehouse {self._server.where}")
            self._prepare(connection, self.dialect)
        return identity

    def _check_characters(self, connection: PostgresConnection) -> None:
        """Raises ConfigError where the database cannot hold all characters, or lowers the letters of ASCII alone."""
        [encoding] = connection.execute("select current_setting('server_encoding')").fetchone()
        # chr() counts in Unicode where the encoding is UTF8
        knows_letters = encoding == "UTF8" and connection.execute("select lower(chr(196)) = chr(228)").fetchone()[0]
        if not knows_letters:
            lacks = (
                "knows no letters beyond ASCII, so that names and subjects would be told apart by their case"
                if encoding == "UTF8"
                else f"has the encoding {encoding}, which cannot hold all mail"
            )
            raise ConfigError(
                f"The warehouse {self._server.where} {lacks}; name another database in MAIL_INGEST_WAREHOUSE, made by "
                "create database mail template template0 encoding 'UTF8' locale 'C.UTF-8' (or 'en_US.UTF-8')."
            )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except _OF_THE_SERVER as error:
            raise WarehouseError(
                f"The warehouse {self._server.where} could not be read or written ({_reason(error)}). What was loaded "
                "before stays, and the next sync goes on from there."
            ) from None


class _Sink:
    """What COPY writes to."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self.write = write


def _execute(cursor: psycopg2.extensions.cursor, query: str, parameters: Any) -> psycopg2.extensions.cursor:
    if parameters:
        cursor.execute(_QUOTED_OR_SPECIAL.sub(_placeholder, query), list(parameters))
    else:
        cursor.execute(query)
    return cursor


def fill_in(cursor: psycopg2.extensions.cursor, query: str, parameters: Sequence[Any]) -> str:
    """The query with its `?` replaced by quoted values. Raises ConfigError unless there are as many of them."""
    if not parameters:
        return query
    try:
        return str(cursor.mogrify(_QUOTED_OR_SPECIAL.sub(_placeholder, query), list(parameters)).decode())
    except (IndexError, TypeError, psycopg2.ProgrammingError):
        raise ConfigError("The query has more or fewer parameters than values were given.") from None


def _placeholder(found: re.Match[str]) -> str:
    return "%s" if found[0] == "?" else found[0].replace("%", "%%")


def _reason(error: psycopg2.Error) -> str:
    if isinstance(error, psycopg2.errors.InsufficientPrivilege):
        return "the user has not the rights that it needs, see sql/roles.postgres.sql"
    if isinstance(error, psycopg2.errors.DiskFull):
        return "the server's disk is full"
    return f"{type(error).__name__}, {error.pgcode or 'the connection was lost'}"


def _credentials(server: Server) -> Any:
    """dlt's credentials, with every connection parameter of libpq as it stands in the URL."""
    from dlt.destinations.impl.postgres.configuration import PostgresCredentials
    from psycopg2.extensions import make_dsn

    class Credentials(PostgresCredentials):
        def to_native_representation(self) -> str:
            # dlt's own URL writes spaces in options as +, which libpq reads as +
            return str(make_dsn(**{**server.parameters, **self.get_query()}))

        def get_query(self) -> dict[str, Any]:
            given = server.parameters.get("options", "")
            return {"options": f"{given} {_SESSION_OPTIONS}{_LZ4 if server.has_lz4 else ''}".strip()}

    parameters = server.parameters
    credentials = Credentials()
    credentials.host, credentials.database = parameters.get("host", ""), parameters.get("dbname", "")
    credentials.username = parameters.get("user", "")
    # the URL may leave the password to libpq's own places
    credentials.__is_resolved__ = True
    if not server.has_lz4:
        logger.debug("the server has no lz4, texts are compressed by its own method")
    return credentials


_SESSION_OPTIONS = "-c TimeZone=UTC"
_LZ4 = " -c default_toast_compression=lz4"
