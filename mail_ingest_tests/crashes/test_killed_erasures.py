"""An erasure killed anywhere: the next sync, or the same command, ends it; nothing that has to stay is lost meanwhile."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from mail_ingest.ingest import Engine
from mail_ingest.ingest.erasing.contact import erase_contact
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.crashes.child import Point, erase_in_process
from mail_ingest_tests.traces import places_of
from mail_ingest_tests.truth import assert_analyst_tables_are_built, assert_states_equal, sync

JANE = "jane.doe@corr.example"
WRITTEN = "The keys to the greenhouse hang behind pot number"

_ROWS = "mail_ingest.warehouse.rewriting"
_ARCHIVE = "mail_ingest.warehouse.archive:RawArchive"

#: What survives a kill in the rows is ended by a sync, which knows the hash alone; what is left of files by the command.
_POINTS = [
    ("before the second package", Point(f"{_ROWS}:StoredRows.replace", nth=2), "both"),
    ("within a package", Point(f"{_ROWS}:_insert", nth=6), "both"),
    ("pack written", Point(f"{_ARCHIVE}.rewrite", when="after"), "duckdb"),
    ("rows point to the new pack", Point(f"{_ROWS}:StoredRows.repoint", when="after"), "both"),
    ("old pack deleted", Point(f"{_ARCHIVE}.erase_pack", when="after"), "duckdb"),
    ("rows done", Point("mail_ingest.warehouse.builds:AnalystTables.build"), "duckdb"),
    ("new file written", Point("mail_ingest.warehouse.embedded:_sync"), "duckdb"),
    ("file replaced", Point("mail_ingest.warehouse.embedded:_sync", nth=2), "duckdb"),
    ("some tables vacuumed", Point("mail_ingest.warehouse.vacuuming:_rewrite", nth=3), "postgres"),
    ("searched", Point("mail_ingest.accounts.erasures:Erasures.finish"), "duckdb"),
]


def _cases() -> list[object]:
    return [
        pytest.param(database, point, id=f"{database}: {name}".replace(" ", "-"))
        for name, point, where in _POINTS
        for database in ("duckdb", "postgres")
        if where in (database, "both")
    ]


@pytest.mark.parametrize(("warehouse_url", "point"), _cases(), indirect=["warehouse_url"])
def test_a_killed_erasure_is_ended_and_loses_nothing(
    engine: Engine,
    new_engine: Callable[..., Engine],
    box: Mailbox,
    gmail: Simulator,
    environment: dict[str, str],
    point: Point,
) -> None:
    others = box.generate(6, seed=5, mean_size_bytes=2_000)
    for number in range(6):
        box.add(subject="Pots", sender=f"Jane Doe <{JANE}>", to=box.address, body=f"{WRITTEN} {number}.\r\n")
        box.add(subject="Re: Pots", sender="Mary <mary@corr.example>", to=f"{box.address}, {JANE}", body="I see.\r\n")
    sync(engine)
    engine.close()

    died = erase_in_process({**environment, "ADA_TOKEN": box.token}, point, contact=JANE)

    assert died.exit_code == -signal.SIGKILL, f"the point was never reached: {died}"
    after = new_engine()
    rows_are_done = all(each.rows_done_at for each in after.registry.erasures.unfinished(ADDRESS))
    gmail.reset_ledger()
    run = sync(after)
    assert (run.outcome, run.backlog, gmail.calls("messages.get")) == ("success", 0, 0)
    assert after.registry.erasures.unfinished() == [], "the sync has ended what was left"
    assert len(after.registry.erasures.receipts()) == 1
    assert places_of(after, [JANE, WRITTEN]) == []
    assert erase_contact(after, JANE).is_proven
    assert_states_equal(after, box)
    assert_analyst_tables_are_built(after)
    with after.warehouse.open() as connection:
        packs = dict(connection.execute("select message_id, raw_pack from gmail.messages").fetchall())
    for message_id in others:
        archived = after.archive.read_message(packs[message_id], message_id)
        assert archived is not None
        assert archived.message.raw == box.raw(message_id)
    assert len(packs) == len(others) + 6, f"rows done: {rows_are_done}"
    assert set(after.archive.packs(ADDRESS)) == {pack for pack in packs.values() if pack}, (
        "packs that nothing points to"
    )


@pytest.mark.parametrize(
    ("warehouse_url", "point"),
    [
        pytest.param("duckdb", Point(f"{_ROWS}:StoredRows.replace", nth=2), id="duckdb:-rows"),
        pytest.param("postgres", Point(f"{_ROWS}:StoredRows.replace", nth=2), id="postgres:-rows"),
        pytest.param("duckdb", Point(f"{_ARCHIVE}.erase"), id="duckdb:-archive"),
        pytest.param("duckdb", Point("mail_ingest.warehouse.embedded:_sync"), id="duckdb:-file"),
    ],
    indirect=["warehouse_url"],
)
def test_a_stricter_tier_that_was_killed_is_brought_about_by_the_next_sync(
    engine: Engine,
    new_engine: Callable[..., Engine],
    box: Mailbox,
    gmail: Simulator,
    environment: dict[str, str],
    point: Point,
) -> None:
    for number in range(12):
        box.add(subject=f"Pots {number}", sender=JANE, to=box.address, body=f"{WRITTEN} {number}.\r\n")
    sync(engine)
    engine.close()

    died = erase_in_process({**environment, "ADA_TOKEN": box.token}, point, account=ADDRESS, tier="headers")

    assert died.exit_code == -signal.SIGKILL, f"the point was never reached: {died}"
    after = new_engine()
    gmail.reset_ledger()
    run = sync(after)
    assert (run.outcome, run.backlog, gmail.calls("messages.get")) == ("success", 0, 0)
    assert after.registry.erasures.unfinished() == []
    assert places_of(after, [WRITTEN]) == []
    assert after.archive.packs(ADDRESS) == []
    assert_states_equal(after, box)
    assert_analyst_tables_are_built(after)
    with after.warehouse.open() as connection:
        subjects = connection.execute("select count(distinct subject) from gmail.messages").fetchone()
    assert subjects == (12,)
