"""`mail.daily_mailbox`: per account and day what came, went and was left unread."""

from __future__ import annotations

from mail_ingest_tests.sql.databases import Database, at

COLUMNS = "received_count, sent_count, read_count, archived_count, deleted_count, unread_count"


def _days(database: Database) -> dict[str, tuple[int, ...]]:
    rows = database.rows(f"select cast(day as varchar), {COLUMNS} from mail.daily_mailbox order by day")
    return {row[0]: row[1:] for row in rows}


def test_days_are_counted_from_the_first_mail_to_the_last_thing_that_happened(database: Database) -> None:
    database.load(
        message_states=[
            database.state("m1", []),
            database.state("m2", ["INBOX", "UNREAD"]),
            database.state("m3", ["SENT"]),
            database.state("m4", ["DRAFT"]),
            database.state("m5", ["UNREAD"], is_deleted=True, deleted_at=at("2026-03-05 08:00")),
        ],
        messages=[
            database.message("m1", "2026-03-02 07:00"),
            # 23:30 UTC is the 4th in Berlin
            database.message("m2", "2026-03-03 23:30"),
            database.message("m3", "2026-03-02 09:00"),
            database.message("m4", "2026-03-02 10:00"),
            database.message("m5", "2026-03-02 11:00"),
        ],
        label_events=[
            database.event("m1", "INBOX", "added", 1, None, "2026-03-02 12:00"),
            database.event("m1", "UNREAD", "added", 1, None, "2026-03-02 12:00"),
            database.event("m5", "UNREAD", "added", 2, None, "2026-03-02 12:00"),
            database.event("m1", "UNREAD", "removed", 3, "2026-03-02 12:00", "2026-03-04 12:00"),
            database.event("m2", "UNREAD", "added", 4, "2026-03-02 12:00", "2026-03-04 12:00"),
            database.event("m1", "INBOX", "removed", 5, "2026-03-04 12:00", "2026-03-06 12:00"),
        ],
    )
    database.build()

    assert _days(database) == {
        "2026-03-02": (2, 1, 0, 0, 0, 2),
        "2026-03-03": (0, 0, 0, 0, 0, 2),
        "2026-03-04": (1, 0, 1, 0, 0, 2),
        "2026-03-05": (0, 0, 0, 0, 1, 1),
        "2026-03-06": (0, 0, 0, 1, 0, 1),
    }


def test_accounts_are_counted_apart(database: Database) -> None:
    other = {"account_id": "grace@other.example"}
    database.load(
        message_states=[database.state("m1", []), database.state("m1", [], **other)],
        messages=[database.message("m1", "2026-03-02 07:00"), database.message("m1", "2026-03-09 07:00", **other)],
    )
    database.build()

    assert database.rows(
        "select account_id, cast(day as varchar), received_count from mail.daily_mailbox order by 1"
    ) == [
        ("ada@example.com", "2026-03-02", 1),
        ("grace@other.example", "2026-03-09", 1),
    ]


def test_a_message_that_moves_to_another_day_leaves_the_old_one(database: Database) -> None:
    database.load(message_states=[database.state("m1", [])], messages=[database.message("m1", "2026-03-02 07:00")])
    database.build()
    database.load(messages=[database.message("m1", "2026-03-03 07:00")])
    database.build()

    assert {day: counts[0] for day, counts in _days(database).items()} == {"2026-03-03": 1}
