"""The sensor that syncs accounts as their activity asks for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin
from sqlalchemy import Engine as SqlEngine
from sqlalchemy import event, insert, update

from mail_ingest.accounts.tables import accounts
from mail_ingest.ingest.engine import Engine
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.defs.conftest import Dagster
from mail_ingest_tests.defs.test_requests import run, tick
from mail_ingest_tests.truth import sync

SENSOR = "adaptive_schedule"


def _accounts_of(request: dg.RunRequest) -> list[str]:
    return list(request.run_config["ops"]["sync_due"]["config"]["accounts"])


def _set(engine: Engine, account_id: str = ADDRESS, **values: Any) -> None:
    with engine.registry._writing().begin() as connection:
        connection.execute(update(accounts).where(accounts.c.account_id == account_id).values(**values))


def test_a_sync_measures_what_the_next_decision_goes_by(
    engine: Engine, box: Mailbox, gmail: Simulator, dagster: Dagster
) -> None:
    engine.registry.change(ADDRESS, schedule="aggressive")
    for _ in range(3):
        box.add(subject="new", sender="a@b.example", body="x", labels=("INBOX", "UNREAD"))
    box.add(subject="old", sender="a@b.example", body="x", internal_date=datetime.now(UTC) - timedelta(days=3))
    assert [_accounts_of(request) for request in tick(dagster, SENSOR)] == [[ADDRESS]], "never synced, so due at once"
    sync(engine)
    account = engine.registry.get(ADDRESS)
    assert (account.messages_last_day, account.messages_last_week, account.owner_active_at) == (3, 4, None)
    assert tick(dagster, SENSOR) == []

    box.relabel(next(iter(box.messages())), remove=("UNREAD",))
    sync(engine)

    account = engine.registry.get(ADDRESS)
    assert account.owner_active_at is not None
    assert account.activity.is_active(datetime.now(UTC))


def test_a_message_that_the_owner_sent_is_activity_of_the_time_it_was_sent(engine: Engine, box: Mailbox) -> None:
    sent_at = datetime.now(UTC) - timedelta(hours=5)
    box.add(subject="sent", sender=ADDRESS, body="x", labels=("SENT",), internal_date=sent_at)

    sync(engine)

    found = engine.registry.get(ADDRESS).owner_active_at
    assert found is not None
    assert abs((found - sent_at).total_seconds()) < 1


def test_an_account_is_due_when_its_interval_is_over_and_not_before(
    engine: Engine, box: Mailbox, dagster: Dagster
) -> None:
    now = datetime.now(UTC)
    measured = {"messages_last_day": 0, "messages_last_week": 0, "schedule": "aggressive"}
    _set(engine, **measured, owner_active_at=now, last_checked_at=now - timedelta(minutes=4))
    assert tick(dagster, SENSOR) == []

    _set(engine, last_checked_at=now - timedelta(minutes=5))
    [request] = tick(dagster, SENSOR)
    assert (request.tags["dagster/priority"], request.tags["mail_ingest/turn"]) == ("1", "adaptive")

    _set(engine, next_due_at=now + timedelta(minutes=10))
    assert tick(dagster, SENSOR) == [], "an account that waits after failures was asked for"


def test_the_run_takes_its_accounts_and_hourly_syncs_leave_them_out(
    engine: Engine, box: Mailbox, other_box: Mailbox, gmail: Simulator, dagster: Dagster
) -> None:
    engine.registry.change(ADDRESS, schedule="balanced")
    [request] = tick(dagster, SENSOR)

    assert run(dagster, request).success
    assert {gmail.calls("getProfile", account=address) for address in (ADDRESS, other_box.address)} == {0, 1}

    assert dagster.job("sync", schedules=["hourly"]).success
    assert gmail.calls("getProfile", account=ADDRESS) == 1
    assert gmail.calls("getProfile", account=other_box.address) == 1
    engine.registry.change(other_box.address, schedule="off")
    assert dagster.job("sync", schedules=["hourly"]).success, "nothing to do is no failure of a schedule"


@pytest.mark.parametrize(
    ("job", "op", "config"),
    [
        ("adaptive_sync", "sync_due", {"accounts": [ADDRESS]}),
        ("requested_sync", "sync_requested", {"requests": ["1"], "accounts": [ADDRESS]}),
        ("sync", "sync_accounts", {"accounts": [ADDRESS.upper()]}),
        ("sync", "sync_accounts", {}),
    ],
)
def test_an_account_is_not_started_again_before_its_turn_in_a_run_has_come(
    job: str, op: str, config: dict[str, object], engine: Engine, box: Mailbox, dagster: Dagster
) -> None:
    engine.registry.change(ADDRESS, schedule="aggressive")
    definition = dagster.definitions.resolve_job_def(job)
    location = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("mail_ingest"), "__repository__")
    made = dagster.instance.create_run_for_job(
        definition, run_config={"ops": {op: {"config": config}}}, remote_job_origin=location.get_job_origin(job)
    )
    dagster.instance.report_dagster_event(dg.DagsterEvent("PIPELINE_ENQUEUED", job_name=job), run_id=made.run_id)

    assert tick(dagster, SENSOR) == []

    _set(engine, last_checked_at=datetime.now(UTC))
    assert len(tick(dagster, SENSOR)) == 1, "its turn is over, and it was never measured"


def test_ten_thousand_accounts_cost_one_query_and_a_run_for_each_hundred(engine: Engine, dagster: Dagster) -> None:
    now = datetime.now(UTC)
    row = {
        "state": "active",
        "shard": 0,
        "state_since": now,
        "created_at": now,
        "include_chats": True,
        "include_drafts": True,
        "credential_kind": "token_env",
        "credential": "",
        "schedule": "aggressive",
    }
    rows = [{**row, "account_id": f"u{n}@example.com", "address": f"u{n}@example.com"} for n in range(10_000)]
    with engine.registry._writing().begin() as connection:
        connection.execute(insert(accounts), rows)
    statements: list[str] = []

    def count(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "accounts" in statement:
            statements.append(statement)

    event.listen(SqlEngine, "before_cursor_execute", count)
    try:
        asked = tick(dagster, SENSOR)
    finally:
        event.remove(SqlEngine, "before_cursor_execute", count)

    assert len(statements) == 1, statements
    assert len(asked) == 100
    assert len({account_id for request in asked for account_id in _accounts_of(request)}) == 10_000
