"""Months and their backlog: which are complete, and what is missing in the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from mail_ingest.accounts import Account
from mail_ingest.ingest.engine import Engine
from mail_ingest.ingest.run import SyncRun
from mail_ingest.warehouse.queries import Scope


def month_backlog(engine: Engine, account: Account, months: Iterable[str]) -> dict[str, int]:
    """Live messages without content, by month, as far as listings of these months have found them."""
    now = datetime.now(UTC)
    counts = {}
    for month in months:
        backlog = engine.queries.count_backlog(account.account_id, Scope(month=month), now)
        counts[month] = backlog.due + backlog.waiting
    return counts


def completed_months(engine: Engine, account_ids: Sequence[str], runs: Sequence[SyncRun]) -> list[tuple[str, int]]:
    """Months that these runs stored content of and that are complete now, with their messages, newest first.

    Which month a message without content belongs to is not known, so months count as complete only where no account
    has any backlog left.
    """
    if any(run.backlog or run.out_of_scope or run.error for run in runs):
        return []
    first = engine.settings.content_start
    running = f"{datetime.now(UTC):%Y-%m}"
    stored = {min(max(month, first), running) for run in runs for month in run.months}
    totals: dict[str, int] = {}
    for month, rows in engine.queries.messages_by_month(account_ids):
        clamped = min(max(month, first), running)
        if clamped in stored:
            totals[clamped] = totals.get(clamped, 0) + rows
    return sorted(totals.items(), reverse=True)
