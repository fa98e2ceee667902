"""What the warehouse knows of accounts, by partition -> the price of a backfill. Asks Gmail nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from mail_ingest.accounts import Account
from mail_ingest.ingest.engine import Engine
from mail_ingest.ingest.estimate import MINUTES_A_DAY, Counts, Estimate, Known, Quota, estimate
from mail_ingest.ingest.windows import clamped, kind_of
from mail_ingest.warehouse.partitions import Spending
from mail_ingest.warehouse.queries import Scope

#: Days of recorded syncs by which an account's pace is measured.
PACE_DAYS = 30


def estimate_backfill(
    engine: Engine, accounts: Sequence[Account], partitions: Sequence[str], max_messages: int | None = None
) -> Estimate:
    """The price of partitions, newest first, for accounts; reads the warehouse once for each account."""
    now = datetime.now(UTC)
    known = [known_of(engine, account, partitions, now) for account in accounts]
    profile, share = engine.governor.profile, engine.governor.shares.backfill
    left_today = None
    if profile.per_project_day is not None:
        day_began_at = engine.governor.day_ends_at() - timedelta(days=1)
        spent = engine.units_by_project(day_began_at) if engine.warehouse.exists else {}
        # accounts of several projects: the day ends first for the one that has spent most
        most = max((spent.get(account.project, 0) for account in accounts), default=0)
        left_today = max(int(profile.per_project_day * share) - most, 0)
    return estimate(known, partitions, Quota(profile, share, left_today), now, max_messages)


def known_of(engine: Engine, account: Account, partitions: Sequence[str], now: datetime) -> Known:
    """One account's messages by the partitions that are asked for; days and months may be asked for side by side."""
    if not engine.warehouse.exists:
        return Known(account.account_id, {}, is_synced=False)
    counts: dict[str, Counts] = {}
    undated = 0
    scope = engine.content_scope(account, Scope())
    for kind in sorted({kind_of(partition) for partition in partitions}):
        undated = 0
        for row in engine.partitions.partition_counts(account.account_id, kind, scope):
            if row.date is None:
                undated += row.missing
                continue
            partition = clamped(row.date, engine.settings.content_start, now)
            one = Counts(row.known, row.stored, row.failed, row.missing, row.listed)
            counts[partition] = counts.get(partition, Counts()) + one
    spending = engine.partitions.pace(account.account_id, now - timedelta(days=PACE_DAYS))
    return Known(
        account.account_id,
        counts,
        undated,
        sync_units_per_minute=spending.other_units / (PACE_DAYS * MINUTES_A_DAY),
        measured_units_per_minute=_measured(spending),
        is_synced=bool(counts) or bool(undated) or engine.queries.loaded_cursor(account.account_id) is not None,
    )


def _measured(spending: Spending) -> float | None:
    return spending.content_units / spending.content_minutes if spending.content_minutes > 0 else None
