"""Backfills in Dagster: what partitions tell before and after they run, days instead of months, and real ones over GraphQL."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from mail_ingest.definitions import build_definitions
from mail_ingest.ingest.engine import Engine
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.defs.conftest import CONTENT, Dagster, Impatient, Run
from mail_ingest_tests.defs.serving import PROJECT, ask, dagster_dev
from mail_ingest_tests.truth import sync

MESSAGES = dg.AssetKey(["gmail", "messages"])


def _observations(dagster: Dagster) -> dict[str | None, dict[str, object]]:
    """What the last observation of each partition (and of the asset, under None) tells."""
    found: dict[str | None, dict[str, object]] = {}
    for record in dagster.instance.fetch_observations(MESSAGES, limit=1_000).records:
        observation = record.asset_observation
        assert observation is not None
        told = {name: entry.value for name, entry in observation.metadata.items()}
        found.setdefault(observation.partition, told)
    return found


def test_a_month_that_has_not_run_tells_its_price(
    engine: Engine, box: Mailbox, gmail: Simulator, dagster: Dagster
) -> None:
    box.generate(30, seed=51, start="2026-01-01", end="2026-04-01")
    sync(engine, max_messages=5)
    gmail.reset_ledger()

    run = Run(dagster.definitions.resolve_job_def("estimate_backfill").execute_in_process(instance=dagster.instance))

    assert run.success
    assert gmail.calls() == 0
    told = _observations(dagster)
    assert set(told) == {None, "2026-01", "2026-02", "2026-03"}, "months without mail tell nothing"
    months = _months(box)
    for month, count in months.items():
        assert told[month]["messages_known"] == count
        assert told[month]["price_units"] == 5 + 20 * int(str(told[month]["messages_to_buy"]))
    assert told[None]["messages_to_buy"] == 25
    assert told[None]["price_units"] == 3 * 5 + 25 * 20
    table = told[None]["partitions"]
    assert [record.data["partition"] for record in table.records] == ["2026-03", "2026-02", "2026-01"]  # type: ignore[attr-defined]
    assert dagster.materialized_months() == set()


def test_a_month_that_has_run_tells_what_is_known_stored_and_failed(
    engine: Engine, box: Mailbox, gmail: Simulator, dagster: Dagster
) -> None:
    box.generate(20, seed=52, start="2026-02-01", end="2026-03-01")
    broken = min(box.messages())
    gmail.fail_next(status=500, reason="backendError", method="messages.get", message_id=broken, times=-1)

    run = dagster.materialize(CONTENT, month="2026-02")

    told = {name: entry.value for name, entry in run.of("gmail/messages", "2026-02").metadata.items()}
    figures = [told[f"messages_{name}"] for name in ("known", "stored", "failed", "to_buy")]
    assert figures == [20, 19, 1, 1]
    assert told["price_units"] == 25


def test_days_are_bought_by_day_and_change_nothing_that_months_have_stored(
    engine: Engine, box: Mailbox, gmail: Simulator, dagster: Dagster, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.generate(40, seed=53, start="2026-02-01", end="2026-03-01")
    dagster.materialize(CONTENT, month="2026-02", max_messages=10)
    assert dagster.materialized_months() == {"2026-02"}
    monkeypatch.setenv("MAIL_INGEST_PARTITIONS", "day")
    by_day = Dagster(dagster.instance, build_definitions(Impatient()))

    run = by_day.materialize(CONTENT, months=("2026-02-01", "2026-02-28"))

    assert run.success, run.failures
    assert run.months_are_complete.passed
    assert gmail.calls("messages.get") == 40
    days = {f"2026-02-{day:02}" for day in range(1, 29)}
    # what ran under months stays in the event log, and is no partition any more
    assert by_day.materialized_months() == days | {"2026-02"}
    partitions = by_day.definitions.resolve_asset_graph().get(MESSAGES).partitions_def
    assert partitions is not None
    assert not partitions.has_partition_key("2026-02")
    assert days <= set(partitions.get_partition_keys())


def _months(box: Mailbox) -> dict[str, int]:
    counts: dict[str, int] = {}
    for record in box.messages().values():
        month = f"{datetime.fromtimestamp(record.internal_date_ms / 1000, UTC):%Y-%m}"
        counts[month] = counts.get(month, 0) + 1
    return counts


@pytest.fixture
def served(environment: dict[str, str], engine: Engine, tmp_path: Path) -> Iterator[str]:
    """`dagster dev` in the project folder over the mailbox, with packages of its own pace: one request at a time."""
    home = tmp_path / "dagster"
    home.mkdir()
    shutil.copy(PROJECT / "dagster.yaml", home)
    variables = {
        **os.environ,
        **environment,
        "DAGSTER_HOME": str(home),
        "PYTHONPATH": str(PROJECT),
        "MAIL_INGEST_MAX_IN_FLIGHT": "1",
    }
    with dagster_dev(variables, tmp_path / "dagster_dev.log") as url:
        yield url


@pytest.mark.early
def test_backfills_over_graphql_go_newest_first_and_keep_no_sync_waiting(
    served: str, engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    # across years, and imported against the order of dates
    months = ["2024-11", "2024-12", "2025-01", "2025-02"]
    ids = {
        box.add(subject="x", sender="a@b.example", body="x", internal_date=f"{month}-{day:02}T12:00:00Z"): month
        for month in reversed(months)
        for day in (3, 13, 23)
    }
    held, go_on = threading.Event(), threading.Event()

    def hold_back() -> None:
        held.set()
        go_on.wait(240)

    gmail.before("messages.get", hold_back, times=1)
    # more of them than the queue runs at once
    backfills = [_launch_backfill(served, months) for _ in range(3)]
    assert held.wait(240), "no backfill has begun"

    # a sync of the same account is started while the first one is in the midst of a package
    run_id = _launch_sync(served)
    _wait_for_run(served, run_id, "STARTED")
    go_on.set()
    _wait_for_run(served, run_id, "SUCCESS")
    for backfill in backfills:
        _wait_for_backfill(served, backfill)

    bought = [ids[request.resource] for request in gmail.requests if request.method == "messages.get"]
    assert bought == sorted(ids.values(), reverse=True)
    with engine.warehouse.open() as connection:
        runs = connection.execute(
            "select triggered_by, sum(contents_stored) from gmail.sync_runs group by 1 order by 1"
        ).fetchall()
    assert ("backfill", len(ids)) in runs
    materialized = ask(
        served,
        '{ assetNodeOrError(assetKey: {path: ["gmail", "messages"]}) { ... on AssetNode '
        "{ partitionStats { numMaterialized numFailed } } } }",
    )["assetNodeOrError"]["partitionStats"]
    assert materialized == {"numMaterialized": len(months), "numFailed": 0}


def _launch_backfill(url: str, partitions: list[str]) -> str:
    answer = ask(
        url,
        "mutation ($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) "
        "{ __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }",
        params={"assetSelection": [{"path": key.split("/")} for key in CONTENT], "partitionNames": partitions},
    )["launchPartitionBackfill"]
    assert answer["__typename"] == "LaunchBackfillSuccess", answer
    return str(answer["backfillId"])


def _launch_sync(url: str) -> str:
    job = {"repositoryLocationName": "mail_ingest", "repositoryName": "__repository__", "jobName": "sync"}
    answer = ask(
        url,
        "mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) "
        "{ __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }",
        params={"selector": job, "runConfigData": {"ops": {"sync_accounts": {"config": {"max_messages": 0}}}}},
    )["launchRun"]
    assert answer["__typename"] == "LaunchRunSuccess", answer
    return str(answer["run"]["runId"])


def _wait_for_run(url: str, run_id: str, status: str) -> None:
    query = "query ($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
    _wait_for(lambda: str(ask(url, query, id=run_id)["runOrError"]["status"]), {status, "SUCCESS"})


def _wait_for_backfill(url: str, backfill_id: str) -> None:
    query = "query ($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } } }"
    _wait_for(lambda: str(ask(url, query, id=backfill_id)["partitionBackfillOrError"]["status"]), {"COMPLETED_SUCCESS"})


def _wait_for(status: Callable[[], str], wanted: set[str]) -> None:
    deadline = time.monotonic() + 240
    while (found := status()) not in wanted:
        assert not found.startswith(("FAIL", "CANCEL", "COMPLETED_FAILED")), found
        assert time.monotonic() < deadline, f"it is {found}"
        time.sleep(0.5)
