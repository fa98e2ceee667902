"""The floor: the same mailbox into the same columns by the shortest program that does it, for comparison only.

Threads with a keep-alive `http.client` connection each, JSON, base64, `mail_ingest.mime.parse`, tuples, Arrow tables of
5,000 messages, and `INSERT INTO` DuckDB tables that have a primary key. Ids come from `messages.list`. It knows one
mailbox and one run: no labels, no history, no quota, no retries, no merge, no resuming, no failures.

`archive` adds what the raw archive costs at least: zstd level 3 per message and one Parquet file a table.
"""

from __future__ import annotations

import base64
import hashlib
import html
import http.client
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import duckdb
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pybase64
import zstandard

from benchmarks.local import ADDRESS
from mail_ingest import mime
from mail_ingest.sources.tables import ATTACHMENTS, MESSAGE_RECIPIENTS, MESSAGES, Table

BATCH_MESSAGES = 5_000
_TABLES = (MESSAGES, MESSAGE_RECIPIENTS, ATTACHMENTS)
_SQL_TYPES = {"text": "varchar", "json": "json", "int": "bigint", "bool": "boolean", "time": "timestamptz"}
_KINDS = ("from_", "sender", "reply_to", "to", "cc", "bcc")
_PART = (
    "part_id",
    "filename",
    "content_type",
    "disposition",
    "content_id",
    "is_inline",
    "size_bytes",
    "sha256",
    "in_message",
    "subject",
)
_HEADERS = (
    "list-id",
    "list-unsubscribe",
    "precedence",
    "auto-submitted",
    "return-path",
    "delivered-to",
    "authentication-results",
)


class Floor:
    """One run over one mailbox. `codec`: `fast` for orjson and pybase64, `stdlib` for json and base64."""

    def __init__(self, url: str, token: str, folder: Path, archive: bool, codec: str, threads: int) -> None:
        self._host = urlsplit(url).netloc
        self._headers = {"authorization": f"Bearer {token}"}
        self._folder = folder
        self._archive = archive
        self._threads = threads
        self._loads: Callable[[bytes], Any] = orjson.loads if codec == "fast" else json.loads
        self._decode = pybase64.urlsafe_b64decode if codec == "fast" else base64.urlsafe_b64decode
        self._lock = threading.Lock()
        self._rows: dict[str, list[tuple[Any, ...]]] = {table.name: [] for table in _TABLES}
        self._raw: list[tuple[str, bytes]] = []
        self._batches = 0
        self._failed: Exception | None = None

    def run(self) -> int:
        """Reads everything; returns the number of messages stored."""
        self._database = duckdb.connect(str(self._folder / "floor.duckdb"), config={"threads": 1})
        for table in _TABLES:
            columns = ", ".join(f"{column.name} {_SQL_TYPES[column.kind]}" for column in table.columns)
            self._database.execute(f"create table {table.name} ({columns}, primary key ({', '.join(table.key)}))")
        ids = self._ids()
        workers = [threading.Thread(target=self._work, args=(ids,)) for _ in range(self._threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if self._failed is not None:
            raise self._failed
        self._insert()
        stored = self._database.execute("select count(*) from messages").fetchone()
        self._database.close()
        return int(stored[0]) if stored else 0

    def _get(self, connection: http.client.HTTPConnection, path: str) -> Any:
        connection.request("GET", f"/gmail/v1/users/me/{path}", headers=self._headers)
        return self._loads(connection.getresponse().read())

    def _ids(self) -> Iterator[str]:
        connection = http.client.HTTPConnection(self._host)
        token = ""
        while True:
            page = self._get(connection, f"messages?maxResults=500&includeSpamTrash=true{token}")
            for message in page.get("messages", ()):
                yield message["id"]
            if "nextPageToken" not in page:
                return
            token = f"&pageToken={page['nextPageToken']}"

    def _work(self, ids: Iterator[str]) -> None:
        connection = http.client.HTTPConnection(self._host)
        compressor = zstandard.ZstdCompressor(level=3)
        try:
            while self._failed is None:
                with self._lock:
                    message_id = next(ids, None)
                if message_id is None:
                    return
                doc = self._get(connection, f"messages/{message_id}?format=raw")
                raw = self._decode(doc["raw"])
                self._add(doc, raw, mime.parse(raw), compressor.compress(raw) if self._archive else None)
        except Exception as error:  # noqa: BLE001  raised again by `run`
            self._failed = error

    def _add(self, doc: dict[str, Any], raw: bytes, parsed: mime.ParsedMessage, archived: bytes | None) -> None:
        message_id = doc["id"]
        first: dict[str, str] = {}
        for name, value in parsed.headers:
            first.setdefault(name.lower(), value)
        author = parsed.from_[0] if parsed.from_ else None
        text = parsed.text
        source = None if text is None else "plain" if parsed.body_text is not None else "html"
        row = (
            ADDRESS,
            message_id,
            doc["threadId"],
            datetime.fromtimestamp(int(doc["internalDate"]) / 1000, UTC),
            parsed.date,
            parsed.subject,
            author.address if author else None,
            author.name if author else None,
            parsed.sender[0].address if parsed.sender else None,
            parsed.reply_to[0].address if parsed.reply_to else None,
            parsed.rfc822_message_id,
            parsed.in_reply_to,
            orjson.dumps(parsed.references).decode() if parsed.references else None,
            html.unescape(doc["snippet"]),
            text,
            source,
            parsed.body_html is not None,
            len(raw),
            len(parsed.attachments),
            first.get("importance") or first.get("x-priority"),
            *(first.get(name) for name in _HEADERS),
            None,
            orjson.dumps(parsed.charsets).decode(),
            orjson.dumps(parsed.defects).decode(),
            mime.PARSER_VERSION,
            "api",
            datetime.now(UTC),
            hashlib.sha256(raw).hexdigest(),
            None,
            "full",
        )
        recipients = [
            (ADDRESS, message_id, kind.rstrip("_"), position, person.name, person.address, person.group)
            for kind in _KINDS
            for position, person in enumerate(getattr(parsed, kind))
        ]
        attachments = [(ADDRESS, message_id, *(getattr(part, name) for name in _PART)) for part in parsed.attachments]
        with self._lock:
            self._rows[MESSAGES.name].append(row)
            self._rows[MESSAGE_RECIPIENTS.name] += recipients
            self._rows[ATTACHMENTS.name] += attachments
            if archived is not None:
                self._raw.append((message_id, archived))
            if len(self._rows[MESSAGES.name]) >= BATCH_MESSAGES:
                self._insert()

    def _insert(self) -> None:
        for table in _TABLES:
            rows, self._rows[table.name] = self._rows[table.name], []
            if rows:
                self._database.register("batch", _arrow(table, rows))
                self._database.execute(f"insert into {table.name} select * from batch")
                self._database.unregister("batch")
        if self._archive:
            archived, self._raw = self._raw, []
            columns = {"message_id": [row[0] for row in archived], "raw_zstd": [row[1] for row in archived]}
            pq.write_table(pa.table(columns), self._folder / f"{self._batches}.parquet", compression="none")
        self._batches += 1


def _arrow(table: Table, rows: list[tuple[Any, ...]]) -> pa.Table:
    columns = zip(*rows, strict=True)
    arrays = [pa.array(values, type=field.type) for values, field in zip(columns, table.arrow_schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=table.arrow_schema)
