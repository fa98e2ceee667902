"""What a parsed message is to the people who use it."""

from __future__ import annotations

import pytest

from mail_ingest.mime import DEFECTS, Address, html_to_text, parse
from mail_ingest_tests.mime.builders import attachment, message, multipart, part

SECRETS = ("Quarterly", "figures", "ann@example.com", "Ann", "bob@example.com", "salary.pdf")


def parsed_secret():
    return parse(
        multipart(
            "mixed",
            [part("text/plain", b"The figures are attached.\n"), attachment("salary.pdf", b"figures")],
            "From: Ann <ann@example.com>",
            "To: Staff: bob@example.com;",
            "Subject: Quarterly figures",
        )
    )


def test_repr_shows_no_subject_body_address_or_file_name():
    parsed = parsed_secret()

    shown = repr((parsed, parsed.from_, parsed.to, parsed.attachments)) + str(parsed) + str(parsed.to[0])

    assert parsed.subject == "Quarterly figures"
    assert parsed.to == (Address("", "bob@example.com", "Staff"),)
    assert [secret for secret in SECRETS if secret in shown] == []


def test_values_are_frozen():
    parsed = parsed_secret()

    for value, name in ((parsed, "subject"), (parsed.from_[0], "name"), (parsed.attachments[0], "content")):
        with pytest.raises(AttributeError):
            setattr(value, name, "other")


def test_headers_are_found_in_any_case_and_decoded():
    parsed = parse(message(b"", "X-NOTE: =?utf-8?q?caf=C3=A9?=", "x-note: second", "Subject: s"))

    assert parsed.header("x-Note") == "café"
    assert parsed.header_all("X-Note") == ("café", "second")
    assert parsed.header("X-Other") is None
    assert parsed.header_all("X-Other") == ()
    assert parsed.headers[0] == ("X-NOTE", "=?utf-8?q?caf=C3=A9?=")


def test_columns_people_ask_for_come_from_their_headers():
    headers = {
        "importance": "Importance: high",
        "list_id": "List-Id: =?utf-8?q?Caf=C3=A9?= <cafe.example.com>",
        "list_unsubscribe": "List-Unsubscribe: <mailto:off@example.com>,\n <https://example.com/off>",
        "list_unsubscribe_post": "List-Unsubscribe-Post: List-Unsubscribe=One-Click",
        "precedence": "Precedence: bulk",
        "auto_submitted": "Auto-Submitted: auto-replied",
        "return_path": "Return-Path: <bounce@example.com>",
        "delivered_to": "Delivered-To: ann@example.com",
        "authentication_results": "Authentication-Results: mx.example.com;\n\tspf=pass",
    }

    parsed = parse(message(b"", *headers.values()))

    assert {name: getattr(parsed, name) for name in headers} == {
        "importance": "high",
        "list_id": "Café <cafe.example.com>",
        "list_unsubscribe": "<mailto:off@example.com>, <https://example.com/off>",
        "list_unsubscribe_post": "List-Unsubscribe=One-Click",
        "precedence": "bulk",
        "auto_submitted": "auto-replied",
        "return_path": "<bounce@example.com>",
        "delivered_to": "ann@example.com",
        "authentication_results": "mx.example.com;\tspf=pass",
    }
    empty = parse(b"\n")
    assert {getattr(empty, name) for name in headers} == {None}


def test_an_empty_message_says_nothing():
    parsed = parse(b"")

    assert (parsed.subject, parsed.date, parsed.rfc822_message_id, parsed.body_html) == (None, None, None, None)
    assert (parsed.from_, parsed.headers, parsed.attachments, parsed.defects) == ((), (), (), ())
    assert parsed.body_text == parsed.text == ""


def test_every_defect_has_a_meaning_and_messages_carry_them_sorted():
    parsed = parse(b"From x@y\nDate: never\nMessage-ID: none\n\n")

    assert parsed.defects == ("bad-date", "bad-message-id", "mbox-envelope")
    assert set(parsed.defects) <= set(DEFECTS)
    assert all(meaning for meaning in DEFECTS.values())


def test_text_is_the_plain_text_or_what_the_html_says():
    assert parse(message(b"plain\n")).text == "plain\n"
    assert parse(part("text/html", b"<p>rich</p>")).text == html_to_text("<p>rich</p>") == "rich"
