"""What is older than it is kept goes, and nothing else: no state, nothing that is held, nothing that would be bought again."""

from __future__ import annotations

import random
import shutil
import tracemalloc
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest

from mail_ingest.accounts import make_wish, token_env
from mail_ingest.gmail import RawMessage
from mail_ingest.ingest import Engine, SyncOptions, repacking, retention
from mail_ingest.ingest.audit import AuditOptions, audit_account
from mail_ingest.ingest.erasure import erase_account
from mail_ingest.ingest.repacking import SMALL_BYTES, plan_of
from mail_ingest.ingest.retention import retain
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest.sources.tables import MESSAGES
from mail_ingest.warehouse.expiring import Expiry
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.truth import (
    assert_analyst_tables_are_built,
    assert_archive_equal,
    assert_contents_equal,
    assert_deletions_equal,
    assert_states_equal,
    column_comments,
    damage,
    sync,
)

on_both = pytest.mark.warehouses("duckdb", "postgres")

THIRTY = {"MAIL_INGEST_KEEP_DELETED_MAIL": "30"}
WITH_FILE = (
    b"To: Ada <ada@example.com>\r\nCc: bo@b.example\r\nFrom: a@b.example\r\nMIME-Version: 1.0\r\nSubject: s\r\n"
    b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/html\r\n\r\n<p>gone</p>\r\n--x\r\n"
    b"Content-Type: text/plain; name=a.txt\r\nContent-Disposition: attachment; filename=a.txt\r\n\r\nfile\r\n--x--\r\n"
)


def _later(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def _all(engine: Engine, query: str) -> list[tuple[object, ...]]:
    with engine.warehouse.open() as connection:
        return list(connection.execute(query).fetchall())


def _run(engine: Engine, query: str, *values: object) -> None:
    with engine.warehouse.open() as connection:
        connection.execute(query, list(values))


def _counts(engine: Engine) -> dict[str, int]:
    names = (
        "messages",
        "message_recipients",
        "attachments",
        "message_html",
        "message_states",
        "label_events",
        "sync_runs",
    )
    return engine.queries.row_counts([f"gmail.{name}" for name in names])


def _ids(engine: Engine, table: str = "gmail.messages") -> set[object]:
    return {row[0] for row in _all(engine, f"select message_id from {table}")}


def _archived(engine: Engine, address: str = ADDRESS) -> list[str]:
    return [message_id for pack in engine.archive.packs(address) for message_id in engine.archive.message_ids(pack)]


@on_both
def test_deleted_mail_goes_but_for_what_is_held_and_its_state_stays(
    new_engine: Callable[..., Engine], engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(6, seed=3)
    gone = [box.add(raw=WITH_FILE) for _ in range(4)]
    held, in_thread = box.add(raw=WITH_FILE), box.add(raw=WITH_FILE)
    engine = new_engine(**THIRTY, MAIL_INGEST_HTML="warehouse")
    sync(engine)
    thread_id = box.messages()[in_thread].thread_id
    box.delete_many([*gone, held, in_thread])
    sync(engine)
    _run(
        engine,
        "insert into mail_ingest.holds (account_id, message_id, reason) values (?, ?, 'case 7')",
        " Ada@example.com",
        held,
    )
    _run(engine, "insert into mail_ingest.holds (account_id, thread_id) values (?, ?)", ADDRESS, thread_id)
    before, packs = _counts(engine), engine.archive.packs(ADDRESS)

    early = retain(engine, now=_later(29))
    planned = retain(engine, is_dry_run=True, now=_later(31))

    assert (early.mail, early.amounts["deleted_mail"].rows, early.archive.packs_removed) == (0, 0, 0)
    assert (_counts(engine), engine.archive.packs(ADDRESS)) == (before, packs), "a dry run has done something"
    done = retain(engine, now=_later(31))

    assert done.mail == len(gone)
    assert done.amounts["deleted_mail"].held == 2
    assert done.amounts == planned.amounts
    assert done.amounts["deleted_mail"].rows == 4 + 4 * (3 + 1 + 1), "messages; from, to, cc; file; html"
    assert (done.archive.packs_removed, done.archive.packs_written) == (
        planned.archive.packs_removed,
        planned.archive.packs_written,
    )
    assert done.archive.bytes > 0
    stays = {*box.messages(), held, in_thread}
    assert _ids(engine) == stays
    assert sorted(_archived(engine)) == sorted(stays)
    for part in ("message_recipients", "attachments", "message_html"):
        assert not _ids(engine, f"gmail.{part}") & set(gone)
    assert _counts(engine)["gmail.message_states"] == before["gmail.message_states"]
    assert_deletions_equal(engine, box)
    assert_states_equal(engine, box)
    assert_archive_equal(engine, box)
    assert_analyst_tables_are_built(engine)
    audit = audit_account(engine, engine.registry.get(ADDRESS), AuditOptions())
    assert (audit.drift, audit.backlog) == (0, 0)
    gmail.reset_ledger()
    for mode in ("auto", "full"):
        assert (sync(engine, mode=mode).backlog, gmail.calls("messages.get")) == (0, 0), "content was bought again"
    again = retain(engine, now=_later(31))
    assert (again.mail, again.archive.packs_removed) == (0, 0)


@on_both
def test_deleted_mail_without_archived_bytes_goes_as_well(
    new_engine: Callable[..., Engine], engine: Engine, box: Mailbox
) -> None:
    engine = new_engine(**THIRTY, MAIL_INGEST_RAW="off")
    stays, gone = box.generate(1, seed=1), box.generate(3, seed=2)
    sync(engine)
    box.delete_many(gone)
    sync(engine)

    assert retain(engine, now=_later(31)).mail == len(gone)

    assert _ids(engine) == set(stays)
    assert_analyst_tables_are_built(engine)


def test_mail_that_was_taken_for_deleted_and_lives_is_bought_again(
    new_engine: Callable[..., Engine], engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    engine = new_engine(**THIRTY)
    alive, *_ = box.generate(3, seed=1)
    sync(engine)
    _run(engine, "update gmail.message_states set is_deleted = true, deleted_at = now() where message_id = ?", alive)
    assert retain(engine, now=_later(31)).mail == 1
    assert alive not in _archived(engine)
    _run(engine, "update gmail.message_states set is_deleted = false, deleted_at = null where message_id = ?", alive)
    gmail.reset_ledger()

    assert engine.queries.count_left_out(ADDRESS) == 0
    run = sync(engine)

    assert (run.contents_stored, gmail.calls("messages.get")) == (1, 1)
    assert_contents_equal(engine, box)


@on_both
def test_history_failures_and_label_events_go_by_their_days(
    new_engine: Callable[..., Engine], engine: Engine, box: Mailbox
) -> None:
    engine = new_engine(MAIL_INGEST_KEEP_LABEL_EVENTS="400", MAIL_INGEST_KEEP_FAILURES="60")
    held, *others = box.generate(5, seed=1)
    sync(engine)
    for message_id in (held, *others):
        box.relabel(message_id, add=("STARRED",))
    sync(engine)
    _run(engine, "insert into mail_ingest.holds (account_id, message_id) values (?, ?)", ADDRESS, held)
    _run(
        engine,
        "insert into gmail.fetch_failures (account_id, message_id, attempts, resolved_at) select account_id, message_id, 1, "
        "case when message_id <> ? then now() end from gmail.message_states where message_id in (?, ?)",
        others[0],
        others[0],
        others[1],
    )
    [(last,)] = _all(engine, "select max(started_at) from gmail.sync_runs")
    before = _counts(engine)
    assert before["gmail.sync_runs"] > 1

    assert sum(amount.rows for amount in retain(engine, now=_later(59)).amounts.values()) == 0
    assert retain(engine, now=_later(61)).amounts["failures"].rows == 1
    planned = retain(engine, is_dry_run=True, now=_later(91))
    done = retain(engine, now=_later(91))

    assert done.amounts == planned.amounts
    assert done.amounts["sync_history"].rows == before["gmail.sync_runs"] - 1
    assert done.amounts["sync_history"].bytes > 0
    assert _all(engine, "select started_at from gmail.sync_runs") == [(last,)], "the newest tells how the account is"
    assert _ids(engine, "gmail.fetch_failures") == {others[0]}, "what failed and was not resolved stays"
    assert _counts(engine)["gmail.label_events"] == before["gmail.label_events"]
    events = retain(engine, now=_later(401)).amounts["label_events"]
    assert (events.rows, events.held) == (len(others), 1)
    assert _ids(engine, "gmail.label_events") == {held}
    assert_analyst_tables_are_built(engine)
    assert sync(engine).outcome == "success"


def test_label_events_that_go_renew_what_is_built_from_them_and_nothing_in_full(engine: Engine, box: Mailbox) -> None:
    ids = box.generate(4, seed=1)
    sync(engine)
    box.relabel(ids[0], add=("STARRED",))
    sync(engine)
    [kind] = [kind for kind in retention.KINDS if kind.name == "label_events"]

    assert sum(Expiry(engine.warehouse).delete(kind, _later(1))) == 1

    build = engine.build_analyst_tables()
    assert (build.full, build.changed["mail.label_intervals"]) == ((), 1)
    assert_analyst_tables_are_built(engine)


def test_nothing_but_history_and_requests_goes_by_default(engine: Engine, box: Mailbox) -> None:
    box.relabel(box.generate(3, seed=1)[0], add=("STARRED",))
    sync(engine)
    box.relabel(next(iter(box.messages())), add=("IMPORTANT",))
    box.delete(list(box.messages())[-1])
    sync(engine)
    before = _counts(engine)

    done = retain(engine, now=_later(5_000))

    assert {name: amount.rows for name, amount in done.amounts.items() if amount.rows} == {
        "sync_history": before["gmail.sync_runs"] - 1
    }
    assert {**_counts(engine), "gmail.sync_runs": 0} == {**before, "gmail.sync_runs": 0}


# -- packs --------------------------------------------------------------------------------------------------------


def test_packs_are_chosen_by_what_they_hold() -> None:
    big, small = SMALL_BYTES * 2, SMALL_BYTES // 10
    counted = []

    def count(path: str) -> int:
        counted.append(path)
        return 900

    sizes = {"full": big, "sparse": big, "half": big, "doomed": small, "emptied": small, "orphan": small, "few": small}
    pointed = {"full": 900, "sparse": 400, "half": 450, "doomed": 10, "emptied": 5, "few": 3}

    plan = plan_of(sizes, pointed, {"doomed": 4, "emptied": 5, None: 7}, count)

    assert plan.groups == (("sparse", "doomed", "emptied"),)
    assert (plan.orphans, plan.written, counted) == (("orphan",), 1, ["sparse", "half"])
    assert plan.bytes == (big - big * 400 // 900) + small * 4 // 10 + small
    assert plan_of({"emptied": small}, {"emptied": 5}, {"emptied": 5}, count).written == 0


def test_small_packs_are_merged_where_they_are_many_and_no_pack_becomes_too_large() -> None:
    count = pytest.fail
    few = {f"{n:02}": 1_000 for n in range(repacking.MANY_SMALL - 1)}
    assert plan_of(few, dict.fromkeys(few, 1), {}, count).groups == ()

    many = {f"{n:02}": 1_000 for n in range(40)}
    assert plan_of(many, dict.fromkeys(many, 1), {}, count).groups == (tuple(many),)
    by_messages = plan_of(many, dict.fromkeys(many, 300), {}, count).groups
    assert [len(group) for group in by_messages] == [3] * 13, "900 messages each; one pack alone is left as it is"
    large = dict.fromkeys(many, SMALL_BYTES - 1)
    assert {len(group) for group in plan_of(large, dict.fromkeys(large, 1), {}, count).groups} == {8}


@on_both
def test_small_packs_become_one_that_holds_the_same(
    engine: Engine, box: Mailbox, gmail: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repacking, "MANY_SMALL", 4)
    for seed in range(5):
        box.generate(2, seed=seed)
        sync(engine)
    assert len(engine.archive.packs(ADDRESS)) == 5

    planned = retain(engine, is_dry_run=True).archive
    assert len(engine.archive.packs(ADDRESS)) == 5
    done = retain(engine).archive

    assert (done.packs_removed, done.packs_written) == (planned.packs_removed, planned.packs_written) == (5, 1)
    assert len(engine.archive.packs(ADDRESS)) == 1
    assert sorted(_archived(engine)) == sorted(box.messages())
    assert_contents_equal(engine, box)
    assert_archive_equal(engine, box)
    assert retain(engine).archive.packs_removed == 0
    gmail.reset_ledger()
    sync(engine, mode="full")
    assert gmail.calls("messages.get") == 0
    assert audit_account(engine, engine.registry.get(ADDRESS), AuditOptions()).drift == 0


def test_a_pack_that_holds_what_only_it_has_is_left_to_the_next_sync(
    engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(3, seed=1)
    sync(engine)
    with engine.warehouse.open() as connection:
        for name in (MESSAGES.name, "message_recipients", "attachments"):
            connection.execute(f"delete from gmail.{name}")

    assert retain(engine).archive.packs_removed == 0

    gmail.reset_ledger()
    assert (sync(engine).contents_adopted, gmail.calls("messages.get")) == (3, 0)


def test_a_pack_that_cannot_be_read_keeps_its_rows_and_the_others_go(
    new_engine: Callable[..., Engine], engine: Engine, box: Mailbox, environment: dict[str, str]
) -> None:
    engine = new_engine(**THIRTY)
    gone = []
    for seed in range(2):
        gone.append(box.generate(2, seed=seed)[0])
        sync(engine)
    box.delete_many(gone)
    sync(engine)
    first, second = engine.archive.packs(ADDRESS)
    (Path(environment["MAIL_INGEST_HOME"]) / "raw" / first).write_bytes(b"PAR1 no pack")

    done = retain(engine, now=_later(31))

    assert (done.archive.packs_unreadable, done.mail, done.amounts["deleted_mail"].rows > 0) == (1, 1, True)
    assert first in engine.archive.packs(ADDRESS)
    assert second not in engine.archive.packs(ADDRESS)
    assert gone[0] in _ids(engine)
    assert gone[1] not in _ids(engine)


def test_a_pack_whose_bytes_are_others_is_copied_as_it_is(
    engine: Engine, box: Mailbox, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repacking, "MANY_SMALL", 2)
    for seed in range(2):
        box.generate(1, seed=seed, mean_size_bytes=3_000)
        sync(engine)
    damage(Path(environment["MAIL_INGEST_HOME"]) / "raw" / engine.archive.packs(ADDRESS)[0])

    retain(engine)

    assert len(engine.archive.packs(ADDRESS)) == 1
    audit = audit_account(engine, engine.registry.get(ADDRESS), AuditOptions(sample=10))
    assert audit.drift > 0, "what was damaged before must not pass for sound"


def test_merging_takes_the_memory_of_a_few_messages(engine: Engine, box: Mailbox) -> None:
    noise = random.Random(1)
    packs = []
    for number in range(12):
        pack = engine.archive.new_pack(ADDRESS)
        for part in range(4):
            raw = noise.randbytes(1_000_000)
            pack.add(RawMessage(f"m{number}-{part}", "t", frozenset(), 1, 1, 1, "", raw), "0")
        pack.close()
        packs.append(pack.path)
    pool = pa.default_memory_pool()
    before = pool.bytes_allocated()
    tracemalloc.start()

    merged = engine.archive.merge(packs, ADDRESS, lambda path, message_id: True)

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert merged is not None
    assert engine.archive.count(merged) == 48
    assert engine.archive.size(merged) > 48_000_000
    assert peak < 30_000_000
    assert pool.bytes_allocated() - before < 30_000_000


# -- whoever else is there ------------------------------------------------------------------------------------------


@on_both
def test_an_account_that_is_busy_is_left_to_the_next_run_and_the_others_are_done(
    new_engine: Callable[..., Engine], engine: Engine, box: Mailbox, gmail: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = gmail.add_account("grace@example.com")
    monkeypatch.setenv("GRACE_TOKEN", other.token)
    engine.registry.add("grace@example.com", token_env("GRACE_TOKEN"))
    engine = new_engine(wait_s=0.3, **THIRTY)
    for mailbox in (box, other):
        mailbox.generate(2, seed=1)
    engine.sync(engine.accounts(), SyncOptions())
    for mailbox in (box, other):
        mailbox.delete(next(iter(mailbox.messages())))
    engine.sync(engine.accounts(), SyncOptions())
    holder = new_engine()

    with ExitStack() as held:
        held.enter_context(holder.locks.hold(f"content:{ADDRESS}"))
        done = retain(engine, now=_later(31))

    assert (done.mail, list(done.skipped), done.is_any_broken) == (1, [ADDRESS], False)
    assert "Another process holds" in done.skipped[ADDRESS]
    assert retain(engine, now=_later(31)).mail == 1


def test_requests_that_ended_go_by_their_days(new_engine: Callable[..., Engine], engine: Engine, box: Mailbox) -> None:
    requests = engine.registry.requests
    ended = requests.file(ADDRESS, make_wish(datetime.now(UTC)), "person")
    requests.cancel(ended.request_id, "")
    waits = requests.file(ADDRESS, make_wish(datetime.now(UTC)), "person")
    later = Engine(engine.settings, wait_s=5.0, clock=lambda: _later(8).timestamp())

    assert retain(engine).amounts["requests"].rows == 0
    assert retain(later, is_dry_run=True).amounts["requests"].rows == 1
    assert retain(later).amounts["requests"].rows == 1

    assert [each.request_id for each in requests.find(only_open=False)] == [waits.request_id]
    later.close()


# -- holds ----------------------------------------------------------------------------------------------------------


@on_both
def test_holds_are_a_table_that_people_write_and_that_explains_itself(engine: Engine, box: Mailbox) -> None:
    sync(engine)
    comments = column_comments(engine, "mail_ingest.holds")
    assert list(comments) == ["account_id", "message_id", "thread_id", "reason", "held_since"]
    assert all(comments.values())
    _run(engine, "insert into mail_ingest.holds (account_id, message_id, reason) values (?, 'm', 'case 7')", ADDRESS)
    [(since,)] = _all(engine, "select held_since from mail_ingest.holds")
    assert isinstance(since, datetime)
    with pytest.raises(Exception, match=r"(?i)check constraint"):
        _run(engine, "insert into mail_ingest.holds (account_id, reason) values (?, 'nothing')", ADDRESS)


def test_an_erased_account_takes_its_holds_with_it(
    engine: Engine, box: Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    message_id, *_ = box.generate(2, seed=1)
    sync(engine)
    for account_id in (ADDRESS, "other@example.com"):
        _run(engine, "insert into mail_ingest.holds (account_id, message_id) values (?, ?)", account_id, message_id)

    erase_account(engine, ADDRESS)

    assert _all(engine, "select account_id from mail_ingest.holds") == [("other@example.com",)]
    assert "1 holds of ada@example.com went with its mail" in caplog.text


# -- the file -------------------------------------------------------------------------------------------------------


def _fill_and_empty(engine: Engine) -> None:
    with engine.warehouse.open() as connection:
        connection.execute(
            "create table gmail.filler as select n, cast(hash(n) as varchar) || cast(hash(n + 1) as varchar) as words "
            "from range(1000000) as r(n)"
        )
        # the end of a file that is free is cut off, so something stays there
        connection.execute("create table gmail.behind as select n from range(100000) as r(n)")
        connection.execute("checkpoint")
        connection.execute("drop table gmail.filler")


def test_a_file_that_is_free_by_a_third_is_written_anew(engine: Engine, box: Mailbox) -> None:
    box.generate(3, seed=1)
    sync(engine)
    _fill_and_empty(engine)
    room = engine.warehouse.room()
    assert room is not None
    assert (room.size > retention.LEAST_FILE_BYTES, room.free > room.size / 3) == (True, True)
    path = engine.settings.duckdb_path
    leftover = path.with_name(f"{path.name}.rewritten")
    leftover.write_bytes(b"of a process that was killed")
    size = path.stat().st_size

    planned = retain(engine, is_dry_run=True)
    assert planned.file.startswith("would be written anew: ")
    assert path.stat().st_size > size / 2
    done = retain(engine)

    assert done.file.startswith("written anew: ")
    assert path.stat().st_size < size / 3
    assert done.file_bytes > size / 3
    assert not leftover.exists()
    assert_contents_equal(engine, box)
    assert_analyst_tables_are_built(engine)
    assert retain(engine).file.startswith("left as it is: ")


def test_a_disk_without_room_for_the_copy_leaves_the_file_and_says_so(
    engine: Engine, box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.generate(3, seed=1)
    sync(engine)
    _fill_and_empty(engine)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000))

    done = retain(engine)

    assert "its disk has 1,000; make room there" in done.file
    assert done.file_bytes == 0


@pytest.mark.warehouses("postgres")
def test_a_server_sees_to_its_files_itself(engine: Engine, box: Mailbox) -> None:
    sync(engine)
    assert retain(engine).file == "a server gives room that is free to other rows by itself"
