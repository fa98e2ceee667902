"""Bytes of one message -> ParsedMessage."""

from __future__ import annotations

import email
import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import Message
from email.utils import getaddresses, parsedate_to_datetime
from typing import Any

from mail_ingest.mime.message import Address, Attachment, ParsedMessage
from mail_ingest.mime.readable import html_to_text
from mail_ingest.mime.words import decode_words

PARSER_VERSION = 1


def parse(raw: bytes) -> ParsedMessage:
    """Parses one message; what is wrong with it is recorded as defects."""
    defects: set[str] = set()
    if raw.startswith(b"From "):
        defects.add("mbox-envelope")
        raw = raw.partition(b"\n")[2]
    root: Message[Any, Any] = email.message_from_bytes(raw)
    headers = tuple((name, _unfold(str(value))) for name, value in root.raw_items())
    texts: list[str] = []
    htmls: list[str] = []
    charsets: list[str] = []
    attachments: list[Attachment] = []
    for part_id, part in _leaves(root, ""):
        content_type = part.get_content_type()
        charset = (part.get_content_charset() or "").lower()
        content = _content(part)
        disposition = part.get_content_disposition() or ""
        if content_type in ("text/plain", "text/html") and disposition != "attachment" and not part.get_filename():
            if charset and charset not in charsets:
                charsets.append(charset)
            text = _text(content, charset).replace("\r\n", "\n")
            (htmls if content_type == "text/html" else texts).append(text)
            continue
        nested = part.get_payload(0) if content_type == "message/rfc822" and part.is_multipart() else None
        attachments.append(
            Attachment(
                part_id=part_id,
                filename=_clean(decode_words(part.get_filename() or "")),
                content_type=content_type,
                charset=charset,
                disposition=disposition if disposition in ("attachment", "inline") else "",
                content_id=_clean(str(part.get("Content-ID", "")).strip().strip("<>")),
                is_inline=disposition == "inline",
                size_bytes=len(content),
                sha256=hashlib.sha256(content).hexdigest(),
                content=content,
                subject=_clean(decode_words(str(nested["Subject"])))
                if isinstance(nested, Message) and nested["Subject"] is not None
                else None,
            )
        )
    first = {name.lower(): value for name, value in reversed(headers)}
    body_text = "\n".join(texts) if texts else None
    body_html = "\n".join(htmls) if htmls else None
    date_header = first.get("date")
    references = tuple(re.findall(r"<[^<>\s]+>", first.get("references", "")))
    replied = re.findall(r"<[^<>\s]+>", first.get("in-reply-to", ""))
    return ParsedMessage(
        subject=decode_words(first["subject"]) if "subject" in first else None,
        rfc822_message_id=first.get("message-id", "").strip() or None,
        in_reply_to=replied[0] if replied else None,
        references=references,
        date=_date(date_header, defects),
        date_header=date_header,
        from_=_addresses(first.get("from")),
        sender=_addresses(first.get("sender")),
        reply_to=_addresses(first.get("reply-to")),
        to=_addresses(first.get("to")),
        cc=_addresses(first.get("cc")),
        bcc=_addresses(first.get("bcc")),
        headers=headers,
        body_text=body_text,
        body_html=body_html,
        text_from_html=html_to_text(body_html) if body_html is not None and body_text is None else None,
        attachments=tuple(attachments),
        charsets=tuple(charsets),
        defects=tuple(sorted(defects)),
    )


def _clean(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\0", "")


def _unfold(value: str) -> str:
    return _clean(re.sub(r"\r?\n(?=[ \t])", "", value))


def _leaves(part: Message[Any, Any], part_id: str) -> Iterator[tuple[str, Message[Any, Any]]]:
    if part.is_multipart() and part.get_content_maintype() == "multipart":
        for number, child in enumerate(part.get_payload()):
            if isinstance(child, Message):
                yield from _leaves(child, f"{part_id}.{number}" if part_id else str(number))
    else:
        yield part_id, part


def _content(part: Message[Any, Any]) -> bytes:
    if part.is_multipart():
        nested = part.get_payload(0)
        return nested.as_bytes() if isinstance(nested, Message) else b""
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _text(content: bytes, charset: str) -> str:
    try:
        return content.decode(charset or "utf-8").replace("\0", "")
    except (LookupError, ValueError):
        return content.decode("utf-8", "replace").replace("\0", "")


def _addresses(value: str | None) -> tuple[Address, ...]:
    return tuple(Address(decode_words(name), address) for name, address in getaddresses([value or ""]) if address)


def _date(value: str | None, defects: set[str]) -> datetime | None:
    if value is None:
        return None
    try:
        date = parsedate_to_datetime(value)
        return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        defects.add("bad-date")
        return None
