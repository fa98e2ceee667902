"""Empty warehouses and control databases as the product makes them, made once and copied: making one takes longer than most
of what a test does with it.

    Prepared.used()  within the block, a DuckDB warehouse or an SQLite control database that is missing begins as such a copy
    fill(url)        an empty Postgres database becomes a warehouse, to be copied by the server

What is copied belongs to no deployment and has no id; a copy gets its own when it is first used, as a new one does. A warehouse
of another configuration is made anew. Tests of the making itself are marked `first_use`.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import duckdb
from sqlalchemy import Engine as Database
from sqlalchemy.engine import URL

from mail_ingest.accounts import database
from mail_ingest.folders import make_private
from mail_ingest.ingest import Engine
from mail_ingest.sources.tables import DATASET, LANDING_TABLES
from mail_ingest.warehouse.builds import AnalystTables
from mail_ingest.warehouse.configuration import DEFAULT, Configuration
from mail_ingest.warehouse.connection import Connection, Dialect
from mail_ingest.warehouse.embedded import DUCKDB_CONFIG, DuckDBWarehouse
from mail_ingest.warehouse.marts import load_relations
from mail_ingest.warehouse.schema import prepare_schema
from mail_ingest_tests.postgres import connected

_open_sqlite = database._open_sqlite
_connect = DuckDBWarehouse._connect


class Prepared:
    """What is copied, in a folder of its own; each is made when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def warehouse(self, configuration: Configuration = DEFAULT) -> Path:
        """A DuckDB file."""
        path = self.folder / f"warehouse-{configuration.digest[:12]}.duckdb"
        if not path.exists():
            with duckdb.connect(str(path), config=DUCKDB_CONFIG) as connection:
                prepare(connection, "duckdb", configuration)
        return path

    @cached_property
    def control(self) -> Path:
        """An SQLite file."""
        path = self.folder / "control.sqlite"
        if not path.exists():
            with mock.patch.object(database, "_open_sqlite", _open_sqlite):
                database.open_database(f"sqlite:///{path}").dispose()
        return path

    def made(self) -> Prepared:
        """These, once what `used` copies is there."""
        _ = self.warehouse(), self.control
        return self

    @contextmanager
    def used(self) -> Iterator[None]:
        """What is missing when it is first opened in the block begins as a copy."""

        def open_sqlite(url: URL, *options: Any) -> Database:
            if not options:
                # the file of budgets is opened with some, and has no migrations
                _put(self.control, Path(url.database or "").absolute())
            return _open_sqlite(url, *options)

        def connect(warehouse: DuckDBWarehouse) -> duckdb.DuckDBPyConnection:
            engine = getattr(warehouse._prepare, "__self__", None)
            if isinstance(engine, Engine) and engine.analyst_tables.configuration == DEFAULT:
                _put(self.warehouse(), warehouse.path)
            return _connect(warehouse)

        with (
            mock.patch.object(database, "_open_sqlite", open_sqlite),
            mock.patch.object(DuckDBWarehouse, "_connect", connect),
        ):
            yield


def prepare(connection: Connection, dialect: Dialect, configuration: Configuration = DEFAULT) -> None:
    """Makes the tables and views of a warehouse."""
    connection.execute("set TimeZone = 'UTC'")
    prepare_schema(
        connection, dialect, DATASET, LANDING_TABLES, AnalystTables(load_relations(), configuration, dialect)
    )


def fill(url: str, configuration: Configuration = DEFAULT) -> None:
    """Makes the tables and views in a Postgres database."""
    with connected(url) as connection:
        prepare(connection, "postgres", configuration)


def _put(original: Path, path: Path) -> None:
    """Copies a file to where there is none; as a whole or not at all, whoever else does so at the same moment."""
    # what cannot be made or looked at is the product's to say
    with suppress(OSError):
        if path.exists():
            return
        make_private(path.parent)
        copy = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
        shutil.copyfile(original, copy)
        copy.chmod(0o600)
        try:
            os.link(copy, path)
        finally:
            copy.unlink()
