"""Every test of SQL runs on a DuckDB file and on a real Postgres."""

from __future__ import annotations

from collections.abc import Iterator
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
        with duckdb.connect(str(tmp_path / "warehouse.duckdb"), config=DUCKDB_CONFIG) as connection:
            connection.execute("set TimeZone = 'UTC'")
            yield Database(connection, "duckdb")
        return
    with fresh_database(request.getfixturevalue("postgres")) as url, connected(url) as connection:
        connection.execute("set TimeZone = 'UTC'")
        yield Database(connection, "postgres")
