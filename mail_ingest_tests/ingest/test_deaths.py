"""Processes that die at the worst moment: what they leave behind must not stand in the way of the next one."""

from __future__ import annotations

from datetime import UTC, datetime

from mail_ingest.ingest import Engine, SyncOptions
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.convergence.deaths import run_in_child
from mail_ingest_tests.convergence.steps import Death
from mail_ingest_tests.truth import assert_true_to_gmail, sync


def _die(engine: Engine, point: str, nth: int = 1, **options: object) -> None:
    """A sync in a process that dies at a point."""
    left = run_in_child(lambda: engine.sync(engine.accounts(), SyncOptions(**options)) and "alive", Death(point, nth))  # type: ignore[arg-type]
    assert left is None, "the process did not die"


def test_a_package_that_is_loaded_and_not_put_away_does_not_stop_the_account(engine: Engine, box: Mailbox) -> None:
    box.generate(5, seed=1)
    sync(engine)
    box.add(subject="planted")
    _die(engine, "a loaded package is put away", content=False)

    run = sync(engine)

    assert run.contents_stored == 1
    assert_true_to_gmail(engine, box)
    assert list((engine.settings.home / "dlt").rglob("*.parquet")) == [], "loaded mail is left in the working folder"


def test_a_first_sync_that_died_before_anything_was_loaded_is_finished(engine: Engine, box: Mailbox) -> None:
    box.generate(5, seed=1)
    _die(engine, "dlt has extracted")

    assert sync(engine).contents_stored == 5
    assert_true_to_gmail(engine, box)


def test_a_failure_that_a_dead_backfill_left_pending_is_resolved_when_the_message_is_bought(
    engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    date = datetime(2026, 2, 3, tzinfo=UTC)
    broken, _ = (box.add(subject="old", internal_date=date) for _ in range(2))
    sync(engine, content=False)
    gmail.fail_next(status=500, reason="backendError", method="messages.get", message_id=broken, times=-1)
    # the first load notes what belongs to the month, the second brings a content and a failure
    _die(engine, "dlt has extracted", 2, months=("2026-02",))

    with engine.warehouse.open() as connection:
        assert connection.execute("select count(*) from gmail.fetch_failures").fetchone() == (0,), "it is not pending"
    gmail.clear_faults()
    sync(engine)
    with engine.warehouse.open() as connection:
        # the time of the next try has come
        connection.execute("update gmail.fetch_failures set next_try_at = first_failed_at where resolved_at is null")
    sync(engine)
    sync(engine, months=("2026-02",))

    assert engine.queries.unresolved_failures(ADDRESS) == 0
    assert_true_to_gmail(engine, box)
