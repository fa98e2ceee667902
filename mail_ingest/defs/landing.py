"""The landing tables as assets: state at any time, content by month; both run through `ingest`."""

from collections.abc import Iterator

import dagster as dg

from mail_ingest.defs.outcomes import raise_for_failures, run_metadata
from mail_ingest.defs.partitions import month_partitions
from mail_ingest.defs.resources import MailIngest
from mail_ingest.defs.specs import CONTENT_GROUP, STATE_GROUP, asset_key, landing_spec
from mail_ingest.ingest import Engine, SyncOptions, SyncRun
from mail_ingest.ingest.backlog import month_backlog
from mail_ingest.settings import Settings
from mail_ingest.sources.tables import CONTENT_TABLES, DATASET, STATE_TABLES, SYNC_RUNS

MONTHS_COMPLETE = "months_are_complete"


class StateConfig(dg.Config):
    """Which accounts (all active ones without any) and how: auto, partial or full."""

    accounts: list[str] = []  # noqa: RUF012  Dagster's config classes take their defaults like this
    mode: str = "auto"


class ContentConfig(dg.Config):
    """Which accounts (all active ones without any), and how many messages at most."""

    accounts: list[str] = []  # noqa: RUF012
    max_messages: int | None = None


def landing_assets(settings: Settings) -> list[dg.AssetsDefinition]:
    """The two assets that read Gmail. Building them reads nothing."""
    months = month_partitions(settings)
    content_tables = [table for table in CONTENT_TABLES if table is not SYNC_RUNS]
    content_keys = [asset_key(f"{DATASET}.{table.name}") for table in content_tables]

    @dg.multi_asset(
        name="mailbox_state",
        specs=[landing_spec(table, group=STATE_GROUP) for table in STATE_TABLES],
        pool="mailbox_state",
        description="Sweeps or replays ids, threads, labels and deletions of every account. Nearly free in quota units.",
    )
    def mailbox_state(
        context: dg.AssetExecutionContext, config: StateConfig, mail_ingest: MailIngest
    ) -> Iterator[dg.MaterializeResult]:
        engine = mail_ingest.engine()
        options = SyncOptions(
            mode="full" if config.mode == "full" else "partial" if config.mode == "partial" else "auto",
            content=False,
            triggered_by=_trigger(context),
        )
        runs = engine.sync(engine.accounts(config.accounts), options, on_done=_log(context))
        yield from _results(engine, [f"{DATASET}.{table.name}" for table in STATE_TABLES], runs)
        raise_for_failures(runs)

    @dg.multi_asset(
        name="mailbox_content",
        specs=[
            landing_spec(
                table, group=CONTENT_GROUP, deps=(f"{DATASET}.message_states",), partitions_def=months
            )
            for table in content_tables
        ],
        check_specs=[
            dg.AssetCheckSpec(
                MONTHS_COMPLETE,
                asset=content_keys[0],
                description="Fails while any account of the run has messages of these months without content.",
            )
        ],
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool="mailbox_content",
        description="Buys the content of the selected months, newest first: 20 quota units a message, never twice.",
    )
    def mailbox_content(
        context: dg.AssetExecutionContext, config: ContentConfig, mail_ingest: MailIngest
    ) -> Iterator[dg.MaterializeResult | dg.AssetCheckResult]:
        engine = mail_ingest.engine()
        accounts = engine.accounts(config.accounts)
        wanted = tuple(context.partition_keys)
        options = SyncOptions(
            months=wanted, max_messages=config.max_messages, triggered_by=_trigger(context)
        )
        runs = engine.sync(accounts, options, on_done=_log(context))
        yield from _results(engine, [f"{DATASET}.{table.name}" for table in content_tables], runs)
        waiting = {
            f"{account.account_id} {month}": count
            for account in accounts
            for month, count in month_backlog(engine, account, wanted).items()
            if count
        }
        yield dg.AssetCheckResult(
            check_name=MONTHS_COMPLETE,
            asset_key=content_keys[0],
            passed=not waiting,
            metadata={"messages_without_content": sum(waiting.values()), "by_account_and_month": str(waiting)[:1000]},
        )
        raise_for_failures(runs)

    return [mailbox_state, mailbox_content]


def _results(engine: Engine, tables: list[str], runs: list[SyncRun]) -> Iterator[dg.MaterializeResult]:
    counts = engine.queries.row_counts(tables)
    metadata = run_metadata(runs)
    for table in tables:
        yield dg.MaterializeResult(
            asset_key=asset_key(table), metadata={**metadata, "dagster/row_count": counts[table]}
        )


def _log(context: dg.AssetExecutionContext):  # type: ignore[no-untyped-def]
    def log(run: SyncRun) -> None:
        context.log.info(
            f"{run.account_id}: {run.outcome}, {run.messages_added} new, {run.messages_deleted} deleted, "
            f"{run.label_changes} label changes, {run.contents_stored} contents, {run.spent.total().units} units"
        )

    return log


def _trigger(context: dg.AssetExecutionContext) -> str:
    tags = context.run.tags
    if "dagster/backfill" in tags:
        return "backfill"
    return "schedule" if "dagster/schedule_name" in tags else "person"
