"""Whatever happens to a mailbox and to its syncs, one clean sync later the warehouse is the mailbox."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, given, settings

from mail_ingest_tests.convergence.machine import Machine
from mail_ingest_tests.convergence.steps import Conditions, Round
from mail_ingest_tests.convergence.strategies import conditions, histories

_ALL = list(HealthCheck)


def test_any_sequence_of_changes_troubles_and_deaths_converges(
    record_property: Callable[[str, object], None],
) -> None:
    tally: Counter[str] = Counter()

    @settings(max_examples=7, derandomize=True, deadline=None, database=None, suppress_health_check=_ALL)
    @given(histories(least=4, most=8), conditions)
    def converges(rounds: list[Round], under: Conditions) -> None:
        with tempfile.TemporaryDirectory() as folder, Machine(Path(folder), under, tally) as machine:
            machine.run(rounds)

    began = time.monotonic()
    converges()
    _report(record_property, tally, time.monotonic() - began)


def _report(record_property: Callable[[str, object], None], tally: Counter[str], seconds: float) -> None:
    syncs = sum(count for name, count in tally.items() if name.startswith("sync "))
    record_property("figure", f"convergence: {syncs} syncs in {seconds:.0f} s")
    for name, count in sorted(tally.items()):
        record_property("figure", f"convergence: {count:6d}  {name}")
