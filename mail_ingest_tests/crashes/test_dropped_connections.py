"""The server ends the loader's sessions in the middle of a load: nothing is lost, doubled or bought again."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from mail_ingest.ingest import Engine, content, packs
from mail_ingest.ingest.run import SyncOptions
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.crashes.child import PACK_MESSAGES, PACKAGE_MESSAGES, find
from mail_ingest_tests.crashes.conftest import doubled_rows
from mail_ingest_tests.postgres import execute
from mail_ingest_tests.truth import assert_true_to_gmail, sync

pytestmark = pytest.mark.warehouses("postgres")

_ALL = (
    "select pg_terminate_backend(pid) from pg_stat_activity "
    "where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'"
)
#: Where the sessions end: before the nth call of a function of dlt's, and whose they are.
_MOMENTS = {
    "before rows are copied to staging": ("dlt.destinations.impl.postgres.postgres:PostgresParquetCopyJob.run", 3),
    "before a merge": ("dlt.destinations.job_client_impl:SqlLoadJob.run", 2),
    "before a merge of contents": ("dlt.destinations.job_client_impl:SqlLoadJob.run", 6),
    "inside a merge, before it commits": (
        "dlt.destinations.impl.postgres.sql_client:Psycopg2SqlClient.commit_transaction",
        4,
    ),
    "before the load is noted": ("dlt.destinations.job_client_impl:SqlJobClientBase.complete_load", 2),
}


@pytest.mark.parametrize("moment", _MOMENTS)
def test_a_load_whose_connections_drop_is_finished_by_the_next_sync(
    engine: Engine,
    box: Mailbox,
    gmail: Simulator,
    warehouse_url: str,
    moment: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(content, "PACKAGE_MESSAGES", PACKAGE_MESSAGES)
    monkeypatch.setattr(packs, "PACK_MESSAGES", PACK_MESSAGES)
    box.generate(130, seed=81, user_labels=6, mean_size_bytes=3_000)
    target, nth = _MOMENTS[moment]
    ended = _before(target, nth, lambda: execute(warehouse_url, _ALL), monkeypatch)

    [run] = engine.sync(engine.accounts(), SyncOptions())

    assert ended(), "the moment never came"
    assert run.outcome in ("failed", "success"), run.error
    assert "\n" not in run.error
    sync(engine)
    assert_true_to_gmail(engine, box)
    assert gmail.calls("messages.get") == 130, "content was bought again"
    assert doubled_rows(engine.settings.warehouse) == 0
    assert list((engine.settings.home / "dlt").rglob("*.parquet")) == []


def test_an_account_whose_lock_is_lost_while_it_is_swept_is_not_written(
    engine: Engine, box: Mailbox, gmail: Simulator, warehouse_url: str
) -> None:
    box.generate(20, seed=82)
    gmail.before("labels.get", lambda: execute(warehouse_url, _ALL), times=1)

    [run] = engine.sync(engine.accounts(), SyncOptions())

    assert "was lost, and the lock with it" in run.error
    assert execute(warehouse_url, "select count(*) from gmail.message_states") == [(0,)]
    sync(engine)
    assert_true_to_gmail(engine, box)


def _before(target: str, nth: int, act: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    owner, name = find(target)
    function = getattr(owner, name)
    calls = 0

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == nth:
            act()
        return function(*args, **kwargs)

    monkeypatch.setattr(owner, name, call)
    return lambda: calls >= nth
