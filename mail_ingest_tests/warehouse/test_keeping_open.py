"""A DuckDB file stays open from one question to the next, and for nothing that somebody else would have to wait for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import duckdb
import pytest

from mail_ingest.errors import BusyError, WarehouseError
from mail_ingest.ingest import Engine, SyncOptions, state
from mail_ingest.settings import load_settings
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest.warehouse.archive import ArchivedMessage
from mail_ingest.warehouse.connection import Connection, Dialect, Warehouse
from mail_ingest.warehouse.factory import make_warehouse
from mail_ingest.warehouse.locks import Locks
from mail_ingest_tests.truth import assert_true_to_gmail, sync

Opened = tuple[Warehouse, Locks]


@pytest.fixture
def open_another(tmp_path: Path) -> Iterator[Callable[[], Opened]]:
    """The same file, as another process sees it: its locks are not ours."""
    made: list[Warehouse] = []

    def build() -> Opened:
        settings = load_settings({"MAIL_INGEST_HOME": str(tmp_path / "home")})
        opened = make_warehouse(settings, 0.2, _prepare_nothing)
        made.append(opened[0])
        return opened

    yield build
    for warehouse in made:
        warehouse.close()


def _prepare_nothing(connection: Connection, dialect: Dialect) -> None:
    pass


def _can_open(warehouse: Warehouse) -> bool:
    try:
        with warehouse.open() as connection:
            return connection.execute("select 1").fetchone() == (1,)
    except BusyError:
        return False


def _connection_of(warehouse: Warehouse) -> Connection:
    with warehouse.open() as connection:
        return connection


def test_a_connection_is_kept_within_the_block_and_at_no_other_time(open_another: Callable[[], Opened]) -> None:
    (ours, _), (others, _) = open_another(), open_another()

    assert _connection_of(ours) is not _connection_of(ours)
    assert _can_open(others)
    with ours.keep_open():
        assert _can_open(others), "nothing was asked yet"
        assert _connection_of(ours) is _connection_of(ours)
        assert not _can_open(others)
    assert _can_open(others)


def test_it_is_let_go_from_any_thread_and_had_again(open_another: Callable[[], Opened]) -> None:
    (ours, _), (others, _) = open_another(), open_another()

    with ours.keep_open():
        first = _connection_of(ours)
        thread = threading.Thread(target=ours.let_go)
        thread.start()
        thread.join()
        assert _can_open(others)
        assert _connection_of(ours) is not first


def test_what_is_in_use_is_not_taken_away(open_another: Callable[[], Opened]) -> None:
    ours, _ = open_another()

    with ours.keep_open(), ours.open() as connection:
        ours.let_go()
        assert connection.execute("select 1").fetchone() == (1,)


def test_it_is_let_go_before_a_lock_is_waited_for(open_another: Callable[[], Opened]) -> None:
    """Or whoever holds that lock, and wants the warehouse for it, would wait for us as we wait for them."""
    (ours, our_locks), (others, their_locks) = open_another(), open_another()

    with ours.keep_open(), their_locks.hold("pipeline:state_0"):
        _connection_of(ours)
        assert not _can_open(others)
        with pytest.raises(BusyError), our_locks.hold("pipeline:state_0", wait_s=0.1):
            pass
        assert _can_open(others)


def test_another_thread_is_kept_out_for_no_longer_than_a_question(open_another: Callable[[], Opened]) -> None:
    ours, _ = open_another()
    seen: list[bool] = []

    with ours.keep_open():
        first = _connection_of(ours)
        thread = threading.Thread(target=lambda: seen.append(_can_open(ours)))
        thread.start()
        thread.join()
        assert seen == [True]
        assert _connection_of(ours) is not first


def test_after_an_error_it_is_opened_anew(open_another: Callable[[], Opened]) -> None:
    (ours, _), (others, _) = open_another(), open_another()

    with ours.keep_open():
        with pytest.raises(WarehouseError), ours.open() as connection:
            connection.begin()
            connection.execute("create table t (i integer)")
            raise WarehouseError("in the middle")
        assert _can_open(others)
        with ours.open() as connection:
            assert connection.execute("select count(*) from duckdb_tables() where table_name = 't'").fetchone() == (0,)


def test_what_broke_is_not_kept_although_somebody_went_on(open_another: Callable[[], Opened]) -> None:
    ours, _ = open_another()

    with ours.keep_open():
        with ours.open() as broken:
            with suppress(WarehouseError), ours.open():
                raise duckdb.IOException("the disk is gone")
            assert broken.execute("select 1").fetchone() == (1,)
        assert _connection_of(ours) is not broken


def test_states_that_are_not_read_to_their_end_keep_nobody_waiting(
    engine: Engine, box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.generate(3, seed=7)
    sync(engine)
    kept: list[Exception] = []

    def break_off(swept: object, replay: object, replayed: object, stored: Iterator[object], **others: object) -> None:
        next(stored)
        kept.append(OSError("the disk is full"))
        raise kept[0]

    monkeypatch.setattr(state, "compare", break_off)

    [run] = engine.sync(engine.accounts(), SyncOptions(mode="full"))

    assert (run.outcome, len(kept)) == ("failed", 1)
    with Locks(engine.settings.home / "locks", wait_s=0).hold("warehouse"):
        pass


def test_the_memory_of_a_large_package_is_not_kept(open_another: Callable[[], Opened]) -> None:
    ours, _ = open_another()

    def limit() -> str:
        with ours.open() as connection:
            [found] = connection.execute("select current_setting('memory_limit')").fetchone()
            return str(found)

    with ours.keep_open():
        usual = limit()
        with ours.open():
            ours.expect_load(200_000_000)
            assert limit() != usual
        assert limit() == usual


def test_nobody_waits_for_the_warehouse_while_gmail_is_asked(engine: Engine, box: Mailbox, gmail: Simulator) -> None:
    box.generate(30, seed=7)
    others = Locks(engine.settings.home / "locks", wait_s=3)
    one_at_a_time = threading.Lock()
    free: list[bool] = []

    def look() -> None:
        # the answer waits for this; closing takes a moment
        try:
            with one_at_a_time, others.hold("warehouse"):
                free.append(True)
        except BusyError:
            free.append(False)

    gmail.before(None, look)
    sync(engine)
    box.relabel(min(box.messages()), add=("STARRED",))
    box.add(subject="new")
    sync(engine)

    assert len(free) > 30
    assert all(free)
    assert_true_to_gmail(engine, box)
    with others.hold("warehouse"):
        pass


def test_nobody_waits_for_the_warehouse_while_packs_are_read(
    engine: Engine, box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a sync that ends a rewriting which was killed, and parses again what no parser could read."""
    box.generate(5, seed=7)
    box.add(subject="Hello", sender="Jane <jane@corr.example>")
    sync(engine)
    erasures = engine.registry.erasures
    erasures.begin("contact", [box.address], erasures.keep_out("jane@corr.example", ""))
    with engine.warehouse.open() as connection:
        connection.execute("update gmail.messages set parser_version = 0")
    others, read_pack = Locks(engine.settings.home / "locks", wait_s=0), engine.archive.read_pack
    looks: list[bool] = []

    def look_and_read(path: str) -> Iterator[ArchivedMessage]:
        try:
            with others.hold("warehouse"):
                looks.append(True)
        except BusyError:
            looks.append(False)
        return read_pack(path)

    monkeypatch.setattr(engine.archive, "read_pack", look_and_read)

    assert sync(engine, retry=True).contents_adopted == 5
    # to judge, to rewrite, to search, to parse
    assert looks == [True] * 4
    assert erasures.unfinished() == []
