"""Months and days as windows: their queries, what they hold, and ranges of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mail_ingest.errors import ConfigError
from mail_ingest.ingest.windows import OVERLAP_S, clamped, following, kind_of, window_of, window_query, windows_between

NOW = datetime(2026, 5, 17, 13, 30, tzinfo=UTC)
FIRST = "2004-04"


def _epoch(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("partition", "start", "end"),
    [
        ("2024-02", "2024-02-01", "2024-03-01"),  # a leap year
        ("2023-12", "2023-12-01", "2024-01-01"),
        ("2024-03", "2024-03-01", "2024-04-01"),  # clocks change in it, on both sides of the Atlantic
        ("2024-03-10", "2024-03-10", "2024-03-11"),  # a day of 23 hours in California
        ("2024-02-29", "2024-02-29", "2024-03-01"),
    ],
)
def test_bounds_are_epoch_seconds_in_utc_wider_than_the_window(partition: str, start: str, end: str) -> None:
    assert window_query(partition, FIRST, NOW) == (
        f"after:{_epoch(start) - OVERLAP_S} before:{_epoch(end) + OVERLAP_S}"
    )
    assert OVERLAP_S >= 1


@pytest.mark.parametrize(
    ("partition", "bounds"),
    [("2004-04", "before"), ("2004-04-01", "before"), ("2026-05", "after"), ("2026-05-17", "after")],
)
def test_the_first_and_the_running_window_are_open(partition: str, bounds: str) -> None:
    query = window_query(partition, FIRST, NOW)

    assert query.startswith(f"{bounds}:")
    assert " " not in query


def test_the_only_window_takes_everything() -> None:
    assert window_query("2026-05", "2026-05", NOW) == ""


@pytest.mark.parametrize(
    ("moment", "month", "day"),
    [
        ("2024-02-29T23:59:59.999", "2024-02", "2024-02-29"),
        ("2024-03-01T00:00:00.000", "2024-03", "2024-03-01"),
        ("1970-01-01T00:00:01", "2004-04", "2004-04-01"),
        ("2199-01-01T00:00:00", "2026-05", "2026-05-17"),
    ],
)
def test_an_internal_date_belongs_to_one_window(moment: str, month: str, day: str) -> None:
    date = datetime.fromisoformat(moment).replace(tzinfo=UTC)

    assert window_of(date, "month", FIRST, NOW) == clamped(month, FIRST, NOW) == month
    assert window_of(date, "day", FIRST, NOW) == clamped(day, FIRST, NOW) == day


def test_what_follows_a_window_is_of_its_kind() -> None:
    assert [following(each) for each in ("2023-12", "2024-02", "2024-02-29", "2023-12-31")] == [
        "2024-01",
        "2024-03",
        "2024-03-01",
        "2024-01-01",
    ]
    assert (kind_of("2024-02"), kind_of("2024-02-01")) == ("month", "day")


def test_ranges_go_over_years_newest_first() -> None:
    assert windows_between("2023-11", "2024-02", "month", FIRST, NOW) == ["2024-02", "2024-01", "2023-12", "2023-11"]
    assert windows_between("2023-12-30", "2024-01-02", "month", FIRST, NOW) == [
        "2024-01-02",
        "2024-01-01",
        "2023-12-31",
        "2023-12-30",
    ]


def test_whole_months_within_days_are_listed_as_months() -> None:
    assert windows_between("2024-01-30", "2024-03-01", "month", FIRST, NOW) == [
        "2024-03-01",
        "2024-02",
        "2024-01-31",
        "2024-01-30",
    ]


def test_days_are_days_where_partitions_are() -> None:
    days = windows_between("2024-02", "2024-02", "day", FIRST, NOW)

    assert (len(days), days[0], days[-1]) == (29, "2024-02-29", "2024-02-01")


def test_a_range_ends_today_and_begins_with_the_first_month() -> None:
    assert windows_between("2026-04", "2030-01", "month", FIRST, NOW) == ["2026-05", "2026-04"]
    assert windows_between("2026-05-16", "2026-05-20", "month", FIRST, NOW) == ["2026-05-17", "2026-05-16"]
    assert windows_between("1999-01", "2004-05", "month", FIRST, NOW) == ["2004-05", "2004-04"]
    assert windows_between("2004-04-01", "2026-05-17", "day", FIRST, NOW)[-1] == "2004-04-01"


@pytest.mark.parametrize(
    ("first", "last"), [("2023-01", "2024-02-10"), ("2004-04", "2026-05"), ("2026-05-01", "2026-05-17")]
)
def test_a_range_holds_every_day_once(first: str, last: str) -> None:
    days: list[str] = []
    for partition in windows_between(first, last, "month", FIRST, NOW):
        day = datetime.fromisoformat(f"{partition}-01"[:10])
        while f"{day:%Y-%m-%d}".startswith(partition) and day.date() <= NOW.date():
            days.append(f"{day:%Y-%m-%d}")
            day += timedelta(days=1)

    assert sorted(days) == sorted(windows_between(first, last, "day", FIRST, NOW))


@pytest.mark.parametrize(
    ("first", "last", "says"),
    [
        ("2024-06", "2024-05", "--from 2024-06 is after --to 2024-05"),
        ("2024-6", "2024-07", "'2024-6' is neither month nor day"),
        ("2024-02-30", "2024-07", "'2024-02-30' is neither month nor day"),
        ("2024-01", "9999-12", "'9999-12' is neither month nor day"),
        ("June", "2024-07", "they are written like 2026-05 and 2026-05-03"),
        ("2027-01", "2027-02", "there is nothing from 2027-01 to 2027-02"),
        ("1999-01", "1999-02", "content begins with 2004-04"),
    ],
)
def test_a_range_that_is_none_says_why(first: str, last: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        windows_between(first, last, "month", FIRST, NOW)
