"""A database with the roles of `sql/roles.postgres.sql`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from mail_ingest.warehouse.marts import sql_folder
from mail_ingest_tests.postgres import execute, with_user

_ROLES = ("mail_ingest_loader", "mail_ingest_reader", "mail_ingest_restricted_reader")


@pytest.fixture
def users(warehouse_url: str, postgres: str) -> Iterator[dict[str, str]]:
    """URLs by role."""
    with made_roles(warehouse_url, postgres) as urls:
        yield urls


@contextmanager
def made_roles(database: str, server: str) -> Iterator[dict[str, str]]:
    """Roles that may log in to a database, as URLs by name; the script was run twice, as its comment allows."""
    if execute(server, "select rolname from pg_roles where rolname like 'mail_ingest_%er'"):
        pytest.skip("the server has roles of these names, which are not the test's to drop")
    script = (sql_folder() / "roles.postgres.sql").read_text()
    execute(database, script)
    execute(database, script)
    for role in _ROLES:
        execute(database, f"alter role {role} login password 'of {role}'")
    yield {role: with_user(database, role, f"of {role}") for role in _ROLES}
    # a session that was closed a moment ago may still be dropping its temporary tables
    execute(
        database,
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity "
        "where datname = current_database() and pid <> pg_backend_pid()",
    )
    owner = urlsplit(database).username
    for role in _ROLES:
        execute(database, f"reassign owned by {role} to {owner}", f"drop owned by {role}", f"drop role {role}")
