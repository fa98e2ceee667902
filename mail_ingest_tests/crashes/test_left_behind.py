"""What a killed process leaves beside the tables: packages of pipelines that the next sync does not load through."""

from __future__ import annotations

import signal
from datetime import UTC, datetime

import pytest

from mail_ingest.ingest.engine import Engine
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.crashes.child import Point, sync_in_process
from mail_ingest_tests.truth import sync

_MESSAGES_MERGED = Point(
    "dlt.destinations.job_client_impl:SqlLoadJob.run", about="messages", first="messages", when="after"
)


@pytest.mark.parametrize("raw", ["raw", "off"])
def test_a_backfill_that_died_in_its_load_is_finished_by_the_next_sync(
    engine: Engine, box: Mailbox, gmail: Simulator, environment: dict[str, str], raw: str
) -> None:
    for day in range(1, 21):
        box.add(subject="s", sender="a@b.example", body="x", internal_date=datetime(2026, 2, day, 12, tzinfo=UTC))
    variables = {**environment, "ADA_TOKEN": box.token}
    variables["MAIL_INGEST_RAW"] = raw if raw == "off" else f"{environment['MAIL_INGEST_HOME']}/{raw}"
    sync(engine, content=False)

    died = sync_in_process(variables, _MESSAGES_MERGED, partitions=("2026-02",))
    assert died.exit_code == -signal.SIGKILL, died
    recovered = sync_in_process(variables)

    assert [(run["outcome"], run["backlog"]) for run in recovered.runs] == [("success", 0)]
    assert gmail.calls("messages.get") == 20, "content was bought again"
    with engine.warehouse.open() as connection:
        counts = connection.execute(
            "select (select count(*) from gmail.messages), (select count(*) from gmail.message_recipients where kind = 'from')"
        ).fetchone()
    assert counts == (20, 20)
    assert list((engine.settings.home / "dlt").rglob("*.parquet")) == [], "the backfill's package is still pending"


def test_a_sweep_that_died_after_its_events_tells_them_once(
    engine: Engine, box: Mailbox, environment: dict[str, str]
) -> None:
    ids = box.generate(10, seed=84, mean_size_bytes=2_000)
    sync(engine, content=False)
    label = box.create_label("Told once")
    box.relabel_many(ids, add=[label])
    box.expire_history()
    variables = {**environment, "ADA_TOKEN": box.token}
    landed = Point("dlt.destinations.job_client_impl:SqlJobClientBase.complete_load", when="after")

    assert sync_in_process(variables, landed, content=False).exit_code == -signal.SIGKILL
    # the next sweep is pinned to a later history id
    box.add(subject="s", sender="a@b.example", body="x")
    box.expire_history()
    sync(engine, content=False, mode="full")

    with engine.warehouse.open() as connection:
        told = connection.execute(
            "select count(*), count(distinct message_id) from gmail.label_events where label_id = ? and action = 'added'",
            [label],
        ).fetchone()
    assert told == (10, 10)


def test_a_sweep_that_died_after_its_events_leaves_them_to_a_history_that_is_there(
    engine: Engine, box: Mailbox, gmail: Simulator, environment: dict[str, str]
) -> None:
    ids = box.generate(10, seed=84, mean_size_bytes=2_000)
    sync(engine, content=False)
    label = box.create_label("Told once")
    box.relabel_many(ids, add=[label])
    gmail.fail_next(status=404, reason="notFound", method="history.list", times=1)
    variables = {**environment, "ADA_TOKEN": box.token}
    landed = Point("dlt.destinations.job_client_impl:SqlJobClientBase.complete_load", when="after")

    assert sync_in_process(variables, landed, content=False).exit_code == -signal.SIGKILL
    assert sync(engine, content=False).kind == "partial"

    with engine.warehouse.open() as connection:
        told = connection.execute(
            "select source, count(*), count(distinct message_id) from gmail.label_events "
            "where label_id = ? and action = 'added' group by source",
            [label],
        ).fetchall()
    assert told == [("history", 10, 10)]
