"""What holds for every parsed message, whatever the bytes were."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import fields

from mail_ingest.mime import DEFECTS, Address, Attachment, ParsedMessage
from mail_ingest.mime.addresses import MAX_ADDRESSES
from mail_ingest.mime.headers import MAX_HEADERS
from mail_ingest.mime.structure import MAX_PARTS


def strings(value: object) -> Iterator[str]:
    """Every string in a value, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple):
        for each in value:
            yield from strings(each)
    elif isinstance(value, Address | Attachment | ParsedMessage):
        for each in fields(value):
            yield from strings(getattr(value, each.name))


def faults(parsed: ParsedMessage) -> list[str]:
    """What is wrong with a parsed message, in words that tell nothing of its content; [] when it is sound."""
    found = []
    for text in strings(parsed):
        if "\0" in text:
            found.append("NUL in a string")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            found.append("surrogate in a string")
    if parsed.body_text is not None and parsed.text_from_html is not None:
        found.append("two texts")
    if (parsed.text_from_html is not None) and parsed.body_html is None:
        found.append("text from HTML without HTML")
    if not set(parsed.defects) <= set(DEFECTS) or list(parsed.defects) != sorted(set(parsed.defects)):
        found.append(f"defects {parsed.defects}")
    if parsed.date is not None and (parsed.date.utcoffset() is None or parsed.date.utcoffset()):
        found.append("date not in UTC")
    if "\r" in (parsed.body_text or "") + (parsed.body_html or ""):
        found.append("carriage return in a body")
    one_liners = ("subject", "rfc822_message_id", "in_reply_to", "date_header")
    found.extend(f"line break in {name}" for name in one_liners if "\n" in (getattr(parsed, name) or ""))
    ids = [each.part_id for each in parsed.attachments]
    if len(ids) != len(set(ids)):
        found.append("part id used twice")
    for each in parsed.attachments:
        if each.size_bytes != len(each.content) or each.sha256 != hashlib.sha256(each.content).hexdigest():
            found.append(f"part {each.part_id} is not its content")
        if each.in_message is not None and each.in_message not in ids:
            found.append(f"part {each.part_id} lies in no message")
    if len(parsed.headers) > MAX_HEADERS or len(parsed.attachments) > MAX_PARTS or len(parsed.to) > MAX_ADDRESSES:
        found.append("a cap was passed")
    return found
