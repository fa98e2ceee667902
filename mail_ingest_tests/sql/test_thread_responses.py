"""`mail.thread_responses`, and the calendar of business hours that it counts with (Mon-Fri 09:00-17:00 Europe/Berlin)."""

from __future__ import annotations

import datetime as dt

import pytest

from mail_ingest_tests.sql.databases import ADA, Database, at


def _thread(database: Database, *messages: tuple[str, str, str]) -> None:
    """Messages by moment, author and labels, m1 onwards."""
    database.load(
        message_states=[
            database.state(f"m{number}", labels.split()) for number, (_, _, labels) in enumerate(messages, 1)
        ],
        messages=[
            database.message(f"m{number}", moment, from_address=author)
            for number, (moment, author, _) in enumerate(messages, 1)
        ],
    )
    database.build()


def test_each_change_of_author_is_a_reply_to_the_first_message_that_waits(database: Database) -> None:
    _thread(
        database,
        ("2026-03-02 08:00", "bo@partner.example", "INBOX"),
        ("2026-03-02 08:30", "BO@partner.example", "INBOX"),
        ("2026-03-02 09:00", "alias@example.com", "SENT"),
        ("2026-03-02 09:10", "ada@example.com", "DRAFT"),
        ("2026-03-02 10:00", "cy@partner.example", "INBOX"),
    )

    assert database.rows(
        "select message_id, number, is_first_response, responder_address, is_sent, to_message_id, to_address, "
        "waiting_since, responded_at, response_seconds from mail.thread_responses order by number"
    ) == [
        (
            *("m3", 1, True, ADA, True, "m1", "bo@partner.example"),
            *(at("2026-03-02 08:00"), at("2026-03-02 09:00"), 3600),
        ),
        (
            *("m5", 2, False, "cy@partner.example", False, "m3", ADA),
            *(at("2026-03-02 09:00"), at("2026-03-02 10:00"), 3600),
        ),
    ]


@pytest.mark.parametrize(
    ("asked", "answered", "business_seconds"),
    [
        # Monday 2 March 2026; Berlin is an hour ahead of UTC
        ("2026-03-02 08:00", "2026-03-02 09:30", 5400),  # within hours
        ("2026-03-02 05:00", "2026-03-02 09:00", 3600),  # asked before they begin, at 9:00
        ("2026-03-02 15:00", "2026-03-02 20:00", 3600),  # answered after they end, at 17:00
        ("2026-03-02 15:30", "2026-03-03 08:30", 3600),  # over night
        ("2026-03-06 15:00", "2026-03-09 09:00", 7200),  # over a weekend
        ("2026-03-07 10:00", "2026-03-08 10:00", 0),  # on it
        ("2026-03-02 23:30", "2026-03-03 08:00", 0),  # Tuesday already, in Berlin
        ("2026-03-27 15:00", "2026-03-30 08:00", 7200),  # clocks go forward on the 29th: 8:00 UTC is 10:00
        ("2026-10-23 14:00", "2026-10-26 09:00", 7200),  # clocks go back on the 25th: 9:00 UTC is 10:00
        ("2025-03-03 08:00", "2026-03-02 08:00", 260 * 8 * 3600),  # 52 weeks
    ],
)
def test_business_hours_are_counted_in_local_time(
    database: Database, asked: str, answered: str, business_seconds: int
) -> None:
    _thread(database, (asked, "bo@partner.example", "INBOX"), (answered, ADA, "SENT"))

    assert database.rows("select business_seconds from mail.thread_responses") == [(business_seconds,)]


def test_holidays_have_no_business_hours(database: Database) -> None:
    _thread(database, ("2026-03-02 15:00", "bo@partner.example", "INBOX"), ("2026-03-04 09:00", ADA, "SENT"))
    assert database.rows("select business_seconds from mail.thread_responses") == [(3600 + 8 * 3600 + 3600,)]

    database.connection.execute("insert into mail_config.holidays values (?, ?)", [dt.date(2026, 3, 3), "Fair"])
    build = database.build()
    assert database.rows("select business_seconds from mail.thread_responses") == [(3600 + 3600,)]
    assert {"mail.business_calendar", "mail.thread_responses"} <= set(build.full)
    assert "mail.messages" not in build.full


def test_mail_from_before_the_calendar_has_no_business_hours(database: Database) -> None:
    _thread(database, ("1989-12-31 15:00", "bo@partner.example", "INBOX"), ("2026-03-02 08:00", ADA, "SENT"))

    [(seconds, business_seconds)] = database.rows(
        "select response_seconds, business_seconds from mail.thread_responses"
    )
    assert seconds > 36 * 365 * 86400
    assert business_seconds is None


def test_other_hours_and_weekdays_can_be_set(database: Database) -> None:
    database.configure("Sat,Sun 08:30-12:00 Asia/Tokyo")
    _thread(database, ("2026-03-06 08:00", "bo@partner.example", "INBOX"), ("2026-03-09 08:00", ADA, "SENT"))

    assert database.rows("select business_seconds from mail.thread_responses") == [(2 * 3.5 * 3600,)]


def test_the_calendar_has_one_row_per_day_and_true_hours(database: Database) -> None:
    assert database.rows(
        "select count(*), min(cast(day as varchar)), max(cast(day as varchar)) from mail.business_calendar"
    ) == [(25933, "1990-01-01", "2060-12-31")]
    assert database.rows(
        "select is_business_day, opens_at, closes_at from mail.business_calendar "
        "where cast(day as varchar) in ('2026-03-27', '2026-03-28', '2026-03-30') order by day"
    ) == [
        (True, at("2026-03-27 08:00"), at("2026-03-27 16:00")),
        (False, at("2026-03-27 23:00"), at("2026-03-27 23:00")),
        (True, at("2026-03-30 07:00"), at("2026-03-30 15:00")),
    ]
