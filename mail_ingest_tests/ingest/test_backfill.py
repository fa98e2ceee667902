"""Backfills by date against the local server: edges of windows, imports, days beside months, and what things cost."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest

from mail_ingest.ingest import Engine, SyncOptions
from mail_ingest.ingest.backlog import partition_backlog
from mail_ingest.ingest.estimating import estimate_backfill
from mail_ingest.ingest.pipelines import content_pipeline
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.truth import assert_true_to_gmail, sync

pytestmark = pytest.mark.warehouses("duckdb", long=["postgres"])
on_both = pytest.mark.warehouses("duckdb", "postgres")

#: Moments on both sides of the ends of February 2024, in milliseconds, and at midnights of California.
EDGES = {
    "before": "2024-01-31T23:59:59.999",
    "first": "2024-02-01T00:00:00.000",
    "pacific": "2024-02-01T08:00:00.000",
    "leap": "2024-02-29T12:00:00.000",
    "last": "2024-02-29T23:59:59.999",
    "after": "2024-03-01T00:00:00.000",
    "pacific end": "2024-03-01T07:59:59.999",
}
INSIDE = {"first", "pacific", "leap", "last"}


def _at(box: Mailbox, moment: str | datetime) -> str:
    date = datetime.fromisoformat(moment).replace(tzinfo=UTC) if isinstance(moment, str) else moment
    return box.add(subject="dated", sender="a@b.example", to=ADDRESS, body="x", internal_date=date)


def _stored(engine: Engine) -> list[str]:
    with engine.warehouse.open() as connection:
        rows = connection.execute("select message_id from gmail.messages order by message_id").fetchall()
    return [row[0] for row in rows]


def _filed(engine: Engine) -> dict[str, tuple[str, str | None]]:
    with engine.warehouse.open() as connection:
        rows = connection.execute("select message_id, month, day from gmail.message_months").fetchall()
    return {row[0]: (row[1], row[2]) for row in rows}


@on_both
@pytest.mark.parametrize("bounds", ["inclusive", "exclusive"])
def test_no_millisecond_of_a_month_is_missed_whatever_the_bounds_include(
    bounds: Literal["inclusive", "exclusive"], engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    gmail.date_bounds = bounds
    ids = {name: _at(box, moment) for name, moment in EDGES.items()}
    sync(engine, content=False)
    gmail.reset_ledger()

    run = sync(engine, partitions=("2024-02",))

    stored = set(_stored(engine))
    assert {ids[name] for name in INSIDE} <= stored
    # a few of the neighbours come along, are stored once like any other and filed where they belong
    assert stored <= {ids[name] for name in INSIDE | {"before", "after"}}
    filed = {name: _filed(engine)[ids[name]][0] for name in EDGES if ids[name] in stored}
    assert filed == {
        name: month
        for name, month in {**dict.fromkeys(INSIDE, "2024-02"), "before": "2024-01", "after": "2024-03"}.items()
        if name in filed
    }
    assert partition_backlog(engine, [run], ["2024-02"]) == {}
    assert {price.counts.known for price in estimate_backfill(engine, engine.accounts(), ["2024-02"]).accounts} == {4}
    sync(engine, partitions=("2024-01",))
    sync(engine, partitions=("2024-03",))
    assert gmail.calls("messages.get") == len(EDGES), "something was bought twice, or never"
    assert_true_to_gmail(engine, box)


def test_days_lose_no_millisecond_either(engine: Engine, box: Mailbox) -> None:
    # the night in which clocks change in California
    inside = [
        _at(box, f"2024-03-10T{time}") for time in ("00:00:00.000", "09:59:59.999", "10:00:00.000", "23:59:59.999")
    ]
    outside = [_at(box, moment) for moment in ("2024-03-09T23:58:00", "2024-03-11T00:02:00")]

    sync(engine, partitions=("2024-03-10",))

    assert set(_stored(engine)) == set(inside)
    assert set(_filed(engine).values()) == {("2024-03", "2024-03-10")}
    assert outside[0] not in _filed(engine)


def test_a_message_that_the_neighbour_has_listed_first_is_bought_with_its_own_month(
    engine: Engine, box: Mailbox
) -> None:
    """`message_months` keeps the first listing: February would call itself complete without it."""
    edge = _at(box, "2024-02-01T00:00:00.000")
    sync(engine, partitions=("2024-01",), max_messages=0)
    assert _filed(engine) == {edge: ("2024-01", None)}

    left = sync(engine, partitions=("2024-02",), max_messages=0)
    assert partition_backlog(engine, [left], ["2024-02"]) == {(ADDRESS, "2024-02"): 1}
    sync(engine, partitions=("2024-02",))

    assert _stored(engine) == [edge]
    assert _filed(engine) == {edge: ("2024-02", None)}


@on_both
def test_the_newest_partition_comes_first_whenever_its_mail_was_imported(
    engine: Engine, new_engine: Callable[..., Engine], box: Mailbox, gmail: Simulator
) -> None:
    months = ["2023-12", "2024-01", "2024-02"]
    # the older the date, the later the import: ids run against dates
    ids = {_imported(box, gmail, f"{month}-15T12:00:00"): month for month in reversed(months) for _ in range(4)}
    slow = new_engine(MAIL_INGEST_MAX_IN_FLIGHT="1")  # so that the server sees the order
    sync(slow, content=False)
    gmail.reset_ledger()

    sync(slow, partitions=tuple(months))

    bought = [ids[request.resource] for request in gmail.requests if request.method == "messages.get"]
    assert bought == sorted(ids.values(), reverse=True)


def _imported(box: Mailbox, gmail: Simulator, date: str) -> str:
    """A message that arrives now with a date of the past, as messages.import does."""
    moment = datetime.fromisoformat(date).replace(tzinfo=UTC)
    header = f"{moment:%a, %d %b %Y %H:%M:%S +0000}"
    raw = f"From: a@b.example\r\nTo: {ADDRESS}\r\nDate: {header}\r\nSubject: old\r\n\r\nx\r\n".encode()
    return box.add(raw=raw, internal_date=moment)


@pytest.mark.parametrize("picked_up_by", ["backfill", "sync"])
def test_mail_that_is_imported_into_a_finished_month_is_picked_up(
    picked_up_by: str, engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    _at(box, "2024-02-10T12:00:00")
    sync(engine)
    sync(engine, partitions=("2024-02",))
    imported = _imported(box, gmail, "2024-02-03T08:00:00")
    gmail.reset_ledger()

    sync(engine, partitions=("2024-02",)) if picked_up_by == "backfill" else sync(engine)

    assert imported in _stored(engine)
    assert gmail.calls("messages.get") == 1
    assert_true_to_gmail(engine, box)


@on_both
def test_a_finished_range_costs_its_list_pages_and_the_look_at_the_mailbox(
    engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    gmail.page_limit = 10
    box.generate(45, seed=3, start="2024-01-01", end="2024-04-01")
    months = ("2024-01", "2024-02", "2024-03")
    sync(engine, partitions=months)
    gmail.reset_ledger()

    run = sync(engine, partitions=months)

    pages = gmail.calls("messages.list")
    assert pages >= 5
    assert gmail.units() == 2 + 5 * pages == run.spent.total().units
    assert gmail.calls("messages.get") == 0
    with engine.warehouse.open() as connection:
        recorded = connection.execute("select sum(units) from gmail.sync_runs").fetchone()
    assert recorded is not None
    assert recorded[0] > gmail.units(), "what it has spent is on record"


@pytest.mark.parametrize(("first", "second"), [("month", "day"), ("day", "month")])
def test_what_was_bought_by_months_is_not_bought_again_by_days_nor_the_other_way_round(
    first: str, second: str, new_engine: Callable[..., Engine], engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(40, seed=5, start="2024-02-01", end="2024-03-01")
    partitions = {
        "month": ("2024-02",),
        "day": tuple(f"2024-02-{day:02}" for day in range(1, 30)),
    }
    sync(engine, partitions=partitions[first], max_messages=15)

    run = sync(new_engine(MAIL_INGEST_PARTITIONS=second), partitions=partitions[second])

    assert run.contents_stored == 25
    assert partition_backlog(engine, [run], partitions[second]) == {}
    assert gmail.calls("messages.get") == 40
    filed = _filed(engine)
    assert {month for month, _ in filed.values()} == {"2024-02"}, "months are told as ever"
    dates = {
        key: f"{datetime.fromtimestamp(record.internal_date_ms / 1000, UTC):%Y-%m-%d}"
        for key, record in box.messages().items()
    }
    assert {key: day for key, (_, day) in filed.items()} == dates
    assert_true_to_gmail(engine, box)


@on_both
def test_an_estimate_tells_what_a_backfill_then_costs(engine: Engine, box: Mailbox, gmail: Simulator) -> None:
    box.generate(60, seed=6, start="2024-01-01", end="2024-04-01")
    sync(engine, max_messages=10)
    months = ["2024-03", "2024-02", "2024-01"]

    expected = estimate_backfill(engine, engine.accounts(), months)
    gmail.reset_ledger()
    run = sync(engine, partitions=tuple(months))

    assert run.spent.total().units == expected.total.units + 2 == gmail.units()
    assert (expected.total.counts.known, expected.total.counts.stored) == (60, 10)
    assert expected.total.to_buy == run.contents_stored == 50
    left = estimate_backfill(engine, engine.accounts(), months)
    assert (left.total.to_buy, left.total.units) == (0, 3 * 5)
    for month, price in expected.partitions.items():
        assert price.counts.known == left.partitions[month].counts.stored, "ids told the month beforehand"


def test_a_listing_tells_the_months_of_imported_mail_and_spends_list_pages_only(
    engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    for month in ("2024-01", "2024-02", "2024-02"):
        _imported(box, gmail, f"{month}-15T12:00:00")
    box.generate(5, seed=7, start="2024-02-02", end="2024-02-20")
    sync(engine, content=False)
    gmail.reset_ledger()

    engine.sync(engine.accounts(), SyncOptions(partitions=("2024-02", "2024-01"), list_only=True))

    assert (gmail.calls("messages.list"), gmail.calls("messages.get")) == (2, 0)
    assert gmail.units() == 2 * 5 + 1, "and one unit to see whose mailbox it is"
    found = estimate_backfill(engine, engine.accounts(), ["2024-02", "2024-01"])
    assert [price.counts.known for price in found.partitions.values()] == [7, 1]
    assert found.total.counts.listed == 8


def test_a_listing_of_a_mailbox_that_was_never_synced_prices_it(engine: Engine, box: Mailbox) -> None:
    box.generate(20, seed=8, start="2024-02-01", end="2024-03-01")
    assert not estimate_backfill(engine, engine.accounts(), ["2024-02"]).accounts[0].is_synced

    engine.sync(engine.accounts(), SyncOptions(partitions=("2024-02",), list_only=True))

    assert estimate_backfill(engine, engine.accounts(), ["2024-02"]).total.to_buy == 20


def test_a_listing_of_another_mailbox_is_refused(
    engine: Engine, box: Mailbox, gmail: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADA_TOKEN", gmail.add_account("eve@example.com").token)

    run = engine.sync(engine.accounts(), SyncOptions(partitions=("2024-02",), list_only=True))[0]

    assert run.error_class == "WrongMailboxError"
    assert gmail.calls("messages.list") == 0


def test_failed_messages_are_told_in_their_month(engine: Engine, box: Mailbox, gmail: Simulator) -> None:
    broken, fine = _at(box, "2024-02-10T12:00:00"), _at(box, "2024-02-11T12:00:00")
    gmail.fail_next(status=500, reason="backendError", method="messages.get", message_id=broken, times=-1)

    run = sync(engine, partitions=("2024-02",))

    counts = estimate_backfill(engine, engine.accounts(), ["2024-02"]).total.counts
    assert (counts.known, counts.stored, counts.failed, counts.missing) == (2, 1, 1, 1)
    assert partition_backlog(engine, [run], ["2024-02"]) == {(ADDRESS, "2024-02"): 1}
    assert _stored(engine) == [fine]


def test_a_listing_says_why_it_ended_although_what_it_listed_cannot_be_stored(
    new_engine: Callable[..., Engine], engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    """The account would be asked again at once instead of when its quota is back."""
    _at(box, "2024-02-10T12:00:00")
    sync(engine)
    gmail.fail_next(status=403, reason="dailyLimitExceeded", method="messages.list", after=1)
    load = content_pipeline(engine.registry.get(ADDRESS), is_backfill=True)

    with engine.locks.hold(f"pipeline:{load}"):
        impatient = new_engine(wait_s=0.2)
        [run] = impatient.sync(impatient.accounts(), SyncOptions(partitions=("2024-02", "2024-01"), list_only=True))

    assert (run.outcome, run.error_class, run.partitions_listed) == ("partial", "QuotaError", {})
    assert run.resume_at is not None


def test_a_spent_share_of_the_day_leaves_the_account_to_its_syncs(
    new_engine: Callable[..., Engine], engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(30, seed=9, start="2024-02-01", end="2024-03-01")
    variables = {
        "MAIL_INGEST_QUOTA": "user=none,project=none,day=1000",
        "MAIL_INGEST_QUOTA_SHARE": "0.9",
        "MAIL_INGEST_BACKFILL_SHARE": "0.4",
    }
    process = new_engine(**variables)
    process.sync(process.accounts(), SyncOptions(content=False))

    backfill = process.sync(process.accounts(), SyncOptions(partitions=("2024-02",)))[0]

    assert (backfill.outcome, backfill.error_class) == ("partial", "QuotaError")
    assert 0 < gmail.units() <= 400
    assert process.registry.get(ADDRESS).next_due_at is None
    new = box.add(subject="new", sender="a@b.example", body="x")
    due, skipped = new_engine(**variables).due()
    assert (len(due), skipped) == (1, [])
    later = process.sync(due, SyncOptions(max_messages=1))[0]
    assert later.error == ""
    assert new in _stored(engine)


def test_the_share_of_a_backfill_ends_with_it(new_engine: Callable[..., Engine], engine: Engine, box: Mailbox) -> None:
    box.generate(3, seed=10, start="2024-02-01", end="2024-03-01")
    process = new_engine(MAIL_INGEST_QUOTA="2026", MAIL_INGEST_BACKFILL_SHARE="0.25")
    paces = []

    def sync_and_look(options: SyncOptions) -> None:
        process.sync(process.accounts(), options)
        paces.append(process.governor._lanes[ADDRESS].pace.budget / 6_000)  # type: ignore[attr-defined]

    sync_and_look(SyncOptions(partitions=("2024-02",)))
    sync_and_look(SyncOptions(content=False))

    assert paces == [0.25, 0.8]


@pytest.mark.parametrize(
    ("options", "purpose"),
    [
        (SyncOptions(), "asked"),
        (SyncOptions(triggered_by="push"), "asked"),
        (SyncOptions(priority=3), "scheduled"),
        (SyncOptions(triggered_by="schedule"), "scheduled"),
        (SyncOptions(triggered_by="backfill"), "scheduled"),
        (SyncOptions(partitions=("2024-02",)), "backfill"),
    ],
)
def test_what_somebody_waits_for_may_spend_what_is_kept_for_it(options: SyncOptions, purpose: str) -> None:
    assert options.purpose == purpose


def test_schedules_leave_a_tenth_of_the_day_to_what_a_person_asks_for(
    new_engine: Callable[..., Engine], engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(60, seed=12)
    process = new_engine(MAIL_INGEST_QUOTA="user=none,project=none,day=1000", MAIL_INGEST_QUOTA_SHARE="1.0")

    scheduled = process.sync(process.accounts(), SyncOptions(triggered_by="schedule"))[0]
    spent = gmail.units()
    asked = process.sync(process.accounts([ADDRESS]), SyncOptions(max_messages=2))[0]

    assert (scheduled.outcome, scheduled.error_class) == ("partial", "QuotaError")
    assert 880 < spent <= 900
    assert (asked.error, asked.contents_stored) == ("", 2)
    [project] = process.projects_today(process.accounts([ADDRESS]))
    assert (project.project, project.units, project.left_scheduled) == ("default", gmail.units(), 0)


def test_days_behind_the_last_midnight_are_the_running_day(engine: Engine, box: Mailbox) -> None:
    future = _at(box, datetime.now(UTC) + timedelta(days=400))

    sync(engine, partitions=(f"{datetime.now(UTC):%Y-%m-%d}",))

    assert _stored(engine) == [future]
