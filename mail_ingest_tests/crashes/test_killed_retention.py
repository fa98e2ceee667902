"""A retention killed anywhere: syncs go on as if nothing had been, the next retention ends it, and no byte that stays is lost."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from mail_ingest.ingest import Engine
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.crashes.child import FEW_PACKS, Point, retain_in_process
from mail_ingest_tests.in_step import Steps
from mail_ingest_tests.truth import (
    assert_analyst_tables_are_built,
    assert_archive_equal,
    assert_contents_equal,
    assert_deletions_equal,
    assert_states_equal,
    sync,
)

_ARCHIVE = "mail_ingest.warehouse.archive:RawArchive"
_REPLACE = "mail_ingest.warehouse.rewriting:StoredRows.replace"

#: One group of packs loses mail, and another one is merged.
_POINTS = [
    ("events noted and not deleted", Point("mail_ingest.warehouse.expiring:note_vanished", when="after"), "both"),
    ("pack half written", Point("mail_ingest.warehouse.archive:PackWriter.close"), "duckdb"),
    ("pack written", Point(f"{_ARCHIVE}.merge", when="after"), "duckdb"),
    ("second pack written", Point(f"{_ARCHIVE}.merge", nth=2, when="after"), "duckdb"),
    ("within the transaction", Point("mail_ingest.warehouse.rewriting:_insert", when="after"), "both"),
    ("rows point to the new pack", Point(_REPLACE, when="after"), "both"),
    ("rows point to the second pack", Point(_REPLACE, nth=2, when="after"), "duckdb"),
    ("some old packs deleted", Point(f"{_ARCHIVE}.erase_pack", nth=2, when="after"), "duckdb"),
    ("new file written", Point("mail_ingest.warehouse.embedded:_sync"), "duckdb"),
    ("file replaced", Point("mail_ingest.warehouse.embedded:_sync", nth=2), "duckdb"),
]


def _cases() -> list[object]:
    return [
        pytest.param(database, point, id=f"{database}: {name}".replace(" ", "-"))
        for name, point, where in _POINTS
        for database in ("duckdb", "postgres")
        if where in (database, "both")
    ]


def _grown(box: Mailbox, synced: Callable[[], object]) -> None:
    """Five small packs: one with nothing but mail that goes, one with some of it."""
    packs = []
    for seed in range(2 + FEW_PACKS):
        packs.append(box.generate(2, seed=seed))
        synced()
    box.relabel(packs[2][0], add=("STARRED",))
    box.delete_many([*packs[0], packs[1][0]])
    synced()


@pytest.mark.parametrize(("warehouse_url", "point"), _cases(), indirect=["warehouse_url"])
def test_a_killed_retention_is_ended_and_loses_nothing(
    in_step: Callable[[Steps], Engine],
    new_engine: Callable[..., Engine],
    box: Mailbox,
    gmail: Simulator,
    environment: dict[str, str],
    point: Point,
) -> None:
    in_step(_grown).close()
    variables = {"MAIL_INGEST_KEEP_DELETED_MAIL": "30", "MAIL_INGEST_KEEP_LABEL_EVENTS": "30"}
    process = {**environment, **variables, "ADA_TOKEN": box.token}

    died = retain_in_process(process, point, days=31)

    assert died.exit_code == -signal.SIGKILL, f"the point was never reached: {died}"
    after = new_engine(**variables)
    gmail.reset_ledger()
    run = sync(after)
    assert (run.outcome, run.backlog, run.contents_adopted, gmail.calls("messages.get")) == ("success", 0, 0, 0)
    assert_states_equal(after, box)
    assert_contents_equal(after, box)
    after.close()

    ended = retain_in_process(process, days=31)

    assert ended.exit_code == 0
    archived = [message_id for pack in after.archive.packs(ADDRESS) for message_id in after.archive.message_ids(pack)]
    assert sorted(archived) == sorted(box.messages()), "bytes that have to go, or twice what has to stay"
    assert len(after.archive.packs(ADDRESS)) <= 2
    assert after.archive.damaged(ADDRESS) == []
    assert sync(after, mode="full").outcome == "success"
    assert gmail.calls("messages.get") == 0
    assert_states_equal(after, box)
    assert_contents_equal(after, box)
    assert_archive_equal(after, box)
    assert_deletions_equal(after, box)
    assert_analyst_tables_are_built(after)
    assert after.queries.row_counts(["gmail.messages", "gmail.label_events"]) == {
        "gmail.messages": len(box.messages()),
        "gmail.label_events": 0,
    }
