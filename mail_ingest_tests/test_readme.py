"""The README is true: its commands run, its tables and variables are the ones there are."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import get_args
from urllib.parse import urlsplit

import pytest

from mail_ingest.accounts import STATES, AccountState
from mail_ingest.defs.queue import ACTIVE_OWNER, ASKED, BACKFILL, MAINTENANCE, PRIORITY_TAG, SCHEDULED, queue_tags
from mail_ingest.defs.specs import STATE_FRESHNESS, TABLE_FRESHNESS
from mail_ingest.ingest.checks import all_checks
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest.sources.tables import LANDING_TABLES
from mail_ingest.warehouse.marts import load_relations
from mail_ingest_tests.forking import MAIL_INGEST, Forks
from mail_ingest_tests.postgres import execute, with_user

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
ACCOUNT = "you@example.com"


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def _commands() -> list[str]:
    return [line for block in _blocks("sh") for line in block.splitlines() if line.strip()]


def test_make_commands_are_targets_and_the_two_of_a_fresh_machine_run_in_ci() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {command.split()[1] for command in _commands() if command.startswith("make ")}
    assert named <= targets
    ci = (ROOT / ".ci" / "run").read_text()
    assert all(f"make {target}" in ci for target in ("demo", "lint", "test"))


@pytest.mark.early
def test_the_commands_for_a_real_account_work_as_written(
    forks: Forks, gmail: Simulator, environment: dict[str, str], tmp_path: Path
) -> None:
    _run_all(forks, gmail, {key: value for key, value in environment.items() if key != "MAIL_INGEST_HOME"}, tmp_path)
    for block in _blocks("python"):
        shown = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert "INBOX" in shown.stdout


@pytest.mark.early
@pytest.mark.warehouses("postgres")
@pytest.mark.first_use
def test_they_work_on_postgres_with_the_roles_as_written(
    forks: Forks,
    gmail: Simulator,
    environment: dict[str, str],
    tmp_path: Path,
    warehouse_url: str,
    postgres: str,
) -> None:
    if execute(
        postgres, "select 1 from pg_roles where rolname ~ '^mail_ingest_.*er$' or rolname in ('dashboard', 'sales')"
    ):
        pytest.skip("the server has roles of these names, which are not the test's to drop")
    [roles], [line] = _blocks("sql"), _blocks("ini")
    name, _, written = line.strip().partition("=")
    url = with_user(warehouse_url, urlsplit(written).username or "", urlsplit(written).password or "")
    try:
        execute(warehouse_url, (ROOT / "sql" / "roles.postgres.sql").read_text())
        execute(warehouse_url, roles)
        variables = {key: value for key, value in environment.items() if key != "MAIL_INGEST_HOME"}
        _run_all(forks, gmail, {**variables, name: url}, tmp_path)

        reader = with_user(warehouse_url, "dashboard", "choose-another")
        assert execute(reader, "select count(*) from mail.messages where has_content") == [(30,)]
        assert [path.name for path in tmp_path.rglob("*.duckdb")] == ["you.duckdb"]
        restricted = with_user(warehouse_url, "sales", "choose-a-third")
        assert execute(restricted, "select count(*) from mail.messages") == [(0,)]
        execute(url, f"insert into mail_config.grants values ('sales', '{ACCOUNT}', null)")
        assert execute(restricted, "select count(*) from mail.messages where has_content") == [(30,)]
    finally:
        for role in (
            *("sales", "dashboard"),
            *("mail_ingest_restricted_reader", "mail_ingest_reader", "mail_ingest_loader"),
        ):
            execute(warehouse_url, f"drop owned by {role} cascade", f"drop role {role}")


def _run_all(forks: Forks, gmail: Simulator, variables: dict[str, str], tmp_path: Path) -> None:
    box: Mailbox = gmail.add_account(ACCOUNT)
    box.generate(30, seed=1)
    (tmp_path / "client.json").write_text(json.dumps(gmail.oauth_client()))
    key = gmail.service_account(["gmail.readonly", "admin.directory.user.readonly"])
    (tmp_path / "key.json").write_text(json.dumps(key))
    gmail.directory.add(ACCOUNT, org_unit="/Sales")
    gmail.directory.add("admin@example.com", is_admin=True)
    browser = {"BROWSER": f"{sys.executable} -m mail_ingest_tests.browser %s", "CONSENT_AS": ACCOUNT}
    topic = "projects/your-project/topics/gmail"
    reached = {"PYTHONPATH": str(ROOT), "MAIL_INGEST_DIRECTORY_URL": gmail.url, "MAIL_INGEST_PUSH_TOPIC": topic}
    commands = [command for command in _commands() if command.startswith("mail-ingest ")]
    # those within sentences, where they are whole commands
    inline = re.findall(r"`(mail-ingest [^`]+)`", README)
    commands += [command.replace("ADDRESS", ACCOUNT) for command in inline if "simulator" not in command]
    if "MAIL_INGEST_WAREHOUSE" not in variables:
        # a DuckDB file has no roles
        commands = [command for command in commands if not command.startswith("mail-ingest role ")]
    assert len(commands) >= 5
    for command in commands:
        done = forks.run(
            MAIL_INGEST,
            shlex.split(command)[1:],
            env={**os.environ, **variables, **browser, **reached},
            cwd=tmp_path,
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"


def test_every_command_is_of_a_kind_that_is_run() -> None:
    assert [command for command in _commands() if not command.startswith(("make ", "mail-ingest "))] == []


@pytest.mark.parametrize("table", [f"gmail.{table.name}" for table in LANDING_TABLES])
def test_every_landing_table_is_listed_with_its_key(table: str) -> None:
    [row] = re.findall(rf"^\| `{table}` \|[^|]*\| ([^|]*) \|$", README, re.MULTILINE)
    [definition] = [each for each in LANDING_TABLES if f"gmail.{each.name}" == table]
    assert row == ", ".join(definition.key)


def test_every_analyst_relation_is_listed_with_its_key() -> None:
    listed = dict(re.findall(r"^\| `(mail\.\w+)` \|[^|]*\| ([^|]*) \|$", README, re.MULTILINE))
    assert listed == {
        relation.name: ", ".join(relation.key) for relation in load_relations() if relation.schema == "mail"
    }


def test_every_check_is_listed_as_its_file_says() -> None:
    listed = set(re.findall(r"^\| (.+): `(\w+)` \| (error|warn) \| (yes)? ?\| (.+) \|$", README, re.MULTILINE))
    assert listed == {
        (
            _checked(check.relation, check.claim),
            check.claim,
            check.severity,
            "yes" if check.is_blocking else "",
            check.remedy,
        )
        for check in all_checks()
    }


def _checked(relation: str, claim: str) -> str:
    """What the table calls it: the keys of all tables are two lines."""
    if claim == "key_is_unique":
        return "every `gmail` table" if relation.startswith("gmail.") else "every `mail` relation"
    return f"`{relation}`"


def test_freshness_is_as_the_page_says() -> None:
    state, tables = STATE_FRESHNESS, TABLE_FRESHNESS
    hours = [
        window.to_timedelta() / timedelta(hours=1)
        for window in (state.warn_window, state.fail_window, tables.fail_window)
    ]  # type: ignore[union-attr]
    assert "every {:g} hours (late from {:g} on".format(*hours) in README
    assert f"analyst tables every {hours[2]:g}." in README


def test_priorities_are_numbered_as_the_page_says() -> None:
    tags = [queue_tags(priority)[PRIORITY_TAG] for priority in (ASKED, ACTIVE_OWNER, SCHEDULED, BACKFILL, MAINTENANCE)]
    assert f"is 2 less the priority: {', '.join(tags)}. Runs" in " ".join(README.split())


def test_the_states_of_accounts_are_those_of_the_code() -> None:
    assert list(STATES) == list(get_args(AccountState))
    [table] = re.findall(r"^\| state \| means \|.*\n\|[-|]+\n((?:\|.*\n)+)", README, re.MULTILINE)
    assert table.splitlines() == [
        f"| `{state}` | {told.meaning} | {told.led_in_by} | {told.led_out_by} | {told.to_do.format(account='ADDRESS')} |"
        for state, told in STATES.items()
    ]


def test_every_variable_that_is_read_is_listed() -> None:
    read = set(re.findall(r"MAIL_INGEST_[A-Z_]+", (ROOT / "mail_ingest" / "settings.py").read_text()))
    listed = set(re.findall(r"^\| `(MAIL_INGEST_[A-Z_]+)` \|", README, re.MULTILINE))
    assert listed == {name.rstrip("_") for name in read if name != "MAIL_INGEST_"}


def test_links_inside_the_repository_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
