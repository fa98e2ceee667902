"""Months and their backlog: what is missing in those that a run was asked for, and which are complete."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from mail_ingest.ingest.engine import Engine
from mail_ingest.ingest.months import month_of
from mail_ingest.ingest.run import SyncRun
from mail_ingest.ingest.scope import account_horizon
from mail_ingest.warehouse.queries import Scope


def month_backlog(engine: Engine, runs: Sequence[SyncRun], months: Sequence[str]) -> dict[tuple[str, str], int | None]:
    """What a backfill left, by account and month: live messages without content; None where Gmail was not asked.

    Months that are complete are left out. Gmail was not asked where an account failed, or the quota ended, before.
    """
    left: dict[tuple[str, str], int | None] = {}
    accounts = {account.account_id: account for account in engine.registry.list()}
    for run in runs:
        if run.account_id not in accounts:
            continue  # removed in the meantime
        scope = engine.content_scope(accounts[run.account_id], Scope(months=tuple(months)))
        missing = engine.queries.backlog_by_month(run.account_id, scope)
        for month in months:
            count = missing.get(month, 0) if month in run.months_listed else None
            if count != 0:
                left[run.account_id, month] = count
    return left


def months_with_new_content(engine: Engine, runs: Sequence[SyncRun]) -> set[str]:
    """Months in which these runs stored content."""
    first = engine.settings.content_start
    running = f"{datetime.now(UTC):%Y-%m}"
    return {min(max(month, first), running) for run in runs for month in run.months}


def backlog_left(engine: Engine, runs: Sequence[SyncRun]) -> int:
    """Messages within the accounts' scope that have no content yet."""
    now = datetime.now(UTC)
    accounts = {account.account_id: account for account in engine.registry.list()}
    left = 0
    for run in runs:
        if run.account_id not in accounts:
            continue  # removed in the meantime
        scope = engine.content_scope(accounts[run.account_id])
        backlog = engine.queries.count_backlog(run.account_id, scope, now)
        left += backlog.due + backlog.waiting
    return left


def stored_by_month(engine: Engine) -> dict[str, int]:
    """Messages whose content is stored, by the month they belong to; newest month first."""
    first, running = engine.settings.content_start, f"{datetime.now(UTC):%Y-%m}"
    totals: dict[str, int] = {}
    for month, count in engine.queries.messages_by_month():
        belongs_to = min(max(month, first), running)
        totals[belongs_to] = totals.get(belongs_to, 0) + count
    return totals


def completed_months(engine: Engine, runs: Sequence[SyncRun]) -> list[str]:
    """Months that hold content and lack none of any active account, newest first.

    Which month a message without content belongs to is not known, so there are none while any active account has a
    backlog. Months that reach behind an account's content horizon are left out.
    """
    now = datetime.now(UTC)
    synced = {run.account_id: run for run in runs}
    complete_from = engine.settings.content_start
    for account in engine.accounts():
        run = synced.get(account.account_id)
        horizon = account_horizon(account, now)
        if run is None:
            backlog = engine.queries.count_backlog(account.account_id, engine.content_scope(account), now)
            missing = backlog.due + backlog.waiting
        else:
            missing = run.backlog
        if missing or (run is not None and run.error):
            return []
        if horizon is not None:
            complete_from = max(complete_from, _next_month(month_of(horizon, complete_from, now)))
    return [month for month in stored_by_month(engine) if month >= complete_from]


def _next_month(month: str) -> str:
    year, number = map(int, month.split("-"))
    return f"{year + number // 12:04}-{number % 12 + 1:02}"
