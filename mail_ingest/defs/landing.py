"""The landing tables as assets: state at any time, content by month; both run through `ingest`."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import dagster as dg
from pydantic import Field

from mail_ingest.defs.estimating import price_metadata
from mail_ingest.defs.outcomes import markdown_table, raise_for_failures
from mail_ingest.defs.partitions import content_partitions
from mail_ingest.defs.resources import MailIngest
from mail_ingest.defs.specs import CONTENT_GROUP, STATE_FRESHNESS, STATE_GROUP, asset_key, landing_spec, table_name
from mail_ingest.defs.syncing import (
    CONTENT_POOL,
    CONTENT_TABLES,
    STATE_POOL,
    changed_states,
    content_metadata,
    run_summary,
    state_metadata,
    sync,
    triggered_by,
)
from mail_ingest.ingest import SyncOptions, SyncRun
from mail_ingest.ingest.backlog import partition_backlog, partitions_with_new_content
from mail_ingest.ingest.engine import Engine
from mail_ingest.ingest.estimating import estimate_backfill
from mail_ingest.settings import Settings
from mail_ingest.sources.tables import MESSAGE_STATES, MESSAGES, STATE_TABLES

MONTHS_COMPLETE = "months_are_complete"
_ABOUT_STATE = (
    "Kept current by the job `sync`. Materializing it reads ids, threads, labels and deletions of every active account and "
    "no content, which is nearly free in quota units."
)
_ABOUT_CONTENT = (
    "Kept current by the job `sync`. Materializing partitions buys the content that is missing in them, newest first: 20 "
    "quota units a message, 300 messages a minute and mailbox, never twice. All tables of the group are filled together. The "
    "job `estimate_backfill` tells the price beforehand."
)
_MESSAGES_KEY = asset_key(table_name(MESSAGES))


class StateConfig(dg.Config):
    """What a state run takes."""

    accounts: list[str] = Field(default=[], description="Addresses to take; all active accounts if there are none.")
    mode: Literal["auto", "partial", "full"] = Field(
        default="auto",
        description="partial: history only; full: sweep every id and label; auto: history, or a sweep if it has expired.",
    )


class ContentConfig(dg.Config):
    """What a content run takes."""

    accounts: list[str] = Field(default=[], description="Addresses to take; all active accounts if there are none.")
    max_messages: int | None = Field(
        default=None, description="Buy the content of at most so many messages of each account."
    )


def landing_assets(settings: Settings, retry_policy: dg.RetryPolicy) -> list[dg.AssetsDefinition]:
    """The two assets that read Gmail. Building them reads nothing."""
    partitions = content_partitions(settings)

    @dg.multi_asset(
        name="mailbox_state",
        specs=[
            landing_spec(
                table,
                group=STATE_GROUP,
                about=_ABOUT_STATE,
                skippable=True,  # where every account waits for its time there is nothing new to tell
                freshness=STATE_FRESHNESS,
            )
            for table in STATE_TABLES
        ],
        pool=STATE_POOL,
        retry_policy=retry_policy,
        description="Sweeps or replays ids, threads, labels and deletions of every account. Nearly free in quota units.",
    )
    def mailbox_state(
        context: dg.AssetExecutionContext, config: StateConfig, mail_ingest: MailIngest
    ) -> Iterator[dg.MaterializeResult[None]]:
        options = SyncOptions(mode=config.mode, content=False, triggered_by=triggered_by(context.run))
        with mail_ingest.engine() as engine:
            runs = sync(engine, config.accounts, options, context.log)
            if any(not run.error for run in runs):
                for key, metadata in state_metadata(engine, run_summary(engine, runs)):
                    yield dg.MaterializeResult(asset_key=key, metadata=metadata)
        raise_for_failures(runs)

    @dg.multi_asset(
        name="mailbox_content",
        specs=[
            landing_spec(
                table,
                group=CONTENT_GROUP,
                about=_ABOUT_CONTENT,
                deps=[MESSAGE_STATES],
                partitions_def=partitions,
                skippable=True,  # a run that reached only some of its partitions reports these one by one
            )
            for table in CONTENT_TABLES
        ],
        check_specs=[
            dg.AssetCheckSpec(
                MONTHS_COMPLETE,
                asset=_MESSAGES_KEY,
                description=(
                    "Catches messages of the run's partitions and accounts that have no content yet, and partitions for which an "
                    "account could not be asked."
                ),
            )
        ],
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=CONTENT_POOL,
        retry_policy=retry_policy,
        description="Buys the content of the selected partitions, newest first: 20 quota units a message, never twice.",
    )
    def mailbox_content(
        context: dg.AssetExecutionContext, config: ContentConfig, mail_ingest: MailIngest
    ) -> Iterator[dg.AssetMaterialization | dg.MaterializeResult[None] | dg.AssetCheckResult]:
        partitions = sorted(context.partition_keys, reverse=True)
        options = SyncOptions(
            partitions=tuple(partitions), max_messages=config.max_messages, triggered_by=triggered_by(context.run)
        )
        with mail_ingest.engine() as engine:
            runs = sync(engine, config.accounts, options, context.log)
            about_run = run_summary(engine, runs)
            if changed_states(runs):
                for key, metadata in state_metadata(engine, about_run):
                    yield dg.AssetMaterialization(key, metadata=metadata)
            left = partition_backlog(engine, runs, partitions)
            reached = _reached(engine, runs, partitions, left)
            asked = {run.account_id for run in runs}
            accounts = [account for account in engine.registry.list() if account.account_id in asked]
            prices = estimate_backfill(engine, accounts, partitions).partitions
            about = {partition: price_metadata(price) for partition, price in prices.items()}
            if reached == partitions:
                for key, partition, metadata in content_metadata(engine, about_run, partitions, about):
                    context.add_asset_metadata(metadata, asset_key=key, partition_key=partition)
                for table in CONTENT_TABLES:
                    yield dg.MaterializeResult(asset_key=asset_key(table_name(table)))
            else:
                for key, partition, metadata in content_metadata(engine, about_run, reached, about):
                    yield dg.AssetMaterialization(key, partition=partition, metadata=metadata)
            yield _months_are_complete(runs, partitions, left)
        raise_for_failures(runs)

    return [mailbox_state, mailbox_content]


def _reached(
    engine: Engine, runs: Sequence[SyncRun], partitions: Sequence[str], left: Mapping[tuple[str, str], int | None]
) -> list[str]:
    """Partitions that got content or lack none: all as a rule, fewer where the limit or the quota ended the run, none
    where every account failed before."""
    listed = {partition for run in runs for partition in run.partitions_listed}
    incomplete = {partition for (_, partition), count in left.items() if count}
    reached = (listed - incomplete) | partitions_with_new_content(engine, runs)
    return [partition for partition in partitions if partition in reached]


def _months_are_complete(
    runs: Sequence[SyncRun], partitions: Sequence[str], left: Mapping[tuple[str, str], int | None]
) -> dg.AssetCheckResult:
    rows = [
        (account, partition, "not asked" if count is None else count) for (account, partition), count in left.items()
    ]
    return dg.AssetCheckResult(
        check_name=MONTHS_COMPLETE,
        asset_key=_MESSAGES_KEY,
        passed=not left,
        metadata={
            "months": f"{partitions[-1]} to {partitions[0]}" if len(partitions) > 1 else partitions[0],
            "accounts": len(runs),
            "messages_without_content": sum(count or 0 for count in left.values()),
            "not_asked": sum(count is None for count in left.values()),
            "incomplete": (
                dg.MetadataValue.md(markdown_table(("account", "month", "messages without content"), rows))
                if rows
                else "none"
            ),
        },
    )
