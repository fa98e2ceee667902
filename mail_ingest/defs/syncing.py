"""What the assets and the job have in common: a sync of accounts, and the metadata of what it materialized."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg

from mail_ingest.accounts import Account, Schedule
from mail_ingest.defs.outcomes import SyncLog, summary
from mail_ingest.defs.specs import asset_key, table_name
from mail_ingest.errors import ConfigError
from mail_ingest.ingest import SyncOptions, SyncRun
from mail_ingest.ingest.backlog import (
    backlog_left,
    completed_partitions,
    partitions_with_new_content,
    stored_by_partition,
)
from mail_ingest.ingest.engine import Engine
from mail_ingest.ingest.run import why_skipped
from mail_ingest.ingest.stopping import stop_on_signals
from mail_ingest.sources.tables import CONTENT_TABLES as TABLES_OF_CONTENT_LOADS
from mail_ingest.sources.tables import MESSAGE_STATES, MESSAGES, STATE_TABLES, SYNC_RUNS

STATE_POOL = "mailbox_state"
CONTENT_POOL = "mailbox_content"
#: `sync_runs` is written by both kinds of load and belongs to the state.
CONTENT_TABLES = tuple(table for table in TABLES_OF_CONTENT_LOADS if table is not SYNC_RUNS)
#: For what passes by itself: a lock that another process holds, an outage longer than the client's own retries.
RETRY = dg.RetryPolicy(max_retries=2, delay=60, backoff=dg.Backoff.EXPONENTIAL)

#: A run that Dagster ends reaches a safe point within seconds; one that hangs is ended by force within twice this time.
PATIENCE_S = 90.0
#: Partitions that a sync reports at most, the newest ones: an event costs 10 ms and 5 KB, and a mailbox has thousands of
#: days. The rest is reported by the syncs that follow.
_PARTITIONS_TOLD = 400
_SKIPPED_TOLD = 20

Metadata = Mapping[str, dg.MetadataValue[Any]]


def sync(
    engine: Engine,
    addresses: Sequence[str],
    options: SyncOptions,
    log: dg.DagsterLogManager,
    *,
    groups: Sequence[str] = (),
    schedules: Sequence[Schedule] = (),
    shards: Sequence[int] = (),
) -> list[SyncRun]:
    """Syncs the named accounts, or all that are due (of the named groups, schedules and shards); the run's log tells of each.

    Raises ConfigError where there are none to sync, now or later: a run that does nothing should not look like one that
    had nothing to do. Of a schedule there may be none.
    """
    accounts, skipped = engine.due(addresses, groups, schedules, shards)
    waiting = [account for account in skipped if account.state in ("active", "cooling_down")]
    if not accounts and not waiting and not schedules:
        raise ConfigError(
            "There is no active account to sync. `mail-ingest account list` shows why, `mail-ingest account add` adds one."
        )
    sync_log = SyncLog(log, len(accounts) + len(waiting))
    left_out = [account for account in skipped if account not in waiting]
    for account in left_out[:_SKIPPED_TOLD]:
        log.info("%s: skipped, %s", account.account_id, why_skipped(account))
    if len(left_out) > _SKIPPED_TOLD:
        log.info("and %d more were skipped; `mail-ingest account list` shows why", len(left_out) - _SKIPPED_TOLD)
    with stoppable(engine):
        runs = engine.sync(accounts, options, on_progress=sync_log.on_progress, on_done=sync_log.on_done)
    for account in waiting:
        runs.append(_not_asked(engine, account, options))
        sync_log.on_done(runs[-1])
    return runs


@contextmanager
def stoppable(engine: Engine) -> Iterator[None]:
    """Where Dagster ends the run, its syncs stop at the next safe point, and the step fails: the run is then canceled.

    Raises Failure and not Dagster's own DagsterExecutionInterruptedError, which a retry policy takes for a reason to try the
    step again in the run that was ended.
    """
    try:
        with stop_on_signals(engine.stop_sign, patience_s=PATIENCE_S):
            yield
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError):
        if not engine.stop_sign.stopped_by:
            raise
    if engine.stop_sign.stopped_by:
        raise dg.Failure(
            description=(
                f"The run was ended ({engine.stop_sign.stopped_by}). What was loaded stays, and the next sync goes on from there."
            ),
            allow_retries=False,
        )


def sync_events(
    engine: Engine, runs: Sequence[SyncRun], instance: dg.DagsterInstance
) -> Iterator[dg.AssetMaterialization | dg.Output[None]]:
    """What a run of syncs without partitions tells: the state tables, the partitions that it completed, and what it did."""
    about_run = run_summary(engine, runs)
    if any(run.changed_anything for run in runs):
        yield from _materializations(engine, runs, about_run, instance)
    elif any(not run.error for run in runs):
        # that nothing changed is news as well: freshness is measured by materializations, and by nothing else
        for key, metadata in state_metadata(engine, {}):
            yield dg.AssetMaterialization(key, metadata=metadata)
    yield dg.Output(None, metadata=about_run)


def _materializations(
    engine: Engine, runs: Sequence[SyncRun], about_run: Metadata, instance: dg.DagsterInstance
) -> Iterator[dg.AssetMaterialization]:
    """The state tables, and the partitions that are complete now and got content by this sync or were not known to be."""
    for key, metadata in state_metadata(engine, about_run):
        yield dg.AssetMaterialization(key, metadata=metadata)
    got_content = partitions_with_new_content(engine, runs)
    reported = instance.get_materialized_partitions(asset_key(table_name(MESSAGES)))
    news = [each for each in completed_partitions(engine, runs) if each in got_content or each not in reported]
    for key, partition, metadata in content_metadata(engine, about_run, news[:_PARTITIONS_TOLD]):
        yield dg.AssetMaterialization(key, partition=partition, metadata=metadata)


def _not_asked(engine: Engine, account: Account, options: SyncOptions) -> SyncRun:
    """Stands for an account whose time has not come: its partitions are not complete without it."""
    run = SyncRun(account.account_id, options.triggered_by, engine.governor.ledger)
    run.outcome, run.error, run.resume_at = "partial", f"skipped, {why_skipped(account)}", account.next_due_at
    run.finished_at = run.started_at
    return run


def run_summary(engine: Engine, runs: Sequence[SyncRun]) -> Metadata:
    """What the run did, what it cost and what it left."""
    return summary(runs, backlog_left(engine, runs))


def state_metadata(engine: Engine, about_run: Metadata) -> Iterator[tuple[dg.AssetKey, Metadata]]:
    """Metadata of each state table's materialization; what the run did is told once, with the message states."""
    counts = engine.queries.row_counts([table_name(table) for table in STATE_TABLES])
    for table in STATE_TABLES:
        yield (
            asset_key(table_name(table)),
            {
                "dagster/row_count": dg.MetadataValue.int(counts[table_name(table)]),
                **(about_run if table is MESSAGE_STATES else {}),
            },
        )


def content_metadata(
    engine: Engine, about_run: Metadata, partitions: Sequence[str], about: Mapping[str, Metadata] | None = None
) -> Iterator[tuple[dg.AssetKey, str, Metadata]]:
    """Metadata of each content table's and partition's materialization, oldest partition first.

    What the run did is told once, with the messages of the newest partition: a long range is a thousand events. `about`
    has more to tell of the messages of each partition.
    """
    counts = engine.queries.row_counts([table_name(table) for table in CONTENT_TABLES])
    stored = stored_by_partition(engine)
    for partition in sorted(partitions):
        for table in CONTENT_TABLES:
            metadata: dict[str, dg.MetadataValue[Any]] = {
                "dagster/row_count": dg.MetadataValue.int(counts[table_name(table)])
            }
            if table is MESSAGES:
                metadata["dagster/partition_row_count"] = dg.MetadataValue.int(stored.get(partition, 0))
                metadata |= (about or {}).get(partition, {})
                if partition == max(partitions):
                    metadata |= about_run
            yield asset_key(table_name(table)), partition, metadata


def changed_states(runs: Sequence[SyncRun]) -> bool:
    """Whether any account's ids, threads, labels or deletions changed."""
    return any(run.states_changed or run.label_changes or run.labels_changed for run in runs)


def triggered_by(run: dg.DagsterRun) -> str:
    """The word that `sync_runs` keeps for who started a run."""
    if "dagster/backfill" in run.tags:
        return "backfill"
    return "schedule" if "dagster/schedule_name" in run.tags else "person"
