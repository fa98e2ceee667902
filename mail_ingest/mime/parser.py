"""Bytes of one message -> ParsedMessage: puts together what the other modules read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from mail_ingest.mime.addresses import parse_addresses
from mail_ingest.mime.bodies import charset_of, read_bodies
from mail_ingest.mime.dates import parse_date
from mail_ingest.mime.defects import Defect
from mail_ingest.mime.headers import Headers
from mail_ingest.mime.identifiers import parse_message_id, parse_references
from mail_ingest.mime.message import Address, Attachment, ParsedMessage
from mail_ingest.mime.structure import Part, Splitter
from mail_ingest.mime.transfer import decode_transfer
from mail_ingest.mime.words import decode_words

PARSER_VERSION = 1
"""Rises whenever the same bytes may give another result, so that stored messages can be parsed again."""

_ONCE = ("subject", "message-id", "in-reply-to", "date", "from", "sender")


def parse(raw: bytes) -> ParsedMessage:
    """Parses one message; never raises on account of the bytes, but records what is wrong with them as defects.

    Time is linear in the size of the message; memory is a few times its size at most.
    """
    defects: set[Defect] = set()
    root = Splitter(raw, defects).split()
    headers = root.headers
    first = headers.first
    if any(headers.names.count(name) > 1 for name in _ONCE):
        defects.add("repeated-header")
    bodies = read_bodies(root, defects)
    text = bodies.text(defects)
    html = bodies.html_source()
    date_header = first.get("date")
    message_id = first.get("message-id")
    replied = parse_references(first.get("in-reply-to") or "")
    subject = first.get("subject")
    return ParsedMessage(
        subject=None if subject is None else decode_words(subject, defects),
        rfc822_message_id=None if message_id is None else parse_message_id(message_id, defects),
        in_reply_to=replied[0] if replied else None,
        references=parse_references(" ".join(headers.all("references"))),
        date=None if date_header is None else parse_date(date_header, defects),
        date_header=date_header,
        from_=_addresses(headers, "from", defects),
        sender=_addresses(headers, "sender", defects),
        reply_to=_addresses(headers, "reply-to", defects),
        to=_addresses(headers, "to", defects),
        cc=_addresses(headers, "cc", defects),
        bcc=_addresses(headers, "bcc", defects),
        headers=headers.fields,
        body_text=text if bodies.starts_plain else None,
        body_html=html,
        text_from_html=None if bodies.starts_plain else text,
        attachments=tuple(_attachments(bodies.attached, html or "", defects)),
        charsets=bodies.charsets,
        defects=tuple(sorted(defects)),
    )


def _addresses(headers: Headers, name: str, defects: set[Defect]) -> tuple[Address, ...]:
    """Of all headers of that name: senders who repeat To or Cc mean all of them."""
    found = headers.first.get(name)
    if found is None:
        return ()
    if name not in _ONCE:
        found = ", ".join(headers.all(name))
    return parse_addresses(found, defects)


def _attachments(parts: list[Part], html: str, defects: set[Defect]) -> Iterator[Attachment]:
    for part in parts:
        yield _attachment(part, html, defects, None)
        if part.children:
            yield from _inside(part, defects)


def _inside(message: Part, defects: set[Defect]) -> Iterator[Attachment]:
    """The attachments inside an attached message, the messages in it opened in turn."""
    inner = read_bodies(message.children[0], set())
    html = inner.html_source() or ""
    for part in inner.attached:
        yield _attachment(part, html, defects, message.part_id)
        if part.children:
            yield from _inside(part, defects)


def _attachment(part: Part, html: str, defects: set[Defect], in_message: str | None) -> Attachment:
    content = part.content
    if content is None:
        content = decode_transfer(part.source[part.start : part.end], part.encoding, defects)
    subject = part.children[0].headers.first.get("subject") if part.children else None
    disposition = part.disposition if part.disposition in ("attachment", "inline") else ""
    return Attachment(
        part_id=part.part_id,
        filename=part.filename,
        content_type=part.content_type,
        charset=charset_of(part),
        disposition=disposition,
        content_id=part.content_id,
        is_inline=disposition == "inline" or (part.content_id != "" and f"cid:{part.content_id}" in html),
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        content=content,
        subject=None if subject is None else decode_words(subject, defects),
        in_message=in_message,
    )
