"""Opening the control database: a private SQLite file or a Postgres server, brought to the current schema."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from mail_ingest.accounts.tables import metadata, project_budgets
from mail_ingest.errors import BusyError, ConfigError
from mail_ingest.folders import make_private

SCHEMA_VERSION = "0010"
_MIGRATION_LOCK = 0x6D61696C  # any fixed number; it names the advisory lock
_BUSY_TIMEOUT_MS = 30_000
_POLL_MS = 200
_BUDGET_BUSY_TIMEOUT_MS = 5_000


def open_database(url: str, env: str | None = None) -> Engine:
    """An engine on a database whose schema is current. Makes the SQLite file (mode 0600) and its folder where they
    are missing.

    Raises ConfigError where the URL cannot be used, naming it without its password, and where an older schema belongs to
    another deployment than `env`, which is its owner's to bring forward.
    """
    parsed = _parse(url)
    try:
        engine = _open_sqlite(parsed) if parsed.get_backend_name() == "sqlite" else _open_postgres(parsed)
        version = _version(engine)
        if version != SCHEMA_VERSION:
            if version is not None and env is not None:
                _check_owner(engine, env)
            _migrate(engine)
    except (SQLAlchemyError, OSError) as error:
        raise ConfigError(
            f"the control database {parsed.render_as_string(hide_password=True)} cannot be opened "
            f"({type(error).__name__}); check MAIL_INGEST_CONTROL, the server and the file's permissions"
        ) from error
    return engine


def open_budget_file(path: Path) -> Engine:
    """An engine on the file in which the processes of one machine share budgets. Makes it (mode 0600) where it is missing.

    Apart from the control database, so that leases and accounts do not wait for each other. What a power cut takes of it is a
    second's units.
    """
    engine = _open_sqlite(URL.create("sqlite", database=str(path)), _BUDGET_BUSY_TIMEOUT_MS, "normal")
    with engine.begin() as connection:
        metadata.create_all(connection, [project_budgets])
    return engine


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigError(
            "MAIL_INGEST_CONTROL is no database URL; it takes sqlite:///FILE or postgresql://..."
        ) from None
    backend = parsed.drivername.split("+", 1)[0]
    if backend in {"postgresql", "postgres"}:
        return parsed.set(drivername="postgresql+psycopg2")
    if backend == "sqlite" and parsed.database and parsed.database != ":memory:":
        return parsed
    raise ConfigError(f"MAIL_INGEST_CONTROL starts with {backend!r}; it takes sqlite:///FILE or postgresql://...")


def _open_sqlite(url: URL, busy_timeout_ms: int = _BUSY_TIMEOUT_MS, synchronous: str = "full") -> Engine:
    path = Path(url.database or "").absolute()
    make_private(path.parent)
    # never opened where it exists: closing it would take away the locks of other engines of this process (`shared_files`)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    path.chmod(0o600)
    engine = create_engine(url, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def _configure(connection: object, _: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # type: ignore[attr-defined]
        connection.execute(f"pragma busy_timeout = {busy_timeout_ms}")  # type: ignore[attr-defined]
        connection.execute(f"pragma synchronous = {synchronous}")  # type: ignore[attr-defined]
        # what is deleted is overwritten, so that no page keeps it
        connection.execute("pragma secure_delete = on")  # type: ignore[attr-defined]
        _use_wal(connection)  # type: ignore[arg-type]

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A transaction that reads before it writes would otherwise fail at once when another process wrote in between.
        connection.exec_driver_sql("begin immediate")

    return engine


def _use_wal(connection: sqlite3.Connection) -> None:
    """Lets people read while a process writes. SQLite refuses the change at once, whatever the busy timeout says, while
    another process that starts at the same time uses the file; the file remembers it once it was made."""
    deadline = time.monotonic() + _BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            connection.execute("pragma journal_mode = wal")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(0.02)


def vacuum_sqlite(engine: Engine, wait_s: float) -> None:
    """Writes a SQLite file anew without what was deleted from it, and empties its log, which others have to let go of meanwhile.

    Raises BusyError where they do not within `wait_s` seconds.
    """
    deadline = time.monotonic() + wait_s
    with engine.connect() as connection:
        raw: Any = connection.connection.dbapi_connection
        try:
            # the timeout is each statement's; those of SQLite that are refused at once are asked for again
            raw.execute(f"pragma busy_timeout = {_POLL_MS}")
            # written anew once, and then only brought into the file: each time appends the whole database to the log
            steps = ["vacuum", "pragma wal_checkpoint(truncate)"]
            while steps:
                if _is_done(raw, steps[0]):
                    steps.pop(0)
                    continue
                if time.monotonic() >= deadline:
                    raise BusyError(
                        f"Another process reads or writes the control database {engine.url.database} and did not let go within "
                        f"{wait_s:g} s; what was deleted from it still stands in its file. Try again when it is done, or wait "
                        "longer with --wait."
                    )
        finally:
            raw.execute(f"pragma busy_timeout = {_BUSY_TIMEOUT_MS}")


def _is_done(connection: sqlite3.Connection, step: str) -> bool:
    try:
        told = connection.execute(step).fetchone()
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise
        time.sleep(_POLL_MS / 1000)
        return False
    # a checkpoint tells whether others kept it from being complete
    return told is None or not told[0]


def _open_postgres(url: URL) -> Engine:
    # a server that has gone without a word is noticed by those that wait for it
    patience = {"connect_timeout": 10, "tcp_user_timeout": 20_000}
    return create_engine(
        url, hide_parameters=True, pool_pre_ping=True, pool_size=2, max_overflow=8, connect_args=patience
    )


def _version(engine: Engine) -> str | None:
    with engine.connect() as connection:
        if not engine.dialect.has_table(connection, "control_version"):
            return None
        return connection.execute(text("select version_num from control_version")).scalar()


def _check_owner(engine: Engine, env: str) -> None:
    with engine.connect() as connection:
        owner = connection.execute(text("select name from deployment")).scalar()
    if owner is not None and owner != env:
        raise of_another_deployment(str(owner), env)


def of_another_deployment(owner: str, env: str) -> ConfigError:
    """What is said where the database belongs to another deployment than the process."""
    return ConfigError(
        f"the control database belongs to the deployment {owner!r}, and MAIL_INGEST_ENV is {env!r}; nothing was written. "
        "Use that name, or another database"
    )


def _migrate(engine: Engine) -> None:
    """Brings the schema to the current version; of several processes that start at once, one does it."""
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    try:
        with _alone(engine), engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except CommandError:
        raise ConfigError(
            "the control database belongs to a newer version of mail_ingest; run that one, or use another database"
        ) from None


@contextmanager
def _alone(engine: Engine) -> Iterator[None]:
    if engine.dialect.name == "sqlite":
        with FileLock(f"{engine.url.database}.lock", mode=0o600):
            yield
    else:
        with engine.connect() as connection:
            connection.execute(text("select pg_advisory_lock(:key)"), {"key": _MIGRATION_LOCK})
            try:
                yield
            finally:
                connection.execute(text("select pg_advisory_unlock(:key)"), {"key": _MIGRATION_LOCK})
