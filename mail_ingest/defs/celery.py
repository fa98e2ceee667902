"""Runs on Celery's workers: what deploy/celery/dagster.yaml names beside Dagster's own. Needs the extra `celery`.

Dagster's launcher hands a run to Celery and asks it about its task. What is added: a run keeps its priority where it has to
wait for a worker, and one that a person ends is ended as canceled. A worker that was killed is none of Celery's business; its
runs are ended by the sensor `dead_runs`.
"""

from __future__ import annotations

import dagster as dg
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_RUN_PRIORITY_TAG, DAGSTER_CELERY_TASK_ID_TAG

from mail_ingest.defs.queue import ASKED, MAINTENANCE, PRIORITY_TAG, SCHEDULED, PriorityRunCoordinator


class RunCoordinator(PriorityRunCoordinator):
    """The queue, which also tells Celery how urgent a run is. It matters when there are fewer places than runs: Dagster starts
    as many as `max_concurrent_runs` says, whether a worker is dead or not."""

    def missing_tags(self, run: dg.DagsterRun) -> dict[str, str]:
        """Tags that a run is given when it is queued. On Redis 0 comes first, as it does with us."""
        tags = super().missing_tags(run)
        try:
            stands = int({**run.tags, **tags}.get(PRIORITY_TAG, 0))
        except ValueError:
            stands = 0  # as Dagster's queue reads it
        return {**tags, DAGSTER_CELERY_RUN_PRIORITY_TAG: str(min(max(SCHEDULED - stands, ASKED), MAINTENANCE))}


class RunLauncher(CeleryRunLauncher):
    """Dagster's launcher, which also notes that a run is being ended: otherwise it would end as failed."""

    def terminate(self, run_id: str) -> bool:
        """Tells the worker to end a run; False where there is nothing to end."""
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished or DAGSTER_CELERY_TASK_ID_TAG not in run.tags:
            return False
        self._instance.report_run_canceling(run)
        return super().terminate(run_id)
