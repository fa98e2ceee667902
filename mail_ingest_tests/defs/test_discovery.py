"""The job that discovers accounts, and its schedule."""

from __future__ import annotations

import json
from pathlib import Path

import dagster as dg
import pytest

from mail_ingest.accounts import Registry
from mail_ingest.definitions import build_definitions
from mail_ingest.settings import load_settings
from mail_ingest.simulator import Simulator
from mail_ingest_tests.defs.conftest import Dagster, Run

ADMIN = "root@example.com"
SECRET = "projects/vault/secrets/robot"


@pytest.fixture
def workspace(gmail: Simulator, dagster: Dagster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three people; the service account that may list them is kept in Secret Manager."""
    gmail.directory.add(ADMIN, is_admin=True)
    for name in ("ada", "bob"):
        gmail.directory.add(f"{name}@example.com")
    robot = gmail.service_account(["gmail.readonly", "admin.directory.user.readonly"])
    gmail.secrets.add(SECRET, json.dumps(robot))
    (tmp_path / "workload.json").write_text(json.dumps(gmail.service_account(["cloud-platform"])))
    for name, value in {
        "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "workload.json"),
        "MAIL_INGEST_SECRETS_URL": gmail.url,
        "MAIL_INGEST_DIRECTORY_URL": gmail.url,
        "MAIL_INGEST_DISCOVERY_CREDENTIALS": f"gcp-secret://{SECRET}/versions/latest",
        "MAIL_INGEST_DISCOVERY_ADMIN": ADMIN,
        "MAIL_INGEST_DISCOVERY_EXCLUDE": "root@*",
    }.items():
        monkeypatch.setenv(name, value)
    return ["ada@example.com", "bob@example.com"]


def discovered(dagster: Dagster, **config: object) -> Run:
    job = dagster.definitions.resolve_job_def("discover_accounts")
    run_config = {"ops": {"discover_workspace": {"config": config}}} if config else None
    return Run(job.execute_in_process(instance=dagster.instance, run_config=run_config, raise_on_error=False))


def told(run: Run) -> dict[str, object]:
    [output] = run.result.filter_events(lambda event: event.is_successful_output)
    return {name: entry.value for name, entry in output.step_output_data.metadata.items()}


def test_a_run_registers_who_is_new_and_the_next_one_changes_nothing(
    workspace: list[str], dagster: Dagster, gmail: Simulator
) -> None:
    first, second = discovered(dagster), discovered(dagster)
    gmail.directory.remove("bob@example.com")
    third = discovered(dagster)

    assert (first.success, second.success, third.success) == (True, True, True)
    assert {account.account_id: account.state for account in Registry(load_settings()).list()} == {
        "ada@example.com": "active",
        "bob@example.com": "paused",
    }
    assert (told(first)["added"], told(first)["left_out"]) == (2, {"not asked for": 1})
    assert (told(second)["added"], told(second)["unchanged"], told(second)["by_account"]) == (0, 2, "nothing changed")
    assert told(third)["paused"] == 1
    assert "| `bob@example.com` | paused | gone from the directory |" in str(told(third)["by_account"])


def test_a_dry_run_registers_nobody(workspace: list[str], dagster: Dagster) -> None:
    run = discovered(dagster, dry_run=True)

    assert told(run)["added"] == 2
    assert Registry(load_settings()).list() == []


def test_a_directory_that_is_not_set_up_fails_the_run_without_retries(dagster: Dagster) -> None:
    run = discovered(dagster)

    assert not run.success
    assert "MAIL_INGEST_DISCOVERY_CREDENTIALS" in run.failures[0]
    assert run.retries == 0


def test_secrets_are_in_no_event(workspace: list[str], dagster: Dagster, gmail: Simulator) -> None:
    events = "".join(str(event) for event in discovered(dagster).result.all_events)

    key = json.loads(gmail.secrets.find(SECRET).versions[0])  # type: ignore[union-attr]
    assert "discover_workspace" in events
    assert key["private_key"][100:140] not in events


def test_the_schedule_asks_for_a_run_only_where_a_directory_is_set_up(
    workspace: list[str], dagster: Dagster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tick() -> dg.RunRequest | str:
        schedule = build_definitions().resolve_schedule_def("daily_discovery")
        result = schedule.evaluate_tick(dg.build_schedule_context(instance=dagster.instance))
        return result.run_requests[0] if result.run_requests else result.skip_message or ""

    assert isinstance(tick(), dg.RunRequest)
    monkeypatch.delenv("MAIL_INGEST_DISCOVERY_ADMIN")
    assert "MAIL_INGEST_DISCOVERY_ADMIN name no directory" in str(tick())
