"""Content: bought once, newest first, in bounded packages; what fails stays in the backlog."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mail_ingest.ingest import Engine, SyncOptions
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.truth import assert_true_to_gmail, damage, exchange, lose_warehouse, sync

pytestmark = pytest.mark.warehouses("duckdb", long=["postgres"])
on_both = pytest.mark.warehouses("duckdb", "postgres")


@on_both
def test_content_equals_the_mailbox_byte_for_byte(engine: Engine, box: Mailbox) -> None:
    box.generate(150, seed=21)

    run = sync(engine)

    assert run.contents_stored == 150
    assert run.backlog == 0
    assert_true_to_gmail(engine, box)


def test_people_see_what_a_long_drain_has_brought_so_far(
    engine: Engine, box: Mailbox, gmail: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mail_ingest.ingest.content.PACKAGE_MESSAGES", 10)
    monkeypatch.setattr("mail_ingest.ingest.engine.BUILD_SECONDS", 0.0)
    box.generate(30, seed=21)
    seen = []

    def look() -> None:
        with engine.warehouse.open() as connection:
            seen.append(connection.execute("select count(*) from mail.messages where has_content").fetchone()[0])

    gmail.before("messages.get", look, times=1, after=25)

    sync(engine)

    assert seen == [20]


@on_both
def test_content_is_bought_once(engine: Engine, box: Mailbox, gmail: Simulator) -> None:
    box.generate(60, seed=21)
    sync(engine)
    for message_id in list(box.messages())[:30]:
        box.relabel(message_id, add=("STARRED",))
    sync(engine)
    sync(engine, mode="full")

    assert gmail.calls("messages.get") == 60


@on_both
def test_a_limit_buys_the_newest_and_leaves_the_rest_for_later(engine: Engine, box: Mailbox) -> None:
    box.generate(80, seed=22)

    run = sync(engine, max_messages=25)

    assert (run.contents_stored, run.backlog, run.outcome) == (25, 55, "partial")
    newest = sorted(box.messages(), reverse=True)[:25]
    assert _stored(engine) == set(newest)
    assert sync(engine).backlog == 0
    assert_true_to_gmail(engine, box)


def test_since_and_label_narrow_the_content_and_not_the_state(engine: Engine, box: Mailbox) -> None:
    now = datetime.now(UTC)
    old = box.add(subject="o", sender="a@b.example", to=ADDRESS, body="x", internal_date=now - timedelta(days=90))
    new = box.add(subject="n", sender="a@b.example", to=ADDRESS, body="x", labels=("INBOX",))
    label = box.create_label("Kept")
    kept = box.add(subject="k", sender="a@b.example", to=ADDRESS, body="x", labels=(label,))

    sync(engine, since=now - timedelta(days=30), label="Kept")
    assert _stored(engine) == {kept}
    sync(engine, since=now - timedelta(days=30))
    assert _stored(engine) == {kept, new}
    sync(engine)
    assert _stored(engine) == {kept, new, old}


def test_an_unknown_label_is_a_clear_error(engine: Engine, box: Mailbox) -> None:
    run = engine.sync(engine.accounts(), SyncOptions(label="No such label"))[0]

    assert run.error_class == "ConfigError"
    assert "No such label" in run.error


def test_a_message_that_cannot_be_fetched_stays_in_the_backlog_with_its_error(
    engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(12, seed=23)
    broken = sorted(box.messages())[4]
    gmail.fail_next(status=500, reason="backendError", method="messages.get", message_id=broken, times=1_000)

    run = sync(engine)

    assert (run.contents_stored, run.contents_failed, run.outcome) == (11, 1, "partial")
    assert _rows(engine, "select message_id, attempts, error_class from gmail.fetch_failures") == [
        (broken, 1, "ServerError")
    ]
    assert engine.queries.unresolved_failures(ADDRESS) == 1


@on_both
def test_a_failed_message_is_fetched_again_when_its_time_has_come(
    engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(5, seed=23)
    broken = sorted(box.messages())[2]
    gmail.fail_next(status=500, reason="backendError", method="messages.get", message_id=broken, times=1_000)
    sync(engine)
    gmail.clear_faults()

    assert sync(engine).contents_stored == 0, "tried again before its time"
    with engine.warehouse.open() as connection:
        connection.execute("update gmail.fetch_failures set next_try_at = now() - interval '1 minute'")
    assert sync(engine).contents_stored == 1

    assert engine.queries.unresolved_failures(ADDRESS) == 0
    assert_true_to_gmail(engine, box)


def test_a_message_deleted_between_listing_and_fetching_is_a_deletion(
    engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(20, seed=24)
    victim = sorted(box.messages())[3]
    gmail.before("messages.get", lambda: box.delete(victim) if victim in box.messages() else None, times=1)

    run = sync(engine)
    assert run.contents_failed == 0
    assert run.contents_gone == 1
    sync(engine)

    assert_true_to_gmail(engine, box)
    assert engine.queries.count_backlog(ADDRESS, _everything(), datetime.now(UTC)).due == 0


def test_a_truncated_answer_is_asked_for_again_and_never_stored(engine: Engine, box: Mailbox, gmail: Simulator) -> None:
    box.generate(10, seed=25)
    gmail.fail_next(kind="truncate", method="messages.get", times=3)
    gmail.fail_next(kind="drop", method="messages.get", times=2)

    run = sync(engine)

    assert run.contents_stored == 10
    assert_true_to_gmail(engine, box)


def test_spent_quota_ends_the_run_cleanly_and_says_when_to_go_on(
    engine: Engine, new_engine: Callable[..., Engine], box: Mailbox, gmail: Simulator
) -> None:
    box.generate(40, seed=26)
    later = datetime.now(UTC) + timedelta(hours=3)
    gmail.fail_next(
        status=429, reason="userRateLimitExceeded", method="messages.get", after=15, times=1_000, retry_after=later
    )

    run = engine.sync(engine.accounts(), SyncOptions())[0]

    assert run.outcome == "partial"
    assert run.error_class == "QuotaError"
    assert run.resume_at is not None
    assert abs((run.resume_at - later).total_seconds()) < 2
    assert run.contents_stored >= 5
    assert len(_stored(engine)) == run.contents_stored
    gmail.clear_faults()
    bought = gmail.calls("messages.get", status=200)
    # another process: the first one knows that it has to wait
    sync(new_engine())
    assert gmail.calls("messages.get", status=200) - bought == 40 - run.contents_stored
    assert_true_to_gmail(engine, box)


@on_both
def test_a_killed_process_costs_at_most_the_pack_that_was_open(
    engine: Engine, box: Mailbox, gmail: Simulator, environment: dict[str, str]
) -> None:
    box.generate(1_400, seed=27, mean_size_bytes=2_000)
    process = subprocess.Popen(
        [sys.executable, "-m", "mail_ingest.cli", "sync"],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    gmail.before("messages.get", lambda: os.kill(process.pid, signal.SIGKILL), after=1_200, times=1)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, errors.decode()
    assert _stored(engine) == set()
    served = gmail.calls("messages.get", status=200)
    gmail.reset_ledger()

    run = sync(engine)

    assert run.contents_adopted == 1_000
    assert run.contents_stored == 400
    assert gmail.calls("messages.get") == 400
    assert served >= 1_190
    assert_true_to_gmail(engine, box)


def test_without_an_archive_content_is_stored_all_the_same(
    new_engine: Callable[..., Engine], engine: Engine, box: Mailbox
) -> None:
    box.generate(10, seed=28)
    bare = new_engine(MAIL_INGEST_RAW="off")

    sync(bare)

    assert _rows(bare, "select count(*), count(raw_pack) from gmail.messages") == [(10, 0)]


def test_html_is_kept_in_the_warehouse_when_asked_for(
    new_engine: Callable[..., Engine], engine: Engine, box: Mailbox
) -> None:
    raw = b"From: a@b.example\r\nContent-Type: text/html\r\n\r\n<p>Hello <b>there</b></p>\r\n"
    box.add(raw=raw)
    sync(new_engine(MAIL_INGEST_HTML="warehouse"))

    assert _rows(engine, "select trim(body_html, chr(13) || chr(10)) from gmail.message_html") == [
        ("<p>Hello <b>there</b></p>",)
    ]
    assert _rows(
        engine, "select trim(body_text, chr(13) || chr(10)), body_text_source, has_html from gmail.messages"
    ) == [("Hello there", "html", True)]


@on_both
def test_months_are_backfilled_alone_and_finished_ones_cost_list_pages_only(
    engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    for month in (1, 2, 3):
        for day in (1, 15, 28):
            date = datetime(2026, month, day, 12, tzinfo=UTC)
            box.add(subject=f"{month}-{day}", sender="a@b.example", to=ADDRESS, body="x", internal_date=date)
    sync(engine, content=False)

    sync(engine, partitions=("2026-02",))
    assert _rows(engine, "select distinct date_trunc('month', internal_date) from gmail.messages") == [
        (datetime(2026, 2, 1, tzinfo=UTC),)
    ]
    gmail.reset_ledger()
    sync(engine, partitions=("2026-02",))
    assert gmail.calls("messages.get") == 0
    assert gmail.units() == 2 + 5


@on_both
@pytest.mark.parametrize("moment", ["1970-01-01T00:00:01", "2199-01-01T00:00:00"])
def test_impossible_dates_land_and_belong_to_a_month(engine: Engine, box: Mailbox, moment: str) -> None:
    date = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    mid = box.add(subject="odd", sender="a@b.example", to=ADDRESS, body="x", internal_date=date)
    sync(engine, content=False)
    month = engine.settings.content_start if date.year < 2000 else f"{datetime.now(UTC):%Y-%m}"

    sync(engine, partitions=(month,))

    assert _stored(engine) == {mid}
    with engine.warehouse.open() as connection:
        flagged = connection.execute("select cast(defects as varchar) from gmail.messages").fetchone()
    assert flagged is not None
    assert ("internal-date-in-1970" if date.year == 1970 else "internal-date-in-the-future") in flagged[0]


def test_a_damaged_pack_is_set_aside_and_what_it_held_is_bought_again(
    engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(6, seed=29)
    folder = Path(engine.settings.raw) / ADDRESS / "2026-01"
    folder.mkdir(parents=True)
    (folder / "20260101T000000000000-00000000.parquet").write_bytes(b"")

    run = sync(engine)

    assert run.contents_stored == 6
    assert [path.name for path in folder.iterdir()] == ["20260101T000000000000-00000000.parquet.damaged"]
    assert_true_to_gmail(engine, box)


@pytest.mark.parametrize("harm", [damage, exchange])
def test_a_pack_that_is_damaged_inside_is_set_aside_and_what_it_held_is_bought_again(
    engine: Engine, box: Mailbox, gmail: Simulator, harm: Callable[[Path], None]
) -> None:
    """Its footer is whole, so that only reading the messages shows the damage."""
    box.generate(6, seed=29)
    sync(engine)
    with engine.warehouse.open() as connection:
        connection.execute("delete from gmail.messages")
    [pack] = Path(engine.settings.raw).rglob("*.parquet")
    harm(pack)
    gmail.reset_ledger()

    run = sync(engine)

    assert (run.contents_stored, run.contents_adopted) == (6, 0)
    assert pack.with_name(pack.name + ".damaged").exists()
    assert_true_to_gmail(engine, box)


def test_loaded_mail_is_not_left_in_the_working_folder(engine: Engine, box: Mailbox) -> None:
    box.add(subject="left behind", sender="a@b.example", to=ADDRESS, body="planted words in a body")

    sync(engine)

    left = [
        path for path in (engine.settings.home / "dlt").rglob("*") if path.is_file() and b"planted" in path.read_bytes()
    ]
    assert left == []
    assert list((engine.settings.home / "dlt").rglob("*.parquet")) == []
    assert list(engine.spool_folder.iterdir()) == []


def test_an_archive_under_an_odd_path_is_adopted(
    new_engine: Callable[..., Engine], engine: Engine, box: Mailbox, gmail: Simulator, tmp_path: Path
) -> None:
    box.generate(6, seed=29)
    odd = str(tmp_path / "w-[prod] *?")
    sync(new_engine(MAIL_INGEST_RAW=odd))
    lose_warehouse(engine)
    gmail.reset_ledger()

    run = sync(new_engine(MAIL_INGEST_RAW=odd))

    assert (run.contents_adopted, gmail.calls("messages.get")) == (6, 0)


def test_a_run_that_was_killed_after_its_states_landed_does_not_look_successful(
    engine: Engine, box: Mailbox, gmail: Simulator, environment: dict[str, str]
) -> None:
    box.generate(30, seed=27, mean_size_bytes=2_000)
    process = subprocess.Popen(
        [sys.executable, "-m", "mail_ingest.cli", "sync"], env={**os.environ, **environment}, stderr=subprocess.DEVNULL
    )
    gmail.before("messages.get", lambda: os.kill(process.pid, signal.SIGKILL), times=1)
    process.wait(timeout=120)

    assert _rows(engine, "select outcome from gmail.sync_runs") == [("partial",)]
    assert sync(engine).outcome == "success"


def _stored(engine: Engine) -> set[object]:
    return {row[0] for row in _rows(engine, "select message_id from gmail.messages")}


def _rows(engine: Engine, query: str) -> list[tuple[object, ...]]:
    with engine.warehouse.open() as connection:
        return connection.execute(query).fetchall()


def _everything():  # type: ignore[no-untyped-def]
    from mail_ingest.warehouse.queries import Scope

    return Scope()


def test_the_raw_archive_can_be_switched_off_for_one_account(engine: Engine, box: Mailbox) -> None:
    kept = box.add(subject="before")
    sync(engine)
    engine.registry.change(ADDRESS, raw_archive=False)
    other = box.add(subject="after")
    sync(engine)

    with engine.warehouse.open() as connection:
        packs = dict(connection.execute("select message_id, raw_pack from gmail.messages").fetchall())
    assert packs.keys() == {kept, other}
    assert packs[other] is None
    assert packs[kept] is not None
    assert engine.archive.packs(ADDRESS) == [packs[kept]]
    assert engine.archive.read_message(packs[kept], kept) is not None
