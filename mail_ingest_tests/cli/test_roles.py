"""`mail-ingest role`: who sees which accounts of a Postgres warehouse."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from typer.testing import CliRunner

from mail_ingest.accounts import token_env
from mail_ingest.cli.app import app
from mail_ingest.errors import ConfigError
from mail_ingest.ingest import Engine
from mail_ingest.simulator import Simulator
from mail_ingest.warehouse.grants import check_roles
from mail_ingest_tests.cli.conftest import Run
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.postgres import execute, with_user
from mail_ingest_tests.truth import sync
from mail_ingest_tests.warehouse.conftest import made_roles

BOB = "bob@example.com"
RESTRICTED, FREE, BOTH = "mail_ingest_test_restricted", "mail_ingest_test_free", "mail_ingest_test_both"


@pytest.fixture
def as_loader(database: str, postgres: str) -> Iterator[dict[str, str]]:
    """The environment of the loader; besides it roles that read."""
    with made_roles(database, postgres) as urls:
        execute(database, f"create role {RESTRICTED} login password 'word' in role mail_ingest_restricted_reader")
        execute(database, f"create role {FREE} login password 'word' in role mail_ingest_reader")
        execute(database, f"create role {BOTH} login password 'word' in role {RESTRICTED}, {FREE}")
        yield {
            "MAIL_INGEST_WAREHOUSE": urls["mail_ingest_loader"],
            "RESTRICTED": with_user(database, RESTRICTED, "word"),
        }
        for role in (BOTH, FREE, RESTRICTED):
            execute(database, f"drop owned by {role}", f"drop role {role}")


def test_accounts_and_groups_are_granted_listed_and_taken_back(
    gmail: Simulator,
    engine: Engine,
    new_engine: Callable[..., Engine],
    environment: dict[str, str],
    as_loader: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {**environment, **as_loader}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("BOB_TOKEN", gmail.add_account(BOB).token)
    engine.registry.add(BOB, token_env("BOB_TOKEN"), account_group="sales")
    loading = new_engine(**as_loader)
    sync(loading)

    def seen() -> list[str]:
        return [
            row[0] for row in execute(as_loader["RESTRICTED"], "select account_id from mail.account_health order by 1")
        ]

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert done.exit_code == 0
        return done.stdout

    def listed() -> dict[str, dict[str, object]]:
        return {each.pop("role"): each for each in json.loads(run("role", "list", "--json"))["roles"]}

    free = {"sees_everything": True, "sees_everything_by": ["mail_ingest_reader", FREE], "accounts": [], "groups": []}
    assert seen() == []
    assert listed() == {
        RESTRICTED: {"sees_everything": False, "sees_everything_by": [], "accounts": [], "groups": []},
        FREE: free,
        BOTH: free,
    }

    run("role", "grant", RESTRICTED, "--account", ADDRESS.upper(), "--group", "sales")
    run("role", "grant", RESTRICTED, "--group", "sales")
    assert seen() == [ADDRESS, BOB]
    assert (listed()[RESTRICTED]["accounts"], listed()[RESTRICTED]["groups"]) == ([ADDRESS], ["sales"])

    run("account", "set", BOB, "--group", "board")
    assert "what was granted" in run("role", "list")
    assert seen() == [ADDRESS]

    for arguments, says in (
        (("grant", RESTRICTED), "--account or --group"),
        (("grant", RESTRICTED, "--account", "nobody@example.com"), "not registered"),
        (("grant", RESTRICTED, "--group", "nobody"), "no account is in the group"),
        (("grant", "no_such_role", "--group", "board"), "create role no_such_role"),
        (("grant", FREE, "--group", "board"), "by mail_ingest_reader, mail_ingest_test_free"),
        (("grant", BOTH, "--group", "board"), "is not restricted"),
        (("grant", "postgres", "--group", "board"), "as a superuser"),
        (("grant", "pg_monitor", "--group", "board"), "reads nothing"),
        (("revoke", RESTRICTED), "--all"),
        (("revoke", RESTRICTED, "--account", ADDRESS, "--account", BOB), "nothing was taken back"),
    ):
        with pytest.raises(ConfigError, match=says):
            run("role", *arguments)
    assert seen() == [ADDRESS]

    run("role", "revoke", RESTRICTED, "--account", ADDRESS)
    assert seen() == []
    assert "took back 1 grants" in run("role", "revoke", RESTRICTED, "--all")

    run("role", "grant", RESTRICTED, "--account", BOB)
    loading.erase_account(BOB)
    assert listed()[RESTRICTED]["accounts"] == []


@pytest.mark.warehouses("postgres")
def test_a_database_without_the_role_says_what_to_do(engine: Engine, postgres: str) -> None:
    if execute(postgres, "select 1 from pg_roles where rolname = 'mail_ingest_restricted_reader'"):
        pytest.skip("the server has the role")
    with engine.warehouse.open() as connection, pytest.raises(ConfigError, match=r"run sql/roles\.postgres\.sql"):
        check_roles(connection, "postgres")


def test_a_duckdb_file_has_no_roles(run: Run) -> None:
    done = run("role", "grant", "sales", "--group", "board")

    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
