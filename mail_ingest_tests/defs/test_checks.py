"""Every SQL check passes on a healthy warehouse, and fails on one that has what it claims to catch."""

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
from mail_ingest.ingest.engine import Engine
from mail_ingest.settings import load_settings
from mail_ingest.simulator import Simulator
from mail_ingest.warehouse.marts import load_checks

_ONE = "message_id = (select max(message_id) from {table} where account_id = 'ada@example.com')"

#: What each check has to catch: statements that each by itself break a healthy warehouse, and how many rows then break
#: the claim.
CORRUPTIONS: dict[str, list[tuple[str, int]]] = {
    "gmail/accounts:counts_match_the_profile": [
        ("update gmail.accounts set messages_total = messages_total + 6", 2),
        ("update gmail.accounts set messages_total = messages_total - 6 where account_id = 'ada@example.com'", 1),
        ("delete from gmail.message_states where account_id = 'ada@example.com'", 1),
    ],
    "gmail/attachments:message_is_stored": [
        ("delete from gmail.attachments where message_id = (select max(message_id) from gmail.attachments)", 1),
        (
            "update gmail.attachments set message_id = 'f' where message_id = (select max(message_id) from gmail.attachments)",
            2,
        ),
        ("insert into gmail.attachments (account_id, message_id, part_id) values ('ada@example.com', 'f', '1')", 1),
    ],
    "gmail/fetch_failures:are_being_retried": [
        (
            (
                "insert into gmail.fetch_failures (account_id, message_id, attempts, error_class) "
                "select account_id, message_id, 5, 'ServerError' from gmail.message_states where not is_deleted limit 1"
            ),
            1,
        ),
        (
            (
                "insert into gmail.fetch_failures (account_id, message_id, attempts, error_class, parked_at) "
                "select account_id, message_id, 1, 'ParseError', now() from gmail.message_states where not is_deleted limit 1"
            ),
            1,
        ),
    ],
    "gmail/label_events:key_is_unique": [
        ("insert into gmail.label_events select * from gmail.label_events limit 1", 1),
    ],
    "gmail/message_recipients:message_is_stored": [
        (f"delete from gmail.messages where {_ONE.format(table='gmail.messages')}", 1),
    ],
    "gmail/message_states:key_is_unique": [
        ("insert into gmail.message_states select * from gmail.message_states limit 3", 3),
        (
            (
                "insert into gmail.message_states select * replace (true as is_deleted) from gmail.message_states "
                "where not is_deleted limit 1"
            ),
            1,
        ),
    ],
    "gmail/messages:backlog_is_empty": [
        (f"delete from gmail.messages where {_ONE.format(table='gmail.messages')}", 1),
        ("update gmail.messages set account_id = 'someone@example.com'", 40),
    ],
    "gmail/messages:content_has_a_state": [
        (f"delete from gmail.message_states where {_ONE.format(table='gmail.messages')}", 1),
        ("update gmail.message_states set account_id = 'someone@example.com' where account_id = 'ada@example.com'", 21),
    ],
    "gmail/messages:key_is_unique": [
        ("insert into gmail.messages select * from gmail.messages limit 2", 2),
    ],
    "mail/message_labels:label_is_known": [
        (
            (
                "update gmail.message_states set label_ids = '[\"Label_unheard_of\"]' "
                f"where {_ONE.format(table='gmail.message_states')}"
            ),
            1,
        ),
        ("delete from gmail.labels where label_id = 'INBOX' and account_id = 'ada@example.com'", 1),
    ],
    "mail/message_labels:label_is_not_deleted": [
        (
            (
                "update gmail.labels set deleted_at = now() where account_id = 'ada@example.com' and label_id = "
                "(select label_id from mail.message_labels where account_id = 'ada@example.com' and not is_deleted "
                "group by label_id order by count(*) desc, label_id limit 1)"
            ),
            0,
        ),
    ],
}
CASES = [(check, statement, rows) for check, found in CORRUPTIONS.items() for statement, rows in found]


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
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(healthy / "warehouse.duckdb", home)
    monkeypatch.setenv("MAIL_INGEST_HOME", str(home))
    return home / "warehouse.duckdb"


def _run(check: str) -> dg.AssetCheckEvaluation:
    """Runs one check as the UI does, and nothing else."""
    asset, name = check.split(":")
    key = dg.AssetCheckKey(dg.AssetKey(asset.split("/")), name)
    job = build_definitions().resolve_implicit_global_asset_job_def()
    result = job.get_subset(asset_selection=set(), asset_check_selection={key}).execute_in_process()
    (evaluation,) = result.get_asset_check_evaluations()
    return evaluation


def test_every_check_has_a_case() -> None:
    checks = {f"{check.relation.replace('.', '/')}:{check.name.split('__', 1)[1]}" for check in load_checks()}

    assert checks == set(CORRUPTIONS)


@pytest.mark.parametrize("check", CORRUPTIONS)
def test_a_healthy_warehouse_passes(check: str, warehouse: Path) -> None:
    evaluation = _run(check)

    assert evaluation.passed
    assert evaluation.metadata["rows"].value == 0
    assert evaluation.metadata["examples"].value == "none"


@pytest.mark.parametrize(("check", "statement", "rows"), CASES)
def test_a_broken_warehouse_fails(check: str, statement: str, rows: int, warehouse: Path) -> None:
    with duckdb.connect(str(warehouse)) as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(statement)
    if check.startswith("mail/"):
        # no load brought the change, so nothing but a full build takes it in
        engine = Engine(load_settings())
        engine.build_analyst_tables(is_full=True)
        engine.close()

    evaluation = _run(check)

    assert not evaluation.passed
    assert evaluation.metadata["rows"].value == rows or (rows == 0 and evaluation.metadata["rows"].value > 0)
    assert evaluation.metadata["examples"].value != "none"


@pytest.mark.parametrize(
    ("check", "severity"),
    [
        ("gmail/accounts:counts_match_the_profile", "WARN"),
        ("gmail/fetch_failures:are_being_retried", "WARN"),
        ("gmail/messages:backlog_is_empty", "WARN"),
        ("mail/message_labels:label_is_known", "WARN"),
        ("gmail/messages:key_is_unique", "ERROR"),
        ("gmail/message_states:key_is_unique", "ERROR"),
    ],
)
def test_what_may_well_be_only_warns(check: str, severity: str, warehouse: Path) -> None:
    assert _run(check).severity.value == severity


def test_a_damaged_warehouse_fails_the_check_in_its_own_words(warehouse: Path) -> None:
    warehouse.write_bytes(b"not a database")
    asset_key = dg.AssetKey(["gmail", "messages"])
    job = build_definitions().resolve_implicit_global_asset_job_def()
    subset = job.get_subset(asset_selection=set(), asset_check_selection={dg.AssetCheckKey(asset_key, "key_is_unique")})

    result = subset.execute_in_process(raise_on_error=False)

    (failure,) = result.filter_events(lambda event: event.is_step_failure)
    assert "cannot be opened" in (failure.step_failure_data.user_failure_data.description or "")
