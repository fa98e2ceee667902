"""Three thousand real messages: nothing raised, nothing lost that another parser found."""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache

from mail_ingest.mime import Attachment, ParsedMessage, html_to_text, parse
from mail_ingest_tests.mime.public_mail import manifest, needs_public_mail, real_messages
from mail_ingest_tests.mime.soundness import faults

# Where the manifest, itself the opinion of one parser, is not followed.
OTHER_NAME = {
    "usrp-users/2023/cc55e10fc595b099.eml": "line breaks encoded into the file name are spaces in ours",
}
OTHER_MESSAGE_ID = {
    "sa-spam-2-third/01023.1f96236c94e92482c058e950ccd7a590": "white space inside the identifier is left out",
}
OTHER_CHARSETS = {
    "sa-spam-2-third/00204.4cf15f97b8ea08bfafab7d5091b8fbe7": "found behind a type without its semicolon",
}


@lru_cache(maxsize=1)
def parsed_messages() -> dict[str, ParsedMessage]:
    return {name: parse(raw) for name, raw in real_messages()}


@needs_public_mail
def test_what_the_manifest_lists_is_found(record_property):
    parsed = parsed_messages()
    counts: Counter[str] = Counter()
    missing, names, message_ids, charsets = [], [], [], []

    for entry in manifest():
        message = parsed[entry["file"]]
        counts["messages"] += 1
        left = list(message.attachments)
        for listed in entry["attachments"]:
            counts["attachments"] += 1
            found = [each for each in left if (each.sha256, each.size_bytes) == (listed["sha256"], listed["size"])]
            if not found:
                missing.append(entry["file"])
                continue
            same_name = [each for each in found if each.filename == (listed["filename"] or "")]
            if not same_name:
                names.append(entry["file"])
            left.remove((same_name or found)[0])
            counts["found"] += 1
        if (entry["message_id"] or "").strip() != (message.rfc822_message_id or ""):
            message_ids.append(entry["file"])
        if sorted(entry["charsets"]) != sorted(message.charsets):
            charsets.append(entry["file"])

    record_property(
        "figure",
        f"manifest: {counts['found']} of {counts['attachments']} attachments found by size and sha256, "
        f"{counts['found'] - len(names)} by name too, in {counts['messages']} messages",
    )
    assert counts["messages"] == len(parsed) == 3013
    assert missing == []
    assert names == sorted(OTHER_NAME)
    assert message_ids == sorted(OTHER_MESSAGE_ID)
    assert charsets == sorted(OTHER_CHARSETS)


@needs_public_mail
def test_real_mail_is_sound_and_says_something():
    unsound = []
    said_not: Counter[str] = Counter()
    for name, message in parsed_messages().items():
        if found := faults(message):
            unsound.append((name, found))
        said_not["text"] += not message.text
        said_not["date"] += message.date_header is None
        said_not["sender"] += not message.from_
        said_not["subject"] += message.subject is None

    assert unsound == []
    assert said_not == Counter(text=3, date=0, sender=2, subject=5)


@needs_public_mail
def test_most_real_mail_has_no_defect():
    counts = Counter(
        "bad" if set(message.defects) - {"mbox-envelope"} else "good" for message in parsed_messages().values()
    )

    assert counts["bad"] <= 94


@needs_public_mail
def test_readable_html_says_what_the_text_beside_it_says(record_property):
    """Of the words in the text made from HTML, nearly all stand in the sender's own text too."""
    word = re.compile(r"\w{3,}")
    shares = []
    for message in parsed_messages().values():
        if message.body_text and message.body_html:
            told = set(word.findall(html_to_text(message.body_html)))
            shares.append(len(told & set(word.findall(message.body_text))) / max(1, len(told)))

    mean = sum(shares) / len(shares)
    record_property(
        "figure", f"readable HTML: {mean:.1%} of its words are in the text beside it, {len(shares)} messages"
    )
    assert len(shares) > 1_000
    assert mean > 0.985


@needs_public_mail
def test_dates_and_addresses_of_real_mail_are_read():
    parsed = parsed_messages()
    undated = [name for name, message in parsed.items() if message.date_header is not None and message.date is None]
    nowhere = [name for name, message in parsed.items() if not any("@" in each.address for each in message.from_)]

    assert undated == []
    assert len(nowhere) == 2


@needs_public_mail
def test_line_ends_change_nothing_that_is_read():
    changed = []
    for name, raw in real_messages():
        if b"\r" in raw:
            continue
        unix, dos = parse(raw), parse(raw.replace(b"\n", b"\r\n"))
        if said(unix) != said(dos):
            changed.append(name)

    assert changed == []


def said(message: ParsedMessage) -> tuple[object, ...]:
    """A message without what depends on line ends: the bytes of attached text."""
    return (
        message.subject,
        message.headers,
        message.body_text,
        message.body_html,
        message.text_from_html,
        message.date,
        message.from_,
        message.to,
        message.defects,
        [described(each) for each in message.attachments],
    )


def described(attachment: Attachment) -> tuple[object, ...]:
    return attachment.part_id, attachment.filename, attachment.content_type, attachment.is_inline, attachment.subject
