"""The job that deletes what is older than it is kept, Dagster's own runs included, and its nightly schedule."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from dagster import DagsterEventType, RunsFilter
from dagster._core.execution.backfill import BulkActionStatus
from pydantic import Field

from mail_ingest.defs.outcomes import markdown_table
from mail_ingest.defs.queue import FINISHED, MAINTENANCE, queue_tags
from mail_ingest.defs.resources import MailIngest
from mail_ingest.defs.starting import schedule_status
from mail_ingest.ingest.retention import Retained, retain
from mail_ingest.settings import Settings, load_settings

_MAX_RUNTIME_S = 6 * 3600
#: Runs that one night deletes at most: their ids are held in memory, and each costs milliseconds.
_MOST_RUNS = 20_000
_PAGE = 200
_UNDER_WAY = (BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING)


class RetentionConfig(dg.Config):
    """What a retention takes; how long things are kept is in `MAIL_INGEST_KEEP_...`."""

    dry_run: bool = Field(default=False, description="Say what would go, and do nothing.")


def retention_job() -> dg.JobDefinition:
    """Deletes what is older than it is kept."""

    @dg.op(
        description="Deletes rows, requests, expired mail, packs and runs of Dagster's by MAIL_INGEST_KEEP_....",
        out=dg.Out(dg.Nothing),
    )
    def delete_what_is_old(
        context: dg.OpExecutionContext, config: RetentionConfig, mail_ingest: MailIngest
    ) -> Iterator[dg.Output[None]]:
        with mail_ingest.engine() as engine:
            done = retain(engine, is_dry_run=config.dry_run)
        days = load_settings().keep.runs
        before = None if days is None else datetime.now(UTC) - timedelta(days=days)
        runs = 0 if before is None else forget_runs(context.instance, before, is_dry_run=config.dry_run)
        yield dg.Output(None, metadata=_metadata(done, runs, days))
        if done.is_any_broken and len(done.skipped) == done.accounts:
            raise dg.Failure(description="No account's mail could be gone through; see the log.", allow_retries=False)

    @dg.job(
        name="retention",
        description="Deletes what is older than MAIL_INGEST_KEEP_... says, but for what people hold. Costs no quota.",
        executor_def=dg.in_process_executor,
        tags=queue_tags(MAINTENANCE, turn="maintenance", max_runtime_s=_MAX_RUNTIME_S),
    )
    def job() -> None:
        delete_what_is_old()

    return job


def nightly_retention(settings: Settings, job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """Runs the retention every night."""
    return dg.ScheduleDefinition(
        name="nightly_retention",
        job=job,
        cron_schedule="27 1 * * *",
        execution_timezone="UTC",
        description="Deletes what is older than it is kept, every night.",
        default_status=schedule_status(settings),
    )


def forget_runs(instance: dg.DagsterInstance, before: datetime, *, is_dry_run: bool = False) -> int:
    """Deletes runs that ended before a moment, with their events and logs; how many.

    A run stays that last materialized a partition, or an asset without partitions: they would be missing without it. So do
    runs of a backfill that is under way. At most 20,000 go at once.
    """
    old = RunsFilter(statuses=FINISHED, updated_before=before)
    backfills = [backfill.backfill_id for status in _UNDER_WAY for backfill in instance.get_backfills(status=status)]
    needed = _last_runs(instance)
    doomed: list[str] = []
    cursor = None
    while len(doomed) < _MOST_RUNS and (
        page := instance.get_run_records(old, limit=_PAGE, cursor=cursor, ascending=True)
    ):
        cursor = page[-1].dagster_run.run_id
        doomed += [
            record.dagster_run.run_id
            for record in page
            if record.dagster_run.run_id not in needed
            and record.dagster_run.tags.get("dagster/backfill") not in backfills
        ]
    if not is_dry_run:
        for run_id in doomed:
            instance.delete_run(run_id)
            instance.compute_log_manager.delete_logs(prefix=[run_id])
    return len(doomed)


def _last_runs(instance: dg.DagsterInstance) -> set[str]:
    """The runs that last materialized each asset, or each of its partitions."""
    runs = set()
    for key in instance.all_asset_keys():
        last = instance.get_latest_materialization_event(key)
        if last is not None:
            runs.add(last.run_id)
        by_partition = instance.event_log_storage.get_latest_storage_id_by_partition(
            key, DagsterEventType.ASSET_MATERIALIZATION
        )
        ids = sorted(by_partition.values())
        for start in range(0, len(ids), 500):
            some = ids[start : start + 500]
            found = instance.fetch_materializations(
                dg.AssetRecordsFilter(asset_key=key, storage_ids=some), limit=len(some)
            )
            runs.update(record.run_id for record in found.records)
    return runs


def _metadata(done: Retained, runs: int, days: int | None) -> dict[str, dg.MetadataValue[Any]]:
    rows = [
        (
            name.replace("_", " "),
            "for ever" if done.days[name] is None else f"{done.days[name]} days",
            f"{amount.rows:,}",
            f"{amount.bytes:,}",
            f"{amount.held:,}",
        )
        for name, amount in done.amounts.items()
    ]
    rows.append(("runs of Dagster's", "for ever" if days is None else f"{days} days", f"{runs:,}", "", ""))
    figures = {
        **{f"{name}_rows": amount.rows for name, amount in done.amounts.items()},
        **{f"{name}_bytes": amount.bytes for name, amount in done.amounts.items()},
        "deleted_messages": done.mail,
        "held_rows": sum(amount.held for amount in done.amounts.values()),
        "packs_removed": done.archive.packs_removed,
        "packs_written": done.archive.packs_written,
        "packs_unreadable": done.archive.packs_unreadable,
        "raw_archive_bytes": done.archive.bytes,
        "warehouse_file_bytes": done.file_bytes,
        "dagster_runs": runs,
        "accounts_skipped": len(done.skipped),
    }
    return {
        "dry_run": dg.MetadataValue.bool(done.is_dry_run),
        "by_kind": dg.MetadataValue.md(markdown_table(("kind", "kept", "rows", "bytes", "held"), rows)),
        "warehouse_file": dg.MetadataValue.text(done.file),
        **{name: dg.MetadataValue.int(value) for name, value in figures.items()},
    }
