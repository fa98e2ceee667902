"""Message-ID, In-Reply-To and References."""

from __future__ import annotations

import pytest

from mail_ingest.mime import parse
from mail_ingest.mime.identifiers import MAX_REFERENCES
from mail_ingest_tests.mime.builders import message


@pytest.mark.parametrize(
    ("value", "expected", "defects"),
    [
        ("<a@b>", "<a@b>", ()),
        ("  <a@b>  (comment)", "<a@b>", ()),
        ("<[hash]@a.b$c>", "<[hash]@a.b$c>", ()),
        ("<a\n b@c>", "<ab@c>", ("bad-message-id",)),
        ("a@b", "a@b", ("bad-message-id",)),
        ("", None, ("bad-message-id",)),
    ],
)
def test_message_ids_have_their_brackets(value, expected, defects):
    parsed = parse(message(b"", f"Message-ID: {value}", "X: y"))

    assert (parsed.rfc822_message_id, parsed.defects) == (expected, defects)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("<a@b> <c@d>", ("<a@b>", "<c@d>")),
        ("<a@b>\n\t<c@d><e@f>", ("<a@b>", "<c@d>", "<e@f>")),
        ("<a@b>, <c@d>", ("<a@b>", "<c@d>")),
        ("<a\n b@c>", ("<ab@c>",)),
        ("a@b c@d", ("a@b", "c@d")),
        ("nothing here", ()),
        ("", ()),
    ],
)
def test_references_are_listed_in_order(value, expected):
    assert parse(message(b"", f"References: {value}", "X: y")).references == expected


def test_repeated_references_headers_are_joined():
    assert parse(message(b"", "References: <a@b>", "References: <c@d>")).references == ("<a@b>", "<c@d>")


def test_the_last_references_are_kept_when_there_are_too_many():
    value = " ".join(f"<{number}@x>" for number in range(MAX_REFERENCES + 3))

    references = parse(message(b"", f"References: {value}", "X: y")).references

    assert len(references) == MAX_REFERENCES
    assert references[-1] == f"<{MAX_REFERENCES + 2}@x>"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("<a@b>", "<a@b>"),
        ("Your message of Monday <a@b>", "<a@b>"),
        ("<a@b> <c@d>", "<a@b>"),
        ("your mail of today", None),
        ("", None),
    ],
)
def test_in_reply_to_is_the_first_identifier(value, expected):
    assert parse(message(b"", f"In-Reply-To: {value}", "X: y")).in_reply_to == expected


def test_what_a_reply_names_equals_what_the_message_is_called():
    first = parse(message(b"", "Message-ID: <a@b>"))
    reply = parse(message(b"", "In-Reply-To: <a@b> (Ann's message)", "References: <z@b> <a@b>"))

    assert first.rfc822_message_id == reply.in_reply_to == reply.references[-1]
