"""`mail.message_labels` and `mail.labels`."""

from __future__ import annotations

from mail_ingest_tests.sql.databases import ADA, Database, at


def _label(label_id: str, name: str, **special: object) -> dict[str, object]:
    return {"account_id": ADA, "label_id": label_id, "name": name, "type": "user", **special}


def test_each_label_of_a_message_is_a_row_with_its_name(database: Database) -> None:
    database.load(
        message_states=[
            database.state("m1", ["INBOX", "Label_1", "UNREAD"]),
            database.state("m2", []),
            database.state("m3", ["Label_1", "odd, id"], is_deleted=True, deleted_at=at("2026-03-05 08:00")),
        ],
        labels=[_label("INBOX", "INBOX"), _label("Label_1", "Work/Plans")],
    )
    database.build()

    assert database.rows(
        "select message_id, label_id, label_name, is_unread, is_deleted from mail.message_labels order by 1, 2"
    ) == [
        ("m1", "INBOX", "INBOX", True, False),
        ("m1", "Label_1", "Work/Plans", True, False),
        ("m1", "UNREAD", None, True, False),
        ("m3", "Label_1", "Work/Plans", False, True),
        ("m3", "odd, id", None, False, True),
    ]


def test_a_renamed_label_has_its_new_name_on_messages_that_did_not_change(database: Database) -> None:
    database.load(message_states=[database.state("m1", ["Label_1"])], labels=[_label("Label_1", "Old")])
    database.build()
    database.load(labels=[_label("Label_1", "New")])
    build = database.build()

    assert database.rows("select label_name from mail.message_labels") == [("New",)]
    assert database.rows("select name, message_count from mail.labels") == [("New", 1)]
    assert build.full == ()
    assert "mail.messages" not in build.changed


def test_labels_count_live_messages_and_unread_ones(database: Database) -> None:
    database.load(
        message_states=[
            database.state("m1", ["Label_1", "UNREAD"]),
            database.state("m2", ["Label_1"]),
            database.state("m3", ["Label_1", "UNREAD"], is_deleted=True, deleted_at=at("2026-03-05 08:00")),
        ],
        labels=[_label("Label_1", "Work"), _label("Label_2", "Gone", deleted_at=at("2026-03-04 08:00"))],
    )
    database.build()
    assert database.rows("select label_id, message_count, unread_count, deleted_at from mail.labels order by 1") == [
        ("Label_1", 2, 1, None),
        ("Label_2", 0, 0, at("2026-03-04 08:00")),
    ]

    database.load(message_states=[database.state("m1", ["Label_2"], history_id=2)])
    database.build()
    assert database.rows("select label_id, message_count, unread_count from mail.labels order by 1") == [
        ("Label_1", 1, 0),
        ("Label_2", 1, 0),
    ]
