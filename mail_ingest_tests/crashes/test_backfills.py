"""Backfills in processes of their own: killed and gone on with, and beside a sync of the same account."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from mail_ingest.ingest import SyncOptions, SyncRun
from mail_ingest.ingest.engine import Engine
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.crashes.child import PACKAGE_MESSAGES, Ended, Point, sync_in_process
from mail_ingest_tests.crashes.processes import wait_for
from mail_ingest_tests.truth import assert_true_to_gmail, sync

pytestmark = pytest.mark.warehouses("duckdb", "postgres")

MONTHS = ("2025-02", "2025-03")
#: Three packages.
MESSAGES = 2 * PACKAGE_MESSAGES + 30


@pytest.mark.parametrize(
    "point",
    [
        Point("mail_ingest.ingest.content:ContentDrain._load"),  # archived, and not loaded
        Point("mail_ingest.ingest.content:ContentDrain._load", nth=2, when="after"),  # two of three packages are there
    ],
    ids=["before a load", "between packages"],
)
def test_a_killed_backfill_goes_on_where_it_was_and_buys_nothing_twice(
    point: Point, engine: Engine, box: Mailbox, gmail: Simulator, environment: dict[str, str]
) -> None:
    box.generate(MESSAGES, seed=93, start="2025-02-01", end="2025-04-01", mean_size_bytes=2_000)
    sync(engine, content=False)
    engine.close()

    killed = sync_in_process({**environment, "ADA_TOKEN": box.token}, point, partitions=MONTHS)
    run = sync(engine, partitions=MONTHS)

    assert killed.exit_code == -9
    assert 0 < run.contents_stored < MESSAGES
    assert gmail.calls("messages.get") == MESSAGES
    assert_true_to_gmail(engine, box)


def test_a_sync_beside_a_backfill_waits_for_one_package_at_most(
    new_engine: Callable[..., Engine], engine: Engine, box: Mailbox, gmail: Simulator, environment: dict[str, str]
) -> None:
    box.generate(MESSAGES, seed=94, start="2025-02-01", end="2025-04-01", mean_size_bytes=2_000)
    sync(engine, content=False)
    engine.close()
    incremental, asked = new_engine(wait_s=120.0), threading.Event()
    _tell_when_content_is_asked_for(incremental, asked)
    begun, go_on = threading.Event(), threading.Event()

    def hold_back() -> None:
        begun.set()
        go_on.wait(120)

    gmail.before("messages.get", hold_back, after=5, times=1)
    with _backfill({**environment, "ADA_TOKEN": box.token}) as ended:
        assert begun.wait(120)
        new = box.add(subject="new", sender="a@b.example", body="x")
        runs: list[SyncRun] = []
        thread = threading.Thread(
            target=lambda: runs.extend(incremental.sync(incremental.accounts(), SyncOptions(max_messages=1)))
        )
        thread.start()
        # only now does the package go on in whose midst the sync has asked for its turn
        assert asked.wait(120)
        go_on.set()
        thread.join(120)

    bought = [request.resource for request in gmail.requests if request.method == "messages.get"]
    assert (runs[0].error, runs[0].contents_stored) == ("", 1)
    assert bought.index(new) == PACKAGE_MESSAGES, "it was not next after the package that was under way"
    assert ended[0].runs[0]["outcome"] == "success"
    assert len(bought) == MESSAGES + 1
    assert_true_to_gmail(engine, box)


@contextmanager
def _backfill(environment: dict[str, str]) -> Iterator[list[Ended]]:
    """A backfill in a process of its own, in packages of `PACKAGE_MESSAGES`; it has ended at the end of the block."""
    ended: list[Ended] = []
    thread = threading.Thread(target=lambda: ended.append(sync_in_process(environment, partitions=MONTHS)))
    thread.start()
    yield ended
    thread.join(240)
    wait_for(lambda: bool(ended))


def _tell_when_content_is_asked_for(engine: Engine, asked: threading.Event) -> None:
    hold = engine.locks.hold

    def told(name: str, *, wait_s: float | None = None):  # type: ignore[no-untyped-def]
        # whoever holds the place in the queue gets the next turn
        if name.startswith("content:"):
            asked.set()
        return hold(name, wait_s=wait_s)

    engine.locks.hold = told  # type: ignore[method-assign]
