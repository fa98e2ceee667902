"""Every test of SQL runs on a DuckDB file and on a real Postgres."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from mail_ingest.warehouse.embedded import DUCKDB_CONFIG
from mail_ingest_tests.postgres import connected, fresh_database
from mail_ingest_tests.sql.databases import Database


@pytest.fixture(params=["duckdb", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A fresh warehouse, prepared and empty."""
    if request.param == "duckdb":
        with _on_duckdb(tmp_path) as opened:
            yield opened
        return
    with _on_postgres(request.getfixturevalue("postgres")) as opened:
        yield opened


@pytest.fixture
def both_databases(tmp_path: Path, postgres: str) -> Iterator[tuple[Database, Database]]:
    """A fresh warehouse of either kind."""
    with _on_duckdb(tmp_path) as embedded, _on_postgres(postgres) as served:
        yield embedded, served


@contextmanager
def _on_duckdb(folder: Path) -> Iterator[Database]:
    with duckdb.connect(str(folder / "warehouse.duckdb"), config=DUCKDB_CONFIG) as connection:
        connection.execute("set TimeZone = 'UTC'")
        yield Database(connection, "duckdb")


@contextmanager
def _on_postgres(server: str) -> Iterator[Database]:
    with fresh_database(server) as url, connected(url) as connection:
        connection.execute("set TimeZone = 'UTC'")
        yield Database(connection, "postgres")
