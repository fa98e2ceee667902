"""Freshness as Dagster's daemon tells it: a quiet mailbox that was looked at is fresh, one that nobody asked about is not."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.definitions.freshness import FreshnessState
from dagster._core.definitions.freshness_evaluator import TimeWindowFreshnessPolicyEvaluator
from dagster._core.loader import LoadingContextForTest
from dagster._core.test_utils import freeze_time

from mail_ingest.ingest.engine import Engine
from mail_ingest.simulator import Mailbox
from mail_ingest_tests.defs.conftest import STATE, Dagster
from mail_ingest_tests.defs.test_definitions import GROUPS


def _state(dagster: Dagster, key: str, hours: float) -> FreshnessState:
    """What the daemon finds so many hours from now."""
    node = dagster.definitions.resolve_asset_graph().get(dg.AssetKey(key.split("/")))
    context = LoadingContextForTest(dagster.instance)
    with freeze_time(datetime.now(UTC) + timedelta(hours=hours)):
        return asyncio.run(TimeWindowFreshnessPolicyEvaluator().evaluate_freshness(context, node))  # type: ignore[arg-type]


def test_a_sync_that_finds_nothing_new_keeps_the_state_tables_fresh(
    engine: Engine, box: Mailbox, dagster: Dagster
) -> None:
    box.generate(3, seed=1)
    assert {_state(dagster, key, 0) for key in STATE} == {FreshnessState.UNKNOWN}
    dagster.job("sync")
    first = _looked_at(dagster)
    assert {_state(dagster, key, 0) for key in STATE} == {FreshnessState.PASS}
    assert {_state(dagster, key, 3) for key in STATE} == {FreshnessState.WARN}
    assert {_state(dagster, key, 9) for key in STATE} == {FreshnessState.FAIL}

    quiet = dagster.job("sync")

    assert sorted(quiet.keys) == sorted(STATE), "one event for each table, and none for content"
    assert all(later > first[key] for key, later in _looked_at(dagster).items())


def test_a_sync_in_which_nobody_was_asked_says_nothing(engine: Engine, box: Mailbox, dagster: Dagster) -> None:
    dagster.job("sync")
    box.revoke()

    assert dagster.job("sync").materializations == []


def test_the_nightly_job_keeps_the_analyst_tables_fresh_for_a_day(
    engine: Engine, box: Mailbox, dagster: Dagster
) -> None:
    box.generate(3, seed=1)
    dagster.job("sync")

    dagster.job("analyst_tables")

    graph = dagster.definitions.resolve_asset_graph()
    tables = [key for key in GROUPS["analyst_tables"] if graph.get(dg.AssetKey(key.split("/"))).freshness_policy]
    assert len(tables) == 11
    assert {_state(dagster, key, 25) for key in tables} == {FreshnessState.PASS}
    assert {_state(dagster, key, 27) for key in tables} == {FreshnessState.FAIL}


def _looked_at(dagster: Dagster) -> dict[str, float]:
    events = {key: dagster.instance.get_latest_materialization_event(dg.AssetKey(key.split("/"))) for key in STATE}
    return {key: event.timestamp for key, event in events.items() if event is not None}
