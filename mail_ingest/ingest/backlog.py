"""Months and days and their backlog: what is missing in those that a run was asked for, and which are complete."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from mail_ingest.ingest.engine import Engine
from mail_ingest.ingest.run import SyncRun
from mail_ingest.ingest.scope import account_horizon
from mail_ingest.ingest.windows import clamped, following, window_of
from mail_ingest.warehouse.queries import Scope
from mail_ingest.warehouse.surveys import Surveys


def partition_backlog(
    engine: Engine, runs: Sequence[SyncRun], partitions: Sequence[str]
) -> dict[tuple[str, str], int | None]:
    """What a backfill left, by account and partition: live messages without content; None where Gmail was not asked.

    Partitions that are complete are left out. Gmail was not asked where an account failed, or the quota ended, before.
    """
    left: dict[tuple[str, str], int | None] = {}
    accounts = {account.account_id: account for account in engine.registry.list()}
    for run in runs:
        account = accounts.get(run.account_id)
        if account is None:
            continue  # removed in the meantime
        scope = engine.content_scope(account, Scope(partitions=tuple(partitions)))
        missing: Counter[str] = Counter()
        if run.partitions_listed:
            for month, day, count in engine.partitions.listed_backlog(run.account_id, scope):
                missing[month] += count
                if day is not None:
                    missing[day] += count
        for partition in partitions:
            elsewhere = run.partitions_listed.get(partition)
            if elsewhere is None:
                left[run.account_id, partition] = None
                continue
            count = missing[partition] + engine.partitions.count_missing(run.account_id, scope, elsewhere)
            if count:
                left[run.account_id, partition] = count
    return left


def partitions_with_new_content(engine: Engine, runs: Sequence[SyncRun]) -> set[str]:
    """Partitions in which these runs stored content."""
    settings = engine.settings
    days = {day for run in runs for day in run.days}
    return {
        clamped(day if settings.partitions == "day" else day[: len("2026-05")], settings.content_start) for day in days
    }


def backlog_left(engine: Engine, runs: Sequence[SyncRun]) -> int:
    """Messages within the accounts' scope that have no content yet."""
    now = datetime.now(UTC)
    surveys = Surveys(engine.warehouse)
    left = 0
    with engine.queries.at_once():
        for scope, names in engine.by_scope(engine.registry.among([run.account_id for run in runs]), now).items():
            left += sum(backlog.due + backlog.waiting for backlog in surveys.backlogs(names, scope, now).values())
    return left


def stored_by_partition(engine: Engine) -> dict[str, int]:
    """Messages whose content is stored, by the partition they belong to; newest first."""
    totals: dict[str, int] = {}
    for date, count in engine.partitions.messages_by_date(engine.settings.partitions):
        belongs_to = clamped(date, engine.settings.content_start)
        totals[belongs_to] = totals.get(belongs_to, 0) + count
    return totals


def completed_partitions(engine: Engine, runs: Sequence[SyncRun]) -> list[str]:
    """Partitions that hold content and lack none of any active account, newest first.

    Which partition a message without content belongs to is not known, so there are none while any active account has a
    backlog. Partitions that reach behind an account's content horizon are left out.
    """
    now = datetime.now(UTC)
    kind, first_month = engine.settings.partitions, engine.settings.content_start
    synced = {run.account_id: run for run in runs}
    complete_from = ""
    accounts = engine.accounts()
    if any(run.backlog or run.error for run in (synced.get(account.account_id) for account in accounts) if run):
        return []
    others = [account for account in accounts if account.account_id not in synced]
    with engine.queries.at_once():
        for scope, names in engine.by_scope(others, now).items():
            if Surveys(engine.warehouse).any_backlog(names, scope):
                return []
    for account in accounts:
        horizon = account_horizon(account, now)
        if horizon is not None:
            complete_from = max(complete_from, following(window_of(horizon, kind, first_month, now)))
    return [partition for partition in stored_by_partition(engine) if partition >= complete_from]
