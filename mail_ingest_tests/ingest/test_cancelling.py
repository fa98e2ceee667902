"""A sync that is told to end does so at the next safe point: what was fetched is loaded, and its locks are free."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from mail_ingest.ingest import Engine, SyncOptions, content, stopping
from mail_ingest.ingest.stopping import StopSign, stop_on_signals
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.truth import assert_true_to_gmail, sync

pytestmark = pytest.mark.warehouses("duckdb", long=["postgres"])
on_both = pytest.mark.warehouses("duckdb", "postgres")


@pytest.fixture(autouse=True)
def _ask_always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "ASK_EVERY_S", 0.0)


@on_both
def test_a_cancelled_drain_loads_what_it_fetched_and_the_next_sync_goes_on(
    engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(60, seed=1, mean_size_bytes=2_000)
    gmail.before("messages.get", _cancel(engine), after=20, times=1)

    [run] = engine.sync(engine.accounts(), SyncOptions())

    assert (run.outcome, run.error_class) == ("cancelled", "CancelledError")
    assert 20 <= run.contents_stored < 60
    stored, outcomes = _stored(engine)
    assert stored == run.contents_stored == gmail.calls("messages.get"), "what was bought is not all there"
    assert outcomes == ["cancelled"]
    assert engine.registry.get(ADDRESS).last_outcome == "cancelled"
    _assert_nothing_is_held(engine)
    assert sync(engine).outcome == "success"
    assert gmail.calls("messages.get") == 60, "a message was bought twice"
    assert_true_to_gmail(engine, box)


def test_a_cancelled_sweep_changes_nothing(engine: Engine, box: Mailbox, gmail: Simulator) -> None:
    box.generate(30, seed=2, mean_size_bytes=2_000)
    gmail.before("labels.get", _cancel(engine), after=2, times=1)

    [run] = engine.sync(engine.accounts(), SyncOptions())

    assert (run.outcome, run.messages_added, run.contents_stored) == ("cancelled", 0, 0)
    assert gmail.calls("labels.get") <= 4
    assert engine.cursor(engine.registry.get(ADDRESS)) is None
    _assert_nothing_is_held(engine)
    sync(engine)
    assert_true_to_gmail(engine, box)


def test_a_cancellation_concerns_the_sync_under_way_alone(engine: Engine, box: Mailbox) -> None:
    box.generate(5, seed=3, mean_size_bytes=2_000)
    engine.registry.requests.cancel_account(ADDRESS, "before it began")

    assert sync(engine).outcome == "success"
    assert_true_to_gmail(engine, box)


def test_the_other_accounts_go_on(
    engine: Engine, box: Mailbox, gmail: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mail_ingest.accounts import token_env

    other = gmail.add_account("grace@example.com")
    monkeypatch.setenv("GRACE_TOKEN", other.token)
    engine.registry.add(other.address, token_env("GRACE_TOKEN"))
    for mailbox in (box, other):
        mailbox.generate(10, seed=4, mean_size_bytes=2_000)
    gmail.before("messages.get", _cancel(engine), after=2, times=1)

    runs = engine.sync(engine.accounts(), SyncOptions())

    assert [run.outcome for run in runs] == ["cancelled", "success"]


def test_a_stopped_process_ends_the_sync_under_way_and_begins_no_other(
    engine: Engine,
    new_engine: Callable[..., Engine],
    box: Mailbox,
    gmail: Simulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mail_ingest.accounts import token_env

    engine = new_engine(MAIL_INGEST_ACCOUNTS_AT_ONCE="1")
    other = gmail.add_account("grace@example.com")
    monkeypatch.setenv("GRACE_TOKEN", other.token)
    engine.registry.add(other.address, token_env("GRACE_TOKEN"))
    box.generate(30, seed=5, mean_size_bytes=2_000)
    gmail.before("messages.get", lambda: engine.stop_sign.stop("SIGTERM"), after=5, times=1)

    [run] = engine.sync(engine.accounts(), SyncOptions())

    assert run.outcome == "cancelled"
    assert "was stopped (SIGTERM)" in run.error
    assert gmail.calls(account=other.address) == 0
    assert _stored(engine)[0] == gmail.calls("messages.get")


def test_a_backfill_between_its_packages_is_cancelled_too(
    engine: Engine, box: Mailbox, gmail: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "PACKAGE_MESSAGES", 10)
    box.generate(50, seed=6, start="2025-03-01", end="2025-04-01", mean_size_bytes=2_000)
    sync(engine, content=False)
    gmail.before("messages.get", _cancel(engine), after=25, times=1)

    [run] = engine.sync(engine.accounts(), SyncOptions(partitions=("2025-03",)))

    assert run.outcome == "cancelled"
    assert _stored(engine)[0] == run.contents_stored == gmail.calls("messages.get")
    assert 25 <= run.contents_stored < 45


def test_whoever_waits_for_a_lock_can_be_cancelled(
    new_engine: Callable[..., Engine], engine: Engine, box: Mailbox
) -> None:
    box.generate(5, seed=7, mean_size_bytes=2_000)
    waiting = new_engine(wait_s=60.0)
    runs = []
    with engine.locks.hold(f"account:{ADDRESS}"):
        thread = threading.Thread(target=lambda: runs.extend(waiting.sync(waiting.accounts(), SyncOptions())))
        started = time.monotonic()
        thread.start()
        while engine.registry.get(ADDRESS).last_sync_started_at is None:
            time.sleep(0.01)
        _cancel(engine)()
        thread.join(timeout=30)
        took_s = time.monotonic() - started

    assert [run.outcome for run in runs] == ["cancelled"]
    assert took_s < 30


@pytest.mark.warehouses("duckdb")
def test_a_wait_for_quota_ends_within_a_second(engine: Engine) -> None:
    sign, slept = StopSign(), []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        sign.stop("SIGINT")

    with pytest.raises(Exception, match="was stopped"), sign.watch(ADDRESS, lambda: False):
        sign.sleeper(sleep)(100.0)
    assert slept == [1.0]


_SIGNALLED = """
import sys, time
from mail_ingest.ingest.stopping import StopSign, stop_on_signals
sign = StopSign()
with stop_on_signals(sign, tell=lambda name: print(name, flush=True), patience_s=float(sys.argv[1]) or None):
    is_ready = False
    while not (sign.stopped_by and sys.argv[2] == "listens"):
        try:
            if not is_ready:
                is_ready = True
                print("ready", flush=True)
            while not (sign.stopped_by and sys.argv[2] == "listens"):
                time.sleep(0.05)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
            if sys.argv[2] == "gives in":
                sys.exit(7)
print("safe", flush=True)
"""


@pytest.mark.parametrize(
    ("patience", "manner", "signals", "code", "said"),
    [
        ("0", "listens", [signal.SIGTERM], 0, "SIGTERM\nsafe\n"),
        ("0", "gives in", [signal.SIGINT, signal.SIGINT], 7, "SIGINT\ninterrupted\n"),
        ("0", "hangs", [signal.SIGTERM, signal.SIGTERM], -signal.SIGTERM, "SIGTERM\n"),
        ("0.2", "gives in", [signal.SIGINT], 7, "SIGINT\ninterrupted\n"),
        ("0.2", "hangs", [signal.SIGINT], 1, "SIGINT\ninterrupted\n"),
    ],
)
@pytest.mark.warehouses("duckdb")
def test_the_first_signal_asks_and_the_second_one_does_not(
    patience: str, manner: str, signals: list[signal.Signals], code: int, said: str
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _RESTORED + _SIGNALLED, patience, manner], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    heard = ""
    for place, number in enumerate(signals):
        process.send_signal(number)
        if place + 1 < len(signals):
            heard = process.stdout.readline()

    rest = process.communicate(timeout=60)[0]

    assert (process.returncode, heard + rest) == (code, said)


#: A shell that starts the tests in the background makes them ignore interrupts.
_RESTORED = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"


@pytest.mark.warehouses("duckdb")
def test_signals_do_what_they_did_once_the_work_is_over() -> None:
    before = signal.getsignal(signal.SIGINT)
    sign = StopSign()
    with stop_on_signals(sign):
        os.kill(os.getpid(), signal.SIGTERM)
        assert sign.stopped_by == "SIGTERM"

    assert signal.getsignal(signal.SIGINT) is before


def _cancel(engine: Engine) -> Callable[[], object]:
    return lambda: engine.registry.requests.cancel_account(ADDRESS, "a test")


def _stored(engine: Engine) -> tuple[int, list[str]]:
    with engine.warehouse.open() as connection:
        [count] = connection.execute("select count(*) from gmail.messages").fetchone()
        rows = connection.execute("select outcome from gmail.sync_runs where kind <> 'none'").fetchall()
    return count, [row[0] for row in rows]


def _assert_nothing_is_held(engine: Engine) -> None:
    for name in (f"account:{ADDRESS}", f"content:{ADDRESS}", "warehouse"):
        with engine.locks.hold(name, wait_s=0):
            pass
    assert list(engine.spool_folder.glob("spool-*")) == []
