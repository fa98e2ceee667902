"""The promise, checked: the warehouse is the mailbox, nothing was bought twice, and every change served is an event."""

from __future__ import annotations

from collections import Counter

from mail_ingest.ingest import Engine
from mail_ingest.ingest.audit import AuditOptions, audit_account
from mail_ingest.ingest.checks import all_checks, check_warehouse
from mail_ingest.simulator import Mailbox
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.convergence.served import Event, Served
from mail_ingest_tests.truth import (
    assert_archive_equal,
    assert_deletions_equal,
    assert_true_to_gmail,
)


def assert_converged(engine: Engine, box: Mailbox) -> None:
    """Ids, threads, labels, deletions and bytes are the mailbox's; `verify` finds the same."""
    assert_true_to_gmail(engine, box)
    assert_deletions_equal(engine, box)
    assert_archive_equal(engine, box)
    audit = audit_account(engine, engine.registry.get(ADDRESS), AuditOptions())
    assert (audit.drift, audit.pending, audit.undecided, audit.backlog) == (0, 0, 0, 0), "verify sees what is not there"
    assert audit.unresolved_failures == 0, "a message whose content is stored counts as failed"
    assert_checks_pass(engine)


def assert_checks_pass(engine: Engine) -> None:
    """No check raises a false alarm; those that warn tell of what may well be."""
    errors = [check for check in all_checks() if check.severity == "error"]
    assert {check.name: found for check, found in check_warehouse(engine, errors) if found.rows} == {}


def assert_events_complete(engine: Engine, served: Served, landed: set[Event]) -> None:
    """Every event that a landed state sync was served is there once, and no other event claims to be from history."""
    with engine.warehouse.open() as connection:
        rows = Counter(
            Event(*row)
            for row in connection.execute(
                "select history_id, message_id, label_id, action from gmail.label_events where source = 'history'"
            ).fetchall()
        )
        keys = connection.execute(
            "select count(*), count(distinct (history_id, message_id, label_id, action)) from gmail.label_events"
        ).fetchone()
    assert keys is not None
    assert keys[0] == keys[1], "an event is stored twice"
    assert rows.keys() >= landed, f"events are missing: {sorted(landed - rows.keys())[:5]}"
    assert rows.keys() <= served.history, f"events that were never served: {sorted(rows.keys() - served.history)[:5]}"


class Purchases:
    """The account of content: what was bought, and what may be bought again because a dead process had not kept it."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._forgiven: Counter[str] = Counter()
        self._before: Counter[str] = Counter()

    def begin(self) -> None:
        """A sync begins."""
        self._before = self._served.bought.copy()

    def check(self, engine: Engine, *, died: bool, damaged: int) -> None:
        """After a sync: nothing was bought twice, and what was bought is in the archive, whole.

        Where the process died, what this very sync had bought and not archived may be bought once more. `damaged` answers
        were cut off by the server, and count for nothing.
        """
        bought = self._served.bought
        archived = {mid for pack in engine.archive.packs(ADDRESS) for mid in engine.archive.message_ids(pack)}
        lost = {mid for mid in (bought - self._before) if mid not in archived}
        if died:
            self._forgiven.update(lost)
        else:
            assert not lost, f"{len(lost)} contents were bought and not archived"
        twice = [mid for mid, count in bought.items() if count > 1 + self._forgiven[mid]]
        assert not twice, f"content bought twice: {twice[:5]}"
        assert bought.keys() - archived <= self._forgiven.keys(), "an archived content is gone"
        by_log = self._served.bought_by_the_log()
        assert (by_log - bought).total() <= damaged, "the request log tells of other purchases"

    @property
    def lost_to_deaths(self) -> int:
        return self._forgiven.total()
