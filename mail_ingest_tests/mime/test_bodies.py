"""What of a message is its body."""

from __future__ import annotations

from mail_ingest.mime import parse
from mail_ingest_tests.mime.builders import attachment, message, multipart, part

PLAIN = part("text/plain", b"plain")
HTML = part("text/html", b"<p>rich</p>")
IMAGE = part("image/png", b"png", "Content-ID: <logo@x>")


def shown(raw: bytes) -> tuple[str | None, str | None, str | None, list[str]]:
    parsed = parse(raw)
    assert parsed.body_text is None or parsed.text_from_html is None
    return parsed.body_text, parsed.body_html, parsed.text_from_html, [each.part_id for each in parsed.attachments]


def test_single_parts_are_bodies():
    assert shown(message(b"plain")) == ("plain", None, None, [])
    assert shown(HTML) == (None, "<p>rich</p>", "rich", [])


def test_alternatives_give_both_their_texts_and_nothing_else():
    assert shown(multipart("alternative", [PLAIN, HTML])) == ("plain", "<p>rich</p>", None, [])


def test_a_blank_plain_alternative_does_not_hide_the_html():
    assert shown(multipart("alternative", [part("text/plain", b" \n"), HTML])) == (None, "<p>rich</p>", "rich", [])


def test_blank_alternatives_alone_are_a_blank_text():
    assert shown(multipart("alternative", [part("text/plain", b" \n")])) == (" \n", None, None, [])


def test_related_images_are_attachments_of_the_html():
    related = multipart("related", [HTML, IMAGE], boundary="=-related")

    assert shown(multipart("alternative", [PLAIN, related])) == ("plain", "<p>rich</p>", None, ["1.1"])
    assert shown(multipart("related", [multipart("alternative", [PLAIN, HTML], boundary="=-a"), IMAGE])) == (
        "plain",
        "<p>rich</p>",
        None,
        ["1"],
    )


def test_text_parts_of_a_mixed_message_follow_each_other():
    footer = part("text/plain", b"-- \nlist footer")

    assert shown(multipart("mixed", [PLAIN, IMAGE, footer])) == ("plain\n-- \nlist footer", None, None, ["1"])
    alternative = multipart("alternative", [PLAIN, HTML], boundary="=-a")
    assert shown(multipart("mixed", [alternative, footer])) == (
        "plain\n-- \nlist footer",
        "<p>rich</p>",
        None,
        [],
    )


def test_a_list_footer_does_not_pass_for_the_text_of_an_html_message():
    assert shown(multipart("mixed", [HTML, part("text/plain", b"footer")])) == (
        None,
        "<p>rich</p>",
        "rich\nfooter",
        [],
    )


def test_html_after_text_is_read_in_its_place():
    assert shown(multipart("mixed", [PLAIN, HTML])) == ("plain\nrich", "<p>rich</p>", None, [])


def test_declared_attachments_are_never_the_body():
    note = part("text/plain", b"note", "Content-Disposition: attachment")

    assert shown(note) == (None, None, None, [""])
    assert shown(multipart("mixed", [PLAIN, note])) == ("plain", None, None, ["1"])
    assert shown(multipart("mixed", [note, PLAIN])) == ("plain", None, None, ["0"])


def test_named_texts_are_attachments_unless_they_come_first():
    log = part('text/plain; name="a.log"', b"log")

    assert shown(multipart("mixed", [PLAIN, log])) == ("plain", None, None, ["1"])
    assert shown(multipart("mixed", [log, IMAGE])) == ("log", None, None, ["1"])
    assert shown(log) == ("log", None, None, [])


def test_other_alternatives_are_attachments():
    calendar = part("text/calendar; method=REQUEST", b"BEGIN:VCALENDAR")
    amp = part("text/x-amp-html", b"<html amp4email></html>")

    assert shown(multipart("alternative", [PLAIN, amp, HTML, calendar])) == (
        "plain",
        "<p>rich</p>",
        None,
        ["1", "3"],
    )


def test_text_only_the_html_alternative_shows_is_not_lost():
    rich = multipart("mixed", [HTML, attachment("a.pdf", b"x"), part("text/plain", b"below")], boundary="=-r")

    assert shown(multipart("alternative", [PLAIN, rich])) == ("plain", "<p>rich</p>", None, ["1.1", "1.2"])


def test_a_signed_message_is_read_and_its_signature_attached():
    signature = part("application/pgp-signature", b"-----BEGIN", "Content-Description: signature")

    assert shown(multipart("signed", [PLAIN, signature])) == ("plain", None, None, ["1"])


def test_a_bounce_is_read_and_its_report_attached():
    report = part("message/delivery-status", b"Reporting-MTA: dns; x\n\nAction: failed")
    original = part("text/rfc822-headers", b"Subject: lost")

    assert shown(multipart("report", [PLAIN, report, original])) == ("plain", None, None, ["1", "2"])


def test_a_message_that_is_one_text_of_another_kind_is_read():
    assert shown(part("text/markdown", b"# Hi")) == ("# Hi", None, None, [])
    assert shown(multipart("mixed", [PLAIN, part("text/markdown", b"# Hi")])) == ("plain", None, None, ["1"])
    assert shown(part("text/calendar", b"BEGIN")) == (None, None, None, [""])


def test_a_message_without_text_has_no_body():
    assert shown(multipart("mixed", [IMAGE])) == (None, None, None, ["0"])
    assert shown(part("application/pdf", b"x")) == (None, None, None, [""])


def test_line_ends_of_bodies_are_line_feeds():
    assert parse(b"X: y\r\n\r\na\r\nb\rc\nd\r\n").body_text == "a\nb\nc\nd\n"
    assert parse(b"X: y\n\na\r\r\nb\n").body_text == "a\nb\n"
    assert parse(b"Content-Type: text/html\r\n\r\n<p>a\r\nb").body_html == "<p>a\nb"
