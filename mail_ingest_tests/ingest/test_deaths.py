"""Processes that die at the worst moment: what they leave behind must not stand in the way of the next one."""

from __future__ import annotations

from mail_ingest.ingest import Engine, SyncOptions
from mail_ingest.simulator import Mailbox
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
