"""A fetched message -> rows of `messages`, `message_recipients`, `attachments` and `message_html`.

Pure but for the rows it collects. Parsed text is clean already (`mime.message` promises it); Gmail's snippet is cleaned
here. The account's privacy is applied before a row is handed on. Bad mail does not raise, its defects become data; should
the parser raise all the same, or a value not fit its column, that message alone gets a row with what is known without
parsing, and its name in `unparsed`.
"""

from __future__ import annotations

import hashlib
import html
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import orjson
import pyarrow as pa

from mail_ingest import mime
from mail_ingest.errors import stack_of
from mail_ingest.gmail.models import RawMessage
from mail_ingest.privacy import PrivateRows
from mail_ingest.sources.batches import BATCH_ROWS, clean, record_batch
from mail_ingest.sources.stored import STORED_TABLES, Rewrite, StoredMessage, as_row, as_values
from mail_ingest.sources.tables import ATTACHMENTS, MESSAGE_HTML, MESSAGE_RECIPIENTS, MESSAGES, Table

logger = logging.getLogger(__name__)

#: The defect of a message that no parser could read, and the parser version of its row: older than every parser.
UNPARSED = "unparsed"
UNPARSED_VERSION = 0
#: Why a message has no row of which a rewriting leaves nothing, in `gmail.left_out_messages`: an erased person wrote it.
ERASED = "erased"

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

_TABLES = (MESSAGES, MESSAGE_RECIPIENTS, ATTACHMENTS, MESSAGE_HTML)

_Row = tuple[object, ...]


@dataclass(slots=True)
class _MessageRows:
    """The rows of one message, and how to make the one that stands in for them where they cannot be made."""

    message_id: str
    message: list[_Row]
    recipients: list[_Row]
    attachments: list[_Row]
    html: list[_Row]
    stand_in: Callable[[], _Row] | None

    def of(self, table: Table) -> list[_Row]:
        if table is MESSAGES:
            return self.message
        if table is MESSAGE_RECIPIENTS:
            return self.recipients
        return self.attachments if table is ATTACHMENTS else self.html

    def give_up(self) -> None:
        self.message, self.recipients, self.attachments, self.html = [], [], [], []
        if self.stand_in is not None:
            self.message.append(self.stand_in())


class ContentRows:
    """Turns raw messages of one account into rows and hands them to `write(table_name, batch)`.

    `unparsed` holds, by id, the class of the exception that each message ended in that could not be parsed. Those whose
    bytes are in no pack get no row at all: a row would end the tries to get them while nothing of them is kept.
    """

    def __init__(
        self,
        account_id: str,
        write: Callable[[str, pa.RecordBatch], None],
        *,
        keep_html: bool = False,
        keep_headers: bool = False,
        rewrite: Rewrite | None = None,
        private: PrivateRows | None = None,
    ) -> None:
        """`rewrite`: what is to be stored of a message in place of what it says. `private`: brings that into the form in which
        it may be stored; without it rows say all."""
        self._rewrite = rewrite
        self._account_id = account_id
        self._write = write
        self._keep_html = keep_html
        self._keep_headers = keep_headers
        self._private = private
        self._pending: list[_MessageRows] = []
        self._buffered = 0
        self.count = 0
        self.unparsed: dict[str, str] = {}
        #: Why messages were left out, by the account's privacy or by `rewrite`, by id; they have no rows.
        self.left_out: dict[str, str] = {}

    def reason_to_leave_out(self, message: RawMessage) -> str | None:
        """Why nothing of a message may be stored; None where its rows may. To be asked before its bytes are archived.

        Nobody can tell of a message that cannot be parsed.
        """
        if self._private is None or self._private.policy.sign_in_mail:
            return None
        rows = _MessageRows(message.message_id, [], [], [], [], None)
        try:
            self._make(message, ("", None, "", None, "full"), rows, [])
        except Exception:  # noqa: BLE001  `add` says so
            return None
        return self._private.left_out(rows.message[0])

    def add(
        self,
        message: RawMessage,
        *,
        fetched_at: datetime,
        sha256: str,
        raw_pack: str | None,
        source: str = "api",
        stand_in: bool = True,
    ) -> None:
        """Parses one message and keeps its rows. Raises nothing on account of the message.

        Without `stand_in` a message that cannot be parsed gets no row.
        """
        # what is stored about a message beside its parsed columns
        stored = (source, fetched_at, sha256, raw_pack, "full")
        has_stand_in = stand_in and raw_pack is not None
        rows = _MessageRows(message.message_id, [], [], [], [], None)
        if has_stand_in:
            # made only when it is needed; without the message itself, whose bytes must not wait for the flush
            about = (message.thread_id, message.internal_date_ms, message.snippet, len(message.raw))
            rows.stand_in = partial(self._stand_in, message.message_id, about, stored)
        try:
            self._make(message, stored, rows, _date_defects(message.internal_date_ms, fetched_at))
            if self._rewrite is not None:
                _rewrite_rows(rows, self._rewrite)
            if rows.message:
                self._apply_privacy(rows)
            else:
                self.left_out[rows.message_id] = ERASED
        except Exception as error:  # noqa: BLE001  one message must never stop an account
            self._give_up(rows, error)
        self._pending.append(rows)
        self.count += 1
        if len(self._pending) >= BATCH_ROWS or self._buffered > _BUFFERED_CHARACTERS:
            self.flush()

    def flush(self) -> None:
        """Hands the collected rows on. Afterwards `unparsed` is complete for what was added before."""
        self._buffered = 0
        pending, self._pending = self._pending, []
        try:
            batches = _batches(pending)
        except Exception:  # noqa: BLE001  some value of some message does not fit its column: find which
            for rows in pending:
                try:
                    _batches([rows])
                except Exception as error:  # noqa: BLE001  as above
                    self._give_up(rows, error)
            batches = _batches(pending)
        for table, batch in batches:
            self._write(table, batch)

    def _give_up(self, rows: _MessageRows, error: Exception) -> None:
        # the message of the exception may quote mail, its stack does not
        stack = stack_of(error)
        logger.error(
            "message %s of %s could not be parsed (%s); its bytes are kept\n%s",
            rows.message_id,
            self._account_id,
            type(error).__name__,
            stack,
        )
        rows.give_up()
        self.unparsed[rows.message_id] = type(error).__name__

    def _stand_in(self, message_id: str, about: tuple[str, int, str, int], stored: _Row) -> _Row:
        thread_id, internal_date_ms, snippet, size_bytes = about
        known = {
            "account_id": self._account_id,
            "message_id": message_id,
            "thread_id": clean(thread_id),
            "internal_date": internal_date(internal_date_ms),
            "snippet": clean(snippet),
            "size_bytes": size_bytes,
            "defects": _json([UNPARSED]),
            "parser_version": UNPARSED_VERSION,
            **dict(zip(("source", "fetched_at", "sha256", "raw_pack", "privacy"), stored, strict=True)),
        }
        return tuple(known.get(column.name) for column in MESSAGES.columns)

    def _apply_privacy(self, rows: _MessageRows) -> None:
        if self._private is not None and self._private.policy.changes_rows:
            private = self._private.message({table.name: rows.of(table) for table in _TABLES})
            if isinstance(private, str):
                self.left_out[rows.message_id] = private
                rows.message, rows.recipients, rows.attachments, rows.html = [], [], [], []
            else:
                rows.message, rows.recipients, rows.attachments, rows.html = (private[table.name] for table in _TABLES)
        self._buffered += sum(len(text) for row in (*rows.message, *rows.html) for text in row if isinstance(text, str))

    def _make(self, message: RawMessage, stored: _Row, rows: _MessageRows, date_defects: list[str]) -> None:
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
        rows.message.append(
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
                len(message.raw) if message.is_whole else message.size_estimate,
                len(parsed.attachments),
                parsed.importance if "importance" in first else first.get("x-priority"),
                *[first.get(name) for name in _HEADERS],
                _json(parsed.headers) if self._keep_headers else None,
                _json(parsed.charsets),
                _json([*parsed.defects, *date_defects]),
                mime.PARSER_VERSION,
                *stored,
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
                rows.recipients.append(
                    (account_id, message_id, kind, position, person.name, person.address, person.group)
                )
        for part in parsed.attachments:
            rows.attachments.append(
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
            rows.html.append((account_id, message_id, parsed.body_html))


def _rewrite_rows(rows: _MessageRows, rewrite: Rewrite) -> None:
    made = {table.name: [as_values(table, row) for row in rows.of(table)] for table in STORED_TABLES}
    new = rewrite(StoredMessage.of(made))
    for table in STORED_TABLES:
        rows.of(table)[:] = [] if new is None else [as_row(table, values) for values in new.rows(table)]


def _batches(messages: Sequence[_MessageRows]) -> list[tuple[str, pa.RecordBatch]]:
    batches = []
    for table in _TABLES:
        rows = [row for message in messages for row in message.of(table)]
        if rows:
            batches.append((table.name, record_batch(table.arrow_schema, rows)))
    return batches


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
