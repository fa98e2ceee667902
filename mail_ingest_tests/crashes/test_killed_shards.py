"""A process that syncs a shard's accounts together is killed: with whatever was in its package, none of them is wrong."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mail_ingest.accounts import token_env
from mail_ingest.ingest import Engine, SyncOptions
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.crashes.child import Point, lose_working_folder, sync_in_process
from mail_ingest_tests.crashes.conftest import doubled_rows
from mail_ingest_tests.crashes.points import Crash
from mail_ingest_tests.truth import assert_analyst_tables_are_built, assert_archive_equal, assert_true_to_gmail

pytestmark = pytest.mark.warehouses("duckdb", "postgres")

_MERGE = "dlt.destinations.job_client_impl:SqlLoadJob.run"
_DONE = "dlt.common.storages.load_storage:LoadStorage.complete_load_package"
_TOGETHER = "mail_ingest.ingest.loading:Loader.together"
CRASHES = [
    Crash("before the states of all are loaded", "shard", Point(_TOGETHER, nth=1)),
    Crash("between two tables of the states of all", "shard", Point(_MERGE, nth=2)),
    Crash("between two tables of the states of all", "shard", Point(_MERGE, nth=2), loses_folder=True),
    Crash("between two tables of the contents of all", "shard", Point(_MERGE, about="messages", when="after", first="messages")),
    Crash(
        "between two tables of the contents of all",
        "shard",
        Point(_MERGE, about="messages", when="after", first="messages"),
        loses_folder=True,
    ),
    Crash("after the states of all were loaded", "shard", Point(_DONE, when="after")),
]  # fmt: skip


@pytest.mark.parametrize("crash", CRASHES, ids=lambda crash: crash.id)
def test_accounts_of_a_killed_process_are_true_after_the_next_sync(
    crash: Crash,
    gmail: Simulator,
    environment: dict[str, str],
    new_engine: Callable[..., Engine],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = new_engine()
    boxes: list[Mailbox] = []
    variables = dict(environment)
    for number in range(5):
        box = gmail.add_account(f"m{number}@example.com")
        box.generate(12, seed=number, mean_size_bytes=1_500)
        variables[f"TOKEN_{number}"] = box.token
        monkeypatch.setenv(f"TOKEN_{number}", box.token)
        engine.registry.add(box.address, token_env(f"TOKEN_{number}"))
        boxes.append(box)
    engine.sync(engine.accounts(), SyncOptions())
    engine.close()
    for box in boxes[:4]:
        for number in range(4):
            box.add(subject=f"new {number}", body="x")
        box.relabel_many(list(box.messages())[:3], add=["STARRED"])
        box.delete(next(iter(box.messages())))

    ended = sync_in_process(variables, crash.on(engine.warehouse.dialect).point)
    assert ended.exit_code == -9, "the process was not killed"
    if crash.loses_folder:
        lose_working_folder(engine.settings.home)
    bought_before = sum(request.method == "messages.get" for request in gmail.requests)

    engine = new_engine()
    runs = engine.sync(engine.accounts(), SyncOptions())

    assert [(run.outcome, run.error) for run in runs] == [("success", "")] * 5
    for box in boxes:
        assert_true_to_gmail(engine, box)
    with engine.warehouse.open() as connection:
        without_sender = connection.execute(
            "select count(*) from gmail.messages m where not exists (select 1 from gmail.message_recipients r "
            "where r.account_id = m.account_id and r.message_id = m.message_id and r.kind = 'from')"
        ).fetchone()
    assert without_sender == (0,)
    pending = [path for path in (engine.settings.home / "dlt").glob("*/*/load/normalized/*") if path.is_dir()]
    assert pending == []
    assert_archive_equal(engine, boxes[0])
    engine.warehouse.close()
    assert doubled_rows(engine.settings.warehouse) == 0
    assert_analyst_tables_are_built(engine)
    bought = sum(request.method == "messages.get" for request in gmail.requests) - bought_before
    assert bought <= 16, "content is bought once"
