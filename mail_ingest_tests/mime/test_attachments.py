"""Attachments: what is known of each, and what lies inside attached messages."""

from __future__ import annotations

import base64
import hashlib

from mail_ingest.mime import parse
from mail_ingest_tests.mime.builders import attachment, message, multipart, part

CONTENT = bytes(range(256)) * 3


def test_an_attachment_is_described_by_its_decoded_content():
    raw = multipart("mixed", [part("text/plain", b"see"), attachment("report.pdf", CONTENT)])

    (found,) = parse(raw).attachments

    assert (found.part_id, found.filename, found.content_type) == ("1", "report.pdf", "application/pdf")
    assert (found.disposition, found.is_inline, found.charset, found.content_id) == ("attachment", False, "", "")
    assert (found.size_bytes, found.content) == (len(CONTENT), CONTENT)
    assert found.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert (found.subject, found.in_message) == (None, None)


def test_line_ends_of_attached_text_are_left_alone():
    raw = part("text/csv; charset=UTF-8", b"a\r\nb\n", "Content-Disposition: attachment")

    (found,) = parse(raw).attachments

    assert (found.content, found.charset) == (b"a\r\nb\n", "utf-8")


def test_inline_is_what_says_so_or_what_the_html_shows():
    html = part("text/html", b'<img src="cid:logo@x">')
    parts = [
        html,
        part("image/png", b"1", "Content-ID: <logo@x>", "Content-Disposition: attachment"),
        part("image/png", b"2", "Content-ID: <other@x>"),
        part("image/png", b"3", "Content-Disposition: INLINE; filename=x.png"),
        part("image/png", b"4", "Content-Disposition: form-data"),
    ]

    found = parse(multipart("related", parts)).attachments

    assert [(each.content_id, each.is_inline, each.disposition) for each in found] == [
        ("logo@x", True, "attachment"),
        ("other@x", False, ""),
        ("", True, "inline"),
        ("", False, ""),
    ]


def forwarded() -> bytes:
    return multipart(
        "mixed",
        [part("text/plain", b"inner text"), attachment("inner.pdf", CONTENT)],
        "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=",
        boundary="=-inner",
    )


def test_an_attached_message_keeps_its_bytes_and_its_subject():
    raw = multipart("mixed", [part("text/plain", b"see"), part("message/rfc822", forwarded())])

    parsed = parse(raw)

    assert parsed.body_text == "see"
    outer, inner = parsed.attachments
    assert (outer.part_id, outer.content_type, outer.subject) == ("1", "message/rfc822", "Grüße")
    assert (outer.content, outer.in_message) == (forwarded(), None)
    assert (inner.part_id, inner.filename, inner.content) == ("1.0.1", "inner.pdf", CONTENT)
    assert inner.in_message == "1"


def test_an_attached_message_may_be_encoded():
    encoded = part("message/rfc822", base64.encodebytes(forwarded()), "Content-Transfer-Encoding: base64")

    outer, inner = parse(multipart("mixed", [encoded])).attachments

    assert (outer.content, outer.subject, inner.content) == (forwarded(), "Grüße", CONTENT)


def test_attachments_of_messages_in_messages_name_the_nearest_one():
    middle = multipart("mixed", [part("message/rfc822", forwarded())], "Subject: middle", boundary="=-middle")
    # The rest makes the message large enough for the byte budget of three levels.
    raw = multipart("mixed", [part("text/plain", b"x" * 5_000), part("message/rfc822", middle)])

    found = parse(raw).attachments

    assert [(each.part_id, each.in_message, each.subject) for each in found] == [
        ("1", None, "middle"),
        ("1.0.0", "1", "Grüße"),
        ("1.0.0.0.1", "1.0.0", None),
    ]


def test_an_attached_message_may_be_empty_or_without_a_subject():
    empty, bare = parse(
        multipart("mixed", [part("message/rfc822", b""), part("message/rfc822", message(b"x", "X: y"))])
    ).attachments

    assert (empty.content, empty.subject) == (b"", None)
    assert bare.subject is None


def test_a_message_that_is_a_message_has_it_as_its_attachment():
    outer, inner = parse(part("message/rfc822", forwarded())).attachments

    assert (outer.part_id, outer.subject, inner.part_id, inner.in_message) == ("", "Grüße", "0.1", "")


def test_part_ids_are_unique():
    raw = multipart("mixed", [part("message/rfc822", forwarded()), attachment("a.pdf", b"x"), forwarded()])

    ids = [each.part_id for each in parse(raw).attachments]

    assert ids == ["0", "0.0.1", "1", "2.1"]
