"""Every check of the warehouse, and running them: the only place where they meet tables, keys and the control database."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING

from mail_ingest.sources.tables import DATASET, LANDING_TABLES
from mail_ingest.warehouse.checks import Broken, Check, key_check, load_checks, looks_at, run_check
from mail_ingest.warehouse.marts import load_relations

if TYPE_CHECKING:
    from mail_ingest.ingest.engine import Engine

#: Opening the warehouse takes longer than most checks, and a check of a large table seconds.
_HOLD_S = 2.0
_DELETE_ONE = "delete all rows of the key but one, then materialize the analyst tables with `rebuild`."
_REBUILD = "mend the keys of the landing tables if they are broken, then materialize the analyst tables with `rebuild`."


@cache
def all_checks() -> tuple[Check, ...]:
    """The checks in `sql/checks`, and the keys of all landing tables and of all relations for analysts, by name.

    Staging views are landing tables row for row, so their keys need no check of their own.
    """
    landing = [
        key_check(f"{DATASET}.{table.name}", table.key, _DELETE_ONE, is_blocking=True) for table in LANDING_TABLES
    ]
    relations = [
        key_check(relation.name, relation.key, _REBUILD) for relation in load_relations() if relation.schema == "mail"
    ]
    return tuple(sorted((*load_checks(), *landing, *relations), key=lambda check: (check.relation, check.name)))


def blocking_checks() -> list[Check]:
    """The checks without which the analyst tables should not be built."""
    return [check for check in all_checks() if check.is_blocking]


def check_warehouse(engine: Engine, checks: Iterable[Check]) -> Iterator[tuple[Check, Broken]]:
    """Runs checks, each with what it found. Lets go of the warehouse every few seconds, so that syncs get between two of them."""
    waiting = deque(checks)
    looks = engine.registry.looks() if any(check.reads_looks for check in waiting) else []
    while waiting:
        found = []
        with engine.warehouse.open() as connection, looks_at(connection, looks):
            opened_at = time.monotonic()
            while waiting and time.monotonic() - opened_at < _HOLD_S:
                check = waiting.popleft()
                found.append((check, run_check(connection, check)))
        yield from found
