"""Databases of earlier versions, with data in them, brought to the present one: on SQLite and on Postgres."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, DateTime, Engine, MetaData, Table, create_engine, select

import mail_ingest.accounts
from mail_ingest.accounts import Registry, token_env
from mail_ingest.accounts.database import SCHEMA_VERSION, open_database
from mail_ingest.accounts.keys import new_key
from mail_ingest.accounts.sealing import Sealer
from mail_ingest.accounts.tables import metadata
from mail_ingest.errors import ConfigError
from mail_ingest.settings import load_settings

pytestmark = pytest.mark.first_use

MIGRATIONS = Path(mail_ingest.accounts.__file__).parent / "migrations"
KEY = new_key()
THEN = datetime(2026, 11, 1, 8, 30, tzinfo=UTC)


def config() -> Config:
    made = Config()
    made.set_main_option("script_location", str(MIGRATIONS))
    return made


VERSIONS = [script.revision for script in ScriptDirectory.from_config(config()).walk_revisions()][::-1]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'control.sqlite'}"
    return str(request.getfixturevalue("database"))


def plain_engine(url: str) -> Engine:
    return create_engine(url.replace("postgresql://", "postgresql+psycopg2://"))


def make_version(url: str, version: str) -> None:
    """A database as that version of the product made it."""
    engine = plain_engine(url)
    with engine.begin() as connection:
        migrations = config()
        migrations.attributes["connection"] = connection
        command.upgrade(migrations, version)
    engine.dispose()


def value_for(column: Any, number: int) -> Any:
    """Something in every column, also in those that may be empty."""
    given = {
        "account_id": f"user{number}@example.com",
        "address": f"User{number}@example.com",
        "shard": number,
        "state": ("active", "needs_reauth", "removed")[number],
        "credential_kind": "token_env",
        "credential": Sealer(KEY, Path()).seal(f"user{number}@example.com", token_env("T").to_bytes()),
        "content_since": "30d",
        "privacy": ("redacted", "hashed", None)[number],
        "include_labels": ("INBOX\nLabel_1", "", "Kept")[number],
        "exclude_labels": ("", "SPAM", "Private")[number],
        "id": 1,
        "name": "local",
        "sealed": "v1.00000000.AA==",
    }
    if column.name in given:
        return given[column.name]
    if isinstance(column.type, DateTime):
        return THEN
    return {int: 7 + number, bool: bool(number % 2), str: f"text {number}"}[column.type.python_type]


def fill(connection: Connection) -> dict[str, list[Mapping[str, Any]]]:
    """Rows in every table; what was written."""
    reflected = MetaData()
    reflected.reflect(connection)
    for name, table in reflected.tables.items():
        if name != "control_version":
            rows = range(1 if name == "deployment" else 3)
            connection.execute(
                table.insert(),
                [{column.name: value_for(column, number) for column in table.columns} for number in rows],
            )
    return contents(connection, reflected.tables)


def contents(connection: Connection, tables: Mapping[str, Table]) -> dict[str, list[Mapping[str, Any]]]:
    return {
        name: [dict(row) for row in connection.execute(select(table).order_by(*table.primary_key)).mappings()]
        for name, table in tables.items()
        if name != "control_version"
    }


def read(url: str) -> dict[str, list[Mapping[str, Any]]]:
    engine = plain_engine(url)
    with engine.connect() as connection:
        reflected = MetaData()
        reflected.reflect(connection)
        found = contents(connection, reflected.tables)
    engine.dispose()
    return found


@pytest.fixture(params=VERSIONS)
def filled(request: pytest.FixtureRequest, url: str) -> dict[str, list[Mapping[str, Any]]]:
    """What a database of each version held."""
    make_version(url, request.param)
    engine = plain_engine(url)
    with engine.begin() as connection:
        before = fill(connection)
    engine.dispose()
    return before


def test_nothing_is_lost_on_the_way_from_any_version(url: str, filled: dict[str, list[Mapping[str, Any]]]) -> None:
    engine = open_database(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": "control_version"})
        version, differences = context.get_current_revision(), compare_metadata(context, metadata)
    engine.dispose()
    after = read(url)

    assert (version, differences) == (SCHEMA_VERSION, [])
    assert len(filled["accounts"]) == 3
    for name, rows in filled.items():
        kept = [{column: row[column] for column in rows[0]} for row in after[name]]
        assert kept == rows, name


def test_accounts_of_any_version_are_read_by_this_one(url: str, filled: dict[str, Any], tmp_path: Path) -> None:
    registry = Registry(
        load_settings({"MAIL_INGEST_HOME": str(tmp_path), "MAIL_INGEST_CONTROL": url, "MAIL_INGEST_KEY": KEY})
    )

    active, dead = registry.list()
    removed = registry.find("user2@example.com")
    registry.pause(active.account_id)

    assert (active.account_id, active.address, active.shard) == ("user0@example.com", "User0@example.com", 0)
    assert (dead.state, dead.state_since, removed.state) == ("needs_reauth", THEN, "removed")
    assert repr(registry.token_source(active.account_id)) == "EnvironmentToken(T)"
    written = filled["accounts"][0]
    assert active.raw_archive is ("raw_archive" not in written)
    assert (active.discovered_from, active.account_group) == (
        written.get("discovered_from", ""),
        written.get("account_group"),
    )
    assert active.project == written.get("project", "default")
    # what a version did not know of is neither switched on nor off, and nobody watches it
    assert (active.push, active.watch_topic) == (written.get("push"), written.get("watch_topic"))
    assert active.watch_expires_at == (THEN if "watch_expires_at" in written else None)
    registry.close()


def test_privacy_of_any_version_is_in_force_in_this_one(url: str, filled: dict[str, Any], tmp_path: Path) -> None:
    registry = Registry(
        load_settings(
            {
                "MAIL_INGEST_HOME": str(tmp_path),
                "MAIL_INGEST_CONTROL": url,
                "MAIL_INGEST_KEY": KEY,
                "MAIL_INGEST_PRIVACY": "headers",
            }
        )
    )

    for written in filled["accounts"]:
        account = registry.find(written["account_id"])
        policy = registry.policy(account, needs_key=False)
        # what a version did not know it stored whole, and asked for nothing to be bought again
        assert policy.tier == (written.get("privacy") or "headers")
        assert (policy.attachments, policy.sign_in_mail, account.buys_again) == (
            written.get("attachments", True),
            written.get("sign_in_mail", True),
            written.get("buys_again", False),
        )
        assert (policy.include_labels, policy.exclude_labels) == (
            tuple(written.get("include_labels", "").splitlines()),
            tuple(written.get("exclude_labels", "").splitlines()),
        )
        assert policy.raw_archive is bool(written.get("raw_archive", True))
    assert {account.privacy for account in registry.list()} == (
        {"redacted", "hashed"} if "privacy" in written else {None}
    )
    registry.close()


UPGRADE = """
import sys
from mail_ingest.accounts.database import open_database
print("ready", flush=True)
sys.stdin.readline()
open_database(sys.argv[1])
"""


def test_processes_that_upgrade_at_once_do_it_once(url: str) -> None:
    make_version(url, VERSIONS[0])
    engine = plain_engine(url)
    with engine.begin() as connection:
        before = fill(connection)
    engine.dispose()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", UPGRADE, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"

    errors = [process.communicate(b"\n", timeout=60)[1] for process in processes]

    assert [process.returncode for process in processes] == [0, 0], errors
    assert [row["account_id"] for row in read(url)["accounts"]] == [row["account_id"] for row in before["accounts"]]
    open_database(url).dispose()


@pytest.mark.parametrize("version", VERSIONS)
def test_no_version_goes_back_and_each_says_so(url: str, version: str) -> None:
    make_version(url, version)
    engine = plain_engine(url)
    migrations = config()

    with pytest.raises(ConfigError, match="cannot go back"), engine.begin() as connection:
        migrations.attributes["connection"] = connection
        command.downgrade(migrations, "-1")

    engine.dispose()
    open_database(url).dispose()


def test_versions_follow_each_other_without_branches() -> None:
    assert [f"{number:04d}" for number in range(1, len(VERSIONS) + 1)] == VERSIONS
    steps: Callable[[str], Any] = ScriptDirectory.from_config(config()).get_revision
    assert VERSIONS[-1] == SCHEMA_VERSION
    assert [steps(version).down_revision for version in VERSIONS] == [None, *VERSIONS[:-1]]
