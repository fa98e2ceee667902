"""No bytes make the parser raise or hand out an unsound message."""

from __future__ import annotations

import random

from hypothesis import example, given, settings
from hypothesis import strategies as st

from mail_ingest.mime import html_to_text, parse
from mail_ingest_tests.mime.builders import multipart, part
from mail_ingest_tests.mime.public_mail import difficult_messages, needs_public_mail, suite
from mail_ingest_tests.mime.soundness import faults

# What parsers stumble over, in pieces to be strewn about.
PIECES = [
    b"From: ", b"From ", b"To: ", b"Cc: ", b"Subject: ", b"Date: ", b"Message-ID: ", b"References: ", b"In-Reply-To: ",
    b"Content-Type: ", b"Content-Transfer-Encoding: ", b"Content-Disposition: ", b"Content-ID: ",
    b"multipart/mixed; boundary=b", b"multipart/alternative; boundary=\"b\"", b"multipart/digest; boundary=b",
    b"message/rfc822", b"text/plain", b"text/html", b"text/calendar", b"application/pdf; name=", b"; charset=",
    b"utf-8", b"utf-7", b"utf-16", b"iso-2022-jp", b"gb2312", b"koi8-r", b"x-unknown", b"hz-gb-2312", b"idna",
    b"base64", b"quoted-printable", b"x-uuencode", b"begin 644 x\n", b"attachment; filename*0*=utf-8''%C3", b"inline",
    b"--b\n", b"--b--\n", b"--b\r\n\r\n", b"\n", b"\r\n", b"\r", b"\n\n", b"\n ", b"\r\n\t", b" ", b";", b":", b",",
    b"<", b">", b"(", b")", b'"', b"\\", b"[", b"]", b"@", b"a@b.example", b"<a@b>", b"=?utf-8?q?=C3=A9?=",
    b"=?utf-8?B?w6k=?=", b"=?iso-2022-jp?B?GyRC?=", b"=?", b"?=", b"=", b"=\n", b"=C3", b"+2AA-", b"\x1b$B", b"\x1b(B",
    b"\xff\xfe", b"\xc3", b"\xe9", b"\x00", b"\xed\xa0\x80", b"~{", b"~}", b"Mon, 1 Jan 2024 10:00:00 +0100", b"QUJD",
    b"<p>", b"<table><tr><td>", b"<blockquote>", b"</blockquote>", b"<a href='http://x'>", b"<!--", b"<script>", b"&#0;",
]  # fmt: skip

messages = st.one_of(
    st.binary(max_size=400),
    st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=5)), max_size=60).map(b"".join),
)


@settings(max_examples=800, deadline=None)
@given(messages)
@example(b"Content-Type: text/plain; charset=utf-7\n\n+2AA-\xff")
@example(b"\r")
@example(b":")
def test_any_bytes_give_a_sound_message(raw):
    assert faults(parse(raw)) == []


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(), max_size=300))
def test_any_string_gives_readable_text(html):
    html_to_text(html).encode("utf-8")


@settings(max_examples=200, deadline=None)
@given(messages, messages)
def test_any_parts_give_a_sound_message(first, second):
    raw = multipart("mixed", [part("message/rfc822", first), second, multipart("related", [second], boundary="b")])

    assert faults(parse(raw)) == []


def mutated(raw: bytes, other: bytes, dice: random.Random) -> bytes:
    """The message with one wound: cut, flipped, spliced with another, lines doubled or line ends changed."""
    at = dice.randrange(len(raw) + 1)
    kind = dice.randrange(7)
    if kind == 0:
        return raw[:at]
    if kind == 1:
        return raw[at:]
    if kind == 2:
        data = bytearray(raw)
        for _ in range(1 + len(data) // 100):
            if data:
                data[dice.randrange(len(data))] = dice.randrange(256)
        return bytes(data)
    if kind == 3:
        return raw[:at] + other[dice.randrange(len(other) + 1) :]
    if kind == 4:
        return raw[:at] + dice.choice(PIECES) + raw[at:]
    if kind == 5:
        lines = raw.splitlines(keepends=True)
        dice.shuffle(lines)
        return b"".join(lines)
    return raw.replace(b"\n", dice.choice([b"\r", b"\r\n", b"\n\n", b""]))


@needs_public_mail
def test_wounded_messages_are_sound():
    dice = random.Random(5322)
    # Large ones are parsed elsewhere; wounds show in small ones as well.
    whole = [(name, raw) for name, raw in difficult_messages() if len(raw) < 20_000]
    unsound = []
    parsed = 0

    for round_number in range(20):
        for name, raw in whole:
            found = faults(parse(mutated(raw, dice.choice(whole)[1], dice)))
            parsed += 1
            if found:
                unsound.append((round_number, name, found))

    assert unsound == []
    assert parsed >= 4_000


@needs_public_mail
def test_difficult_messages_are_sound():
    unsound = [(name, found) for name, raw in difficult_messages() if (found := faults(parse(raw)))]

    assert unsound == []


@needs_public_mail
def test_mailing_list_archives_read_as_one_message_are_sound():
    archives = [data for name, data in suite("ponymail-foal").items() if name.endswith(".mbox")]

    assert len(archives) == 4
    assert [faults(parse(data)) for data in archives] == [[]] * 4
