"""No bytes make the parser raise or hand out an unsound message."""

from __future__ import annotations

import random

from hypothesis import example, given, settings
from hypothesis import strategies as st

from mail_ingest.mime import html_to_text, parse
from mail_ingest_tests.mime.builders import multipart, part
from mail_ingest_tests.mime.pieces import PIECES, messages
from mail_ingest_tests.mime.public_mail import difficult_messages, needs_public_mail, suite
from mail_ingest_tests.mime.soundness import faults


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
