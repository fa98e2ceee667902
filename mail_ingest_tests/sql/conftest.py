"""Every test of SQL runs on a DuckDB file and on a real Postgres."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from mail_ingest.warehouse.embedded import DUCKDB_CONFIG
from mail_ingest_tests.postgres import connected, copied_database, fresh_database
from mail_ingest_tests.prepared import Prepared, fill
from mail_ingest_tests.sql.databases import CONFIGURATION, Database


@pytest.fixture(scope="session")
def _original_of_sql(postgres: str) -> Iterator[str]:
    """A prepared and empty warehouse, to be copied."""
    with fresh_database(postgres) as url:
        fill(url, CONFIGURATION)
        yield url


@pytest.fixture(params=["duckdb", "postgres"])
def database(request: pytest.FixtureRequest, prepared: Prepared, tmp_path: Path) -> Iterator[Database]:
    """A fresh warehouse, prepared and empty."""
    if request.param == "duckdb":
        with opened_duckdb(prepared, tmp_path) as opened:
            yield opened
        return
    with _on_postgres(request.getfixturevalue("_original_of_sql")) as opened:
        yield opened


@pytest.fixture
def both_databases(prepared: Prepared, tmp_path: Path, _original_of_sql: str) -> Iterator[tuple[Database, Database]]:
    """A fresh warehouse of either kind."""
    with opened_duckdb(prepared, tmp_path) as embedded, _on_postgres(_original_of_sql) as served:
        yield embedded, served


@contextmanager
def opened_duckdb(prepared: Prepared, folder: Path) -> Iterator[Database]:
    path = shutil.copyfile(prepared.warehouse(CONFIGURATION), folder / "warehouse.duckdb")
    with duckdb.connect(str(path), config=DUCKDB_CONFIG) as connection:
        connection.execute("set TimeZone = 'UTC'")
        yield Database(connection, "duckdb")


@contextmanager
def _on_postgres(original: str) -> Iterator[Database]:
    with copied_database(original) as url, connected(url) as connection:
        connection.execute("set TimeZone = 'UTC'")
        yield Database(connection, "postgres")
