"""Runs whose worker is dead are ended, and no others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest

from mail_ingest.definitions import build_definitions
from mail_ingest.defs import reaper
from mail_ingest.ingest.engine import Engine
from mail_ingest_tests.defs.conftest import Dagster, Impatient

pytestmark = pytest.mark.warehouses("duckdb", "postgres")

_WORKER = """
import sys, time
import dagster as dg
from mail_ingest.defs.reaper import marked_alive
with dg.DagsterInstance.from_config(sys.argv[1]) as instance:
    with marked_alive(instance.get_run_by_id(sys.argv[2]), instance):
        print("alive", flush=True)
        time.sleep(120)
"""


@pytest.fixture
def local(tmp_path: Path, set_environment: None) -> Path:
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    return home


def test_a_run_whose_worker_was_killed_is_ended_after_a_while(
    engine: Engine, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with dg.DagsterInstance.from_config(str(local)) as instance:
        dagster = Dagster(instance, build_definitions(Impatient()))
        run = instance.create_run_for_job(dagster.definitions.resolve_job_def("sync"))
        for name in ("PIPELINE_STARTING", "PIPELINE_START"):
            instance.report_dagster_event(dg.DagsterEvent(name, job_name="sync"), run_id=run.run_id)
        worker = subprocess.Popen(
            [sys.executable, "-c", _WORKER, str(local), run.run_id], stdout=subprocess.PIPE, text=True
        )
        assert worker.stdout is not None
        assert worker.stdout.readline() == "alive\n"

        cursor = _look(dagster, None)
        assert (cursor, _status(instance, run.run_id)) == ("{}", "STARTED")
        os.kill(worker.pid, signal.SIGKILL)
        worker.communicate()
        deadline = time.monotonic() + 30
        while cursor == "{}":
            # a Postgres server notices the end of the session in its own time
            assert time.monotonic() < deadline
            cursor = _look(dagster, cursor)
        assert _status(instance, run.run_id) == "STARTED", "ended at first sight"

        monkeypatch.setattr(reaper, "GRACE_S", 0.0)
        assert run.run_id in cursor
        _look(dagster, cursor)

        assert _status(instance, run.run_id) == "FAILURE"
        [told] = [entry.message for entry in instance.all_logs(run.run_id) if "worker is dead" in entry.message]
        assert "the next sync goes on" in told
        assert list((engine.settings.home / "locks").glob("run_*")) == []


@pytest.mark.warehouses("duckdb")
def test_a_run_that_was_never_marked_is_left_to_its_bound(
    engine: Engine, dagster: Dagster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that was tried again, whose tag is the first run's."""
    monkeypatch.setattr(reaper, "GRACE_S", 0.0)
    run = dagster.instance.create_run_for_job(
        dagster.definitions.resolve_job_def("sync"), tags={reaper.ALIVE_TAG: "another run"}
    )
    dagster.instance.report_dagster_event(dg.DagsterEvent("PIPELINE_START", job_name="sync"), run_id=run.run_id)

    _look(dagster, _look(dagster, None))

    assert _status(dagster.instance, run.run_id) == "STARTED"


def test_a_run_is_marked_while_it_lives_and_leaves_nothing_behind(engine: Engine, dagster: Dagster) -> None:
    run = dagster.job("sync")

    stored = dagster.instance.get_run_by_id(run.id)
    assert stored is not None
    assert stored.tags[reaper.ALIVE_TAG] == run.id
    deadline = time.monotonic() + 30
    while not reaper.is_worker_dead(engine.settings, run.id):
        assert time.monotonic() < deadline, "the lock outlives the run"
        time.sleep(0.05)


def _look(dagster: Dagster, cursor: str | None) -> str:
    context = dg.build_sensor_context(instance=dagster.instance, cursor=cursor)
    return str(dagster.definitions.resolve_sensor_def("dead_runs").evaluate_tick(context).cursor)


def _status(instance: dg.DagsterInstance, run_id: str) -> str:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status.value
