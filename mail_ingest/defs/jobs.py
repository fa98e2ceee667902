"""The jobs: syncing accounts without partitions, building and checking the analyst tables; and their schedules."""

from collections.abc import Iterator, Sequence
from typing import Literal

import dagster as dg
from pydantic import Field

from mail_ingest.accounts import Registry, schedule_of
from mail_ingest.defs.checks import audit_run_config
from mail_ingest.defs.outcomes import raise_for_failures
from mail_ingest.defs.queue import MAINTENANCE, SCHEDULED, TURN_TAG, UNFINISHED, queue_tags
from mail_ingest.defs.resources import MailIngest
from mail_ingest.defs.specs import RELATION_GROUPS
from mail_ingest.defs.starting import schedule_status
from mail_ingest.defs.syncing import STATE_POOL, sync, sync_events, triggered_by
from mail_ingest.ingest import SyncOptions
from mail_ingest.settings import Settings, load_settings

#: A first sync takes hours; ended after this time it goes on with the next one, and nothing is bought twice.
_MAX_RUNTIME_S = 6 * 3600
#: A full build of a million messages and all checks take minutes.
_MAX_BUILD_S = 2 * 3600
SHARD_TAG = "mail_ingest/shard"


class SyncConfig(dg.Config):
    """What a run of the sync job takes."""

    accounts: list[str] = Field(default=[], description="Addresses to take; all active accounts if there are none.")
    groups: list[str] = Field(default=[], description="Groups to take the active accounts of; all if there are none.")
    schedules: list[str] = Field(
        default=[], description="Schedules to take the active accounts of, such as hourly; all if there are none."
    )
    shards: list[int] = Field(default=[], description="Shards to take the active accounts of; all if there are none.")
    max_messages: int | None = Field(
        default=None, description="Buy the content of at most so many messages of each account."
    )
    mode: Literal["auto", "partial", "full"] = Field(
        default="auto",
        description="partial: history only; full: sweep every id and label; auto: history, or a sweep if it has expired.",
    )


def sync_job(retry_policy: dg.RetryPolicy) -> dg.JobDefinition:
    """The job that keeps every account true."""

    @dg.op(
        description="Syncs every account: state first, then content until the backlog or the limit is done.",
        out=dg.Out(dg.Nothing),
        pool=STATE_POOL,
        retry_policy=retry_policy,
    )
    def sync_accounts(
        context: dg.OpExecutionContext, config: SyncConfig, mail_ingest: MailIngest
    ) -> Iterator[dg.AssetMaterialization | dg.Output[None]]:
        options = SyncOptions(
            mode=config.mode,
            max_messages=config.max_messages,
            leaves_long_drains=bool(config.shards),
            triggered_by=triggered_by(context.run),
        )
        with mail_ingest.engine() as engine:
            runs = sync(
                engine,
                config.accounts,
                options,
                context.log,
                groups=config.groups,
                schedules=[schedule_of(name) for name in config.schedules],
                shards=config.shards,
            )
            yield from sync_events(engine, runs, context.instance)
        raise_for_failures(runs)

    @dg.job(
        name="sync",
        description="Keeps every active account true: state, then new content. Costs 2 quota units where nothing changed.",
        executor_def=dg.in_process_executor,
        tags=queue_tags(SCHEDULED, turn="sync", max_runtime_s=_MAX_RUNTIME_S),
    )
    def job() -> None:
        sync_accounts()

    return job


def analyst_job(checks: Sequence[dg.AssetChecksDefinition]):  # type: ignore[no-untyped-def]  # Dagster exports no name for it
    """Builds the analyst relations, and runs the checks on them and on the landing tables."""
    return dg.define_asset_job(
        "analyst_tables",
        selection=dg.AssetSelection.groups(*RELATION_GROUPS) | dg.AssetSelection.checks(*checks),
        description="Brings the analyst tables up to date, makes the views, and runs the checks. Costs no quota.",
        executor_def=dg.in_process_executor,
        tags=queue_tags(MAINTENANCE, turn="maintenance", max_runtime_s=_MAX_BUILD_S),
    )


def audit_job(check: dg.AssetChecksDefinition):  # type: ignore[no-untyped-def]  # as above
    """Compares every account with its mailbox, within a budget of quota units."""
    return dg.define_asset_job(
        "audit",
        selection=dg.AssetSelection.checks(check),
        config=audit_run_config(check),
        description="Compares warehouse and raw archive with every mailbox. Costs quota units, within a budget an account.",
        executor_def=dg.in_process_executor,
        tags=queue_tags(MAINTENANCE, turn="maintenance", max_runtime_s=_MAX_RUNTIME_S),
    )


def hourly_sync(settings: Settings, job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """Runs the sync job every hour, for each shard, but never a second one beside one that takes longer."""

    @dg.schedule(
        name="hourly_sync",
        target=job,
        cron_schedule="7 * * * *",
        execution_timezone="UTC",
        description=(
            "Syncs every active account with the schedule `hourly` at seven minutes past the hour, a run for each shard, unless "
            "the shard's run before still goes on."
        ),
        default_status=schedule_status(settings),
    )
    def hourly(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        unfinished = context.instance.get_runs(dg.RunsFilter(job_name=job.name, statuses=UNFINISHED))
        busy = {run.tags.get(SHARD_TAG, "") for run in unfinished}
        shards = _shards()
        lanes = 1 if settings.is_duckdb else settings.shards_at_once
        free = [shard for shard in shards if busy.isdisjoint(("", str(shard)))]
        asked = [_run_of(shard, lanes, context) if len(shards) > 1 else _run_of_all() for shard in free]
        if asked:
            return asked
        return dg.SkipReason(f"The sync before has not finished yet (run {unfinished[0].run_id}).")

    return hourly


def _shards() -> Sequence[int]:
    """The shards of accounts with the schedule `hourly`; the first one where there is no account, which the run then says."""
    registry = Registry(load_settings())
    try:
        return registry.shards(schedules=["hourly"]) or [0]
    finally:
        registry.close()


def _run_of_all() -> dg.RunRequest:
    """A run of all accounts, where there is but one shard; it buys whatever is to be bought."""
    return dg.RunRequest(run_config={"ops": {"sync_accounts": {"config": {"schedules": ["hourly"]}}}})


def _run_of(shard: int, lanes: int, context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
    lane = shard % lanes
    return dg.RunRequest(
        # several requests of one tick are told apart by it
        run_key=f"hourly_sync {context.scheduled_execution_time:%Y-%m-%dT%H:%M} {shard}",
        run_config={"ops": {"sync_accounts": {"config": {"schedules": ["hourly"], "shards": [shard]}}}},
        # shards side by side: what one waits for, as a sweep of a large mailbox, does not hold up the others
        tags={SHARD_TAG: str(shard), TURN_TAG: f"sync {lane}" if lane else "sync"},
    )


def nightly_checks(settings: Settings, job) -> dg.ScheduleDefinition:  # type: ignore[no-untyped-def]  # as above
    """Runs the analyst job every night."""
    return dg.ScheduleDefinition(
        name="nightly_checks",
        job=job,
        cron_schedule="37 3 * * *",
        execution_timezone="UTC",
        description="Brings the analyst tables up to date and runs all checks every night.",
        default_status=schedule_status(settings),
    )


def nightly_audit(settings: Settings, job) -> dg.ScheduleDefinition:  # type: ignore[no-untyped-def]  # as above
    """Runs the audit every night, an hour after the checks that cost nothing."""
    return dg.ScheduleDefinition(
        name="nightly_audit",
        job=job,
        cron_schedule="37 4 * * *",
        execution_timezone="UTC",
        description="Compares every account with its mailbox every night, within a budget of quota units.",
        default_status=schedule_status(settings),
    )
