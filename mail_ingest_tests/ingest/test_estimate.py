"""The price of a backfill, worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from mail_ingest.gmail import parse_quota
from mail_ingest.ingest.estimate import Counts, Known, Quota, estimate

NOW = datetime(2026, 5, 17, 12, tzinfo=UTC)
ADA, BOB = "ada@example.com", "bob@example.com"
QUOTA = Quota(parse_quota("2026"), share=0.5)  # 3,000 units a minute and mailbox, 40 million a day


def _missing(count: int, **more: int) -> Counts:
    return Counts(known=count, missing=count, **more)


def test_a_partition_costs_its_list_pages_and_each_missing_message() -> None:
    counts = Counts(known=1_001, stored=900, failed=3, missing=101, listed=40)

    found = estimate([Known(ADA, {"2024-02": counts})], ["2024-02", "2024-01"], QUOTA, NOW)

    february, january = found.partitions.values()
    assert (february.to_buy, february.units) == (101, 3 * 5 + 101 * 20)
    assert february.minutes == february.units / 3_000
    assert february.share_of_day == february.units / 80_000_000
    assert (january.to_buy, january.units) == (0, 5), "an empty partition costs a page"
    assert found.total.units == february.units + january.units
    assert found.total.counts == counts
    assert found.accounts[0].done_at == NOW + timedelta(minutes=found.total.units / 3_000)


def test_other_syncs_of_the_account_take_their_part_of_its_pace() -> None:
    account = Known(ADA, {"2024-02": _missing(100)}, sync_units_per_minute=1_000.0)

    assert estimate([account], ["2024-02"], QUOTA, NOW).partitions["2024-02"].minutes == 2_005 / 2_000


def test_accounts_are_done_one_after_another_at_both_paces() -> None:
    accounts = [
        Known(ADA, {"2024-02": _missing(150)}, measured_units_per_minute=601.0),
        Known(BOB, {"2024-02": _missing(300)}, measured_units_per_minute=1_201.0),
    ]

    found = estimate(accounts, ["2024-02"], QUOTA, NOW)

    ada, bob = found.accounts
    assert found.partitions["2024-02"].to_buy == 450
    assert (ada.done_at_measured_pace, bob.done_at_measured_pace) == (
        NOW + timedelta(minutes=5),
        NOW + timedelta(minutes=10),
    )
    assert ada.done_at is not None
    assert bob.done_at == ada.done_at + timedelta(minutes=6_005 / 3_000)
    assert (found.total.done_at, found.total.done_at_measured_pace) == (bob.done_at, bob.done_at_measured_pace)


def test_nothing_is_made_up_where_no_pace_was_measured_or_nothing_is_limited() -> None:
    unlimited = Quota(parse_quota("off"), share=0.5)

    account = estimate([Known(ADA, {"2024-02": _missing(10)})], ["2024-02"], unlimited, NOW).accounts[0]

    assert (account.minutes, account.done_at, account.done_at_measured_pace, account.share_of_day) == (None,) * 4
    assert account.units == 205


def test_what_a_day_does_not_hold_waits_for_the_next_ones() -> None:
    million = Known(ADA, {"2024-02": _missing(1_000_000)})  # 20.01 million units: a page for 500 ids beside them
    roomy = Quota(parse_quota("user=1000000,project=1000000,day=10000000"), share=0.5, left_today=1_000_000)

    found = estimate([million], ["2024-02"], roomy, NOW)

    # 1 million today, then 5 million a day: 4 days for the rest
    assert found.total.done_at == NOW + timedelta(days=4)
    assert found.total.share_of_day == 20_010_000 / 10_000_000


def test_a_limit_buys_the_newest_partitions_of_each_account() -> None:
    partitions = {"2024-03": _missing(30), "2024-02": _missing(30), "2024-01": _missing(30)}

    found = estimate(
        [Known(ADA, partitions), Known(BOB, partitions)], sorted(partitions, reverse=True), QUOTA, NOW, max_messages=40
    )

    assert [price.to_buy for price in found.partitions.values()] == [60, 20, 0]
    assert [account.to_buy for account in found.accounts] == [40, 40]


def test_what_has_no_date_is_told_apart_and_not_priced() -> None:
    found = estimate([Known(ADA, {}, undated=70), Known(BOB, {}, is_synced=False)], ["2024-02"], QUOTA, NOW)

    document = found.as_json()
    assert (found.total.undated, found.total.to_buy, found.total.units) == (70, 0, 10)
    assert [(each["undated"], each["is_synced"]) for each in document["accounts"]] == [(70, True), (0, False)]  # type: ignore[index,attr-defined]
