"""Whatever happens to a mailbox and to its syncs, one clean sync later the warehouse is the mailbox."""

from __future__ import annotations

import logging
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, seed, settings

from mail_ingest_tests.convergence.machine import Machine
from mail_ingest_tests.convergence.steps import Conditions, Round
from mail_ingest_tests.convergence.strategies import conditions, histories
from mail_ingest_tests.postgres import fresh_database

pytestmark = pytest.mark.first_use

Record = Callable[[str, object], None]
NewWarehouse = Callable[[Path], AbstractContextManager[str]]

_SETTINGS = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck), report_multiple_bugs=False)
#: What is counted and is no step of its own.
_NO_STEPS = ("ended", "in all")
_LONG_STEPS = 10_000


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Thousands of troubles are not worth a line each in the report of the one that failed."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(params=["duckdb", "postgres"])
def new_warehouse(request: pytest.FixtureRequest) -> NewWarehouse:
    """Warehouses that nobody has used, one for each mailbox."""
    if request.param == "duckdb":
        return lambda folder: nullcontext(f"duckdb:///{folder / 'warehouse.duckdb'}")
    server = request.getfixturevalue("postgres")
    return lambda folder: fresh_database(server)


@pytest.mark.early
@pytest.mark.timeout(1_200)  # a failure is shrunk for up to 300 s
def test_any_sequence_of_changes_troubles_and_deaths_converges(
    record_property: Record, new_warehouse: NewWarehouse, request: pytest.FixtureRequest
) -> None:
    tally: Counter[str] = Counter()
    began = time.monotonic()

    # what is the same for both warehouses is drawn once more often
    @settings(_SETTINGS, max_examples=4 if "duckdb" in request.node.name else 3, derandomize=True)
    @given(histories(least=5, most=8), conditions)
    def converges(rounds: list[Round], under: Conditions) -> None:
        _converge(rounds, under, tally, new_warehouse)

    converges()

    _report(record_property, tally, time.monotonic() - began)


@pytest.mark.long
@pytest.mark.timeout(7_200)
def test_ten_thousand_steps_converge(record_property: Record, new_warehouse: NewWarehouse) -> None:
    """A new seed every time; it is printed, and so is the sequence that failed, as the Python that repeats it."""
    tally: Counter[str] = Counter()
    began = time.monotonic()
    chosen = random.randrange(1_000_000)

    while _steps(tally) < _LONG_STEPS:
        print(f"seed {chosen}, after {_steps(tally)} steps", flush=True)

        @seed(chosen)
        @settings(_SETTINGS, max_examples=25)
        @given(histories(least=8, most=16), conditions)
        def converges(rounds: list[Round], under: Conditions) -> None:
            _converge(rounds, under, tally, new_warehouse)

        converges()
        chosen += 1

    _report(record_property, tally, time.monotonic() - began)


def _converge(rounds: list[Round], under: Conditions, tally: Counter[str], new_warehouse: NewWarehouse) -> None:
    with tempfile.TemporaryDirectory() as folder, new_warehouse(Path(folder)) as url:
        with Machine(Path(folder), url, under, tally) as machine:
            machine.run(rounds)


def _steps(tally: Counter[str]) -> int:
    return sum(count for name, count in tally.items() if not name.startswith(_NO_STEPS))


def _report(record_property: Record, tally: Counter[str], seconds: float) -> None:
    """The coverage: steps in all, and for each group of steps how many of each kind."""
    syncs = sum(count for name, count in tally.items() if name.startswith("sync: "))
    times = os.times()
    cpu_s = times.user + times.system + times.children_user + times.children_system
    took = f"in {seconds:.0f} s, after {cpu_s:.0f} s of CPU time of this process and its children"
    record_property("figure", f"convergence: {_steps(tally)} steps, {syncs} of them syncs, {took}")
    groups: dict[str, list[str]] = {}
    for name, count in sorted(tally.items()):
        group, _, kind = name.partition(": ")
        groups.setdefault(group, []).append(f"{kind} {count}")
    for group, kinds in groups.items():
        record_property("figure", f"convergence, {group}: {', '.join(kinds)}")
