"""The server ends the loader's sessions in the middle of a load: nothing is lost, doubled or bought again."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest

from mail_ingest.ingest import Engine, content, packs
from mail_ingest.ingest.run import SyncOptions
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.crashes.child import PACK_MESSAGES, PACKAGE_MESSAGES, find
from mail_ingest_tests.crashes.conftest import doubled_rows
from mail_ingest_tests.postgres import execute
from mail_ingest_tests.truth import assert_analyst_tables_are_built, assert_true_to_gmail, sync

pytestmark = pytest.mark.warehouses("postgres")

_ALL = (
    "select query, pg_terminate_backend(pid) from pg_stat_activity "
    "where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'"
)
_COPY = "adbc_driver_manager.dbapi:Cursor.adbc_ingest"
_BUILD = "mail_ingest.warehouse.builds:_Run._replace"
#: Where the sessions end: before the nth call of a function, or half way through what the nth COPY takes.
_MOMENTS = {
    "while rows are copied to staging": (_COPY, 4),
    "inside a build of the analyst tables": (_BUILD, 4),
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
    under_way: list[str] = []
    end_sessions = _half_way if target == _COPY else _before
    end_sessions(target, nth, lambda: under_way.extend(query for query, _ in execute(warehouse_url, _ALL)), monkeypatch)

    [run] = engine.sync(engine.accounts(), SyncOptions())

    assert under_way, "the moment never came"
    if target == _COPY:
        assert any(query.startswith("COPY ") for query in under_way)
    assert run.outcome in ("failed", "success"), run.error
    assert "\n" not in run.error
    sync(engine)
    assert_true_to_gmail(engine, box)
    assert_analyst_tables_are_built(engine)
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


def _before(target: str, nth: int, act: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name = find(target)
    function = getattr(owner, name)
    calls = itertools.count(1)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == nth:
            act()
        return function(*args, **kwargs)

    monkeypatch.setattr(owner, name, call)


def _half_way(target: str, nth: int, act: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name = find(target)
    ingest = getattr(owner, name)
    calls = itertools.count(1)

    @functools.wraps(ingest)
    def call(cursor: Any, table: str, batches: Iterator[pa.RecordBatch], **options: Any) -> Any:
        if next(calls) != nth:
            return ingest(cursor, table, batches, **options)
        rows = pa.Table.from_batches(batches)

        def halves() -> Iterator[pa.RecordBatch]:
            yield from rows.slice(0, rows.num_rows // 2).to_batches()
            act()
            yield from rows.slice(rows.num_rows // 2).to_batches()

        # read by the driver as it sends
        return ingest(cursor, table, pa.RecordBatchReader.from_batches(rows.schema, halves()), **options)

    monkeypatch.setattr(owner, name, call)
