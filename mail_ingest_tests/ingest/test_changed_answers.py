"""Gmail's answers gain, lose and change fields: it is told, what has a meaning is read, and nothing wrong is stored."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import orjson
import pytest

from mail_ingest.accounts import token_env
from mail_ingest.gmail import findings
from mail_ingest.ingest import Engine, SyncOptions, SyncRun
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest.warehouse.checks import load_checks, run_check
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.truth import (
    assert_analyst_tables_are_built,
    assert_deletions_equal,
    assert_states_equal,
    assert_true_to_gmail,
    sync,
)

pytestmark = pytest.mark.warehouses("duckdb", long=["postgres"])
on_both = pytest.mark.warehouses("duckdb", "postgres")

PLANTED = "planted-value"


@pytest.fixture(autouse=True)
def _nothing_was_warned_of_before() -> Iterator[None]:
    """Each line is logged once per process, and a test is not one."""
    findings._warned.clear()
    yield


def _rows(engine: Engine, query: str) -> list[tuple[object, ...]]:
    with engine.warehouse.open() as connection:
        return connection.execute(query).fetchall()


def _recorded(engine: Engine) -> list[list[str] | None]:
    """What each row of `sync_runs` holds, oldest first."""
    rows = _rows(engine, "select cast(unexpected_fields as varchar) from gmail.sync_runs order by started_at")
    return [orjson.loads(str(text)) if text is not None else None for (text,) in rows]


def _checked(engine: Engine) -> tuple[int, list[str]]:
    [check] = [check for check in load_checks() if check.name == "sync_runs__answers_are_as_known"]
    with engine.warehouse.open() as connection:
        broken = run_check(connection, check)
    return broken.rows, list(broken.examples)


def _failed(engine: Engine, **options: object) -> SyncRun:
    [run] = engine.sync([engine.registry.get(ADDRESS)], SyncOptions(**options))  # type: ignore[arg-type]
    assert run.outcome == "failed"
    assert PLANTED not in run.error
    return run


def _change_everything(gmail: Simulator) -> list[str]:
    """New fields in every answer, 64-bit numbers as numbers and others as strings; the lines that tell of it."""
    lines = []
    holders = {
        "getProfile": "getProfile",
        "labels.list": "labels.list labels.list.labels",
        "labels.get": "labels.get",
        "messages.list": "messages.list messages.list.messages",
        "messages.get": "messages.get",
        "history.list": "history.list history.list.history history.list.history.messages "
        "history.list.history.messagesAdded history.list.history.messagesAdded.message",
    }
    for path in " ".join(holders.values()).split():
        gmail.change_answers(f"{path}.novelty", "add", {PLANTED: [PLANTED]})
        lines.append(f"{path}.novelty: unknown object")
    for path in ("getProfile", "messages.get", "history.list"):
        gmail.change_answers(f"{path}.historyId", "number")
        lines.append(f"{path}.historyId: number instead of digit string")
    gmail.change_answers("messages.get.internalDate", "number")
    lines.append("messages.get.internalDate: number instead of digit string")
    gmail.change_answers("messages.get.sizeEstimate", "string")
    lines.append("messages.get.sizeEstimate: string instead of number")
    return sorted(lines)


@on_both
def test_new_and_changed_fields_break_nothing_and_are_told(
    engine: Engine, box: Mailbox, gmail: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    box.generate(30, seed=7)
    lines = _change_everything(gmail)

    first = sync(engine)
    ids = list(box.messages())
    new = box.add(subject="new", labels=("INBOX",))
    box.relabel(ids[0], add=("STARRED",), remove=("UNREAD",))
    box.delete(ids[1])
    second = sync(engine)

    assert (first.kind, first.contents_stored, first.outcome) == ("full", 30, "success")
    assert (second.kind, second.contents_stored) == ("partial", 1)
    assert new in box.messages()
    assert_true_to_gmail(engine, box)
    assert_deletions_equal(engine, box)
    assert_analyst_tables_are_built(engine)
    of_history = [line for line in lines if line.startswith("history.list.history.")]
    assert set(first.unexpected_fields) == set(lines) - set(of_history)
    assert set(of_history) <= set(second.unexpected_fields) <= set(lines)
    assert _recorded(engine) == [list(first.unexpected_fields), list(second.unexpected_fields)]
    [(shown,)] = _rows(engine, "select unexpected_fields from mail.sync_history where run_number = 1")
    assert orjson.loads(str(shown)) == list(second.unexpected_fields)
    rows, examples = _checked(engine)
    assert rows == 2
    assert all(example.startswith(f"account_id {ADDRESS}, unexpected_fields [") for example in examples)
    assert "getProfile.novelty: unknown object" in examples[0]
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    for line in lines:
        assert sum(line in message for message in warned) == 1, line
    assert PLANTED not in caplog.text
    assert PLANTED not in str(_recorded(engine))


def test_a_sync_that_finds_nothing_else_tells_of_each_field_once(
    engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(5, seed=7)
    sync(engine)
    sync(engine)
    assert _recorded(engine) == [None]
    gmail.change_answers("getProfile.novelty", "add")
    runs = [sync(engine) for _ in range(3)]
    gmail.change_answers("labels.list.labels.novelty", "add", 5)
    sync(engine)
    sync(engine)

    one, other = "getProfile.novelty: unknown string", "labels.list.labels.novelty: unknown number"
    assert [run.unexpected_fields for run in runs] == [(one,)] * 3
    assert _recorded(engine) == [None, [one], [one, other]]
    assert _checked(engine)[0] == 2
    account = engine.registry.get(ADDRESS)
    assert (account.consecutive_failures, account.last_outcome) == (0, "success")


def test_what_was_found_a_week_ago_is_checked_no_more(engine: Engine, box: Mailbox, gmail: Simulator) -> None:
    box.generate(3, seed=7)
    gmail.change_answers("getProfile.novelty", "add")
    sync(engine)
    assert _checked(engine)[0] == 1

    with engine.warehouse.open() as connection:
        connection.execute("update gmail.sync_runs set finished_at = now() - interval '170 hours'")

    assert _checked(engine) == (0, [])
    assert engine.queries.unexpected_fields(ADDRESS) == {"getProfile.novelty: unknown string"}


@on_both
def test_a_message_that_cannot_be_read_any_more_is_a_failure_that_names_the_field(
    engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(12, seed=7)
    broken = sorted(box.messages())[4]
    gmail.change_answers("messages.get.internalDate", "object", message_id=broken)

    run = sync(engine)

    assert (run.contents_stored, run.contents_failed, run.backlog, run.outcome) == (11, 1, 1, "partial")
    line = "messages.get.internalDate: object instead of digit string"
    assert _rows(engine, "select message_id, error_class, reason from gmail.fetch_failures") == [
        (broken, "ChangedAnswerError", line)
    ]
    assert _recorded(engine) == [[line]]
    assert_states_equal(engine, box)
    gmail.restore_answers()
    [retried] = engine.sync(engine.accounts(), SyncOptions(retry=True))
    assert (retried.contents_stored, retried.backlog, retried.error) == (1, 0, "")
    assert_true_to_gmail(engine, box)


def test_a_change_in_every_message_ends_the_work_soon_and_loses_nothing(
    engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(200, seed=7)
    gmail.change_answers("messages.get.raw", "rename", "mime")

    run = _failed(engine)

    assert run.error_class == "ChangedAnswerError"
    assert "messages.get.raw: missing" in run.error
    assert "update mail_ingest" in run.error
    assert gmail.calls("messages.get") <= 3 * 40
    assert _rows(engine, "select count(*) from gmail.messages") == [(0,)]
    assert _recorded(engine) == [["messages.get.mime: unknown string", "messages.get.raw: missing"]]
    assert_states_equal(engine, box)
    gmail.restore_answers()
    sync(engine)
    [retried] = engine.sync(engine.accounts(), SyncOptions(retry=True))
    assert retried.backlog == 0
    assert_true_to_gmail(engine, box)


@pytest.mark.warehouses("duckdb")
@pytest.mark.parametrize(
    ("path", "change", "to"),
    [
        ("history.list.history.labelsAdded.labelIds", "rename", "labels"),
        ("history.list.history.labelsRemoved.labelIds", "object", None),
        ("history.list.history.labelsAdded", "rename", "labelsAttached"),
        ("history.list.history.messagesDeleted", "rename", "messagesPurged"),
        ("history.list.history.messagesAdded", "rename", "messagesArrived"),
        ("history.list.history.messagesAdded.message.threadId", "remove", None),
        ("history.list.history.messagesAdded.message.labelIds", "object", None),
        ("messages.list.messages.novelty", "add", PLANTED),
        ("getProfile.messagesTotal", "remove", None),
        ("labels.list.labels.type", "remove", None),
        ("labels.get.messagesTotal", "object", None),
    ],
)
def test_changes_are_followed_although_a_field_that_tells_of_them_has_changed(
    engine: Engine, box: Mailbox, gmail: Simulator, path: str, change: str, to: str | None
) -> None:
    box.generate(20, seed=7)
    sync(engine)
    gmail.change_answers(path, change, to)  # type: ignore[arg-type]
    ids = sorted(box.messages())

    box.add(labels=("INBOX", "UNREAD"))
    gone = box.add(labels=("INBOX",))
    box.relabel(ids[0], add=("STARRED",))
    box.relabel(ids[1], remove=tuple(box.message(ids[1]).label_ids))
    box.delete(ids[2])
    box.delete(gone)
    sync(engine, mode="full" if path.startswith(("labels", "messages.list")) else "auto")

    assert_true_to_gmail(engine, box)
    assert [
        row for row in _rows(engine, "select thread_id from gmail.message_states where not is_deleted") if not row[0]
    ] == []
    assert set(_rows(engine, "select message_id from gmail.message_states where is_deleted")) >= {(ids[2],)}
    named = f"{path.rpartition('.')[0]}.{to}" if change == "rename" else path
    assert any(named in line for line in _recorded(engine)[-1] or ())


@pytest.mark.warehouses("duckdb")
@pytest.mark.parametrize(
    ("path", "change", "to"),
    [
        ("getProfile.historyId", "rename", "cursor"),
        ("labels.list.labels", "remove", None),
        ("history.list.history", "rename", "records"),
        ("history.list.historyId", "object", None),
        ("history.list.history.id", "remove", None),
        ("history.list.history.labelsAdded.message", "object", None),
    ],
)
def test_a_change_that_leaves_no_way_to_sync_fails_the_account_alone_and_moves_no_cursor(
    engine: Engine,
    box: Mailbox,
    gmail: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    change: str,
    to: str | None,
) -> None:
    other = gmail.add_account("grace@example.com")
    monkeypatch.setenv("GRACE_TOKEN", other.token)
    engine.registry.add(other.address, token_env("GRACE_TOKEN"))
    box.generate(20, seed=7)
    engine.sync(engine.accounts(), SyncOptions())
    cursor = engine.cursor(engine.registry.get(ADDRESS))
    stored = _rows(engine, f"select * from gmail.labels where account_id = '{ADDRESS}' order by label_id")
    gmail.change_answers(path, change, to, account=ADDRESS)  # type: ignore[arg-type]
    for mailbox in (box, other):
        mailbox.relabel(mailbox.add(labels=("INBOX",)), add=("STARRED",))
    box.delete(min(box.messages()))

    runs = {run.account_id: run for run in engine.sync(engine.accounts(), SyncOptions())}

    failed = runs[ADDRESS]
    assert (failed.outcome, failed.error_class) == ("failed", "ChangedAnswerError")
    assert path in failed.error
    assert "update mail_ingest" in failed.error
    assert runs[other.address].contents_stored == 1
    assert engine.cursor(engine.registry.get(ADDRESS)) == cursor
    assert _rows(engine, f"select * from gmail.labels where account_id = '{ADDRESS}' order by label_id") == stored
    recorded = _rows(
        engine,
        "select cast(unexpected_fields as varchar) from gmail.sync_runs where outcome = 'failed'",
    )
    assert path in str(recorded)
    engine.registry.remove(other.address)
    with engine.warehouse.open() as connection:
        for table in ("message_states", "labels", "messages"):
            connection.execute(f"delete from gmail.{table} where account_id = '{other.address}'")
    gmail.restore_answers()
    sync(engine)
    assert_true_to_gmail(engine, box)
    assert_deletions_equal(engine, box)


@pytest.mark.warehouses("duckdb")
@pytest.mark.parametrize("totals_are_told", [True, False])
def test_a_listing_that_lost_its_messages_deletes_none(
    engine: Engine, box: Mailbox, gmail: Simulator, totals_are_told: bool
) -> None:
    box.generate(20, seed=7)
    sync(engine)
    gmail.change_answers("messages.list.messages", "remove")
    if not totals_are_told:
        gmail.change_answers("getProfile.messagesTotal", "remove")

    run = _failed(engine, mode="full")

    assert run.error_class == "SweepRefusedError"
    assert_true_to_gmail(engine, box)


def test_a_message_whose_labels_may_have_another_name_is_not_stored_without_any(
    engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(5, seed=7)
    sync(engine)
    gmail.inner_label_ids = "absent"
    gmail.change_answers("messages.get.labelIds", "rename", "labels")
    box.add(labels=("INBOX", "STARRED"))

    run = _failed(engine)

    assert "messages.get.labelIds: missing" in run.error
    gmail.restore_answers()
    sync(engine)
    assert_true_to_gmail(engine, box)
