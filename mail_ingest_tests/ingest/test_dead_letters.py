"""Messages that cannot be had, or cannot be parsed: parked, shown, tried again in their time, and in nobody's way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from mail_ingest import mime
from mail_ingest.errors import ServerError
from mail_ingest.gmail.contract import Notice
from mail_ingest.ingest import Engine, SyncOptions, SyncRun, failures
from mail_ingest.ingest import engine as engine_module
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest.sources import content as content_rows
from mail_ingest.sources import landing
from mail_ingest.sources.batches import record_batch
from mail_ingest.sources.tables import FETCH_FAILURES, LANDING_TABLES
from mail_ingest.warehouse.builds import AnalystTables
from mail_ingest.warehouse.marts import load_relations
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.truth import assert_true_to_gmail, column_comments, sync

pytestmark = pytest.mark.warehouses("duckdb", long=["postgres"])
on_both = pytest.mark.warehouses("duckdb", "postgres")

SECRET = "planted words out of a mail"
POISON = b"From: a@b.example\r\nSubject: poison\r\n\r\nx-breaks-the-parser\r\n"


def _rows(engine: Engine, query: str) -> list[tuple[object, ...]]:
    with engine.warehouse.open() as connection:
        return connection.execute(query).fetchall()


def _run(engine: Engine, query: str) -> None:
    with engine.warehouse.open() as connection:
        connection.execute(query)


def _time_passes(engine: Engine) -> None:
    """Every waiting message's time has come."""
    _run(
        engine,
        "update gmail.fetch_failures set next_try_at = now() - interval '1 minute' where next_try_at is not null",
    )


def _break(gmail: Simulator, *message_ids: str) -> None:
    for message_id in message_ids:
        gmail.fail_next(status=500, reason="backendError", method="messages.get", message_id=message_id, times=-1)


def _park(engine: Engine, gmail: Simulator, *message_ids: str) -> None:
    """Lets these messages fail a first and a last time, after which they are dead letters."""
    _break(gmail, *message_ids)
    sync(engine)
    _run(engine, f"update gmail.fetch_failures set attempts = {failures.PARK_AFTER - 1}")
    _time_passes(engine)
    sync(engine)
    _time_passes(engine)


def _retry(engine: Engine, *message_ids: str) -> SyncRun:
    [run] = engine.sync(engine.accounts(), SyncOptions(retry=True, message_ids=message_ids))
    assert not run.error, run.error
    return run


def _fragile_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parser that one message breaks, as a mistake in it would."""
    parse = mime.parse

    def fragile(raw: bytes) -> mime.ParsedMessage:
        if b"x-breaks-the-parser" in raw:
            raise RecursionError(SECRET)
        return parse(raw)

    monkeypatch.setattr(mime, "parse", fragile)


@on_both
def test_a_message_that_fails_for_ever_is_parked_and_costs_its_neighbours_nothing(
    engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(12, seed=23)
    broken = sorted(box.messages())[4]
    _break(gmail, broken)

    for _ in range(failures.PARK_AFTER):
        _time_passes(engine)
        sync(engine)

    assert _rows(
        engine,
        "select message_id, attempts, error_class, reason, parked_at is not null, resolved_at from gmail.fetch_failures",
    ) == [(broken, failures.PARK_AFTER, "ServerError", "backendError", True, None)]
    healthy = [message_id for message_id in box.messages() if message_id != broken]
    assert gmail.calls("messages.get", status=200) == len(healthy)
    assert gmail.calls("messages.get", status=500) == failures.PARK_AFTER * 8
    assert engine.queries.count_dead_letters(ADDRESS) == 1


def test_a_dead_letter_waits_for_its_week_and_leaves_a_quiet_sync_cheap(
    engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(6, seed=23)
    _park(engine, gmail, sorted(box.messages())[2])
    sync(engine)
    gmail.reset_ledger()

    run = sync(engine)

    assert (run.outcome, run.dead_letters, run.backlog) == ("partial", 1, 1)
    assert (gmail.units(), gmail.calls()) == (2, 2)
    [(last, following)] = _rows(engine, "select last_failed_at, next_try_at from gmail.fetch_failures")
    assert round((following - last) / timedelta(hours=1)) == 7 * 24


def test_a_dead_letter_is_tried_after_new_mail_with_few_requests(
    engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(6, seed=23)
    broken = sorted(box.messages())[5]
    _park(engine, gmail, broken)
    new = [box.add(subject=f"new {number}") for number in range(4)]
    gmail.reset_ledger()
    asked: list[tuple[str, bool]] = []
    gmail.before("messages.get", lambda call: asked.append((call.resource, _is_stored(engine, new))))

    run = sync(engine)

    assert {message_id for message_id, _ in asked[:4]} == set(new)
    assert asked[4:] == [(broken, True)] * failures.DEAD_LETTER_PATIENCE.attempts, "new mail waited for a dead letter"
    assert (run.contents_stored, run.contents_failed, run.outcome) == (4, 1, "partial")


def _is_stored(engine: Engine, message_ids: list[str]) -> bool:
    stored = {row[0] for row in _rows(engine, "select message_id from gmail.messages")}
    return stored >= set(message_ids)


def test_a_dead_letter_that_lives_again_is_resolved(engine: Engine, box: Mailbox, gmail: Simulator) -> None:
    box.generate(6, seed=23)
    _park(engine, gmail, sorted(box.messages())[2])
    gmail.clear_faults()

    run = sync(engine)

    assert (run.contents_stored, run.dead_letters, run.outcome) == (1, 0, "success")
    assert _rows(engine, "select resolved_at is not null, parked_at from gmail.fetch_failures") == [(True, None)]
    assert_true_to_gmail(engine, box)


def test_many_dead_letters_are_bounded_per_run_and_fail_no_account(
    engine: Engine, box: Mailbox, gmail: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "DEAD_LETTERS_PER_RUN", 3)
    box.generate(10, seed=23)
    sync(engine, content=False)
    _break(gmail, *box.messages())
    _run(
        engine,
        "insert into gmail.fetch_failures (account_id, message_id, attempts, first_failed_at, next_try_at, parked_at) "
        "select account_id, message_id, 6, now(), now() - interval '1 day', now() from gmail.message_states",
    )

    run = sync(engine)

    assert (run.contents_failed, run.outcome) == (3, "partial")
    assert gmail.calls("messages.get") == 3 * failures.DEAD_LETTER_PATIENCE.attempts


def test_failures_in_a_row_of_what_failed_before_say_nothing_about_the_account(
    new_engine: Callable[..., Engine], engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    """With one request in flight, two failures in a row end a fetch."""
    box.generate(8, seed=23)
    narrow = new_engine(MAIL_INGEST_MAX_IN_FLIGHT="1")
    sync(narrow, content=False)
    _break(gmail, *sorted(box.messages())[:4])
    _run(
        engine,
        "insert into gmail.fetch_failures (account_id, message_id, attempts, first_failed_at, next_try_at) select "
        "account_id, message_id, 1, now(), now() - interval '1 day' from gmail.message_states order by message_id limit 4",
    )

    run = sync(narrow)

    assert (run.contents_stored, run.outcome) == (4, "partial")
    assert run.contents_failed >= 2


def test_healthy_mail_that_fails_throughout_still_fails_the_account(
    engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(60, seed=23)
    gmail.fail_next(status=503, reason="backendError", method="messages.get", times=-1)

    [run] = engine.sync(engine.accounts(), SyncOptions())

    assert (run.outcome, run.error_class) == ("failed", ServerError.__name__)


@on_both
def test_a_person_may_retry_one_message_or_all(engine: Engine, box: Mailbox, gmail: Simulator) -> None:
    box.generate(9, seed=23)
    one, other = sorted(box.messages())[2], sorted(box.messages())[6]
    _park(engine, gmail, one, other)
    sync(engine)
    gmail.clear_faults()
    new = box.add(subject="new mail is not what was asked for")
    gmail.reset_ledger()

    assert _retry(engine, one).contents_stored == 1
    assert gmail.calls("messages.get") == 1
    assert _retry(engine).contents_stored == 1
    assert gmail.calls("messages.get") == 2
    assert _rows(engine, f"select 1 from gmail.messages where message_id = '{new}'") == []
    assert _retry(engine).contents_stored == 0
    sync(engine)
    assert_true_to_gmail(engine, box)


def test_an_answer_that_nobody_foresaw_is_a_failure_of_its_message(
    engine: Engine, box: Mailbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from mail_ingest.gmail import answers

    box.generate(8, seed=23)
    broken = sorted(box.messages())[3]
    decode = answers.raw_message

    def read(answer: object, notice: Notice, message_id: str) -> object:
        if message_id == broken:
            raise MemoryError(SECRET)
        return decode(answer, notice, message_id)

    monkeypatch.setattr(answers, "raw_message", read)

    run = sync(engine)

    assert (run.contents_stored, run.contents_failed) == (7, 1)
    assert _rows(engine, "select message_id, error_class, reason from gmail.fetch_failures") == [
        (broken, "UnreadableAnswerError", "MemoryError")
    ]
    assert SECRET not in caplog.text


@on_both
@pytest.mark.parametrize("field", ["internalDate", "sizeEstimate", "historyId"])
def test_a_number_that_fits_no_column_fails_its_message_alone(
    engine: Engine, box: Mailbox, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    from mail_ingest.gmail import answers

    box.generate(5, seed=23)
    broken = sorted(box.messages())[3]
    decode = answers.raw_message

    def read(answer: dict[str, object], notice: Notice, message_id: str) -> object:
        return decode({**answer, field: "9" * 20} if message_id == broken else answer, notice, message_id)

    monkeypatch.setattr(answers, "raw_message", read)

    run = sync(engine)

    assert (run.contents_stored, run.contents_failed) == (4, 1)
    assert _rows(engine, "select message_id, reason from gmail.fetch_failures") == [(broken, "malformedAnswer")]


def test_a_message_that_breaks_the_parser_is_kept_marked_and_alone(
    engine: Engine, box: Mailbox, gmail: Simulator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _fragile_parser(monkeypatch)
    box.generate(20, seed=23)
    broken = box.add(raw=POISON)

    run = sync(engine)

    assert (run.contents_stored, run.dead_letters, run.backlog, run.outcome) == (21, 1, 0, "partial")
    assert_true_to_gmail(engine, box)
    [(defects, version, subject, pack)] = _rows(
        engine, f"select defects, parser_version, subject, raw_pack from gmail.messages where message_id = '{broken}'"
    )
    assert (defects, version, subject) == ('["unparsed"]', 0, None)
    archived = engine.archive.read_message(str(pack), broken)
    assert archived is not None
    assert archived.message.raw == POISON
    assert _rows(
        engine,
        "select message_id, attempts, error_class, reason, next_try_at, parked_at is null from gmail.fetch_failures",
    ) == [(broken, 1, "ParseError", "RecursionError", None, False)]
    assert SECRET not in caplog.text
    assert gmail.calls("messages.get") == 21
    sync(engine)
    assert gmail.calls("messages.get") == 21, "bytes that are archived were bought again"


def test_a_value_that_fits_no_column_takes_no_other_row_with_it(
    engine: Engine, box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.generate(20, seed=23)
    broken = box.add(raw=POISON)
    parse = mime.parse

    def odd(raw: bytes) -> mime.ParsedMessage:
        parsed = parse(raw)
        return replace(parsed, subject=5) if raw == POISON else parsed  # type: ignore[arg-type]

    monkeypatch.setattr(mime, "parse", odd)

    sync(engine)

    assert _rows(engine, "select message_id from gmail.messages where parser_version = 0") == [(broken,)]
    assert _rows(engine, "select count(*) from gmail.messages where subject is not null") == [(20,)]
    assert _rows(engine, f"select 1 from gmail.message_recipients where message_id = '{broken}'") == []
    assert _rows(engine, "select message_id, error_class from gmail.fetch_failures") == [(broken, "ParseError")]


def test_without_an_archive_an_unparsed_message_stays_in_the_backlog(
    new_engine: Callable[..., Engine], engine: Engine, box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = new_engine(MAIL_INGEST_RAW="off")
    box.generate(5, seed=23)
    broken = box.add(raw=POISON)
    with monkeypatch.context() as patch:
        _fragile_parser(patch)
        run = sync(bare)

    assert (run.contents_stored, run.contents_failed, run.backlog) == (5, 1, 1)
    assert _rows(bare, "select message_id, error_class, next_try_at is null from gmail.fetch_failures") == [
        (broken, "ParseError", False)
    ]
    assert _retry(bare).contents_stored == 1
    assert bare.queries.unresolved_failures(ADDRESS) == 0


def test_an_adopted_message_that_breaks_the_parser_is_marked_as_well(
    engine: Engine, box: Mailbox, gmail: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.generate(5, seed=23)
    broken = box.add(raw=POISON)
    sync(engine)
    _run(engine, "delete from gmail.messages")
    _fragile_parser(monkeypatch)
    gmail.reset_ledger()

    run = sync(engine)

    assert (run.contents_adopted, gmail.calls("messages.get")) == (6, 0)
    assert _rows(engine, "select message_id, error_class from gmail.fetch_failures") == [(broken, "ParseError")]
    assert _rows(engine, "select message_id from gmail.messages where parser_version = 0") == [(broken,)]


@pytest.mark.first_use
@on_both
def test_a_warehouse_without_the_columns_of_dead_letters_gains_them_and_keeps_its_rows(
    new_engine: Callable[..., Engine], engine: Engine, box: Mailbox, gmail: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.generate(6, seed=23)
    broken = sorted(box.messages())[2]
    _break(gmail, broken)
    before = replace(
        FETCH_FAILURES, columns=tuple(c for c in FETCH_FAILURES.columns if c.name not in ("reason", "parked_at"))
    )
    with monkeypatch.context() as patch:
        # as the version before did: dlt's stored schema, its staging tables and the warehouse know eight columns
        tables = tuple(before if table is FETCH_FAILURES else table for table in LANDING_TABLES)
        patch.setattr(engine_module, "LANDING_TABLES", tables)
        patch.setitem(landing._BY_NAME, "fetch_failures", before)
        old = new_engine()
        old.analyst_tables = AnalystTables(
            [relation for relation in load_relations() if relation.name not in _READ_FETCH_FAILURES],
            old.analyst_tables.configuration,
            old.analyst_tables.dialect,
        )
        sync(old, content=False)
        now = datetime.now(UTC)
        batch = record_batch(before.arrow_schema, [(ADDRESS, broken, 1, "ServerError", now, now, now, None)])
        old.pipelines.load(
            "content_0",
            lambda staging: landing.landing_source(
                landing.CONTENT_SOURCE,
                ["fetch_failures"],
                lambda _: iter([pa.Table.from_batches([batch])]),
                staging=staging,
            ),
        )
        assert [row[0] for row in _rows(old, _COLUMNS)] == [*(c.name for c in before.columns), "_dlt_load_id"]
        assert _rows(old, "select message_id, attempts from gmail.fetch_failures") == [(broken, 1)]

    new = new_engine()
    _time_passes(new)
    for _ in range(failures.PARK_AFTER - 1):
        sync(new)
        _time_passes(new)

    assert {c.name for c in FETCH_FAILURES.columns} <= {row[0] for row in _rows(new, _COLUMNS)}
    assert _rows(new, "select message_id, attempts, reason, parked_at is null from gmail.fetch_failures") == [
        (broken, failures.PARK_AFTER, "backendError", False)
    ]
    assert column_comments(new, "gmail.fetch_failures")["parked_at"]
    gmail.clear_faults()
    sync(new)
    assert_true_to_gmail(new, box)


#: What came with the columns.
_READ_FETCH_FAILURES = ("mail_staging.fetch_failures", "mail.account_health")
_COLUMNS = (
    "select column_name from information_schema.columns "
    "where table_schema = 'gmail' and table_name = 'fetch_failures' order by ordinal_position"
)


@on_both
def test_a_text_of_a_message_that_no_file_can_hold_does_not_spoil_its_pack(
    engine: Engine, box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mail_ingest.gmail import answers

    box.generate(5, seed=23)
    odd = sorted(box.messages())[3]
    decode = answers.raw_message

    def read(answer: dict[str, object], notice: Notice, message_id: str) -> object:
        return decode({**answer, "snippet": "\ud800"} if message_id == odd else answer, notice, message_id)

    monkeypatch.setattr(answers, "raw_message", read)

    assert sync(engine).contents_stored == 5
    assert _rows(engine, f"select snippet from gmail.messages where message_id = '{odd}'") == [("?",)]


_PEAK = """
import json, sys
from mail_ingest.cli import main
sys.argv = ["mail-ingest", "sync", "--json"]
try:
    main()
finally:
    # not ru_maxrss: a child inherits the peak of the process that started it
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    json.dump(int(peak.split()[1]) * 1024, sys.stderr)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux's /proc")
@pytest.mark.parametrize("megabytes", [40, pytest.param(150, marks=pytest.mark.long)])
def test_a_very_large_message_is_stored_in_bounded_memory(
    engine: Engine,
    box: Mailbox,
    environment: dict[str, str],
    megabytes: int,
    record_property: Callable[[str, object], None],
) -> None:
    """What cannot be had in one piece elsewhere: body as text, decoded bytes, and what the archive compresses."""
    box.generate(20, seed=23)
    attachment = os.urandom(megabytes * 1_000_000 * 73 // 100)
    box.add(subject="large", body="x", attachments=[("f.bin", "application/octet-stream", attachment)])

    done = subprocess.run(
        [sys.executable, "-c", _PEAK], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["runs"][0]["contents_stored"] == 21
    peak = int(done.stderr.splitlines()[-1])
    record_property("figure", f"{megabytes} MB in one message: peak of the process {peak / 1e6:.0f} MB")
    assert peak < 350_000_000 + 7 * megabytes * 1_000_000
    [(largest,)] = _rows(engine, "select max(size_bytes) from gmail.messages")
    assert abs(largest / 1e6 - megabytes) < 2
    assert content_rows.UNPARSED not in str(_rows(engine, "select defects from gmail.messages"))
    assert_true_to_gmail(engine, box)
