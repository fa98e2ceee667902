"""The sync job: state and content of every account in one step, without partitions, and its schedule."""

from collections.abc import Sequence

import dagster as dg

from mail_ingest.defs.outcomes import raise_for_failures, run_metadata
from mail_ingest.defs.resources import MailIngest
from mail_ingest.defs.specs import RELATION_GROUPS, asset_key
from mail_ingest.ingest import Engine, SyncOptions, SyncRun
from mail_ingest.ingest.backlog import completed_months
from mail_ingest.settings import Settings
from mail_ingest.sources.tables import CONTENT_TABLES, DATASET, STATE_TABLES, SYNC_RUNS

#: A run reports at most this many months: each report costs 10 ms and 5 KB in Dagster's event log.
_MONTHS_REPORTED = 24


class SyncConfig(dg.Config):
    """Which accounts (all active ones without any), and how many messages at most each."""

    accounts: list[str] = []  # noqa: RUF012
    max_messages: int | None = None
    mode: str = "auto"


@dg.op(
    description="Syncs every account: state first, then content until the backlog or the limit is done.",
    pool="mailbox_state",
)
def sync_accounts(context: dg.OpExecutionContext, config: SyncConfig, mail_ingest: MailIngest) -> None:
    """Runs the sync and reports what it materialized: the landing tables, and the months it completed."""
    engine = mail_ingest.engine()
    options = SyncOptions(
        mode="full" if config.mode == "full" else "partial" if config.mode == "partial" else "auto",
        max_messages=config.max_messages,
        triggered_by="schedule" if "dagster/schedule_name" in context.run.tags else "person",
    )
    accounts = engine.accounts(config.accounts)
    runs = engine.sync(
        accounts,
        options,
        on_done=lambda run: context.log.info(
            f"{run.account_id}: {run.outcome}, {run.messages_added} new, {run.contents_stored} contents, "
            f"{run.spent.total().units} units, backlog {run.backlog}"
        ),
    )
    _report(context, engine, runs)
    raise_for_failures(runs)


def _report(context: dg.OpExecutionContext, engine: Engine, runs: list[SyncRun]) -> None:
    context.add_output_metadata(run_metadata(runs))
    if not any(run.changed_anything for run in runs):
        return
    metadata = run_metadata(runs)
    states = [f"{DATASET}.{table.name}" for table in STATE_TABLES]
    counts = engine.queries.row_counts(states)
    for name in states:
        context.log_event(
            dg.AssetMaterialization(
                asset_key(name), metadata={**metadata, "dagster/row_count": dg.MetadataValue.int(counts[name])}
            )
        )
    if not any(run.contents_stored or run.contents_adopted for run in runs):
        return
    for month, rows in completed_months(engine, [run.account_id for run in runs], runs)[:_MONTHS_REPORTED]:
        for table in CONTENT_TABLES:
            if table is not SYNC_RUNS:
                context.log_event(
                    dg.AssetMaterialization(
                        asset_key(f"{DATASET}.{table.name}"),
                        partition=month,
                        metadata={"messages_in_month": dg.MetadataValue.int(rows)},
                    )
                )


@dg.job(
    name="sync",
    description="Keeps every active account true: state, then new content. Costs 2 quota units where nothing changed.",
    executor_def=dg.in_process_executor,
)
def sync_job() -> None:
    """One step; accounts are synced one after another inside it."""
    sync_accounts()


def analyst_job(checks: Sequence[dg.AssetChecksDefinition]):  # type: ignore[no-untyped-def]  # Dagster exports no name for it
    """Builds the analyst relations, and runs the checks on them and on the landing tables."""
    return dg.define_asset_job(
        "analyst_tables",
        selection=dg.AssetSelection.groups(*RELATION_GROUPS) | dg.AssetSelection.checks(*checks),
        description="Builds the analyst views with their comments, and runs the checks. Costs no quota.",
        executor_def=dg.in_process_executor,
    )


def hourly_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """Runs the sync job every hour; on by itself only in the deployment called production."""
    return dg.ScheduleDefinition(
        name="hourly_sync",
        job=sync_job,
        cron_schedule="7 * * * *",
        execution_timezone="UTC",
        description="Syncs every active account at seven minutes past the hour.",
        default_status=(
            dg.DefaultScheduleStatus.RUNNING if settings.env == "production" else dg.DefaultScheduleStatus.STOPPED
        ),
    )
