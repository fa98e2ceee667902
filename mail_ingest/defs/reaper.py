"""Finds runs whose worker is dead though Dagster shows them as started, and ends them.

Dagster's launcher asks the code server whether a worker lives. Where both died together nobody can tell, and the run would
stand in the queue's way until its bound is over. So a worker holds a lock that is named by its run for as long as it lives,
and the operating system, or the Postgres server, frees it whatever ends the worker.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import dagster as dg
import orjson

from mail_ingest.defs.starting import sensor_status
from mail_ingest.errors import BusyError, ConfigError, MailIngestError
from mail_ingest.settings import Settings, load_settings
from mail_ingest.warehouse.factory import make_warehouse

logger = logging.getLogger(__name__)

#: A run with this tag, and its own id as value, has held its lock; a run that was tried again inherits the tag of the first.
ALIVE_TAG = "mail_ingest/alive"
#: A lock has to be free for so long before its run is ended: a run that just finished lets go of it before it says so, and
#: a lost connection to Postgres is noticed and made up for within half of it.
GRACE_S = 60.0
_EVERY_S = 30
_CHECK_S = 15.0
_PATIENCE_S = 10.0


@contextmanager
def marked_alive(run: dg.DagsterRun | None, instance: dg.DagsterInstance | None) -> Iterator[None]:
    """Holds the run's lock for the length of the block; a run that cannot have it goes on, and is never reaped."""
    try:
        settings = load_settings()
    except ConfigError:
        settings = None  # what is wrong is said by the step itself, in its own words
    if run is None or instance is None or settings is None:
        yield
        return
    with _Mark(settings, run.run_id) as mark:
        if mark.is_held:
            instance.add_run_tags(run.run_id, {ALIVE_TAG: run.run_id})
        yield


class _Mark:
    """The lock, in a thread of its own: locks of Postgres belong to a session, which may be lost and is opened again."""

    def __init__(self, settings: Settings, run_id: str) -> None:
        self._settings = settings
        self._run_id = run_id
        self._done, self._tried = threading.Event(), threading.Event()
        self.is_held = False

    def __enter__(self) -> Self:
        threading.Thread(target=self._hold, name="run-lock", daemon=True).start()
        self._tried.wait(_PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()

    def _hold(self) -> None:
        while not self._done.is_set():
            try:
                warehouse, locks = make_warehouse(self._settings, 5.0, lambda *_: None)
                try:
                    with locks.hold(_lock_name(self._run_id)):
                        self.is_held = True
                        self._tried.set()
                        while not self._done.wait(_CHECK_S):
                            locks.check()
                    locks.forget(_lock_name(self._run_id))
                finally:
                    warehouse.close()
            except MailIngestError as error:
                logger.warning("the lock of run %s is not held: %s", self._run_id, error)
                self._tried.set()
                self._done.wait(_CHECK_S / 3)


def is_worker_dead(settings: Settings, run_id: str) -> bool:
    """Whether nobody holds the run's lock now. Raises WarehouseError where that cannot be known."""
    warehouse, locks = make_warehouse(settings, 0.0, lambda *_: None)
    try:
        with locks.hold(_lock_name(run_id)):
            pass
        locks.forget(_lock_name(run_id))
        return True
    except BusyError:
        return False
    finally:
        warehouse.close()


def reaper(settings: Settings) -> dg.SensorDefinition:
    """Ends runs whose worker is dead; Dagster then tries them again, as it does with workers whose death it sees."""

    @dg.sensor(
        name="dead_runs",
        minimum_interval_seconds=_EVERY_S,
        default_status=sensor_status(settings),
        description=(
            "Ends runs that Dagster shows as started and whose worker is dead. Dagster cannot see that where the code server "
            "died as well. Their accounts go on with the next sync."
        ),
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        suspects: dict[str, float] = orjson.loads(context.cursor) if context.cursor else {}
        now, settings = time.time(), load_settings()
        ended, found = [], {}
        for run in context.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
            if run.tags.get(ALIVE_TAG) != run.run_id or not is_worker_dead(settings, run.run_id):
                continue
            found[run.run_id] = suspects.get(run.run_id, now)
            if now - found[run.run_id] >= GRACE_S and _end(context.instance, run.run_id):
                ended.append(run.run_id)
        told = f"Ended {len(ended)} runs of dead workers: {', '.join(ended)}." if ended else "No run of a dead worker."
        return dg.SensorResult(skip_reason=told, cursor=orjson.dumps(found).decode())

    return sensor


def _end(instance: dg.DagsterInstance, run_id: str) -> bool:
    run = instance.get_run_by_id(run_id)
    if run is None or run.status is not dg.DagsterRunStatus.STARTED:
        return False
    logger.warning("run %s is ended: its worker is dead", run_id)
    instance.report_run_failed(
        run,
        "Its worker is dead: nobody has held the run's lock for a minute. What it had loaded stays, its locks are free, and "
        "the next sync goes on from there.",
    )
    return True


def _lock_name(run_id: str) -> str:
    return f"run:{run_id}"
