"""`mail.label_intervals`: stretches in which a message carried a label, out of events whose times are bounds."""

from __future__ import annotations

from mail_ingest_tests.sql.databases import Database, at

COLUMNS = "number, started_after, started_at, start_source, ended_after, ended_at, end_source, is_open from mail.label_intervals"


def test_a_label_that_came_and_went_is_bounded_by_the_observations(database: Database) -> None:
    database.load(
        message_states=[database.state("m1", [])],
        label_events=[
            database.event("m1", "UNREAD", "added", 5, "2026-03-02 08:00", "2026-03-02 09:00"),
            database.event("m1", "UNREAD", "removed", 7, "2026-03-02 10:00", "2026-03-02 11:00"),
        ],
    )
    database.build()

    assert database.rows(f"select label_id, thread_id, {COLUMNS}") == [
        (
            *("UNREAD", "t1", 1, at("2026-03-02 08:00"), at("2026-03-02 09:00"), "history"),
            *(at("2026-03-02 10:00"), at("2026-03-02 11:00"), "history", False),
        )
    ]


def test_a_change_that_is_told_twice_counts_once(database: Database) -> None:
    database.load(
        message_states=[database.state("m1", ["STARRED"])],
        label_events=[
            database.event("m1", "STARRED", "added", 5, None, "2026-03-02 09:00"),
            database.event("m1", "STARRED", "added", 6, "2026-03-02 09:00", "2026-03-02 10:00"),
        ],
    )
    database.build()

    assert database.rows(f"select {COLUMNS}") == [(1, None, at("2026-03-02 09:00"), "history", None, None, None, True)]


def test_a_label_first_seen_going_was_there_at_first_sight(database: Database) -> None:
    database.load(
        message_states=[database.state("m1", [], first_seen_at=at("2026-03-01 08:00"))],
        label_events=[database.event("m1", "INBOX", "removed", 5, "2026-03-02 08:00", "2026-03-02 09:00")],
    )
    database.build()

    assert database.rows(f"select {COLUMNS}") == [
        (
            1,
            None,
            at("2026-03-01 08:00"),
            "first_seen",
            at("2026-03-02 08:00"),
            at("2026-03-02 09:00"),
            "history",
            False,
        )
    ]


def test_a_label_of_a_swept_message_is_open_since_first_sight(database: Database) -> None:
    database.load(message_states=[database.state("m1", ["INBOX"], first_seen_at=at("2026-03-01 08:00"))])
    database.build()

    assert database.rows(f"select {COLUMNS}") == [
        (1, None, at("2026-03-01 08:00"), "first_seen", None, None, None, True)
    ]


def test_a_sweep_closes_what_history_missed(database: Database) -> None:
    database.load(
        message_states=[database.state("m1", [])],
        label_events=[
            database.event("m1", "INBOX", "added", 5, None, "2026-03-02 09:00"),
            database.event("m1", "INBOX", "removed", 99, "2026-03-02 09:00", "2026-03-20 09:00", source="sweep"),
        ],
    )
    database.build()

    assert database.rows(f"select {COLUMNS}") == [
        (1, None, at("2026-03-02 09:00"), "history", at("2026-03-02 09:00"), at("2026-03-20 09:00"), "sweep", False)
    ]


def test_the_state_closes_and_opens_what_no_event_tells(database: Database) -> None:
    database.load(
        message_states=[database.state("m1", ["STARRED"], changed_at=at("2026-03-09 08:00"))],
        label_events=[
            database.event("m1", "INBOX", "added", 5, None, "2026-03-02 09:00"),
            database.event("m1", "STARRED", "added", 5, None, "2026-03-02 09:00"),
            database.event("m1", "STARRED", "removed", 6, "2026-03-02 09:00", "2026-03-03 09:00"),
        ],
    )
    database.build()

    assert database.rows(f"select label_id, {COLUMNS} order by 1, 2") == [
        (
            *("INBOX", 1, None, at("2026-03-02 09:00"), "history"),
            *(at("2026-03-02 09:00"), at("2026-03-09 08:00"), "state", False),
        ),
        (
            *("STARRED", 1, None, at("2026-03-02 09:00"), "history"),
            *(at("2026-03-02 09:00"), at("2026-03-03 09:00"), "history", False),
        ),
        ("STARRED", 2, at("2026-03-03 09:00"), at("2026-03-09 08:00"), "state", None, None, None, True),
    ]


def test_a_deletion_ends_every_label(database: Database) -> None:
    database.load(
        message_states=[database.state("m1", ["INBOX"], is_deleted=True, deleted_at=at("2026-03-09 08:00"))],
        label_events=[database.event("m1", "", "removed", 9, "2026-03-09 07:00", "2026-03-09 08:00")],
    )
    database.build()

    assert database.rows(f"select label_id, {COLUMNS}") == [
        (
            *("INBOX", 1, None, at("2026-03-02 08:00"), "first_seen"),
            *(at("2026-03-09 07:00"), at("2026-03-09 08:00"), "deletion", False),
        )
    ]


def test_changes_between_two_observations_keep_the_order_of_history(database: Database) -> None:
    same = ("2026-03-02 08:00", "2026-03-02 09:00")
    database.load(
        message_states=[database.state("m1", ["STARRED"])],
        label_events=[
            database.event("m1", "STARRED", "added", 12, *same),
            database.event("m1", "STARRED", "removed", 9, *same),
            database.event("m1", "STARRED", "added", 5, *same),
        ],
    )
    database.build()

    assert database.rows("select number, started_at, ended_at from mail.label_intervals order by number") == [
        (1, at("2026-03-02 09:00"), at("2026-03-02 09:00")),
        (2, at("2026-03-02 09:00"), None),
    ]


def test_events_that_land_before_their_states_wait_for_them(database: Database) -> None:
    database.load(label_events=[database.event("m1", "INBOX", "added", 5, None, "2026-03-02 09:00")])
    database.build()
    assert database.rows("select * from mail.label_intervals") == []

    database.load(message_states=[database.state("m1", ["INBOX"])])
    database.build()
    assert database.rows("select label_id, start_source from mail.label_intervals") == [("INBOX", "history")]


def test_events_that_were_taken_back_are_forgotten(database: Database) -> None:
    database.load(
        message_states=[database.state("m1", ["INBOX"])],
        label_events=[database.event("m1", "INBOX", "removed", 9, None, "2026-03-03 09:00", source="sweep")],
    )
    database.build()
    database.connection.execute("delete from gmail.label_events")
    database.build()

    assert database.rows("select start_source, is_open from mail.label_intervals") == [("first_seen", True)]
