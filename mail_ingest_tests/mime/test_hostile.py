"""Messages built to be dear: time is linear, and what is handed out is bounded.

Each trap is parsed at one size and at eight times that size. A quadratic reading takes 64 times as long then, a
linear one 8 times; the bound between them leaves room for a busy machine, and one that is quick at the larger size
passes at once.
"""

from __future__ import annotations

import time
import tracemalloc

import pytest

from mail_ingest.mime import parse
from mail_ingest.mime.headers import MAX_HEADERS
from mail_ingest.mime.structure import MAX_DEPTH, MAX_PARTS
from mail_ingest_tests.mime.builders import attachment, message, multipart, part
from mail_ingest_tests.mime.soundness import faults

SMALL = 20_000
QUICK_S = 0.25


def filled(unit: bytes, size: int) -> bytes:
    return unit * (size // len(unit))


IN_HEADERS = {
    "quotes": b'"', "escaped quotes": b'"\\"', "angles": b"<", "quoted angles": b'<"<"', "comments": b"(",
    "closed comments": b"()", "at signs": b"@", "colons": b":", "words and colons": b"a a a :", "commas": b",",
    "open routes": b"<@", "glued quotes": b'"a"', "brackets": b"[", "backslashes": b"\\", "encoded words": b"=?utf-8?Q?a?= ",
    "glued words": b"=?utf-8?B?YQ==?=", "half words": b"=?a?q?", "8-bit": b"\xff", "spaces": b" ", "folds": b"a\n ",
    "parameters": b';a="', "sections": b";a*0=b", "open parameters": b"; ",
}  # fmt: skip
FIELDS = ("To", "Subject", "Message-ID", "References", "Date", "Content-Type", "Content-Disposition")


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("unit", IN_HEADERS)
def test_header_values_are_read_in_linear_time(field, unit):
    for prefix in ("", "multipart/mixed; boundary=", 'text/plain; name="') if field == "Content-Type" else ("",):
        assert_linear(
            lambda size, prefix=prefix: message(b"x", f"{field}: {prefix}".encode() + filled(IN_HEADERS[unit], size))
        )


CHARSETS = (
    "utf-7",
    "utf-8",
    "utf-16",
    "iso-2022-jp",
    "iso-2022-kr",
    "hz",
    "gb2312",
    "big5",
    "euc-kr",
    "euc-jp",
    "koi8-r",
)
HTML = (
    b"<", b"<td>", b"<td><p>", b"</p>", b"</p> ", b"<td ", b"<blockquote>", b"</blockquote>", b"<option>", b"<span>",
    b"<b><div>", b"<script>", b"<!--", b"&#1", b"<a href=http://x>", b" (", b" (x)", b"\t", b"<table>", b"<p a=\"",
    b"<svg><desc>", b"<ul><li>", b"&nbsp;", b"<pre>\n", b"<template>", b"<math><mi>", b"<br>", b"<button><p>",
    b"<p><b><i><u>", "\u200c\u00a0".encode(),
)  # fmt: skip
BODIES = {
    "one line": lambda size: b"A" * size,
    "line feeds": lambda size: b"\n" * size,
    "carriage returns": lambda size: b"\r" * size,
    "headers by carriage return": lambda size: filled(b"A: b\r", size),
    "headers": lambda size: filled(b"A: b\n", size),
    "junk headers": lambda size: filled(b"junk\nX-A: b\n", size),
    "boundaries": lambda size: multipart_of(filled(b"--b\n", size)),
    "boundaries on a line": lambda size: multipart_of(filled(b"--b", size)),
    "boundaries and spaces": lambda size: multipart_of(filled(b"--b" + b" " * 500 + b"\n", size)),
    "parts": lambda size: multipart_of(filled(b"--b\n\nx\n", size)),
    "nested alike": lambda size: filled(b"Content-Type: multipart/mixed; boundary=b\n\n--b\n", size),
    "nested apart": lambda size: b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(size // 60)
    ),
    "nested messages": lambda size: filled(b"Content-Type: message/rfc822\n\n", size),
    "padded base64": lambda size: part("a/b", filled(b"AA==", size), "Content-Transfer-Encoding: base64"),
    "dirty base64": lambda size: part("a/b", filled(b"A!", size), "Content-Transfer-Encoding: base64"),
    "equals signs": lambda size: part("a/b", filled(b"=", size), "Content-Transfer-Encoding: quoted-printable"),
    "soft breaks": lambda size: part("a/b", filled(b"=  ", size), "Content-Transfer-Encoding: quoted-printable"),
    "uuencode": lambda size: part("a/b", b"begin 644 x\n" + filled(b"M\n", size), "Content-Transfer-Encoding: x-uue"),
    **{
        f"{charset} {unit!r}": lambda size, charset=charset, unit=unit: part(
            f"text/plain; charset={charset}", filled(unit, size)
        )
        for charset in CHARSETS
        for unit in (b"\x1b$B\x1b(B", b"\x1b$B!!", b"\xff\x81", b"+2AA-", b"~{~}")
    },
    **{f"HTML {unit!r}": lambda size, unit=unit: part("text/html", filled(unit, size)) for unit in HTML},
}


def multipart_of(body: bytes) -> bytes:
    return message(body, "Content-Type: multipart/mixed; boundary=b")


@pytest.mark.parametrize("trap", BODIES)
def test_bodies_are_read_in_linear_time(trap):
    assert_linear(BODIES[trap])


def assert_linear(build) -> None:
    """Passes when eight times the size takes less than 30 times as long, in the best of three."""
    large = build(SMALL * 8)
    taken = seconds(large)
    if taken < QUICK_S:
        return
    small = build(SMALL)
    assert min(taken, seconds(large), seconds(large)) < 30 * min(seconds(small) for _ in range(3))


def seconds(raw: bytes) -> float:
    started = time.process_time()
    parsed = parse(raw)
    taken = time.process_time() - started
    assert faults(parsed) == []
    return taken


def test_a_hundred_thousand_headers_are_capped():
    parsed = parse(b"Received: from a by b\n" * 100_000 + b"\nbody")

    assert len(parsed.headers) == MAX_HEADERS
    assert parsed.body_text == "body"


def test_a_header_of_a_megabyte_is_kept():
    parsed = parse(message(b"body", b"Subject: " + b"x" * 999_000, "X: y"))

    assert len(parsed.subject or "") == 999_000
    assert (parsed.body_text, parsed.defects) == ("body", ())


def test_ten_thousand_parts_are_capped():
    parsed = parse(multipart("mixed", [attachment("a", b"x")] * 10_000))

    assert len(parsed.attachments) == MAX_PARTS - 1
    assert parsed.defects == ("too-many-parts",)


def test_ten_thousand_levels_are_capped():
    raw = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(10_000))

    parsed = parse(raw)

    assert "nesting-too-deep" in parsed.defects
    assert [each.part_id.count(".") for each in parsed.attachments] == [MAX_DEPTH - 1]


@pytest.mark.parametrize(
    "kind", ["attachment", "text", "html", "nested", "dirty base64", "padded base64", "quoted-printable", "header"]
)
def test_memory_is_a_few_times_the_size_of_the_message(kind):
    # Scaled down: what is copied is copied whole, so the ratio is that of a message of 150 MB.
    size = 4_000_000
    raw = {
        "attachment": lambda: multipart("mixed", [b"\nhi", attachment("a.zip", b"\x01\x02\x03" * (size // 4))]),
        "text": lambda: message(filled("hello wörld €\r\n".encode(), size)),
        "html": lambda: part("text/html", filled(b"<p>" + b"hello world " * 20 + b"\r\n", size)),
        "nested": lambda: filled(b"Content-Type: message/rfc822\n\n", 600) + b"X: y\n\n" + b"x" * size,
        "dirty base64": lambda: part("a/b", filled(b"QUJD!", size), "Content-Transfer-Encoding: base64"),
        "padded base64": lambda: part(
            "a/b", filled(b"QUJD" * 18 + b"QQ==\n", size), "Content-Transfer-Encoding: base64"
        ),
        "quoted-printable": lambda: part(
            "a/b", filled(b"=E9 a=\n", size), "Content-Transfer-Encoding: quoted-printable"
        ),
        "header": lambda: b"Subject: " + b"x" * size,
    }[kind]()

    tracemalloc.start()
    parsed = parse(raw)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert faults(parsed) == []
    assert peak < 6 * len(raw)
