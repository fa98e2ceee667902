"""What schedules ask for when their time has come."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin

from mail_ingest.accounts import Registry, token_env
from mail_ingest.definitions import build_definitions
from mail_ingest.settings import load_settings


@pytest.fixture
def instance(tmp_path: Path, set_environment: None) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as local:
        yield local


def _tick_of_many(name: str, instance: dg.DagsterInstance) -> tuple[list[dg.RunRequest], str]:
    """The runs that the schedule asks for, and why it asks for none."""
    schedule = build_definitions().resolve_schedule_def(name)
    result = schedule.evaluate_tick(
        dg.build_schedule_context(instance=instance, scheduled_execution_time=datetime.now(UTC))
    )
    return list(result.run_requests or ()), result.skip_message or ""


def _tick(name: str, instance: dg.DagsterInstance) -> dg.RunRequest | str:
    requests, why_not = _tick_of_many(name, instance)
    assert len(requests) <= 1
    return requests[0] if requests else why_not


@pytest.mark.parametrize(
    "name", ["hourly_sync", "nightly_checks", "nightly_audit", "weekly_labels", "nightly_retention"]
)
def test_a_tick_asks_for_one_run_of_everything(name: str, instance: dg.DagsterInstance) -> None:
    request = _tick(name, instance)

    assert isinstance(request, dg.RunRequest)
    of_hour = {"ops": {"sync_accounts": {"config": {"schedules": ["hourly"]}}}}
    assert request.run_config == (of_hour if name == "hourly_sync" else {})
    assert request.tags["dagster/schedule_name"] == name


@pytest.mark.parametrize("event", ["PIPELINE_ENQUEUED", "PIPELINE_STARTING", "PIPELINE_START", "PIPELINE_CANCELING"])
def test_no_sync_is_asked_for_while_one_is_under_way(event: str, instance: dg.DagsterInstance) -> None:
    job = build_definitions().resolve_job_def("sync")
    location = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("mail_ingest"), "__repository__")
    run = instance.create_run_for_job(job, remote_job_origin=location.get_job_origin("sync"))
    instance.report_dagster_event(dg.DagsterEvent(event, job_name="sync"), run_id=run.run_id)

    assert _tick("hourly_sync", instance) == f"The sync before has not finished yet (run {run.run_id})."


@pytest.mark.parametrize("status", ["SUCCESS", "FAILURE", "CANCELED"])
def test_the_next_sync_is_asked_for_however_the_last_one_ended(status: str, instance: dg.DagsterInstance) -> None:
    job = build_definitions().resolve_job_def("sync")
    instance.create_run_for_job(job, status=dg.DagsterRunStatus(status))

    assert isinstance(_tick("hourly_sync", instance), dg.RunRequest)


@pytest.mark.warehouses("duckdb", "postgres")
def test_each_shard_has_a_run_of_its_own(
    instance: dg.DagsterInstance, warehouse_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAIL_INGEST_SHARD_SIZE", "1")
    registry = Registry(load_settings())
    for number in range(4):
        registry.add(f"m{number}@example.com", token_env("T"))
    registry.change("m1@example.com", schedule="balanced")
    registry.close()
    job = build_definitions().resolve_job_def("sync")
    instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED, tags={"mail_ingest/shard": "2"})

    requests, _ = _tick_of_many("hourly_sync", instance)

    configs = [request.run_config["ops"]["sync_accounts"]["config"] for request in requests]
    assert configs == [{"schedules": ["hourly"], "shards": [shard]} for shard in (0, 3)]
    lanes = {request.tags["mail_ingest/turn"] for request in requests}
    assert lanes == ({"sync"} if warehouse_url.startswith("duckdb") else {"sync", "sync 1"})
