"""The audit finds every kind of drift, calls nothing drift that changed after the last sync, and keeps to its budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mail_ingest import mime
from mail_ingest.gmail import GmailClient, RawMessage
from mail_ingest.ingest import Engine
from mail_ingest.ingest.audit import Audit, AuditOptions, audit_account
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest.simulator.faults import Call
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.in_step import Steps
from mail_ingest_tests.truth import damage, exchange, sync

pytestmark = pytest.mark.warehouses("duckdb", long=["postgres"])
on_both = pytest.mark.warehouses("duckdb", "postgres")


def _audit(engine: Engine, **options: int) -> Audit:
    return audit_account(engine, engine.registry.get(ADDRESS), AuditOptions(**options))


def _run(engine: Engine, query: str) -> None:
    with engine.warehouse.open() as connection:
        connection.execute(query)


def _fill(box: Mailbox) -> list[str]:
    """Messages and a deletion that the warehouse knows of."""
    ids = box.generate(30, seed=7)
    box.add(
        subject="s",
        sender="a@b.example",
        to="x@b.example",
        body="x",
        attachments=[("f.pdf", "application/pdf", b"%")],
        internal_date=datetime(2026, 2, 3, tzinfo=UTC),
    )
    return ids


def _synced(box: Mailbox, sync: Callable[[], object]) -> None:
    gone = _fill(box)[3]
    sync()
    box.delete(gone)
    sync()


@pytest.fixture
def synced(in_step: Callable[[Steps], Engine]) -> Engine:
    return in_step(_synced)


def _drift(audit: Audit) -> dict[str, int]:
    kinds = (
        "missing",
        "extra",
        "wrong_labels",
        "wrong_deletion",
        "wrong_label_rows",
        "duplicates",
        "wrong_content",
        "lost_bytes",
        "without_state",
    )
    return {kind: getattr(audit, kind) for kind in kinds if getattr(audit, kind)}


@on_both
def test_a_true_warehouse_has_no_drift(synced: Engine, box: Mailbox, gmail: Simulator) -> None:
    gmail.reset_ledger()

    audit = _audit(synced, sample=3)

    assert _drift(audit) == {}
    assert (audit.drift, audit.pending, audit.undecided, audit.left_out) == (0, 0, 0, [])
    assert (audit.mailbox, audit.warehouse) == (30, 30)
    assert {label.label_id for label in audit.labels} == set(box.labels())
    assert all(label.mailbox == label.warehouse and not label.drift for label in audit.labels)
    assert any(label.mailbox for label in audit.labels)
    assert (audit.archive_sampled, audit.gmail_sampled, audit.packs_lost) == (31, 3, 0)
    assert audit.units == gmail.units()
    assert gmail.calls("messages.get") == 3


_LIVE = "message_id = (select min(message_id) from gmail.message_states where not is_deleted)"
_GONE = "message_id = (select min(message_id) from gmail.message_states where is_deleted)"
_STORED = "message_id = (select min(message_id) from gmail.messages)"


#: What is done to the warehouse, and what the audit has to say of it; None: rows that differ, however many.
_DRIFTS: tuple[tuple[str, dict[str, int] | None], ...] = (
    (f"delete from gmail.message_states where {_LIVE}", {"missing": 1, "without_state": 1}),
    (
        (
            "insert into gmail.message_states (account_id, message_id, thread_id, label_ids, history_id, is_deleted) "
            "select account_id, '18a0000000000001', thread_id, label_ids, history_id, is_deleted "
            f"from gmail.message_states where {_LIVE}"
        ),
        {"extra": 1},
    ),
    (f"insert into gmail.message_states select * from gmail.message_states where {_LIVE}", {"duplicates": 1}),
    (f"insert into gmail.messages select * from gmail.messages where {_STORED}", {"duplicates": 1}),
    (f"update gmail.message_states set label_ids = '[\"TRASH\"]' where {_LIVE}", {"wrong_labels": 1}),
    (f"update gmail.message_states set thread_id = 'f' where {_LIVE}", {"wrong_labels": 1}),
    (f"update gmail.message_states set is_deleted = true where {_LIVE}", {"wrong_deletion": 1}),
    (f"update gmail.message_states set is_deleted = false where {_GONE}", {"extra": 1}),
    ("update gmail.labels set name = 'other' where label_id = 'INBOX'", {"wrong_label_rows": 1}),
    ("delete from gmail.labels where label_id = 'INBOX'", {"wrong_label_rows": 1}),
    ("update gmail.labels set deleted_at = now() where label_id = 'INBOX'", {"wrong_label_rows": 1}),
    (f"update gmail.messages set subject = 'altered' where {_STORED}", {"wrong_content": 1}),
    (f"update gmail.messages set sha256 = 'altered' where {_STORED}", {"wrong_content": 1}),
    (
        "update gmail.message_recipients set address = 'altered' where kind = 'to' and position = 0",
        {"wrong_content": 31},
    ),
    ("delete from gmail.attachments", None),
    (f"update gmail.messages set raw_pack = 'nowhere.parquet' where {_STORED}", {"lost_bytes": 1}),
)


@on_both
def test_every_kind_of_drift_is_found(synced: Engine) -> None:
    for statement, found in _DRIFTS:
        with _put_back(synced):
            if found is not None and "duplicates" in found and synced.warehouse.dialect == "postgres":
                _run(synced, "drop index if exists gmail.message_states_key")
                _run(synced, "drop index if exists gmail.messages_key")
            _run(synced, statement)

            audit = _audit(synced)

        if found is None:
            assert list(_drift(audit)) == ["wrong_content"], statement
        else:
            assert _drift(audit) == found, statement
        assert audit.drift == sum(_drift(audit).values())
        assert audit.pending == 0
    assert _drift(_audit(synced)) == {}


@contextmanager
def _put_back(engine: Engine) -> Iterator[None]:
    """Puts the tables back as they were before the block."""
    tables = ("message_states", "messages", "message_recipients", "attachments", "labels")
    with engine.warehouse.open():
        for table in tables:
            _run(engine, f"create table gmail.before_{table} as select * from gmail.{table}")
    yield
    with engine.warehouse.open():
        for table in tables:
            _run(engine, f"delete from gmail.{table}")
            _run(engine, f"insert into gmail.{table} select * from gmail.before_{table}")
            _run(engine, f"drop table gmail.before_{table}")


@on_both
def test_a_wrong_label_is_told_by_label(synced: Engine, box: Mailbox) -> None:
    inbox = next(key for key, record in box.messages().items() if "INBOX" in record.label_ids)
    before = {label.label_id: label for label in _audit(synced).labels}
    left = sorted(set(box.messages()[inbox].label_ids) - {"INBOX"})
    labels = "[" + ",".join(f'"{label}"' for label in left) + "]"
    _run(synced, f"update gmail.message_states set label_ids = '{labels}' where message_id = '{inbox}'")

    after = {label.label_id: label for label in _audit(synced).labels}

    assert after["INBOX"].drift == 1
    assert (after["INBOX"].mailbox, after["INBOX"].warehouse) == (before["INBOX"].mailbox, before["INBOX"].mailbox - 1)
    assert sum(label.drift for label in after.values()) == 1


@pytest.mark.parametrize("harm", [Path.unlink, damage, exchange, lambda pack: pack.write_bytes(b"PAR1")])
def test_a_pack_that_is_missing_or_damaged_is_found(synced: Engine, harm: Callable[[Path], object]) -> None:
    [pack] = Path(synced.settings.raw).rglob("*.parquet")
    harm(pack)

    assert _drift(_audit(synced)) == {"lost_bytes": 31}


def test_everything_that_changes_after_the_last_sync_is_pending(synced: Engine, box: Mailbox) -> None:
    ids = sorted(box.messages())
    box.delete(ids[0])
    box.relabel(ids[1], add=("STARRED",), remove=("INBOX",))
    box.trash(ids[2])
    label = box.create_label("Made later")
    box.relabel(ids[3], add=(label,))
    box.add(subject="new", labels=("INBOX",))
    short_lived = box.add(subject="came and went")
    box.delete(short_lived)

    audit = _audit(synced)

    assert _drift(audit) == {}
    assert (audit.pending, audit.undecided) == (5, 0)
    sync(synced)
    assert (_audit(synced).pending, _audit(synced).drift) == (0, 0)


@pytest.mark.parametrize("inner", ["as_of_event", "current", "absent"])
def test_changes_do_not_hide_drift_in_the_same_message(
    synced: Engine, box: Mailbox, gmail: Simulator, inner: str
) -> None:
    gmail.inner_label_ids = inner
    message_id = next(
        key for key, record in box.messages().items() if not {"STARRED", "IMPORTANT"} & set(record.label_ids)
    )
    _run(
        synced,
        "update gmail.message_states set label_ids = '[\"STARRED\"]' where message_id = '" + message_id + "'",
    )
    box.relabel(message_id, add=("IMPORTANT",))

    audit = _audit(synced)

    assert (_drift(audit), audit.pending) == ({"wrong_labels": 1}, 0)


def test_a_deleted_label_is_no_drift_whatever_history_says(synced: Engine, box: Mailbox, gmail: Simulator) -> None:
    gmail.label_delete_records = False
    label = box.create_label("Going")
    box.relabel_many(sorted(box.messages())[:5], add=(label,))
    sync(synced)
    box.delete_label(label)

    assert _audit(synced).drift == 0
    sync(synced)
    assert _audit(synced).drift == 0
    some = min(box.messages())
    _run(synced, f"update gmail.message_states set label_ids = '[\"{label}\"]' where message_id = '{some}'")
    assert _audit(synced).wrong_labels == 1


def test_a_label_that_is_deleted_under_an_audit_does_not_end_it(synced: Engine, box: Mailbox, gmail: Simulator) -> None:
    label_id = next(key for key, label in box.labels().items() if not label.is_system)
    deleted = []

    def delete(call: Call) -> None:
        # after its count was read, before its members are listed: Gmail answers 400 then
        if call.resource == label_id and not deleted:
            deleted.append(label_id)
            box.delete_label(label_id)

    gmail.after("labels.get", delete)

    assert _audit(synced).drift == 0
    assert deleted
    assert label_id not in box.labels()


@on_both
def test_mail_that_changes_while_it_is_audited_is_no_drift(synced: Engine, box: Mailbox, gmail: Simulator) -> None:
    ids = sorted(box.messages())
    gmail.after("messages.list", lambda: box.add(subject="during", labels=("INBOX",)), times=3)
    gmail.after("labels.get", lambda: box.delete(ids[5]) if ids[5] in box.messages() else None, times=1)
    gmail.after("labels.get", lambda: box.relabel(ids[6], add=("STARRED",)), after=2, times=1)

    audit = _audit(synced)

    assert _drift(audit) == {}
    assert audit.undecided == 0


def test_pages_that_skip_ids_make_no_drift(
    synced: Engine, box: Mailbox, gmail: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mail_ingest.gmail.client import GmailClient

    pages, listed = GmailClient.iter_message_ids, []

    def skip_once(self: GmailClient, label_id: str | None = None, **rest: object) -> object:
        listed.append(label_id)
        skip = min(box.messages())
        for page in pages(self, label_id, **rest):  # type: ignore[arg-type]
            kept = tuple(ref for ref in page.refs if ref.message_id != skip or listed.count(None) > 1)
            yield type(page)(kept, page.next_page_token)

    monkeypatch.setattr(GmailClient, "iter_message_ids", skip_once)

    assert _audit(synced).drift == 0


def test_expired_history_is_said_and_nothing_is_called_drift(synced: Engine, box: Mailbox) -> None:
    box.relabel(min(box.messages()), add=("STARRED",), remove=("UNREAD",))
    box.expire_history()

    audit = _audit(synced)

    assert audit.cursor_expired
    assert (_drift(audit), audit.pending, audit.undecided) == ({}, 0, 1)
    assert any("history has expired" in line for line in audit.lines())


def test_a_quiet_mailbox_whose_history_has_expired_can_be_audited(synced: Engine, box: Mailbox) -> None:
    box.expire_history()
    _run(synced, f"update gmail.message_states set is_deleted = true where {_LIVE}")

    audit = _audit(synced)

    assert (_drift(audit), audit.cursor_expired) == ({"wrong_deletion": 1}, False)


def test_the_age_of_the_cursor_is_held_against_gmails_retention(
    synced: Engine, box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = synced.registry.get(ADDRESS)
    before = account.last_checked_at
    assert before is not None
    assert _audit(synced).cursor_age_s in _Seconds(0, 600)
    cursor = synced.cursor(account)
    assert cursor is not None
    long_ago = datetime.now(UTC) - timedelta(days=6)
    monkeypatch.setattr(synced, "cursor", lambda _: replace(cursor, observed_at=long_ago))

    quiet = audit_account(synced, replace(account, last_checked_at=long_ago), AuditOptions())
    box.add(subject="new")
    moved = audit_account(synced, replace(account, last_checked_at=long_ago), AuditOptions())

    assert (quiet.cursor_at_risk, moved.cursor_at_risk) == (False, True)
    assert moved.cursor_age_s in _Seconds(6 * 86_400, 6 * 86_400 + 600)


class _Seconds:
    def __init__(self, low: float, high: float) -> None:
        self._low, self._high = low, high

    def __contains__(self, value: object) -> bool:
        return isinstance(value, float) and self._low <= value <= self._high


@pytest.mark.parametrize("max_units", [0, 3, 4, 12, 30, 60, 100, 10_000])
def test_no_more_units_are_spent_than_allowed_and_what_is_left_out_is_said(
    synced: Engine, box: Mailbox, gmail: Simulator, max_units: int
) -> None:
    box.relabel(min(box.messages()), add=("STARRED",), remove=("UNREAD",))
    gmail.reset_ledger()

    audit = _audit(synced, max_units=max_units, sample=4)

    assert gmail.units() <= max_units
    assert audit.units == gmail.units()
    assert _drift(audit) == {}
    assert bool(audit.left_out) == (max_units < 10_000)
    assert audit.archive_sampled == 31, "the archive costs nothing"


def test_a_budget_that_is_left_over_names_the_labels_it_did_not_reach(synced: Engine, box: Mailbox) -> None:
    whole = _audit(synced).units

    audit = _audit(synced, max_units=whole - 20)

    unreached = {what.removeprefix("label ") for what in audit.left_out if what.startswith("label ")}
    assert unreached
    assert {label.label_id for label in audit.labels} == set(box.labels()) - unreached


@on_both
def test_a_message_that_gmail_gives_other_bytes_for_is_found(
    synced: Engine, box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = GmailClient.get_raw_message

    def read_other_bytes(client: GmailClient, message_id: str) -> RawMessage:
        message = read(client, message_id)
        return replace(message, raw=message.raw + b"of another message")

    monkeypatch.setattr(GmailClient, "get_raw_message", read_other_bytes)

    assert _audit(synced, sample=2).wrong_content == 2


def test_an_account_without_an_archive_says_so(new_engine: Callable[..., Engine], engine: Engine, box: Mailbox) -> None:
    bare = new_engine(MAIL_INGEST_RAW="off")
    _fill(box)
    sync(bare, max_messages=10)
    sync(engine)

    audit, off = _audit(engine), _audit(bare)

    assert (audit.drift, audit.archive_sampled) == (0, 21)
    assert audit.left_out == ["bytes of 10 messages that were stored without an archive"]
    assert (off.drift, off.archive_sampled) == (0, 0)
    assert "the raw archive: MAIL_INGEST_RAW is off" in off.left_out


def test_rows_of_another_parser_are_not_compared(synced: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mime, "PARSER_VERSION", mime.PARSER_VERSION + 1)
    _run(synced, f"update gmail.messages set subject = 'of an older parser' where {_STORED}")

    assert _audit(synced).drift == 0


def test_an_account_that_was_never_synced_has_nothing_to_compare(engine: Engine, box: Mailbox) -> None:
    box.generate(3, seed=1)

    audit = _audit(engine)

    assert (audit.drift, audit.mailbox) == (0, None)
    assert audit.left_out == ["the mailbox: it was never synced"]
