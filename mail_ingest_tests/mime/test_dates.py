"""The Date header."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mail_ingest.mime import parse
from mail_ingest_tests.mime.builders import message


def date(value: str) -> tuple[datetime | None, tuple[str, ...]]:
    parsed = parse(message(b"", f"Date: {value}", "X: y"))
    assert parsed.date_header == value.strip()
    return parsed.date, parsed.defects


@pytest.mark.parametrize(
    "value",
    [
        "Fri, 5 Jan 2024 10:11:12 +0200",
        "Fri, 05 Jan 2024 08:11:12 -0000",
        "5 Jan 2024 03:11:12 -0500 (EST)",
        "Fri, 5 Jan 2024 08:11:12 GMT",
        "Fri, 5 Jan 2024 03:11:12 EST",
        "Fri,  5  jan  2024  08:11:12  UT",
        "Friday, 5 January 2024 08:11:12 +0000",
        "Fri Jan  5 08:11:12 2024 +0000",
        "Fri, 5 Jan 24 08:11:12 Z",
        "Fri, 05 Jan 2024 08:11:12 +00:00",
        "2024-01-05T08:11:12Z",
        "2024-01-05 10:11:12+02:00",
    ],
)
def test_dates_are_read_in_utc(value):
    assert date(value) == (datetime(2024, 1, 5, 8, 11, 12, tzinfo=UTC), ())


def test_a_leap_second_is_the_second_before():
    assert date("Sat, 31 Dec 2016 23:59:60 +0000") == (datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC), ())


def test_seconds_may_be_missing():
    assert date("5 Jan 2024 08:11 +0000") == (datetime(2024, 1, 5, 8, 11, tzinfo=UTC), ())


@pytest.mark.parametrize(
    "value",
    ["Fri, 5 Jan 2024 08:11:12", "Fri Jan  5 08:11:12 2024", "2024-01-05 08:11:12", "Fri, 5 Jan 2024 08:11:12 XYZ"],
)
def test_a_date_without_a_known_zone_is_read_as_utc_and_noted(value):
    assert date(value) == (datetime(2024, 1, 5, 8, 11, 12, tzinfo=UTC), ("date-without-zone",))


@pytest.mark.parametrize(
    "value",
    [
        "yesterday",
        "",
        "Fri, 32 Jan 2024 08:11:12 +0000",
        "31 Feb 2024 08:11:12 +0000",
        "5 Jan 2024 25:00:00 +0000",
        "5 Jan 99999 08:11:12 +0000",
        "Fri, 5 Foo 2024 08:11:12 +0000",
        "31 Dec 9999 23:59:59 -2300",
        "1" * 5000,
    ],
)
def test_what_is_no_date_is_none_and_noted(value):
    assert date(value) == (None, ("bad-date",))


def test_a_missing_date_is_no_defect():
    parsed = parse(message(b"", "Subject: x"))

    assert (parsed.date, parsed.date_header, parsed.defects) == (None, None, ())
