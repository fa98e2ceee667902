"""The checks in Dagster: what they say, how severe they are, and what they keep from being built.

That each finds what it claims to catch is tested in `sql/test_checks.py`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from mail_ingest.accounts import token_env
from mail_ingest.definitions import build_definitions
from mail_ingest.ingest import SyncOptions
from mail_ingest.ingest.checks import all_checks
from mail_ingest.ingest.engine import Engine
from mail_ingest.settings import load_settings
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest.warehouse.marts import load_relations
from mail_ingest_tests.defs.conftest import STATE, Dagster, Run
from mail_ingest_tests.defs.test_definitions import GROUPS

TABLES = {relation.name.replace(".", "/") for relation in load_relations() if relation.is_table}
#: One state is there twice, and one recipient belongs to no message: each by itself keeps the tables from being built.
BREAKS = {
    "message_states: key_is_unique": (
        "insert into gmail.message_states select * from gmail.message_states order by message_id limit 1",
        (
            "delete from gmail.message_states where rowid in (select max(rowid) from gmail.message_states "
            "group by account_id, message_id having count(*) > 1)"
        ),
    ),
    "message_recipients: message_is_stored": (
        "insert into gmail.message_recipients (account_id, message_id, kind, position) values ('ada@example.com', 'f', 'to', 0)",
        "delete from gmail.message_recipients where message_id = 'f'",
    ),
}


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home of two accounts in step with their mailboxes, with deletions, label events and attachments."""
    home = tmp_path_factory.mktemp("healthy") / "home"
    with Simulator(quota="off") as gmail, pytest.MonkeyPatch.context() as patch:
        environment = {"MAIL_INGEST_HOME": str(home), "MAIL_INGEST_GMAIL_URL": gmail.url, "MAIL_INGEST_QUOTA": "off"}
        engine = Engine(load_settings(environment), wait_s=5.0)
        for number, address in enumerate(("ada@example.com", "grace@example.com")):
            box = gmail.add_account(address)
            ids = box.generate(20, seed=60 + number)
            patch.setenv(f"TOKEN_{number}", box.token)
            engine.registry.add(address, token_env(f"TOKEN_{number}"))
            _sync(engine)
            box.add(subject="s", sender="a@b.example", body="x", attachments=[("f.pdf", "application/pdf", b"%PDF")])
            box.relabel(ids[0], add=("STARRED",))
            box.delete(ids[1])
            _sync(engine)
        engine.close()
    yield home


def _sync(engine: Engine) -> None:
    assert [run.error for run in engine.sync(engine.accounts(), SyncOptions()) if run.error] == []


@pytest.fixture
def warehouse(healthy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to be broken."""
    home = tmp_path / "copy"
    shutil.copytree(healthy, home)
    monkeypatch.setenv("MAIL_INGEST_HOME", str(home))
    return home / "warehouse.duckdb"


def _run(check: str) -> dg.AssetCheckEvaluation:
    """Runs one check as the UI does, and nothing else."""
    asset, name = check.split(":")
    key = dg.AssetCheckKey(dg.AssetKey(asset.split("/")), name)
    job = build_definitions().resolve_implicit_global_asset_job_def()
    result = job.get_subset(asset_selection=set(), asset_check_selection={key}).execute_in_process(raise_on_error=False)
    (evaluation,) = result.get_asset_check_evaluations()
    return evaluation


def _change(warehouse: Path, statement: str) -> None:
    with duckdb.connect(str(warehouse)) as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(statement)


def _job(name: str, **config: object) -> Run:
    with dg.DagsterInstance.ephemeral() as instance:
        return Run(
            build_definitions()
            .resolve_job_def(name)
            .execute_in_process(
                instance=instance,
                run_config={"ops": {"build_analyst_tables": {"config": config}}} if config else None,
                raise_on_error=False,
            )
        )


def test_a_healthy_warehouse_passes_every_check(warehouse: Path) -> None:
    run = _job("analyst_tables")

    assert run.success
    assert len(run.checks) == len(all_checks())
    for evaluation in run.checks.values():
        assert evaluation.passed, evaluation.check_name
        assert {name: entry.value for name, entry in evaluation.metadata.items()} == {"rows": 0, "examples": "none"}
    # what may well be only warns
    assert sorted(name for name, check in run.checks.items() if check.severity is dg.AssetCheckSeverity.WARN) == [
        "gmail/accounts:counts_match_the_profile",
        "gmail/accounts:cursor_is_young",
        "gmail/accounts:watch_is_in_force",
        "gmail/fetch_failures:are_being_retried",
        "gmail/messages:backlog_is_empty",
        "gmail/messages:internal_date_is_not_in_the_future",
        "gmail/sync_runs:answers_are_as_known",
        "mail/message_labels:label_is_known",
        "mail/message_lifecycle:observations_follow",
    ]


def test_a_failed_check_shows_how_many_rows_and_the_keys_of_five(warehouse: Path) -> None:
    ada = "where account_id = 'ada@example.com'"
    _change(warehouse, f"insert into gmail.message_states select * from gmail.message_states {ada} limit 7")

    evaluation = _run("gmail/message_states:key_is_unique")

    assert (evaluation.passed, evaluation.metadata["rows"].value) == (False, 7)
    examples = str(evaluation.metadata["examples"].value).splitlines()
    assert len(examples) == 5
    assert all(example.startswith("account_id ada@example.com, message_id ") for example in examples)


def test_examples_name_no_correspondent(warehouse: Path) -> None:
    _change(
        warehouse, "insert into mail.contacts select * from mail.contacts where account_id = 'ada@example.com' limit 2"
    )

    evaluation = _run("mail/contacts:key_is_unique")

    assert (evaluation.passed, evaluation.metadata["rows"].value) == (False, 2)
    assert evaluation.metadata["examples"].value == "account_id ada@example.com\naccount_id ada@example.com"


@pytest.mark.parametrize("check", all_checks(), ids=lambda check: f"{check.relation}:{check.claim}")
def test_a_check_blocks_where_its_file_says_so(check) -> None:  # type: ignore[no-untyped-def]
    graph = build_definitions().resolve_asset_graph()
    key = dg.AssetCheckKey(dg.AssetKey(check.relation.split(".")), check.claim)

    assert check.severity in ("error", "warn")
    assert graph.get(key).blocking == check.is_blocking
    # a check that only warns would block nothing
    assert not check.is_blocking or check.severity == "error"
    # the tables for analysts are built in one step: a check on one of them comes too late to block another
    assert not check.is_blocking or check.relation.startswith("gmail.")


@pytest.mark.parametrize("failing", BREAKS)
def test_a_check_that_blocks_keeps_the_tables_from_being_built_until_it_is_mended(
    failing: str, warehouse: Path
) -> None:
    table, claim = failing.split(": ")
    broken, mended = BREAKS[failing]
    _change(warehouse, broken)
    before = _contents(warehouse)

    run = _job("analyst_tables")

    assert not run.success
    assert not run.checks[f"gmail/{table}:{claim}"].passed
    assert TABLES & set(run.keys) == set()
    assert _contents(warehouse) == before

    _change(warehouse, mended)
    run = _job("analyst_tables", rebuild=True)

    assert run.success
    assert set(GROUPS["analyst_tables"]) <= set(run.keys)
    assert all(run.of(key).metadata["built_in_full"].value for key in TABLES)


def _contents(warehouse: Path) -> list[tuple[object, ...]]:
    """How many rows the tables have, and which build they are of."""
    with duckdb.connect(str(warehouse)) as connection:
        counts = [
            connection.execute(f"select count(*) from {key.replace('/', '.')}").fetchone() for key in sorted(TABLES)
        ]
        return [*counts, *connection.execute("select * from mail_build.loads order by all").fetchall()]


def test_a_check_that_blocks_does_so_where_landing_and_analyst_tables_are_materialized_together(
    engine: Engine, box: Mailbox, dagster: Dagster
) -> None:
    box.generate(10, seed=3)
    assert dagster.job("sync").success
    box.add(subject="s", sender="a@b.example", body="x")
    with engine.warehouse.open() as connection:
        connection.execute(BREAKS["message_states: key_is_unique"][0])
    assets = [*STATE, *GROUPS["staging"], *GROUPS["analyst_tables"]]

    run = dagster.materialize(assets)

    assert not run.success
    assert set(STATE) <= set(run.keys), "the landing tables themselves are materialized"
    assert TABLES & set(run.keys) == set()
    with engine.warehouse.open() as connection:
        connection.execute(BREAKS["message_states: key_is_unique"][1])
    run = dagster.materialize(assets)
    assert run.success
    assert set(run.keys) == set(assets)


@pytest.mark.parametrize("alone", [["mail/threads"], [*STATE, *sorted(TABLES)]], ids=["one table", "without staging"])
def test_a_build_that_does_not_wait_for_the_checks_makes_them_itself(
    alone: list[str], engine: Engine, box: Mailbox, dagster: Dagster
) -> None:
    box.generate(10, seed=3)
    assert dagster.job("sync").success
    with engine.warehouse.open() as connection:
        connection.execute(BREAKS["message_recipients: message_is_stored"][0])

    run = dagster.materialize(alone)

    assert not run.success
    assert TABLES & set(run.keys) == set()
    assert "checks that block them fail: gmail.message_recipients: message_is_stored." in "".join(run.failures)


def test_one_table_can_be_materialized_and_brings_all_of_them_up_to_date(warehouse: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run = Run(
            build_definitions()
            .resolve_implicit_global_asset_job_def()
            .execute_in_process(instance=instance, asset_selection=[dg.AssetKey(["mail", "threads"])])
        )

    assert run.success
    assert run.keys == ["mail/threads"]
    assert {name.split(":")[0] for name in run.checks} == {"mail/threads"}


def test_a_damaged_warehouse_fails_the_check_in_its_own_words(warehouse: Path) -> None:
    warehouse.write_bytes(b"not a database")
    asset_key = dg.AssetKey(["gmail", "messages"])
    job = build_definitions().resolve_implicit_global_asset_job_def()
    subset = job.get_subset(asset_selection=set(), asset_check_selection={dg.AssetCheckKey(asset_key, "key_is_unique")})

    result = subset.execute_in_process(raise_on_error=False)

    (failure,) = result.filter_events(lambda event: event.is_step_failure)
    assert "cannot be opened" in (failure.step_failure_data.user_failure_data.description or "")
