"""The job that renews watches, its schedule, and the sensor that makes up for a missed day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from mail_ingest.accounts import Registry
from mail_ingest.definitions import build_definitions
from mail_ingest.ingest import SyncOptions
from mail_ingest.ingest.engine import Engine
from mail_ingest.settings import load_settings
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.defs.conftest import Dagster, Run

TOPIC = "projects/p/topics/gmail"


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    return {**environment, "MAIL_INGEST_PUSH_TOPIC": TOPIC}


def renewed(dagster: Dagster, **config: object) -> Run:
    job = dagster.definitions.resolve_job_def("renew_watches")
    run_config = {"ops": {"keep_watches": {"config": config}}} if config else None
    return Run(job.execute_in_process(instance=dagster.instance, run_config=run_config, raise_on_error=False))


def told(run: Run) -> dict[str, object]:
    [output] = run.result.filter_events(lambda event: event.is_successful_output)
    return {name: entry.value for name, entry in output.step_output_data.metadata.items()}


def tick(dagster: Dagster) -> dg.RunRequest | str:
    context = dg.build_sensor_context(instance=dagster.instance)
    result = build_definitions().resolve_sensor_def("lapsing_watches").evaluate_tick(context)
    assert len(result.run_requests or ()) <= 1
    return result.run_requests[0] if result.run_requests else result.skip_message or ""


def set_expiry(engine: Engine, expires_at: datetime) -> None:
    engine.registry.watches.renewed(ADDRESS, TOPIC, expires_at, history_id=1)


@pytest.mark.warehouses("duckdb", "postgres")
def test_a_run_renews_all_and_shows_it_in_the_warehouse_without_a_sync(
    engine: Engine, other_box: Mailbox, gmail: Simulator, dagster: Dagster
) -> None:
    engine.sync(engine.accounts(), SyncOptions())
    gmail.reset_ledger()

    run = renewed(dagster)

    expires_at = engine.registry.get(ADDRESS).watch_expires_at
    assert run.success
    assert (told(run)["renewed"], told(run)["accounts_failed"]) == (2, 0)
    assert told(run)["quota_units"] == gmail.units() == 200
    with engine.warehouse.open() as connection:
        query = "select is_pushed, watch_expires_at from mail.account_health where account_id = ?"
        assert connection.execute(query, [ADDRESS]).fetchall() == [(True, expires_at)]
    assert told(renewed(dagster))["quota_units"] == 0, "a run that is repeated costs nothing"


def test_an_account_that_fails_is_named_and_keeps_no_other_from_being_watched(
    engine: Engine, box: Mailbox, other_box: Mailbox, dagster: Dagster
) -> None:
    engine.sync(engine.accounts(), SyncOptions())
    box.revoke()

    run = renewed(dagster)

    assert run.success
    assert (told(run)["renewed"], told(run)["accounts_failed"]) == (1, 1)
    assert ADDRESS in str(told(run)["failures"])


def test_a_run_in_which_every_account_fails_is_a_failed_run(engine: Engine, box: Mailbox, dagster: Dagster) -> None:
    engine.sync(engine.accounts(), SyncOptions())
    box.revoke()

    run = renewed(dagster)

    assert (run.success, run.retries) == (False, 0)
    assert run.failures == ["No watch could be kept; see failures."]


def test_a_missed_day_is_made_up_for_an_hour_before_a_watch_lapses(
    engine: Engine, gmail: Simulator, dagster: Dagster
) -> None:
    engine.sync(engine.accounts(), SyncOptions())
    now = datetime.now(UTC)

    set_expiry(engine, now + timedelta(minutes=61))
    assert tick(dagster) == "No watch is about to lapse."
    set_expiry(engine, now + timedelta(minutes=59))
    request = tick(dagster)

    assert isinstance(request, dg.RunRequest)
    config = request.run_config["ops"]["keep_watches"]["config"]
    assert config == {"only_due": True}
    assert told(renewed(dagster, **config))["renewed"] == 1
    assert tick(dagster) == "No watch is about to lapse."


def test_one_run_at_a_time_is_asked_for(engine: Engine, dagster: Dagster) -> None:
    engine.sync(engine.accounts(), SyncOptions())
    assert isinstance(tick(dagster), dg.RunRequest)
    job = dagster.definitions.resolve_job_def("renew_watches")

    dagster.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)

    assert tick(dagster) == "1 watches are due, and a run that renews them is under way."


def test_watches_are_ended_where_no_topic_is_named_any_more(
    engine: Engine, dagster: Dagster, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.sync(engine.accounts(), SyncOptions())
    assert told(renewed(dagster))["renewed"] == 1
    monkeypatch.delenv("MAIL_INGEST_PUSH_TOPIC")

    request = tick(dagster)

    assert isinstance(request, dg.RunRequest)
    assert told(renewed(dagster, only_due=True))["stopped"] == 1
    assert Registry(load_settings()).get(ADDRESS).watch_topic is None


def test_the_schedule_asks_for_a_run_only_where_a_topic_is_named(
    dagster: Dagster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of_day() -> dg.RunRequest | str:
        schedule = build_definitions().resolve_schedule_def("daily_watches")
        result = schedule.evaluate_tick(dg.build_schedule_context(instance=dagster.instance))
        return result.run_requests[0] if result.run_requests else result.skip_message or ""

    assert isinstance(of_day(), dg.RunRequest)
    monkeypatch.delenv("MAIL_INGEST_PUSH_TOPIC")
    assert of_day() == "MAIL_INGEST_PUSH_TOPIC names no topic."
