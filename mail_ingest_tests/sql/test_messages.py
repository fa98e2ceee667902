"""`mail.messages`: one row per known message, from states and contents."""

from __future__ import annotations

from datetime import date

from mail_ingest_tests.sql.databases import ADA, Database, at

#: The flag that each label raises.
FLAGS = {
    "UNREAD": "is_unread",
    "STARRED": "is_starred",
    "IMPORTANT": "is_important",
    "DRAFT": "is_draft",
    "SENT": "is_sent",
    "INBOX": "in_inbox",
    "TRASH": "in_trash",
    "SPAM": "in_spam",
}
CATEGORIES = ["personal", "social", "promotions", "updates", "forums"]


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


def test_each_label_raises_its_own_flag_and_no_other(database: Database) -> None:
    labels = [*FLAGS, *(f"CATEGORY_{category.upper()}" for category in CATEGORIES)]
    database.load(message_states=[database.state(label, ["Label_1", label]) for label in labels])
    database.build()

    rows = database.rows(f"select message_id, {', '.join(FLAGS.values())} from mail.messages")
    raised = {
        message_id: [name for name, is_raised in zip(FLAGS.values(), flags, strict=True) if is_raised]
        for message_id, *flags in rows
    }
    assert raised == {label: [FLAGS[label]] if label in FLAGS else [] for label in labels}
    told = dict(database.rows("select message_id, category from mail.messages"))
    assert told == {
        **dict.fromkeys(FLAGS),
        **{f"CATEGORY_{category.upper()}": category for category in CATEGORIES},
    }


def test_labels_that_only_look_alike_raise_no_flag(database: Database) -> None:
    alike = [f"X{label}" for label in FLAGS] + [f"{label}_LATER" for label in FLAGS]
    database.load(message_states=[database.state("m1", [*alike, "CATEGORYXFORUMS"])])
    database.build()

    assert database.rows(f"select {', '.join(FLAGS.values())}, category from mail.messages") == [
        (*[False] * len(FLAGS), None)
    ]


def test_the_day_of_a_deletion_is_local_and_the_tier_of_stored_content_is_told(database: Database) -> None:
    # 23:30 UTC is the next day in Berlin
    gone = {"is_deleted": True, "deleted_at": at("2026-03-05 23:30")}
    database.load(
        message_states=[database.state("m1", **gone), database.state("m2"), database.state("m3")],
        messages=[database.message("m1"), database.message("m2", privacy="hashed")],
    )
    database.build()

    assert database.rows(
        "select message_id, is_deleted, deleted_at, deleted_on, privacy from mail.messages order by message_id"
    ) == [
        # a row from before there were tiers has everything
        ("m1", True, at("2026-03-05 23:30"), date(2026, 3, 6), "full"),
        ("m2", False, None, None, "hashed"),
        ("m3", False, None, None, None),
    ]
