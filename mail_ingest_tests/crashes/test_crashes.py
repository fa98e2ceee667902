"""A process killed anywhere: the next run finishes what is pending, loses nothing, doubles nothing, buys nothing again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import pytest

from mail_ingest.ingest.engine import Engine
from mail_ingest.settings import load_settings
from mail_ingest.warehouse.connection import Dialect
from mail_ingest_tests.crashes.child import PACK_MESSAGES, lose_working_folder, sync_in_process
from mail_ingest_tests.crashes.conftest import Scenario, doubled_rows, rows_of
from mail_ingest_tests.crashes.points import CRASHES, Crash
from mail_ingest_tests.truth import assert_analyst_tables_are_built, assert_true_to_gmail, sync

#: Answers that are on their way, or wait for the parser, when a process dies: two for each request in flight.
_IN_FLIGHT = 20


def _cases() -> Iterator[object]:
    """All crashes on DuckDB; on Postgres those that depend on the database, and the others in the long run."""
    for dialect in get_args(Dialect):
        for crash in CRASHES:
            is_long = crash.long or (dialect == "postgres" and not crash.depends_on_database)
            marks = [pytest.mark.long] if is_long else []
            yield pytest.param(crash.on(dialect), dialect, id=f"{dialect}:-{crash.id}", marks=marks)


@pytest.mark.parametrize(("crash", "dialect"), _cases())
def test_a_killed_sync_is_finished_by_the_next(
    crash: Crash,
    dialect: Dialect,
    scenarios: Callable[[str, Dialect], Scenario],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scenario = scenarios(crash.scenario, dialect)
    monkeypatch.setenv("CRASH_TOKEN", scenario.box.token)
    with scenario.copy(tmp_path / "home") as environment:
        _kill_and_recover(
            crash, scenario, environment, lambda figure: record_property("figure", f"{dialect}: {figure}")
        )


def _kill_and_recover(
    crash: Crash, scenario: Scenario, environment: dict[str, str], report: Callable[[str], None]
) -> None:
    gmail, home = scenario.gmail, Path(environment["MAIL_INGEST_HOME"])
    had = scenario.archived(home)
    gmail.reset_ledger()

    died = sync_in_process(environment, crash.point)

    assert died.exit_code == -signal.SIGKILL, f"the point was never reached: {died}"
    served = gmail.calls("messages.get", status=200)
    archived = scenario.archived(home)
    missing = len(scenario.box.messages().keys() - archived)
    again = served - len(archived - had)
    if crash.loses_folder:
        lose_working_folder(home)
    gmail.reset_ledger()
    recovered = sync_in_process(environment)
    bought = gmail.calls("messages.get")
    units, bound = gmail.units(), scenario.state_units + 20 * missing
    doubled = doubled_rows(environment["MAIL_INGEST_WAREHOUSE"])
    rows = rows_of(environment["MAIL_INGEST_WAREHOUSE"])
    lost = sum(sum((scenario.truth[table] - rows[table]).values()) for table in rows)
    strange = sum(sum((rows[table] - scenario.truth[table]).values()) for table in rows)
    verdict = (
        "true to the mailbox" if (lost, strange, doubled, bought) == (0, 0, 0, missing) and units <= bound else "FALSE"
    )
    report(
        f"crash | {crash.scenario:7} | {crash.name:36} | {'lost' if crash.loses_folder else 'kept':4} | "
        f"{units:5} of {bound:5} units | {again:2} bought again | {doubled} doubled | {lost} lost | {verdict}",
    )

    assert recovered.exit_code == 0
    assert [(run["outcome"], run["error"]) for run in recovered.runs] == [("success", None)]
    assert (lost, strange, doubled) == (0, 0, 0), _differences(scenario, rows)
    assert bought == missing, "what was archived was bought again"
    assert units <= bound
    assert again <= PACK_MESSAGES + _IN_FLIGHT
    assert list((home / "dlt").rglob("*.parquet")) == [], "mail is left in the working folder"
    engine = Engine(load_settings({**os.environ, **environment}), wait_s=5.0)
    assert_true_to_gmail(engine, scenario.box)
    assert_analyst_tables_are_built(engine)
    assert engine.registry.get(scenario.box.address).last_outcome == "success"
    gmail.reset_ledger()
    sync(engine)
    engine.close()
    assert gmail.units() == 2, "the sync after it found something left to do"


def _differences(scenario: Scenario, rows: dict) -> str:  # type: ignore[type-arg]
    """Tables that differ, by how many rows; no values, they are mail."""
    return ", ".join(
        f"{table}: {sum((truth - rows[table]).values())} lost, {sum((rows[table] - truth).values())} strange"
        for table, truth in scenario.truth.items()
        if truth != rows[table]
    )
