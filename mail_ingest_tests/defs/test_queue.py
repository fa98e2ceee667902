"""Priorities reach Dagster's queue and hold under load; the queue's own daemon is run, over `dagster.yaml`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.run_coordinator import SubmitRunContext
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from mail_ingest.definitions import build_definitions
from mail_ingest.defs.queue import ASKED, BACKFILL, MAINTENANCE, SCHEDULED, queue_tags

SETTINGS = Path(__file__).parents[2] / "dagster.yaml"
#: Notes what the daemon launches, and launches nothing.
_LAUNCHER = "\nrun_launcher:\n  module: dagster._core.test_utils\n  class: MockedRunLauncher\n"
#: A file of events for each run takes seconds to make for so many.
_ONE_FILE = """
event_log_storage:
  module: dagster._core.storage.event_log
  class: ConsolidatedSqliteEventLogStorage
  config:
    base_dir: {folder}
"""


@dg.job(name="nothing")
def _nothing() -> None:
    """A job without tags of its own, whose runs are never executed."""


class Queue:
    """The instance's queue: runs that are put into it, and the daemon that takes them out."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self._job = _nothing
        self._origin = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("mail_ingest"), "__repository__")
        self._names: dict[str, str] = {}
        self._daemon = QueuedRunCoordinatorDaemon(interval_seconds=1)
        self._seen = 0

    def put(self, name: str, tags: dict[str, str]) -> None:
        run = self.instance.create_run_for_job(
            self._job,
            tags=tags,
            remote_job_origin=self._origin.get_job_origin(self._job.name),
            status=dg.DagsterRunStatus.NOT_STARTED,
        )
        self._names[run.run_id] = name
        self.instance.run_coordinator.submit_run(SubmitRunContext(run, workspace=None))  # type: ignore[arg-type]

    def take(self) -> list[str]:
        """One look of the daemon: the runs it starts, in order."""
        with create_test_daemon_workspace_context(EmptyWorkspaceTarget(), self.instance) as context:
            list(self._daemon.run_iteration(context))
        queue = self.instance.run_launcher.queue()  # type: ignore[attr-defined]
        started, self._seen = queue[self._seen :], len(queue)
        return [self._names[run.run_id] for run in started]

    def end_all(self) -> None:
        """Lets every run that was started succeed."""
        for run in self.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING])):
            self.instance.report_dagster_event(
                dg.DagsterEvent("PIPELINE_SUCCESS", job_name=run.job_name), run_id=run.run_id
            )


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, set_environment: None) -> Iterator[Queue]:
    home = tmp_path / "dagster"
    home.mkdir()
    shutil.copy(SETTINGS, home)
    with (home / "dagster.yaml").open("a") as settings:
        settings.write(_LAUNCHER + _ONE_FILE.format(folder=home))
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with dg.DagsterInstance.get() as instance:
        yield Queue(instance)


def test_under_load_the_most_urgent_go_first_and_each_kind_in_its_order(queue: Queue) -> None:
    for number in range(10):
        # the least urgent come first, over and over
        for priority in (4, 3, 2, 1, 0):
            queue.put(f"{priority}-{number:02}", queue_tags(priority))

    order: list[str] = []
    while started := queue.take():
        assert len(started) <= 10
        order += started
        queue.end_all()

    assert order == [f"{priority}-{number:02}" for priority in range(5) for number in range(10)]


def test_what_a_person_asks_for_starts_though_everything_else_takes_long(queue: Queue) -> None:
    for turn, priority in (
        ("sync", SCHEDULED),
        ("sync 1", SCHEDULED),
        ("adaptive", SCHEDULED),
        ("requests", SCHEDULED),
        ("drains", BACKFILL),
        ("maintenance", MAINTENANCE),
    ):
        for number in range(5):
            queue.put(f"{turn}, {number}", queue_tags(priority, turn=turn))
    for number in range(5):
        queue.put(f"backfill {number}", {"dagster/backfill": f"b{number}"})
    turns = ("sync", "sync 1", "adaptive", "requests", "drains", "maintenance")
    assert set(queue.take()) == {*(f"{turn}, 0" for turn in turns), "backfill 0", "backfill 1"}
    assert queue.take() == []

    queue.put("a person's", queue_tags(ASKED))
    queue.put("another's", queue_tags(ASKED))

    assert queue.take() == ["a person's", "another's"]


def test_backfills_have_their_priority_though_no_definition_can_give_it(queue: Queue) -> None:
    queue.put("chosen", {"dagster/backfill": "b1", "dagster/priority": "7"})
    queue.put("plain", {"dagster/backfill": "b2"})

    priorities = {run.tags["dagster/backfill"]: run.tags["dagster/priority"] for run in queue.instance.get_runs()}

    assert priorities == {"b1": "7", "b2": queue_tags(BACKFILL)["dagster/priority"]} == {"b1": "7", "b2": "-1"}


def test_every_job_has_a_priority_a_bound_and_its_turn() -> None:
    jobs = {
        job.name: job for job in build_definitions().get_repository_def().get_all_jobs() if job.name != "__ASSET_JOB"
    }

    told = {
        name: tuple(job.tags.get(tag) for tag in ("dagster/priority", "mail_ingest/turn", "dagster/max_runtime"))
        for name, job in jobs.items()
    }

    assert told == {
        "sync": ("0", "sync", "21600"),
        "requested_sync": ("2", None, "21600"),
        "adaptive_sync": ("0", "adaptive", "7200"),
        "analyst_tables": ("-2", "maintenance", "7200"),
        "audit": ("-2", "maintenance", "21600"),
        "estimate_backfill": ("2", None, "3600"),
        "discover_accounts": ("-2", "maintenance", "3600"),
        "refresh_labels": ("-2", "maintenance", "21600"),
        "retention": ("-2", "maintenance", "21600"),
        "renew_watches": ("0", None, "3600"),
    }
