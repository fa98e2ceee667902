"""`dagster.yaml` on a real instance: what it sets, pools, and our log lines in Dagster's event log."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.instance.config import PoolGranularity

from mail_ingest.definitions import build_definitions
from mail_ingest.defs.queue import TURN_TAG, PriorityRunCoordinator
from mail_ingest.ingest.engine import Engine
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.defs.conftest import STATE, Dagster, Impatient
from mail_ingest_tests.postgres import execute

#: Nothing of what a run prints is kept: the processes that copy it would take most of the time.
_NO_OUTPUT = """
compute_logs:
  module: dagster._core.storage.noop_compute_log_manager
  class: NoOpComputeLogManager
"""
SETTINGS = Path(__file__).parents[2] / "dagster.yaml"


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, set_environment: None) -> Iterator[dg.DagsterInstance]:
    """The instance of a DAGSTER_HOME that holds our settings."""
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text(SETTINGS.read_text() + _NO_OUTPUT)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with dg.DagsterInstance.get() as instance:
        yield instance


def test_the_settings_are_valid_and_do_what_they_say(instance: dg.DagsterInstance) -> None:
    assert isinstance(instance.run_coordinator, PriorityRunCoordinator)
    queue = instance.get_concurrency_config().run_queue_config
    pools = instance.get_concurrency_config().pool_config
    assert queue is not None
    assert queue.max_concurrent_runs == 10
    assert queue.tag_concurrency_limits == [
        {"key": TURN_TAG, "value": {"applyLimitPerUniqueValue": True}, "limit": 1},
        {"key": "dagster/backfill", "limit": 2},
    ]
    assert TURN_TAG in build_definitions().resolve_job_def("sync").tags
    assert (pools.default_pool_limit, pools.pool_granularity) == (1, PoolGranularity.OP)
    assert instance.run_monitoring_enabled
    assert instance.run_monitoring_max_runtime_seconds == 86_400
    assert (instance.run_retries_enabled, instance.run_retries_max_retries) == (True, 2)
    assert not instance.run_retries_retry_on_asset_or_op_failure
    assert instance.get_settings("freshness") == {"enabled": True}
    assert "FRESHNESS_DAEMON" in instance.get_required_daemon_types()
    assert not instance.telemetry_enabled
    assert not instance.nux_enabled
    assert list(instance.managed_python_loggers) == ["mail_ingest"]
    assert instance.python_log_level == "INFO"


def test_our_log_lines_stand_in_the_event_log_of_the_run(
    engine: Engine, box: Mailbox, gmail: Simulator, instance: dg.DagsterInstance
) -> None:
    box.generate(5, seed=71)
    broken = min(box.messages())
    gmail.fail_next(status=500, reason="backendError", method="messages.get", message_id=broken, times=-1)

    run = Dagster(instance, build_definitions(Impatient())).job("sync")

    assert run.success
    lines = [entry.user_message for entry in instance.all_logs(run.id) if not entry.is_dagster_event]
    assert any(f"content of message {broken} of {ADDRESS} could not be fetched" in line for line in lines)
    assert any(line.startswith(f"{ADDRESS}: partial, 5 new messages") for line in lines)


def test_a_run_waits_for_its_pool(engine: Engine, box: Mailbox, gmail: Simulator, instance: dg.DagsterInstance) -> None:
    """The in-process executor claims slots as well: state is read by one run at a time."""
    box.generate(5, seed=72)
    storage = instance.event_log_storage
    storage.initialize_concurrency_limit_to_default("mailbox_state")
    other = instance.create_run_for_job(build_definitions().resolve_job_def("sync"))
    assert storage.claim_concurrency_slot("mailbox_state", other.run_id, "sync_accounts").is_claimed

    finished = threading.Event()
    runs = []

    def materialize() -> None:
        runs.append(Dagster(instance, build_definitions(Impatient())).materialize(STATE))
        finished.set()

    thread = threading.Thread(target=materialize)
    thread.start()
    try:
        _wait_for(lambda: storage.get_concurrency_info("mailbox_state").pending_step_count == 1)
        assert not finished.is_set()
        assert gmail.calls() == 0
    finally:
        storage.free_concurrency_slots_for_run(other.run_id)
        thread.join(timeout=240)

    assert runs[0].success


@pytest.mark.warehouses("postgres")
def test_dagster_and_its_storage_run_on_postgres(
    engine: Engine, box: Mailbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, set_environment: None, database: str
) -> None:
    box.generate(5, seed=73)
    home = tmp_path / "dagster"
    home.mkdir()
    text = SETTINGS.read_text()
    block = "".join(re.findall(r"^# (?:storage:|  .*)\n", text, re.MULTILINE))
    assert block.count("\n") == 4
    (home / "dagster.yaml").write_text(text.replace(block, re.sub(r"^# ", "", block, flags=re.MULTILINE)))
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", database.replace("postgresql://", "postgresql+psycopg2://"))

    with dg.DagsterInstance.get() as instance:
        definitions = build_definitions(Impatient())
        run = Dagster(instance, definitions).job("sync")
        built = Dagster(instance, definitions).job("analyst_tables")

        assert run.success
        assert built.success
        assert "postgres" in definitions.resolve_all_asset_specs()[0].kinds
        stored = instance.get_run_by_id(run.id)
        assert stored is not None
        assert stored.status == dg.DagsterRunStatus.SUCCESS
        assert instance.get_latest_materialization_event(dg.AssetKey(["gmail", "accounts"])) is not None
    assert execute(database, "select status from runs") == [("SUCCESS",)] * 2
    assert execute(database, "select count(*) > 10 from event_logs") == [(True,)]
    assert list(home.rglob("*.db")) == [], "something is still kept in SQLite"


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
