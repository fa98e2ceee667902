"""Processes that die at the worst moment: what they leave behind must not stand in the way of the next one."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mail_ingest.ingest import Engine, SyncOptions
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.convergence.deaths import run_in_child
from mail_ingest_tests.convergence.steps import Death
from mail_ingest_tests.truth import assert_states_equal, assert_true_to_gmail, sync


def _die(engine: Engine, point: str, nth: int = 1, **options: object) -> None:
    """A sync in a process that dies at a point."""
    left = run_in_child(
        lambda: engine.sync(engine.accounts(), SyncOptions(**options)) and "alive",
        Death(point, nth),
        engine.warehouse.dialect,
    )  # type: ignore[arg-type]
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


def test_changes_that_a_dead_process_left_pending_are_not_asked_for_again(
    engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(5, seed=1)
    sync(engine)
    box.add(subject="new")
    _die(engine, "dlt has extracted", content=False)
    gmail.reset_ledger()

    sync(engine, content=False)

    assert gmail.units() == 2, "the pending package holds the changes and the cursor after them"
    assert_states_equal(engine, box)


@pytest.mark.parametrize("nth", range(1, 8))
def test_a_file_that_was_written_and_not_put_in_place_stops_nothing(engine: Engine, box: Mailbox, nth: int) -> None:
    box.generate(5, seed=1)
    _die(engine, "a file is replaced", nth)

    sync(engine)

    assert_true_to_gmail(engine, box)
    folder = engine.settings.home / "dlt"
    left = [path for path in folder.rglob("*") if path.is_file() and len(path.name) == 16 and "." not in path.name]
    assert left == []


def test_a_schema_that_was_written_and_not_put_in_place_is_no_schema(engine: Engine, box: Mailbox) -> None:
    box.generate(5, seed=1)
    _die(engine, "dlt has extracted", content=False)
    [schema] = (engine.settings.home / "dlt").glob("*/state_0/schemas/*.json")
    schema.with_name("0123456789abcdef").write_bytes(schema.read_bytes())

    sync(engine)

    assert_true_to_gmail(engine, box)


def test_a_failure_that_a_dead_backfill_left_pending_is_resolved_when_the_message_is_bought(
    engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    date = datetime(2026, 2, 3, tzinfo=UTC)
    broken, _ = (box.add(subject="old", internal_date=date) for _ in range(2))
    sync(engine, content=False)
    gmail.fail_next(status=500, reason="backendError", method="messages.get", message_id=broken, times=-1)
    # the first load notes what belongs to the month, the second brings a content and a failure
    _die(engine, "dlt has extracted", 2, partitions=("2026-02",))

    with engine.warehouse.open() as connection:
        assert connection.execute("select count(*) from gmail.fetch_failures").fetchone() == (0,), "it is not pending"
    gmail.clear_faults()
    sync(engine)
    with engine.warehouse.open() as connection:
        # the time of the next try has come
        connection.execute("update gmail.fetch_failures set next_try_at = first_failed_at where resolved_at is null")
    sync(engine)
    sync(engine, partitions=("2026-02",))

    assert engine.queries.unresolved_failures(ADDRESS) == 0
    assert_true_to_gmail(engine, box)
