"""The jobs: syncing accounts without partitions, building and checking the analyst tables; and their schedules."""

from collections.abc import Iterator, Sequence
from typing import Literal

import dagster as dg
from pydantic import Field

from mail_ingest.defs.checks import audit_run_config
from mail_ingest.defs.outcomes import raise_for_failures
from mail_ingest.defs.resources import MailIngest
from mail_ingest.defs.specs import RELATION_GROUPS, asset_key, table_name
from mail_ingest.defs.syncing import (
    STATE_POOL,
    Metadata,
    content_metadata,
    run_summary,
    state_metadata,
    sync,
    triggered_by,
)
from mail_ingest.ingest import SyncOptions, SyncRun
from mail_ingest.ingest.backlog import completed_partitions, partitions_with_new_content
from mail_ingest.ingest.engine import Engine
from mail_ingest.settings import Settings
from mail_ingest.sources.tables import MESSAGES

_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
#: Runs with the same value take turns in the queue (dagster.yaml). Whoever goes round the queue meets the accounts' locks.
TURN_TAG = "mail_ingest/turn"
#: A first sync takes hours; ended after this time it goes on with the next one, and nothing is bought twice.
_MAX_RUNTIME_S = 6 * 3600


#: Partitions that a sync reports at most, the newest ones: an event costs 10 ms and 5 KB, and a mailbox has thousands of
#: days. The rest is reported by the syncs that follow.
_PARTITIONS_TOLD = 400


class SyncConfig(dg.Config):
    """What a run of the sync job takes."""

    accounts: list[str] = Field(default=[], description="Addresses to take; all active accounts if there are none.")
    groups: list[str] = Field(default=[], description="Groups to take the active accounts of; all if there are none.")
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
            mode=config.mode, max_messages=config.max_messages, triggered_by=triggered_by(context.run)
        )
        with mail_ingest.engine() as engine:
            runs = sync(engine, config.accounts, options, context.log, groups=config.groups)
            about_run = run_summary(engine, runs)
            if any(run.changed_anything for run in runs):
                yield from _materializations(engine, runs, about_run, context.instance)
            elif any(not run.error for run in runs):
                # that nothing changed is news as well: freshness is measured by materializations, and by nothing else
                for key, metadata in state_metadata(engine, {}):
                    yield dg.AssetMaterialization(key, metadata=metadata)
            yield dg.Output(None, metadata=about_run)
        raise_for_failures(runs)

    @dg.job(
        name="sync",
        description="Keeps every active account true: state, then new content. Costs 2 quota units where nothing changed.",
        executor_def=dg.in_process_executor,
        tags={"dagster/max_runtime": str(_MAX_RUNTIME_S), TURN_TAG: "sync"},
    )
    def job() -> None:
        sync_accounts()

    return job


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


def analyst_job(checks: Sequence[dg.AssetChecksDefinition]):  # type: ignore[no-untyped-def]  # Dagster exports no name for it
    """Builds the analyst relations, and runs the checks on them and on the landing tables."""
    return dg.define_asset_job(
        "analyst_tables",
        selection=dg.AssetSelection.groups(*RELATION_GROUPS) | dg.AssetSelection.checks(*checks),
        description="Brings the analyst tables up to date, makes the views, and runs the checks. Costs no quota.",
        executor_def=dg.in_process_executor,
    )


def audit_job(check: dg.AssetChecksDefinition):  # type: ignore[no-untyped-def]  # as above
    """Compares every account with its mailbox, within a budget of quota units."""
    return dg.define_asset_job(
        "audit",
        selection=dg.AssetSelection.checks(check),
        config=audit_run_config(check),
        description="Compares warehouse and raw archive with every mailbox. Costs quota units, within a budget an account.",
        executor_def=dg.in_process_executor,
        tags={"dagster/max_runtime": str(_MAX_RUNTIME_S)},
    )


def hourly_sync(settings: Settings, job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """Runs the sync job every hour, but never a second one beside one that takes longer."""

    @dg.schedule(
        name="hourly_sync",
        target=job,
        cron_schedule="7 * * * *",
        execution_timezone="UTC",
        description="Syncs every active account at seven minutes past the hour, unless the sync before still runs.",
        default_status=default_status(settings),
    )
    def hourly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        unfinished = context.instance.get_runs(dg.RunsFilter(job_name=job.name, statuses=_UNFINISHED), limit=1)
        if unfinished:
            return dg.SkipReason(f"The sync before has not finished yet (run {unfinished[0].run_id}).")
        return dg.RunRequest()

    return hourly


def nightly_checks(settings: Settings, job) -> dg.ScheduleDefinition:  # type: ignore[no-untyped-def]  # as above
    """Runs the analyst job every night."""
    return dg.ScheduleDefinition(
        name="nightly_checks",
        job=job,
        cron_schedule="37 3 * * *",
        execution_timezone="UTC",
        description="Brings the analyst tables up to date and runs all checks every night.",
        default_status=default_status(settings),
    )


def nightly_audit(settings: Settings, job) -> dg.ScheduleDefinition:  # type: ignore[no-untyped-def]  # as above
    """Runs the audit every night, an hour after the checks that cost nothing."""
    return dg.ScheduleDefinition(
        name="nightly_audit",
        job=job,
        cron_schedule="37 4 * * *",
        execution_timezone="UTC",
        description="Compares every account with its mailbox every night, within a budget of quota units.",
        default_status=default_status(settings),
    )


def default_status(settings: Settings) -> dg.DefaultScheduleStatus:
    """Schedules are on by themselves in the deployment called production only."""
    is_production = settings.env == "production"
    return dg.DefaultScheduleStatus.RUNNING if is_production else dg.DefaultScheduleStatus.STOPPED
