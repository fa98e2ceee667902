"""Names that strangers choose, built to be SQL, paths or broken text: stored as they are, and nothing else happens."""

from __future__ import annotations

from pathlib import Path

import pytest

from mail_ingest.errors import MailIngestError
from mail_ingest.ingest import Engine, SyncOptions
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.mime.builders import attachment, message, multipart
from mail_ingest_tests.truth import assert_true_to_gmail, sync

pytestmark = pytest.mark.warehouses("duckdb", "postgres")

#: Ends a literal, an identifier, a COPY line, a placeholder of either driver, a Python format.
SQL = [
    "'; drop table gmail.messages; --",
    '"; delete from gmail.message_states; --',
    "') or 1=1; rollback; drop schema mail cascade; --",
    "$1 ? %s %(x)s {0} {{x}} :name \\. \\N",
    "$$; select pg_sleep(60); $$",
]
PATHS = [
    "../../../../tmp/planted-evil.sh",
    "/etc/cron.d/planted-evil",
    "..\\..\\planted-evil.exe",
    "~/planted-evil",
    "planted-evil\x00.txt",
]
TRACKER = (
    '<img src="http://tracker.evil.example/pixel"><script src="http://tracker.evil.example/x.js">planted()</script>'
)


def _rows(engine: Engine, query: str, parameters: list[object] | None = None) -> list[tuple[object, ...]]:
    with engine.warehouse.open() as connection:
        return connection.execute(query, parameters or []).fetchall()


def test_names_built_as_sql_come_back_as_they_are_and_run_nowhere(
    engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    for text in SQL:
        label = box.create_label(text)
        headers = (f'From: "{text.translate({34: None, 92: None})}" <a@example.org>', f"Subject: {text}")
        box.add(raw=message(b"body", *headers, line_end=b"\r\n"), labels=("INBOX", label))
    for path in ("messages.list.messages.threadId", "messages.get.threadId"):
        gmail.change_answers(path, "replace", SQL[0])

    sync(engine)
    sync(engine, label=SQL[1])
    sync(engine, mode="full")

    assert {row[0] for row in _rows(engine, "select subject from mail.messages")} == set(SQL)
    assert set(SQL) <= {row[0] for row in _rows(engine, "select name from mail.labels")}
    assert _rows(engine, "select count(*), count(distinct thread_id) from gmail.message_states") == [(5, 1)]
    assert _rows(engine, "select thread_id, message_count from mail.threads") == [(SQL[0], 5)]
    [(subject,)] = _rows(engine, "select subject from mail.messages where subject = ?", [SQL[3]])
    assert subject == SQL[3]


def test_a_message_id_built_as_sql_finds_nothing(engine: Engine, box: Mailbox) -> None:
    box.add()
    sync(engine)

    for text in SQL:
        assert engine.queries.content_place(ADDRESS, text) is None
        with pytest.raises(MailIngestError):
            engine.registry.get(text)

    assert _rows(engine, "select count(*) from gmail.messages") == [(1,)]


def test_no_file_is_named_by_mail_and_nothing_in_it_is_fetched(engine: Engine, box: Mailbox, tmp_path: Path) -> None:
    box.create_label("../planted-evil")
    parts = [message(TRACKER.encode(), "Content-Type: text/html"), *[attachment(name, b"#!/bin/sh") for name in PATHS]]
    box.add(raw=multipart("mixed", parts, "Subject: ../planted-evil", "Message-ID: <../../planted-evil@x>"))
    before = {path.name for path in Path("/tmp").iterdir() if "planted-evil" in path.name}

    sync(engine)

    stored = {str(row[0]) for row in _rows(engine, "select file_name from mail.attachments")}
    assert len(stored) == len(PATHS)
    assert {"../../../../tmp/planted-evil.sh", "/etc/cron.d/planted-evil", "planted-evil.txt"} <= stored
    assert [path for path in tmp_path.rglob("*") if "planted" in path.name] == []
    assert {path.name for path in Path("/tmp").iterdir() if "planted-evil" in path.name} == before
    [(text,)] = _rows(engine, "select body_text from mail.messages")
    assert "planted()" not in str(text)


def test_answers_with_nul_stop_one_sync_and_block_no_pipeline(engine: Engine, box: Mailbox, gmail: Simulator) -> None:
    box.add()
    gmail.change_answers("labels.list.labels.name", "replace", "na\x00me\ud800"[:-1])
    gmail.change_answers("labels.list.labels.type", "replace", "us\x00er")
    sync(engine)
    assert {row[0] for row in _rows(engine, "select name from mail.labels")} == {"name"}

    gmail.restore_answers()
    box.add()
    for path in (
        "history.list.history.messagesAdded.message.threadId",
        "history.list.history.messagesAdded.message.id",
    ):
        gmail.change_answers(path, "replace", "a\x00b")
    [run] = engine.sync(engine.accounts(), SyncOptions())
    assert run.outcome == "failed"
    assert "other string" in run.error
    gmail.restore_answers()

    sync(engine)
    assert_true_to_gmail(engine, box)
