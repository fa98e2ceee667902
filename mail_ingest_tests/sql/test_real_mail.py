"""Three thousand real messages, parsed and landed: the analyst tables count what the corpora's own counts say.

`counts.json` and the manifests were made with the parser of CPython. Where ours differ, the difference is listed here with
its reason. Threads are Gmail's to tell; here messages are put together by their references, as the counts were.
"""

from __future__ import annotations

import email.parser
import json
import re
from collections import Counter
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from mail_ingest.gmail.models import RawMessage
from mail_ingest.mime import parse
from mail_ingest.sources.content import ContentRows, content_sha256
from mail_ingest_tests.mime.public_mail import CORPORA, needs_public_mail, real_messages, shared_data
from mail_ingest_tests.sql.databases import Database

NOW = datetime(2026, 3, 1, tzinfo=UTC)
#: Ours less theirs. Theirs take everything in angle brackets for an identifier, also the address in `In-Reply-To: Message
#: from Bo <bo@example.com> of ... <identifier>`, so one person's answers become one conversation.
OTHER_THREADS = {
    "conversations_total": {"sa-easy-ham-2": 20},
    "reference_threads_of_2_or_more": {"sa-easy-ham-2": 3},
    "messages_in_those_threads": {"sa-easy-ham-2": -17},
    "largest_thread": {"sa-easy-ham-2": -13},
}
#: Theirs count parts with a file name, but no attached messages.
OTHER_ATTACHMENTS = {
    ("sa-easy-ham-2", "application/pgp-signature"): 36,
    ("sa-easy-ham-2", "message/rfc822"): 2,
    ("sa-easy-ham-2", "message/delivery-status"): 1,
    ("sa-easy-ham-2", "text/rfc822-headers"): 1,
    ("sa-easy-ham-2", "application/ms-tnef"): 1,
    ("usrp-users", "image/png"): 5,
    ("usrp-users", "image/jpeg"): 6,
    ("usrp-users", "text/calendar"): 1,
}
#: Messages whose only attachments are such.
OTHER_MESSAGES_WITH_ATTACHMENTS = {"sa-easy-ham-2": 39, "usrp-users": 7}
#: One message of spam names its charset behind a type without its semicolon; theirs do not see it.
OTHER_CHARSETS = {"sa-spam-2-third": {"us-ascii": 1}}


def _account(corpus: str) -> str:
    return f"{corpus}@example.com"


def _land(database: Database) -> None:
    """Every message through the parser into landing rows, a mailbox per corpus."""
    by_corpus: dict[str, list[tuple[str, bytes]]] = {corpus: [] for corpus in CORPORA}
    for name, raw in real_messages():
        by_corpus[name.split("/")[0]].append((name, raw))
    for corpus, messages in by_corpus.items():
        landed: dict[str, list[dict[str, object]]] = {}

        def keep(table: str, batch: pa.RecordBatch, landed: dict[str, list[dict[str, object]]] = landed) -> None:
            landed.setdefault(table, []).extend(batch.to_pylist())

        rows = ContentRows(_account(corpus), keep)
        for number, (name, raw) in enumerate(messages):
            received_ms = int((NOW + timedelta(minutes=number)).timestamp() * 1000)
            message = RawMessage(name, name, frozenset(), 1, received_ms, len(raw), "", raw)
            rows.add(message, fetched_at=NOW, sha256=content_sha256(raw), raw_pack="pack")
        rows.flush()
        assert rows.unparsed == {}
        threads = _threads(landed["messages"])
        states = [
            database.state(name, [], account_id=_account(corpus), thread_id=threads[name]) for name, _ in messages
        ]
        _insert(database, "message_states", states)
        for table, found in landed.items():
            _insert(database, table, found)
    database.rebuild()


def _insert(database: Database, table: str, rows: list[dict[str, object]]) -> None:
    """Many rows at once: the fixture's `load` looks for rows to replace, which takes minutes here."""
    prepared = [
        [json.dumps(value) if isinstance(value, list) else value for value in (*row.values(), "1700000000.1")]
        for row in rows
    ]
    columns = ", ".join((*rows[0], "_dlt_load_id"))
    for start in range(0, len(prepared), 200):
        part = prepared[start : start + 200]
        marks = ", ".join(f"({', '.join('?' * len(part[0]))})" for _ in part)
        values = [value for row in part for value in row]
        database.connection.execute(f"insert into gmail.{table} ({columns}) values {marks}", values)


def _threads(messages: list[dict[str, object]], extra: dict[str, list[str]] | None = None) -> dict[str, str]:
    """Message to thread: the union of identifiers and references, and of what else messages are said to name."""
    parents: dict[str, str] = {}

    def root(node: str) -> str:
        while parents.setdefault(node, node) != node:
            parents[node] = parents[parents[node]]
            node = parents[node]
        return node

    for message in messages:
        named = [
            message["rfc822_message_id"],
            message["in_reply_to"],
            *json.loads(str(message["reference_ids"] or "[]")),
        ]
        named += extra.get(str(message["message_id"]), ()) if extra else ()
        for identifier in named:
            if identifier:
                parents[root(str(message["message_id"]))] = root(f"<>{identifier}")
    return {str(message["message_id"]): root(str(message["message_id"])) for message in messages}


@needs_public_mail
@pytest.mark.timeout(600)
def test_the_tables_count_what_the_corpora_count(database: Database, record_property) -> None:  # type: ignore[no-untyped-def]
    _land(database)
    folder = shared_data()
    assert folder is not None
    expected = json.loads((folder / "real-mail" / "counts.json").read_text())

    def by_corpus(select: str) -> dict[str, int]:
        rows = database.rows(f"select account_id, {select} group by account_id")
        return {account.split("@")[0]: int(count) for account, count in rows}

    large = "case when message_count > 1 then"
    ours = {
        "messages": by_corpus("count(*) from mail.messages where has_content"),
        "bytes": by_corpus("sum(size_bytes) from mail.messages"),
        "distinct_message_ids": by_corpus("count(distinct rfc822_message_id) from mail.messages"),
        "conversations_total": by_corpus("count(*) from mail.threads"),
        "reference_threads_of_2_or_more": by_corpus(f"count({large} 1 end) from mail.threads"),
        "messages_in_those_threads": by_corpus(f"sum({large} message_count else 0 end) from mail.threads"),
        "largest_thread": by_corpus("max(message_count) from mail.threads"),
        "with_attachment": by_corpus("count(case when has_attachments then 1 end) from mail.messages"),
    }
    differences = {
        kind: {
            corpus: counts[corpus] - expected[corpus][kind]
            for corpus in CORPORA
            if counts[corpus] != expected[corpus][kind]
        }
        for kind, counts in ours.items()
    }
    for kind, counts in ours.items():
        record_property("figure", f"{database.dialect}: {kind} {counts}, ours less theirs {differences[kind] or 0}")
    assert {kind: found for kind, found in differences.items() if found} == {
        **OTHER_THREADS,
        "with_attachment": OTHER_MESSAGES_WITH_ATTACHMENTS,
    }

    like_theirs = "file_name <> '' and content_type <> 'message/rfc822'"
    named = by_corpus(f"count(*) from mail.attachments where {like_theirs}")
    assert named == {corpus: expected[corpus]["attachments"] for corpus in CORPORA}
    others = database.rows(
        f"select account_id, content_type, count(*) from mail.attachments where not ({like_theirs}) group by 1, 2"
    )
    assert {(account.split("@")[0], kind): count for account, kind, count in others} == OTHER_ATTACHMENTS

    for corpus in CORPORA:
        charsets: Counter[str] = Counter()
        for (text,) in database.rows(
            f"select cast(charsets as varchar) from gmail.messages where account_id = '{_account(corpus)}'"
        ):
            charsets.update(set(json.loads(text)))
        assert charsets == Counter(expected[corpus]["charsets"]) + Counter(OTHER_CHARSETS.get(corpus, {})), corpus


@needs_public_mail
def test_threads_differ_by_addresses_taken_for_identifiers_alone() -> None:
    """With the addresses counted in, as theirs are, our threads are theirs."""
    folder = shared_data()
    assert folder is not None
    expected = json.loads((folder / "real-mail" / "counts.json").read_text())["sa-easy-ham-2"]
    landed, extra = [], {}
    for name, raw in real_messages():
        if name.startswith("sa-easy-ham-2/"):
            message = parse(raw)
            landed.append(
                {
                    "message_id": name,
                    "rfc822_message_id": message.rfc822_message_id,
                    "in_reply_to": message.in_reply_to,
                    "reference_ids": json.dumps(list(message.references)),
                }
            )
            headers = email.parser.BytesHeaderParser().parsebytes(raw)
            extra[name] = re.findall(r"<[^<>\s]+>", str(headers.get("In-Reply-To", "")))
    sizes = Counter(_threads(landed, extra).values())

    assert len(sizes) == expected["conversations_total"]
    assert sum(1 for size in sizes.values() if size > 1) == expected["reference_threads_of_2_or_more"]
    assert max(sizes.values()) == expected["largest_thread"]
