"""`mail.messages`: one row per known message, from states and contents."""

from __future__ import annotations

from datetime import date

from mail_ingest_tests.sql.databases import ADA, Database, at


def test_a_message_without_content_has_its_flags_and_nothing_else(database: Database) -> None:
    database.load(message_states=[database.state("m1", ["INBOX", "UNREAD", "CATEGORY_UPDATES"])])
    database.build()

    assert database.rows(
        "select account_id, message_id, thread_id, is_unread, in_inbox, is_sent, category, has_content, subject, received_on, "
        "has_attachments from mail.messages"
    ) == [(ADA, "m1", "t1", True, True, False, "updates", False, None, None, None)]


def test_content_and_its_local_day_are_told_once_it_is_stored(database: Database) -> None:
    database.load(message_states=[database.state("m1", [])])
    database.build()
    # 23:30 UTC is the next day in Berlin
    database.load(messages=[database.message("m1", "2026-03-02 23:30", subject="Plan", attachment_count=2)])
    build = database.build()

    assert database.rows(
        "select internal_date, received_on, subject, has_attachments, has_content from mail.messages"
    ) == [(at("2026-03-02 23:30"), date(2026, 3, 3), "Plan", True, True)]
    assert build.full == ()
    assert build.changed["mail.messages"] == 1


def test_labels_that_only_look_alike_raise_no_flag(database: Database) -> None:
    database.load(message_states=[database.state("m1", ["UNREAD_LATER", "XSENT", "CATEGORYXFORUMS"])])
    database.build()

    assert database.rows("select is_unread, is_sent, category from mail.messages") == [(False, False, None)]
