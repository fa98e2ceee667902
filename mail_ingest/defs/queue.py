"""Where runs stand in Dagster's queue: by our priorities, and in turns whose limits keep room for what people ask for.

A priority goes from 0 (a person or a push asked) to 4 (maintenance); see `accounts.wishes`. Dagster takes the highest number
first, and 0 where a run has none. Limits of the queue (dagster.yaml) let one run of each turn start at a time, so that
whatever takes long leaves slots for runs without a turn: those of priority 0.
"""

from __future__ import annotations

import dagster as dg
from dagster._core.run_coordinator import QueuedRunCoordinator, SubmitRunContext

PRIORITY_TAG = "dagster/priority"
#: Runs with the same value take turns in the queue. Whoever goes round the queue meets the accounts' locks.
TURN_TAG = "mail_ingest/turn"
ASKED, ACTIVE_OWNER, SCHEDULED, BACKFILL, MAINTENANCE = range(5)

#: Of runs that were not asked to end and have not ended.
UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
#: Of runs that have ended, however.
FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]


def queue_tags(priority: int, *, turn: str = "", max_runtime_s: int | None = None) -> dict[str, str]:
    """Tags of a job or a run. `max_runtime_s`: after so long Dagster ends it."""
    tags = {PRIORITY_TAG: str(SCHEDULED - priority)}
    if turn:
        tags[TURN_TAG] = turn
    if max_runtime_s is not None:
        tags["dagster/max_runtime"] = str(max_runtime_s)
    return tags


class PriorityRunCoordinator(QueuedRunCoordinator[dg.DagsterInstance]):
    """Dagster's own queue, in which backfills have their priority too: nothing in the definitions can give it to them."""

    def submit_run(self, context: SubmitRunContext) -> dg.DagsterRun:
        """Queues a run."""
        run = context.dagster_run
        tags = self.missing_tags(run)
        if tags:
            self._instance.add_run_tags(run.run_id, tags)
        return super().submit_run(context)

    def missing_tags(self, run: dg.DagsterRun) -> dict[str, str]:
        """Tags that a run is given when it is queued."""
        return queue_tags(BACKFILL) if "dagster/backfill" in run.tags and PRIORITY_TAG not in run.tags else {}
