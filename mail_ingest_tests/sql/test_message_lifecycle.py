"""`mail.message_lifecycle`: what became of each message received, and how soon."""

from __future__ import annotations

from mail_ingest_tests.sql.databases import Database, at


def test_the_first_reading_archiving_starring_and_reply_are_timed(database: Database) -> None:
    database.load(
        message_states=[
            database.state("m1", ["STARRED"]),
            database.state("m2", ["SENT"]),
            database.state("m3", ["SENT"]),
        ],
        messages=[
            database.message("m1", "2026-03-02 07:00", from_address="Bo@partner.example"),
            database.message("m2", "2026-03-02 07:30", from_address="ada@example.com"),
            database.message("m3", "2026-03-02 12:00", from_address="ada@example.com"),
        ],
        label_events=[
            database.event("m1", "INBOX", "added", 5, None, "2026-03-02 07:05"),
            database.event("m1", "UNREAD", "added", 5, None, "2026-03-02 07:05"),
            database.event("m1", "UNREAD", "removed", 6, "2026-03-02 07:05", "2026-03-02 08:00"),
            database.event("m1", "STARRED", "added", 7, "2026-03-02 07:05", "2026-03-02 08:00"),
            database.event("m1", "UNREAD", "added", 8, "2026-03-02 08:00", "2026-03-02 09:00"),
            database.event("m1", "UNREAD", "removed", 9, "2026-03-02 09:00", "2026-03-02 10:00"),
            database.event("m1", "INBOX", "removed", 10, "2026-03-02 10:00", "2026-03-02 11:00"),
        ],
    )
    database.build()

    assert database.rows(
        "select message_id, from_address, received_at, read_after, read_at, archived_at, starred_at, replied_at, deleted_at, "
        "seconds_to_read, seconds_to_archive, seconds_to_star, seconds_to_reply from mail.message_lifecycle"
    ) == [
        (
            *("m1", "bo@partner.example", at("2026-03-02 07:00"), at("2026-03-02 07:05"), at("2026-03-02 08:00")),
            *(at("2026-03-02 11:00"), at("2026-03-02 08:00"), at("2026-03-02 07:30"), None),
            *(3600, 14400, 3600, 1800),
        )
    ]


def test_going_into_the_trash_or_for_good_is_neither_reading_nor_archiving(database: Database) -> None:
    deleted = database.state("m2", ["INBOX", "UNREAD"], is_deleted=True, deleted_at=at("2026-03-03 08:00"))
    database.load(
        message_states=[database.state("m1", ["TRASH"]), deleted],
        messages=[database.message("m1"), database.message("m2")],
        label_events=[
            database.event("m1", "INBOX", "removed", 5, "2026-03-02 08:00", "2026-03-02 09:00"),
            database.event("m1", "TRASH", "added", 6, "2026-03-02 08:00", "2026-03-02 09:00"),
        ],
    )
    database.build()

    assert database.rows(
        "select message_id, read_at, archived_at, deleted_at from mail.message_lifecycle order by message_id"
    ) == [("m1", None, None, None), ("m2", None, None, at("2026-03-03 08:00"))]


def test_a_message_out_of_the_trash_again_is_archived_when_it_leaves_the_inbox_later(database: Database) -> None:
    database.load(
        message_states=[database.state("m1", [])],
        messages=[database.message("m1")],
        label_events=[
            database.event("m1", "INBOX", "removed", 5, None, "2026-03-02 09:00"),
            database.event("m1", "TRASH", "added", 5, None, "2026-03-02 09:00"),
            database.event("m1", "TRASH", "removed", 6, None, "2026-03-02 10:00"),
            database.event("m1", "INBOX", "added", 6, None, "2026-03-02 10:00"),
            database.event("m1", "INBOX", "removed", 7, None, "2026-03-02 11:00"),
        ],
    )
    database.build()

    assert database.rows("select archived_at from mail.message_lifecycle") == [(at("2026-03-02 11:00"),)]


def test_sent_mail_drafts_and_unknown_content_have_no_lifecycle(database: Database) -> None:
    database.load(
        message_states=[
            database.state("m1", ["SENT"]),
            database.state("m2", ["DRAFT"]),
            database.state("m3", ["INBOX"]),
        ],
        messages=[database.message("m1"), database.message("m2")],
    )
    database.build()

    assert database.rows("select message_id from mail.message_lifecycle") == []


def test_a_reply_that_lands_later_renews_the_message_it_answers(database: Database) -> None:
    database.load(message_states=[database.state("m1")], messages=[database.message("m1", "2026-03-02 07:00")])
    database.build()
    database.load(
        message_states=[database.state("m2", ["SENT"])], messages=[database.message("m2", "2026-03-02 07:10")]
    )
    build = database.build()

    assert database.rows("select seconds_to_reply from mail.message_lifecycle") == [(600,)]
    assert build.full == ()
