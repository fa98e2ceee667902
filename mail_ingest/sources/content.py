"""A fetched message -> rows of `messages`, `message_recipients`, `attachments` and `message_html`.

Pure but for the buffers it fills. Parsed text is clean already (`mime.message` promises it); Gmail's snippet is cleaned
here. Nothing here raises on bad mail, whose defects become data.
"""

from __future__ import annotations

import hashlib
import html
from collections.abc import Callable
from datetime import UTC, datetime

import orjson
import pyarrow as pa

from mail_ingest import mime
from mail_ingest.gmail.models import RawMessage
from mail_ingest.sources.batches import RowBuffer, clean
from mail_ingest.sources.tables import ATTACHMENTS, MESSAGE_HTML, MESSAGE_RECIPIENTS, MESSAGES

#: Text waiting in buffers is handed on at this size, long before 500 rows where messages are large.
_BUFFERED_CHARACTERS = 8 * 1024 * 1024
_EARLIEST_MS = -62_135_596_800_000
_LATEST_MS = 253_402_300_799_000
_YEAR_1971_MS = 31_536_000_000
_A_DAY_S = 86_400
_HEADERS = (
    "list-id",
    "list-unsubscribe",
    "precedence",
    "auto-submitted",
    "return-path",
    "delivered-to",
    "authentication-results",
)


class ContentRows:
    """Turns raw messages of one account into rows and hands them to `write(table_name, batch)`."""

    def __init__(
        self,
        account_id: str,
        write: Callable[[str, pa.RecordBatch], None],
        *,
        keep_html: bool = False,
        keep_headers: bool = False,
    ) -> None:
        self._account_id = account_id
        self._keep_html = keep_html
        self._keep_headers = keep_headers
        self._messages = RowBuffer(MESSAGES, write)
        self._recipients = RowBuffer(MESSAGE_RECIPIENTS, write, rows=5_000)
        self._attachments = RowBuffer(ATTACHMENTS, write, rows=5_000)
        self._html = RowBuffer(MESSAGE_HTML, write, rows=100)
        self._buffered = 0

    @property
    def count(self) -> int:
        return self._messages.count

    def add(
        self, message: RawMessage, *, fetched_at: datetime, sha256: str, raw_pack: str | None, source: str = "api"
    ) -> None:
        """Parses one message and buffers its rows."""
        parsed = mime.parse(message.raw)
        account_id, message_id = self._account_id, message.message_id
        author = parsed.from_[0] if parsed.from_ else None
        first: dict[str, str] = {}
        for name, value in parsed.headers:
            key = name.lower()
            if key not in first:
                first[key] = value
        text = parsed.body_text if parsed.body_text is not None else parsed.text_from_html
        text_source = None
        if text is not None:
            text_source = "plain" if parsed.body_text is not None else "html"
        self._messages.add(
            (
                account_id,
                message_id,
                message.thread_id,
                internal_date(message.internal_date_ms),
                parsed.date,
                parsed.subject,
                author.address if author else None,
                author.name if author else None,
                parsed.sender[0].address if parsed.sender else None,
                parsed.reply_to[0].address if parsed.reply_to else None,
                parsed.rfc822_message_id,
                parsed.in_reply_to,
                _json(parsed.references) if parsed.references else None,
                clean(html.unescape(message.snippet)),
                text,
                text_source,
                parsed.body_html is not None,
                len(message.raw),
                len(parsed.attachments),
                parsed.importance if "importance" in first else first.get("x-priority"),
                *[first.get(name) for name in _HEADERS],
                _json(parsed.headers) if self._keep_headers else None,
                _json(parsed.charsets),
                _json([*parsed.defects, *_date_defects(message.internal_date_ms, fetched_at)]),
                mime.PARSER_VERSION,
                source,
                fetched_at,
                sha256,
                raw_pack,
            )
        )
        for kind, addresses in (
            ("from", parsed.from_),
            ("sender", parsed.sender),
            ("reply_to", parsed.reply_to),
            ("to", parsed.to),
            ("cc", parsed.cc),
            ("bcc", parsed.bcc),
        ):
            for position, person in enumerate(addresses):
                self._recipients.add(
                    (account_id, message_id, kind, position, person.name, person.address, person.group)
                )
        for part in parsed.attachments:
            self._attachments.add(
                (
                    account_id,
                    message_id,
                    part.part_id,
                    part.filename,
                    part.content_type,
                    part.disposition,
                    part.content_id,
                    part.is_inline,
                    part.size_bytes,
                    part.sha256,
                    part.in_message,
                    part.subject,
                )
            )
        if self._keep_html and parsed.body_html is not None:
            self._html.add((account_id, message_id, parsed.body_html))
            self._buffered += len(parsed.body_html)
        self._buffered += len(text or "")
        if self._buffered > _BUFFERED_CHARACTERS:
            self.flush()

    def flush(self) -> None:
        self._buffered = 0
        for buffer in (self._messages, self._recipients, self._attachments, self._html):
            buffer.flush()


def internal_date(milliseconds: int) -> datetime:
    """Gmail's internalDate as an aware time, clamped to what a timestamp can hold."""
    return datetime.fromtimestamp(min(max(milliseconds, _EARLIEST_MS), _LATEST_MS) / 1000, UTC)


def _date_defects(milliseconds: int, fetched_at: datetime) -> list[str]:
    """What is wrong with Gmail's internalDate; the message lands all the same."""
    if milliseconds > (fetched_at.timestamp() + _A_DAY_S) * 1000:
        return ["internal-date-in-the-future"]
    return ["internal-date-in-1970"] if milliseconds < _YEAR_1971_MS else []


def content_sha256(raw: bytes) -> str:
    """The content identity of a message: SHA-256 of its raw bytes, hex."""
    return hashlib.sha256(raw).hexdigest()


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
