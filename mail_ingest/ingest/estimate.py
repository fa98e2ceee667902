"""What a backfill will cost, before it runs: messages, quota units, minutes, share of the day, and when it will be done.

Pure: counts of what the warehouse knows go in, a price list by partition and by account comes out (`estimating` reads them).
Messages whose date nothing tells are counted apart, and no price is made for them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from mail_ingest.gmail import QuotaProfile
from mail_ingest.gmail.contract import PAGE_SIZE

MINUTES_A_DAY = 1440


@dataclass(frozen=True, slots=True)
class Counts:
    """What is known of one account's live messages of a partition; `missing` of them have no content, and of these
    `listed` were found by a listing of that partition."""

    known: int = 0
    stored: int = 0
    failed: int = 0
    missing: int = 0
    listed: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.known + other.known,
            self.stored + other.stored,
            self.failed + other.failed,
            self.missing + other.missing,
            self.listed + other.listed,
        )


@dataclass(frozen=True, slots=True)
class Known:
    """One account as the warehouse knows it: counts by partition, messages without content whose date nothing tells, and
    what its syncs spend.

    `sync_units_per_minute`: what syncs other than backfills take on average. `measured_units_per_minute`: the pace of those
    syncs that stored content; None where there were none. `is_synced`: whether its ids were ever read.
    """

    account_id: str
    partitions: Mapping[str, Counts]
    undated: int = 0
    sync_units_per_minute: float = 0.0
    measured_units_per_minute: float | None = None
    is_synced: bool = True


@dataclass(frozen=True, slots=True)
class Quota:
    """What a backfill may spend: `share` of a profile's limits, and what is left of its share of today."""

    profile: QuotaProfile
    share: float
    left_today: int | None = None

    def units_per_minute(self, sync_units_per_minute: float) -> float | None:
        """Of one mailbox, less what its other syncs take; None without a limit."""
        limits = [self.profile.per_user_minute, self.profile.per_project_minute]
        known = [limit for limit in limits if limit is not None]
        # a backfill waits while a sync buys content of the same mailbox
        return max(min(known) * self.share - sync_units_per_minute, 1.0) if known else None


@dataclass(slots=True)
class Price:
    """Messages, units and time of something; `minutes` is None where no limit tells them."""

    counts: Counts = field(default_factory=Counts)
    to_buy: int = 0
    units: int = 0
    minutes: float | None = 0.0
    share_of_day: float | None = None

    def add(self, other: Price) -> None:
        self.counts += other.counts
        self.to_buy += other.to_buy
        self.units += other.units
        self.minutes = None if self.minutes is None or other.minutes is None else self.minutes + other.minutes
        if other.share_of_day is not None:
            self.share_of_day = (self.share_of_day or 0.0) + other.share_of_day

    def as_json(self) -> dict[str, object]:
        return {
            "known": self.counts.known,
            "stored": self.counts.stored,
            "failed": self.counts.failed,
            "to_buy": self.to_buy,
            "to_buy_listed": min(self.counts.listed, self.to_buy),
            "units": self.units,
            "minutes": None if self.minutes is None else round(self.minutes, 2),
            "share_of_daily_budget": None if self.share_of_day is None else round(self.share_of_day, 6),
        }


@dataclass(slots=True)
class AccountPrice(Price):
    """One account's price, and when it is done if the accounts before it are done first: at the quota's pace, and at the
    pace that its syncs had so far (None where nothing was measured)."""

    account_id: str = ""
    undated: int = 0
    is_synced: bool = True
    units_per_minute: float | None = None
    measured_units_per_minute: float | None = None
    done_at: datetime | None = None
    done_at_measured_pace: datetime | None = None

    def as_json(self) -> dict[str, object]:
        return {
            "account_id": self.account_id,
            "is_synced": self.is_synced,
            **Price.as_json(self),
            "undated": self.undated,
            "units_per_minute": _rounded(self.units_per_minute),
            "measured_units_per_minute": _rounded(self.measured_units_per_minute),
            "done_at": _iso(self.done_at),
            "done_at_measured_pace": _iso(self.done_at_measured_pace),
        }


@dataclass(slots=True)
class Estimate:
    """The price of a backfill by partition, newest first, by account, in the order in which they are done, and in all."""

    partitions: dict[str, Price]
    accounts: list[AccountPrice]
    total: AccountPrice

    def as_json(self) -> dict[str, object]:
        total = self.total.as_json()
        del total["account_id"], total["is_synced"]
        return {
            "partitions": [{"partition": name, **price.as_json()} for name, price in self.partitions.items()],
            "accounts": [account.as_json() for account in self.accounts],
            "total": total,
        }


def estimate(
    accounts: Sequence[Known],
    partitions: Sequence[str],
    quota: Quota,
    now: datetime,
    max_messages: int | None = None,
) -> Estimate:
    """The price of these partitions (newest first) for these accounts, one after another.

    A partition costs its list pages, whether anything is missing in it or not, and each missing message one call;
    `max_messages` bounds what is bought of each account, newest partition first.
    """
    found = Estimate({partition: Price() for partition in partitions}, [], AccountPrice())
    clock = _Clock(quota, now)
    for known in accounts:
        account = AccountPrice(
            account_id=known.account_id,
            undated=known.undated,
            is_synced=known.is_synced,
            units_per_minute=quota.units_per_minute(known.sync_units_per_minute),
            measured_units_per_minute=known.measured_units_per_minute,
        )
        left = max_messages
        for partition in partitions:
            price = _price(known.partitions.get(partition, Counts()), quota, account.units_per_minute, left)
            left = None if left is None else left - price.to_buy
            found.partitions[partition].add(price)
            account.add(price)
        account.done_at, account.done_at_measured_pace = clock.spend(account)
        found.total.add(account)
        found.total.undated += account.undated
        found.accounts.append(account)
    found.total.done_at, found.total.done_at_measured_pace = clock.reached()
    return found


def _price(counts: Counts, quota: Quota, units_per_minute: float | None, left: int | None) -> Price:
    pages = max(math.ceil(counts.known / PAGE_SIZE), 1)
    to_buy = counts.missing if left is None else min(counts.missing, left)
    units = pages * quota.profile.costs["messages.list"] + to_buy * quota.profile.costs["messages.get"]
    day = quota.profile.per_project_day
    return Price(
        counts,
        to_buy,
        units,
        None if units_per_minute is None else units / units_per_minute,
        None if day is None else units / day,
    )


class _Clock:
    """Follows a backfill through its accounts: one after another, and no further a day than the day's share."""

    def __init__(self, quota: Quota, now: datetime) -> None:
        self._quota = quota
        self._now = now
        self._units = 0
        self._minutes: float | None = 0.0
        self._measured: float | None = 0.0

    def spend(self, account: AccountPrice) -> tuple[datetime | None, datetime | None]:
        self._units += account.units
        if account.minutes is None or self._minutes is None:
            self._minutes = None
        else:
            self._minutes += account.minutes
        pace = account.measured_units_per_minute
        self._measured = None if not pace or self._measured is None else self._measured + account.units / pace
        return self.reached()

    def reached(self) -> tuple[datetime | None, datetime | None]:
        return self._at(self._minutes), self._at(self._measured)

    def _at(self, minutes: float | None) -> datetime | None:
        if minutes is None:
            return None
        return self._now + timedelta(minutes=max(minutes, self._whole_days() * MINUTES_A_DAY))

    def _whole_days(self) -> int:
        """Days that the share of a day does not reach for."""
        day = self._quota.profile.per_project_day
        if day is None:
            return 0
        share = day * self._quota.share
        today = share if self._quota.left_today is None else self._quota.left_today
        return max(math.ceil((self._units - today) / share), 0)


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="seconds") if moment else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
