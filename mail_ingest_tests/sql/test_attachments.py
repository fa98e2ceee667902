"""`mail.attachments`: one row per attachment of a known message."""

from __future__ import annotations

from mail_ingest_tests.sql.databases import ADA, Database, at


def test_an_attachment_is_told_as_it_landed_and_whether_its_message_is_gone(database: Database) -> None:
    attached = {
        "account_id": ADA,
        "message_id": "m1",
        "part_id": "1",
        "file_name": "../Plan.pdf",
        "content_type": "application/pdf",
        "disposition": "attachment",
        "is_inline": False,
        "size_bytes": 9,
        "sha256": "abc",
    }
    shown = {"part_id": "2", "file_name": "logo.png", "disposition": "inline", "is_inline": True}
    inside = {"part_id": "3.1", "file_name": "", "disposition": "", "in_part_id": "3"}
    database.load(
        message_states=[
            database.state("m1"),
            database.state("m2", is_deleted=True, deleted_at=at("2026-03-05 08:00")),
        ],
        attachments=[
            attached,
            {**attached, **shown},
            {**attached, **inside},
            {**attached, "message_id": "m2"},
            # its message has no state
            {**attached, "message_id": "m3"},
        ],
    )

    assert database.rows(
        "select account_id, message_id, part_id, file_name, content_type, disposition, is_inline, size_bytes, sha256, "
        "in_part_id, is_deleted from mail.attachments order by message_id, part_id"
    ) == [
        (ADA, "m1", "1", "../Plan.pdf", "application/pdf", "attachment", False, 9, "abc", None, False),
        (ADA, "m1", "2", "logo.png", "application/pdf", "inline", True, 9, "abc", None, False),
        (ADA, "m1", "3.1", "", "application/pdf", "", False, 9, "abc", "3", False),
        (ADA, "m2", "1", "../Plan.pdf", "application/pdf", "attachment", False, 9, "abc", None, True),
    ]
