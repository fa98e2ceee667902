"""`mail-ingest role`: who sees which accounts of a Postgres warehouse."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from mail_ingest.accounts import token_env
from mail_ingest.ingest import Engine
from mail_ingest.simulator import Mailbox, Simulator
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
            "restricted": with_user(database, RESTRICTED, "word"),
        }
        for role in (BOTH, FREE, RESTRICTED):
            execute(database, f"drop owned by {role}", f"drop role {role}")


def test_accounts_and_groups_are_granted_listed_and_taken_back(
    engine: Engine,
    gmail: Simulator,
    box: Mailbox,
    run: Run,
    as_loader: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    new_engine,
) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("BOB_TOKEN", gmail.add_account(BOB).token)
    engine.registry.add(BOB, token_env("BOB_TOKEN"), account_group="sales")
    url = as_loader.pop("restricted")
    loading = new_engine(**as_loader)
    sync(loading)
    loading.close()

    def seen() -> list[str]:
        return [row[0] for row in execute(url, "select account_id from mail.account_health order by account_id")]

    def role(*arguments: str) -> tuple[int, str]:
        done = run("role", *arguments, **as_loader)
        return done.returncode, done.stdout + done.stderr

    def listed() -> dict[str, dict[str, object]]:
        return {
            each.pop("role"): each for each in json.loads(run("role", "list", "--json", **as_loader).stdout)["roles"]
        }

    assert seen() == []
    assert listed() == {
        RESTRICTED: {"sees_everything": False, "sees_everything_by": [], "accounts": [], "groups": []},
        FREE: {
            "sees_everything": True,
            "sees_everything_by": [FREE, "mail_ingest_reader"],
            "accounts": [],
            "groups": [],
        },
        BOTH: {
            "sees_everything": True,
            "sees_everything_by": [FREE, "mail_ingest_reader"],
            "accounts": [],
            "groups": [],
        },
    }

    assert role("grant", RESTRICTED, "--account", ADDRESS.upper(), "--group", "sales")[0] == 0
    assert role("grant", RESTRICTED, "--group", "sales")[0] == 0
    assert seen() == [ADDRESS, BOB]
    assert listed()[RESTRICTED]["accounts"] == [ADDRESS]
    assert listed()[RESTRICTED]["groups"] == ["sales"]
    assert "what was granted" in role("list")[1]

    run("account", "set", BOB, "--group", "board")
    assert role("list")[0] == 0
    assert seen() == [ADDRESS]

    for arguments, says in (
        (("grant", RESTRICTED), "--account or --group"),
        (("grant", RESTRICTED, "--account", "nobody@example.com"), "not registered"),
        (("grant", RESTRICTED, "--group", "nobody"), "no account is in the group"),
        (("grant", "no_such_role", "--group", "board"), "create role no_such_role"),
        (("grant", FREE, "--group", "board"), "by mail_ingest_test_free, mail_ingest_reader"),
        (("grant", BOTH, "--group", "board"), "is not restricted"),
        (("grant", "postgres", "--group", "board"), "as a superuser"),
        (("grant", "pg_monitor", "--group", "board"), "reads nothing"),
        (("revoke", RESTRICTED), "--all"),
        (("revoke", RESTRICTED, "--account", ADDRESS, "--account", BOB), "nothing was taken back"),
    ):
        code, said = role(*arguments)
        assert (code, says in said) == (2, True), said
    assert seen() == [ADDRESS]

    assert role("revoke", RESTRICTED, "--account", ADDRESS)[0] == 0
    assert seen() == []
    assert "took back 1 grants" in role("revoke", RESTRICTED, "--all")[1]

    role("grant", RESTRICTED, "--account", BOB)
    erasing = new_engine(**as_loader)
    erasing.erase_account(BOB)
    erasing.close()
    assert listed()[RESTRICTED]["accounts"] == []


@pytest.mark.warehouses("postgres")
def test_a_database_without_the_role_says_what_to_do(run: Run, warehouse_url: str, postgres: str) -> None:
    if execute(postgres, "select 1 from pg_roles where rolname = 'mail_ingest_restricted_reader'"):
        pytest.skip("the server has the role")
    done = run("role", "list")

    assert done.returncode == 2
    assert "run sql/roles.postgres.sql" in done.stderr


def test_a_duckdb_file_has_no_roles(run: Run) -> None:
    for arguments in (("list",), ("grant", "sales", "--account", ADDRESS)):
        done = run("role", *arguments)
        assert done.returncode == 2
