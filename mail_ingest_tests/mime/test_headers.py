"""The header block: order, folding, raw 8-bit text, and damage."""

from __future__ import annotations

import pytest

from mail_ingest.mime import parse
from mail_ingest.mime.headers import MAX_HEADER_CHARS, MAX_HEADERS
from mail_ingest_tests.mime.builders import message


def test_all_headers_are_kept_in_order_with_their_names_as_written():
    raw = message(b"", "Received: one", "FROM: a@example.com", "received: two", "X-Empty:", "to:b@example.com")

    assert parse(raw).headers == (
        ("Received", "one"),
        ("FROM", "a@example.com"),
        ("received", "two"),
        ("X-Empty", ""),
        ("to", "b@example.com"),
    )


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_folded_values_are_unfolded_and_their_white_space_kept(line_end):
    raw = message(b"body", "Subject: one", b" two" + line_end + b"\tthree  ", "X: y", line_end=line_end)

    parsed = parse(raw)

    assert parsed.headers == (("Subject", "one two\tthree"), ("X", "y"))
    assert parsed.body_text == "body"


def test_line_ends_do_not_matter():
    raw = message(b"line\nline\n", "From: a@example.com", "Subject: x", " y", "Content-Type: text/plain")

    assert parse(raw) == parse(raw.replace(b"\n", b"\r\n"))


def test_mixed_line_ends_are_read():
    parsed = parse(b"From: a@example.com\nSubject: x\r\n y\nX: z\r\n\nbody\r\n")

    assert parsed.headers == (("From", "a@example.com"), ("Subject", "x y"), ("X", "z"))
    assert parsed.body_text == "body\n"
    assert parsed.defects == ()


def test_carriage_returns_alone_end_header_lines():
    parsed = parse(b"From: a@example.com\rSubject: x\r\rbody\rmore\r")

    assert parsed.headers == (("From", "a@example.com"), ("Subject", "x"))
    assert parsed.body_text == "body\nmore\n"
    assert parsed.defects == ("bare-carriage-returns",)


def test_utf8_headers_are_read_as_they_are():
    parsed = parse(message(b"", "Subject: Grüße aus 東京", "From: Jürgen <jürgen@bücher.example>"))

    assert parsed.subject == "Grüße aus 東京"
    assert parsed.from_[0].address == "jürgen@bücher.example"
    assert parsed.defects == ()


def test_raw_8bit_headers_are_read_in_the_charset_the_message_declares():
    subject = "Привет, мир"
    raw = message(
        "тело".encode("koi8-r"),
        b"Subject: " + subject.encode("koi8-r"),
        "From: a@example.com",
        "Content-Type: text/plain; charset=koi8-r",
    )

    parsed = parse(raw)

    assert parsed.subject == subject
    assert parsed.body_text == "тело"
    assert parsed.defects == ("raw-8bit-header",)


def test_raw_8bit_headers_without_any_declaration_are_windows_1252():
    parsed = parse(message(b"", b"Subject: caf\xe9 \x80 5", "From: a@example.com"))

    assert parsed.subject == "café € 5"
    assert parsed.defects == ("raw-8bit-header",)


def test_raw_japanese_escape_sequences_in_a_header_are_read():
    parsed = parse(message(b"", b"Subject: " + "日本語".encode("iso2022_jp"), "X: y"))

    assert parsed.subject == "日本語"
    assert parsed.defects == ("raw-8bit-header",)


def test_an_mbox_envelope_is_dropped():
    raw = message(b"body")

    parsed = parse(b"From ann@example.com  Tue Aug  6 11:51:02 2002\n" + raw)

    assert parsed.defects == ("mbox-envelope",)
    assert parsed.headers == parse(raw).headers
    assert parse(b">From ann@example.com Tue Aug  6\n" + raw).subject == "Hello"


def test_a_from_header_with_a_space_before_its_colon_is_no_envelope():
    parsed = parse(b"From : ann@example.com\nSubject\t: x\n\nbody")

    assert parsed.headers == (("From", "ann@example.com"), ("Subject", "x"))
    assert parsed.defects == ()


def test_a_foreign_line_among_headers_is_skipped():
    parsed = parse(b"From: a@example.com\nthis is no header\nSubject: x\n\nbody")

    assert parsed.headers == (("From", "a@example.com"), ("Subject", "x"))
    assert parsed.body_text == "body"
    assert parsed.defects == ("bad-header-line",)


def test_a_header_with_foreign_characters_in_its_name_is_skipped():
    parsed = parse("From: a@example.com\nBetr\u00e4ff: x\nZ-Unheard-Of: y\n\nbody".encode())

    assert parsed.headers == (("From", "a@example.com"), ("Z-Unheard-Of", "y"))
    assert parsed.defects == ("bad-header-line",)


def test_text_right_after_the_headers_is_the_body():
    parsed = parse(b"From: a@example.com\nSubject: x\nDear Ann,\nnote: call me\n\nBob\n")

    assert parsed.headers == (("From", "a@example.com"), ("Subject", "x"))
    assert parsed.body_text == "Dear Ann,\nnote: call me\n\nBob\n"
    assert parsed.defects == ("missing-blank-line",)


def test_a_blank_line_with_a_space_in_it_ends_the_headers():
    parsed = parse(b"From: a@example.com\r\nSubject: x\r\n \r\nDear Ann,\r\n\r\nBob\r\n")

    assert parsed.subject == "x"
    assert parsed.body_text == "Dear Ann,\n\nBob\n"


def test_text_without_headers_is_the_body():
    parsed = parse(b"Just some words.\nAnd more.\n")

    assert parsed.headers == ()
    assert parsed.body_text == "Just some words.\nAnd more.\n"


def test_of_headers_that_may_occur_once_the_first_counts():
    parsed = parse(message(b"", "Subject: one", "Subject: two", "From: a@example.com", "From: b@example.com"))

    assert parsed.subject == "one"
    assert [sender.address for sender in parsed.from_] == ["a@example.com"]
    assert parsed.defects == ("repeated-header",)
    assert len(parsed.headers) == 4


def test_repeated_recipient_headers_are_joined():
    parsed = parse(message(b"", "To: a@example.com", "Cc: c@example.com", "To: b@example.com"))

    assert [address.address for address in parsed.to] == ["a@example.com", "b@example.com"]
    assert parsed.defects == ()


def test_nul_characters_in_headers_are_dropped():
    parsed = parse(message(b"", b"Subject: a\0b", "X: y"))

    assert parsed.subject == "ab"
    assert parsed.defects == ("nul-character",)


def test_headers_past_the_cap_are_dropped_and_the_body_is_still_found():
    raw = b"".join(b"X-%d: y\n" % number for number in range(MAX_HEADERS + 5)) + b"\nbody"

    parsed = parse(raw)

    assert len(parsed.headers) == MAX_HEADERS
    assert parsed.headers[-1] == (f"X-{MAX_HEADERS - 1}", "y")
    assert parsed.body_text == "body"
    assert parsed.defects == ("too-many-headers",)


def test_a_value_longer_than_the_cap_is_cut():
    parsed = parse(b"X: y\nSubject: " + b"x" * (MAX_HEADER_CHARS + 1) + b"\n\nbody")

    assert parsed.subject == "x" * MAX_HEADER_CHARS
    assert parsed.body_text == "body"
    assert parsed.defects == ("long-header",)
