"""`mail.threads`: one row per thread with messages left."""

from __future__ import annotations

import pytest

from mail_ingest_tests.sql.databases import Database, at


def test_a_thread_is_summed_up_without_its_deleted_messages(database: Database) -> None:
    database.load(
        message_states=[
            database.state("m1", ["INBOX"]),
            database.state("m2", ["SENT"]),
            database.state("m3", ["INBOX", "UNREAD"]),
            database.state("m4", ["INBOX", "UNREAD"], is_deleted=True, deleted_at=at("2026-03-05 08:00")),
            database.state("m5", ["DRAFT"]),
        ],
        messages=[
            database.message("m1", "2026-03-02 07:00", from_address="Bo@partner.example", attachment_count=1),
            database.message("m2", "2026-03-02 08:00", from_address="ada@example.com", subject="Re: Plan"),
            database.message("m3", "2026-03-02 09:00", from_address="bo@partner.example", subject="Re: Plan"),
            database.message("m4", "2026-03-02 10:00", from_address="cy@partner.example"),
            database.message("m5", "2026-03-02 11:00", from_address="ada@example.com"),
        ],
    )
    database.build()

    assert database.rows(
        "select subject, message_count, unread_count, sent_count, draft_count, first_message_at, last_message_at, "
        "first_message_id, last_message_id, participant_count, participants, status, has_attachments, in_inbox, has_all_content "
        "from mail.threads"
    ) == [
        (
            *("Plan", 4, 1, 1, 1, at("2026-03-02 07:00"), at("2026-03-02 09:00")),
            *("m1", "m3", 2, "ada@example.com, bo@partner.example", "open", True, True, True),
        )
    ]


@pytest.mark.parametrize(
    ("labels", "status"),
    [(["SENT"], "answered"), (["INBOX"], "open"), (["SENT", "INBOX"], "answered"), (["Label_1"], "closed")],
)
def test_the_last_message_decides_whether_a_thread_is_answered(
    database: Database, labels: list[str], status: str
) -> None:
    database.load(
        message_states=[database.state("m1", []), database.state("m2", labels), database.state("m3", ["DRAFT"])],
        messages=[
            database.message("m1", "2026-03-02 07:00"),
            database.message("m2", "2026-03-02 08:00"),
            database.message("m3", "2026-03-02 09:00"),
        ],
    )
    database.build()

    assert database.rows("select status, last_message_id from mail.threads") == [(status, "m2")]


def test_a_thread_whose_content_is_not_stored_has_counts_alone(database: Database) -> None:
    database.load(message_states=[database.state("m1", ["UNREAD"]), database.state("m2", [])])
    database.build()

    assert database.rows("select message_count, unread_count, status, subject, has_all_content from mail.threads") == [
        (2, 1, None, None, False)
    ]


def test_subjects_of_one_conversation_are_normalized_alike(database: Database) -> None:
    normalized = {
        "Plan": "plan",
        "Re: AW: Fwd:  the\t Plan ": "the plan",
        "RE[2]: Plan": "plan",
        "RE: ÄRGER": "ärger",
        # the wide blank of Chinese and Japanese, and one that does not break
        "Re:\u3000計画\u3000\u00a0案\u3000": "計画 案",
        "Regarding: Plan": "regarding: plan",
        "": "",
        None: None,
    }
    database.load(
        message_states=[database.state(f"m{number}", thread_id=f"t{number}") for number in range(len(normalized))],
        messages=[
            database.message(f"m{number}", thread_id=f"t{number}", subject=subject)
            for number, subject in enumerate(normalized)
        ],
    )
    database.build()

    assert dict(database.rows("select subject, normalized_subject from mail.threads")) == normalized
