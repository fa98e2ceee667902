"""Many accounts of a shard at once: each as true as if it were alone, for a fraction of the work."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Sequence

import pytest
from sqlalchemy.exc import OperationalError

from mail_ingest.accounts import token_env
from mail_ingest.errors import ConfigError
from mail_ingest.ingest import Engine, SyncOptions, SyncRun, account_sync
from mail_ingest.ingest.loading import Loader, Package
from mail_ingest.ingest.moving import move_account
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest.warehouse.locks import Locks
from mail_ingest_tests.truth import assert_analyst_tables_are_built, assert_true_to_gmail

Fleet = Callable[[int, int], list[Mailbox]]
both = pytest.mark.warehouses("duckdb", "postgres")


@pytest.fixture
def engine(new_engine: Callable[..., Engine]) -> Engine:
    return new_engine()


@pytest.fixture
def fleet(engine: Engine, gmail: Simulator, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """Registers so many mailboxes of so many messages."""

    def add(mailboxes: int, messages: int) -> list[Mailbox]:
        boxes = [gmail.add_account(f"m{number:02d}@example.com") for number in range(mailboxes)]
        for number, box in enumerate(boxes):
            box.generate(messages, seed=number, mean_size_bytes=1_500)
            monkeypatch.setenv(f"TOKEN_{number}", box.token)
            engine.registry.add(box.address, token_env(f"TOKEN_{number}"))
        return boxes

    return add


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Accounts in each package that is loaded."""
    sizes: list[int] = []
    load = Loader.together

    def count(loader: Loader, packages: Sequence[Package], **options: bool) -> None:
        sizes.append(len(packages))
        load(loader, packages, **options)

    monkeypatch.setattr(Loader, "together", count)
    return sizes


def sync_all(engine: Engine, **options: object) -> dict[str, SyncRun]:
    runs = engine.sync(engine.due()[0], SyncOptions(**options))  # type: ignore[arg-type]
    assert len({run.account_id for run in runs}) == len(runs), "an account has two runs"
    return {run.account_id: run for run in runs}


def change(box: Mailbox) -> None:
    """What an hour brings: new mail, read and starred mail, a deletion."""
    new = [box.add(subject=f"new {number}", body="x") for number in range(3)]
    box.relabel(new[0], add=["STARRED"], remove=["UNREAD"])
    box.relabel_many(list(box.messages())[:2], remove=["UNREAD"])
    box.delete(next(iter(box.messages())))


@both
def test_every_mailbox_is_true_after_each_of_three_syncs(engine: Engine, fleet: Fleet, loads: list[int]) -> None:
    boxes = fleet(12, 15)

    assert {run.outcome for run in sync_all(engine).values()} == {"success"}
    for box in boxes:
        assert_true_to_gmail(engine, box)

    loads.clear()
    for box in boxes[:9]:
        change(box)
    runs = sync_all(engine)
    for box in boxes:
        assert_true_to_gmail(engine, box)
    assert [run.contents_stored for run in runs.values()] == [3] * 9 + [0] * 3
    assert sum(loads) == 18, "states and contents of nine accounts"
    assert len(loads) <= 8, f"packages of {loads} accounts"

    loads.clear()
    looked_at = {account.account_id: account.last_checked_at for account in engine.registry.list()}
    quiet = sync_all(engine).values()
    assert [(run.outcome, run.spent.total().units, run.backlog) for run in quiet] == [("success", 2, 0)] * 12
    assert loads == []
    now = {account.account_id: account.last_checked_at for account in engine.registry.list()}
    assert all(now[name] > before for name, before in looked_at.items() if before is not None)
    assert None not in now.values()
    assert_analyst_tables_are_built(engine)


@both
def test_each_failure_is_the_account_s_own(engine: Engine, fleet: Fleet, gmail: Simulator) -> None:
    boxes = fleet(6, 8)
    gmail.fail_next(status=401, reason="authError", account=boxes[0].address, times=-1)
    gmail.fail_next(status=403, reason="failedPrecondition", message="Mail service not enabled", method="getProfile",
                    account=boxes[1].address, times=-1)  # fmt: skip
    gmail.fail_next(status=500, reason="backendError", method="messages.get", account=boxes[2].address, times=-1)

    runs = sync_all(engine)

    assert [runs[box.address].outcome for box in boxes[3:]] == ["success"] * 3
    assert [runs[box.address].outcome for box in boxes[:2]] == ["failed"] * 2
    assert runs[boxes[2].address].outcome in ("failed", "partial")
    assert [engine.registry.get(box.address).state for box in boxes[:1]] == ["needs_reauth"]
    for box in boxes[3:]:
        assert_true_to_gmail(engine, box)

    gmail.clear_faults()
    for box in boxes[:3]:
        engine.registry.resume(box.address)
    sync_all(engine, retry=False)
    engine.sync(engine.accounts([boxes[2].address]), SyncOptions(retry=True))
    for box in boxes:
        assert_true_to_gmail(engine, box)


@pytest.mark.warehouses("postgres")
def test_an_account_whose_rows_the_database_refuses_does_not_spoil_the_others(
    new_engine: Callable[..., Engine], engine: Engine, fleet: Fleet
) -> None:
    """dlt keeps a package that fails, and would try it before each other one for ever."""
    boxes = fleet(4, 6)
    sync_all(engine)
    for box in boxes:
        change(box)
    with engine.warehouse.open() as connection:
        connection.execute(
            "alter table gmail.label_events add constraint refused "
            f"check (account_id <> '{boxes[2].address}') not valid"
        )

    runs = sync_all(engine)

    assert [runs[box.address].outcome for box in boxes] == ["success", "success", "failed", "success"]
    assert runs[boxes[2].address].error_class == "PackageRefusedError"
    for box in (*boxes[:2], boxes[3]):
        assert_true_to_gmail(engine, box)
    with engine.warehouse.open() as connection:
        connection.execute("alter table gmail.label_events drop constraint refused")
    sync_all(new_engine())
    for box in boxes:
        assert_true_to_gmail(engine, box)


def test_a_default_that_becomes_stricter_reaches_mailboxes_without_new_mail(
    new_engine: Callable[..., Engine], engine: Engine, fleet: Fleet
) -> None:
    fleet(3, 4)
    sync_all(engine)

    runs = sync_all(new_engine(MAIL_INGEST_PRIVACY="headers"))

    assert {run.outcome for run in runs.values()} == {"success"}
    with engine.warehouse.open() as connection:
        bodies = connection.execute("select count(*) from gmail.messages where body_text is not null").fetchone()
    assert bodies == (0,)
    assert [pack for account in engine.registry.list() for pack in engine.archive.packs(account.account_id)] == []


@both
def test_an_account_that_another_process_syncs_is_left_to_it(
    new_engine: Callable[..., Engine], engine: Engine, fleet: Fleet
) -> None:
    boxes = fleet(4, 5)
    hurried = new_engine(wait_s=0.2)

    with new_engine().locks.hold(f"account:{boxes[1].address}"):
        runs = sync_all(hurried)

    assert [runs[box.address].outcome for box in boxes] == ["success", "busy", "success", "success"]
    sync_all(engine)
    for box in boxes:
        assert_true_to_gmail(engine, box)


def test_much_content_waits_for_the_others_and_is_then_bought(
    engine: Engine, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_sync, "MOST_MESSAGES", 10)
    boxes = fleet(3, 5)
    boxes[0].generate(30, seed=50, mean_size_bytes=1_500)
    ended: list[str] = []

    engine.sync(engine.due()[0], SyncOptions(), on_done=lambda run: ended.append(run.account_id))

    assert ended[-1] == boxes[0].address
    for box in boxes:
        assert_true_to_gmail(engine, box)


def test_a_shard_s_run_leaves_much_content_to_one_request(
    engine: Engine, fleet: Fleet, gmail: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_sync, "MOST_MESSAGES", 10)
    boxes = fleet(3, 5)
    boxes[0].generate(30, seed=50, mean_size_bytes=1_500)

    first = sync_all(engine, leaves_long_drains=True)
    again = sync_all(engine, leaves_long_drains=True)

    assert (first[boxes[0].address].outcome, first[boxes[0].address].backlog) == ("partial", 35)
    assert again[boxes[0].address].outcome == "partial"
    assert again[boxes[0].address].recorded_outcome is None, "nothing changed: no row of the run"
    checked_at = engine.registry.get(boxes[0].address).last_checked_at
    assert checked_at is not None
    # a field that nobody knows is told by a row, though nothing else is new
    gmail.change_answers("getProfile.mood", "add", account=boxes[0].address)
    odd = sync_all(engine, leaves_long_drains=True)[boxes[0].address]
    assert (odd.outcome, odd.recorded_fields) == ("partial", odd.unexpected_fields)
    assert any("mood" in line for line in odd.unexpected_fields)
    now = engine.registry.get(boxes[0].address).last_checked_at
    assert now is not None
    assert now > checked_at
    gmail.restore_answers()
    [asked] = engine.registry.requests.find()
    assert (asked.account_id, asked.requested_by) == (boxes[0].address, "long drain")
    for box in boxes[1:]:
        assert_true_to_gmail(engine, box)
    engine.sync(engine.accounts([asked.account_id]), SyncOptions())
    assert_true_to_gmail(engine, boxes[0])


def test_a_cancelled_account_stops_and_the_others_go_on(engine: Engine, fleet: Fleet, gmail: Simulator) -> None:
    boxes = fleet(3, 60)
    asked = threading.Event()

    def cancel() -> None:
        if not asked.is_set():
            asked.set()
            engine.registry.requests.cancel_account(boxes[1].address, "by a person")
        time.sleep(0.1)

    gmail.before("messages.get", cancel, account=boxes[1].address)
    runs = sync_all(engine)

    assert [runs[box.address].outcome for box in boxes] == ["success", "cancelled", "success"]


def test_a_stop_ends_all_of_them_and_loses_nothing(
    new_engine: Callable[..., Engine], engine: Engine, fleet: Fleet, gmail: Simulator
) -> None:
    boxes = fleet(6, 30)
    gmail.before("messages.get", lambda: engine.stop_sign.stop("SIGTERM"), times=1, after=20)

    runs = sync_all(engine)

    assert "cancelled" in {run.outcome for run in runs.values()}
    assert all("SIGTERM" in run.error for run in runs.values() if run.outcome == "cancelled")
    sync_all(new_engine())
    for box in boxes:
        assert_true_to_gmail(engine, box)
    assert gmail.calls("messages.get") == 6 * 30, "what was fetched was loaded"


@both
def test_an_account_keeps_its_place_when_it_moves_to_another_shard(
    new_engine: Callable[..., Engine], engine: Engine, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = fleet(3, 8)
    sync_all(engine)
    moved = engine.registry.get(boxes[0].address)
    cursor = engine.cursor(moved)

    with monkeypatch.context() as killed:
        killed.setattr(engine.registry, "move", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            move_account(engine, moved, 7)
    assert engine.registry.get(boxes[0].address).shard == 0

    change(boxes[0])
    sync_all(engine)
    move_account(engine, engine.registry.get(boxes[0].address), 7)

    engine = new_engine()
    assert engine.registry.get(boxes[0].address).shard == 7
    assert engine.registry.shards() == [0, 7]
    now = engine.cursor(engine.registry.get(boxes[0].address))
    assert now is not None
    assert cursor is not None
    assert now.history_id > cursor.history_id
    for box in boxes:
        change(box)
    runs = sync_all(engine)
    assert {run.kind for run in runs.values()} == {"partial"}
    for box in boxes:
        assert_true_to_gmail(engine, box)


def test_rows_of_a_load_that_was_lost_are_mended_in_a_quiet_mailbox(
    new_engine: Callable[..., Engine], engine: Engine, fleet: Fleet
) -> None:
    """Killed between two tables of a package, on a machine that is gone: the messages are there, their recipients are not."""
    boxes = fleet(3, 6)
    sync_all(engine)
    with engine.warehouse.open() as connection:
        of_account = f"where account_id = '{boxes[1].address}'"
        connection.execute(f"delete from gmail.message_recipients {of_account}")
        connection.execute(f"update gmail.messages set _dlt_load_id = 'lost' {of_account}")
    shutil.rmtree(engine.settings.home / "dlt")

    engine = new_engine()
    sync_all(engine)

    with engine.warehouse.open() as connection:
        [recipients] = connection.execute(f"select count(*) from gmail.message_recipients {of_account}").fetchone() or [
            0
        ]
    assert recipients >= 6
    for box in boxes:
        assert_true_to_gmail(engine, box)


def test_accounts_that_cannot_be_asked_about_together_are_synced_one_after_another(
    engine: Engine, fleet: Fleet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    boxes = fleet(3, 4)

    def broken(_: Sequence[str]) -> dict[str, int]:
        raise OperationalError("select 1", {}, Exception("database is locked"))

    monkeypatch.setattr(engine.registry.requests, "cancel_counts", broken)
    runs = sync_all(engine)

    assert {run.outcome for run in runs.values()} == {"success"}
    assert "3 accounts are synced one after another, because of this: OperationalError" in caplog.text
    for box in boxes:
        assert_true_to_gmail(engine, box)


def test_a_second_interrupt_does_not_wait_for_gmail(engine: Engine, fleet: Fleet, gmail: Simulator) -> None:
    boxes = fleet(2, 3)
    may_answer = threading.Event()
    gmail.before("getProfile", lambda: may_answer.wait(60), account=boxes[1].address)

    def interrupt(_: SyncRun) -> None:
        raise KeyboardInterrupt

    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            engine.sync(engine.accounts(), SyncOptions(), on_done=interrupt)
        assert time.monotonic() - began < 50
    finally:
        may_answer.set()


def test_others_get_at_the_file_while_accounts_are_synced(engine: Engine, fleet: Fleet) -> None:
    boxes = fleet(12, 40)
    waits, is_over = list[float](), threading.Event()

    def ask() -> None:
        theirs = Locks(engine.settings.home / "locks", wait_s=60.0)
        while not is_over.is_set():
            began = time.monotonic()
            with theirs.hold("warehouse"):
                waits.append(time.monotonic() - began)
            time.sleep(0.1)

    reader = threading.Thread(target=ask)
    reader.start()
    try:
        sync_all(engine)
    finally:
        is_over.set()
        reader.join()

    # a load takes as long as it takes; between them nobody waits for more than a second
    assert sum(wait < 1.5 for wait in waits) >= 3
    for box in boxes:
        assert_true_to_gmail(engine, box)


def test_accounts_fill_one_shard_after_the_other(new_engine: Callable[..., Engine]) -> None:
    registry = new_engine(MAIL_INGEST_SHARD_SIZE="2").registry
    shards = [registry.add(f"m{number}@example.com", token_env("T")).shard for number in range(5)]
    assert shards == [0, 0, 1, 1, 2]

    registry.remove("m0@example.com")
    assert registry.add("m9@example.com", token_env("T")).shard == 2, "a removed account may come back"
    assert registry.add("m0@example.com", token_env("T")).shard == 0


def test_only_accounts_of_the_named_shards_are_due(new_engine: Callable[..., Engine]) -> None:
    engine = new_engine(MAIL_INGEST_SHARD_SIZE="1")
    for number in range(3):
        engine.registry.add(f"m{number}@example.com", token_env("T"))

    due, skipped = engine.due(shards=[1])

    assert ([account.account_id for account in due], skipped) == (["m1@example.com"], [])
    with pytest.raises(ConfigError, match="no account is on shard 5"):
        engine.due(shards=[5])
