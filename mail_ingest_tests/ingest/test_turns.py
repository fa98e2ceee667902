"""A long backfill and whoever else wants the same account take turns."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from mail_ingest.ingest import SyncOptions, SyncRun, content
from mail_ingest.ingest.engine import Engine
from mail_ingest.ingest.erasing.account_rows import Instructions
from mail_ingest.ingest.erasing.contact import erase_contact
from mail_ingest.ingest.erasing.resuming import rewrite_account
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.truth import assert_true_to_gmail, sync


def test_new_mail_does_not_wait_for_the_end_of_a_backfill(
    new_engine: Callable[..., Engine], engine: Engine, box: Mailbox, gmail: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "PACKAGE_MESSAGES", 10)
    box.generate(100, seed=91, start="2025-03-01", end="2025-04-01", mean_size_bytes=2_000)
    sync(engine, content=False)
    begun, backfill = threading.Event(), new_engine(wait_s=60.0)
    runs: list[SyncRun] = []
    gmail.before("messages.get", begun.set, times=1)
    thread = threading.Thread(
        target=lambda: runs.extend(backfill.sync(backfill.accounts(), SyncOptions(partitions=("2025-03",))))
    )
    thread.start()
    assert begun.wait(60)
    new = box.add(subject="new", sender="a@b.example", body="x")

    run = new_engine(wait_s=60.0).sync(engine.accounts(), SyncOptions(max_messages=10))[0]

    assert (run.outcome, run.contents_stored) == ("partial", 10)
    with engine.warehouse.open() as connection:
        assert connection.execute("select 1 from gmail.messages where message_id = ?", [new]).fetchone()
        stored = connection.execute("select count(*) from gmail.messages").fetchone()
    assert stored is not None
    assert stored[0] < 80, "the backfill was over before"
    thread.join(timeout=120)
    assert runs[0].error == ""
    assert_true_to_gmail(engine, box)


def test_neither_a_rewriting_nor_an_erasure_waits_for_the_end_of_a_backfill(
    new_engine: Callable[..., Engine], engine: Engine, box: Mailbox, gmail: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However short the time that its caller waits for others: that would not do for one package."""
    monkeypatch.setattr(content, "PACKAGE_MESSAGES", 10)
    box.generate(80, seed=91, start="2025-03-01", end="2025-04-01", mean_size_bytes=2_000)
    sync(engine, content=False)
    begun, backfill = threading.Event(), new_engine(wait_s=60.0)
    runs: list[SyncRun] = []
    gmail.before("messages.get", begun.set, times=1)
    thread = threading.Thread(
        target=lambda: runs.extend(backfill.sync(backfill.accounts(), SyncOptions(partitions=("2025-03",))))
    )
    thread.start()
    assert begun.wait(60)

    rewrite_account(engine, box.address, Instructions(lambda message: message, doomed=False, left_out=lambda _: ""))
    erase_contact(engine, "nobody@corr.example")

    assert thread.is_alive(), "the backfill was over before"
    thread.join(timeout=120)
    assert (runs[0].error, runs[0].contents_stored) == ("", 80)
