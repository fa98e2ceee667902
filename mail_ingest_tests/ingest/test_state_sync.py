"""State syncs against the local server: ids, threads, labels and deletions, and what each costs."""

from __future__ import annotations

from pathlib import Path

import pytest

from mail_ingest.ingest import Engine
from mail_ingest.simulator import Call, Mailbox, Simulator
from mail_ingest_tests.truth import assert_deletions_equal, assert_states_equal, back_up, sync

pytestmark = pytest.mark.warehouses("duckdb", long=["postgres"])
on_both = pytest.mark.warehouses("duckdb", "postgres")


@on_both
@pytest.mark.first_use
def test_first_sync_sweeps_every_message_and_label(engine: Engine, box: Mailbox) -> None:
    box.generate(700, seed=3)

    run = sync(engine, content=False)

    assert run.kind == "full"
    assert run.messages_added == 700
    assert_states_equal(engine, box)


def test_a_mailbox_without_messages_syncs(engine: Engine, box: Mailbox) -> None:
    run = sync(engine)

    assert run.outcome == "success"
    assert_states_equal(engine, box)


@on_both
def test_no_change_costs_two_units_and_two_requests_and_loads_nothing(
    engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(50, seed=3)
    sync(engine)
    gmail.reset_ledger()
    packages = _packages(engine)

    run = sync(engine)

    assert (gmail.units(), gmail.calls()) == (2, 2)
    assert run.spent.total().units == 2
    assert _packages(engine) == packages
    assert engine.accounts()[0].last_checked_at is not None


@on_both
def test_every_kind_of_change_is_replayed(engine: Engine, box: Mailbox, gmail: Simulator) -> None:
    box.generate(120, seed=5)
    sync(engine)
    ids = list(box.messages())
    gmail.reset_ledger()

    new = box.add(subject="new", sender="grace@example.org", to="ada@example.com", body="x", labels=("INBOX", "UNREAD"))
    box.relabel(ids[0], add=("STARRED",), remove=("INBOX",))
    label = box.create_label("Made during the test")
    box.relabel_many(ids[10:40], add=(label,))
    box.trash(ids[1])
    box.trash(ids[2])
    box.untrash(ids[2])
    box.delete(ids[3])
    run = sync(engine, content=False)

    assert run.kind == "partial"
    assert gmail.units() == 4
    assert new in box.messages()
    assert_states_equal(engine, box)


def test_a_message_added_and_deleted_between_syncs_ends_deleted(engine: Engine, box: Mailbox) -> None:
    box.generate(10, seed=5)
    sync(engine)

    mid = box.add(subject="brief", sender="g@example.org", to="ada@example.com", body="x", labels=("INBOX",))
    box.delete(mid)
    sync(engine)

    assert_states_equal(engine, box)
    assert _scalar(engine, "select is_deleted from gmail.message_states where message_id = ?", mid) is True


def test_deleted_messages_keep_their_content_and_last_labels(engine: Engine, box: Mailbox) -> None:
    mid = box.add(
        subject="keep me", sender="g@example.org", to="ada@example.com", body="x", labels=("INBOX", "STARRED")
    )
    sync(engine)

    box.delete(mid)
    sync(engine)

    assert _scalar(engine, "select subject from mail.messages where is_deleted and message_id = ?", mid) == "keep me"
    assert _scalar(engine, "select count(*) from mail.message_labels where is_deleted and message_id = ?", mid) == 2


@pytest.mark.parametrize("inner", ["as_of_event", "current", "absent"])
def test_inner_label_ids_of_any_reading_end_in_the_same_state(
    engine: Engine, box: Mailbox, gmail: Simulator, inner: str
) -> None:
    box.generate(30, seed=9)
    sync(engine)
    gmail.inner_label_ids = inner

    ids = list(box.messages())
    mid = box.add(subject="x", sender="g@example.org", to="ada@example.com", body="x", labels=("INBOX", "UNREAD"))
    box.relabel(mid, add=("STARRED",), remove=("UNREAD",))
    box.relabel(ids[0], add=("STARRED",))
    box.relabel(ids[0], remove=("STARRED",))
    sync(engine, content=False)

    assert_states_equal(engine, box)


@pytest.mark.parametrize("switch", ["duplicate_records", "out_of_order_records", "empty_pages"])
def test_odd_history_pages_change_nothing(engine: Engine, box: Mailbox, gmail: Simulator, switch: str) -> None:
    box.generate(40, seed=9)
    sync(engine)
    setattr(gmail, switch, True)

    for message_id in list(box.messages())[:20]:
        box.relabel(message_id, add=("STARRED",))
        box.relabel(message_id, remove=("STARRED", "INBOX"))
    sync(engine, content=False)

    assert_states_equal(engine, box)
    assert _scalar(engine, "select count(*) from gmail.label_events") == _scalar(
        engine,
        "select count(*) from (select distinct account_id, history_id, message_id, label_id, action from gmail.label_events)",
    )


@on_both
def test_expired_history_is_repaired_by_sweeping_without_buying_content(
    engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(600, seed=11)
    sync(engine)
    ids = list(box.messages())
    box.delete(ids[0])
    box.relabel(ids[1], add=("STARRED",), remove=("UNREAD",))
    mid = box.add(subject="new", sender="g@example.org", to="ada@example.com", body="x", labels=("INBOX",))
    box.expire_history()
    gmail.reset_ledger()

    run = sync(engine)

    assert run.kind == "full"
    assert gmail.calls("messages.get") == 1
    assert run.contents_stored == 1
    assert_states_equal(engine, box)
    events = _rows(engine, "select message_id, label_id, action from gmail.label_events where source = 'sweep'")
    assert (ids[0], "", "removed") in events
    assert (ids[1], "STARRED", "added") in events
    assert mid not in {event[0] for event in events}


def test_partial_mode_refuses_to_sweep(engine: Engine, box: Mailbox) -> None:
    from mail_ingest.ingest import SyncOptions

    box.generate(20, seed=1)
    sync(engine)
    box.delete(next(iter(box.messages())))
    box.expire_history()

    run = engine.sync(engine.accounts(), SyncOptions(mode="partial"))[0]

    assert run.outcome == "failed"
    assert run.error_class == "HistoryExpiredError"


def test_a_quiet_mailbox_whose_history_expired_is_not_swept_again_and_again(
    engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(20, seed=1)
    sync(engine)
    box.expire_history()

    assert sync(engine).spent.total().units == 2
    assert sync(engine).spent.total().units == 2


def test_history_that_expires_while_a_sweep_runs_does_not_fail_it(
    engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(30, seed=2)
    # a quiet mailbox answers 404 even for the id that its profile has just told
    expired = []

    def expire() -> None:
        box.expire_history()
        expired.append(box.history_id)

    gmail.before("history.list", expire, times=1)

    run = sync(engine, content=False)
    gmail.reset_ledger()
    again = sync(engine, content=False)

    assert expired
    assert (run.kind, run.messages_added) == ("full", 30)
    assert (again.kind, gmail.units()) == ("partial", 2)
    assert_states_equal(engine, box)


@pytest.mark.parametrize("mode", ["auto", "full"])
def test_history_that_breaks_off_between_two_pages_is_kept_and_gone_on_from(
    engine: Engine, box: Mailbox, gmail: Simulator, mode: str
) -> None:
    box.generate(20, seed=2)
    sync(engine, content=False)
    first, second, third = sorted(box.messages())[:3]
    for mid in (first, second, third):
        box.relabel(mid, remove=tuple(box.message(mid).label_ids - {"INBOX"}))
    sync(engine, content=False)
    gmail.page_limit = 3
    served_from = box.history_id
    box.relabel(first, add=("STARRED",))
    box.delete(second)
    new = box.add(subject="new", labels=("INBOX",))
    # what comes now is on the second page, which is gone when it is asked for
    box.relabel(first, remove=("STARRED",))
    box.relabel(third, add=("STARRED",))
    box.delete(new)
    gmail.fail_next(status=404, reason="notFound", method="history.list", times=1, after=1)

    run = sync(engine, content=False, mode=mode)

    assert run.kind == "full"
    assert_states_equal(engine, box)
    assert_deletions_equal(engine, box)
    with engine.warehouse.open() as connection:
        rows = connection.execute(
            "select message_id, label_id, action, source from gmail.label_events where history_id > ? "
            "order by history_id, label_id",
            [served_from],
        ).fetchall()
    assert sorted(rows) == sorted(
        [
            (first, "STARRED", "added", "history"),
            (first, "STARRED", "removed", "sweep"),
            (second, "", "removed", "history"),
            (new, "", "added", "history"),
            (new, "INBOX", "added", "history"),
            (new, "", "removed", "sweep"),
            (third, "STARRED", "added", "sweep"),
        ]
    )
    assert run.label_changes == len(rows)
    assert not sync(engine, content=False, mode="full").label_changes


def test_history_that_breaks_off_after_a_sweep_is_not_undone_by_it(
    engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(20, seed=2)
    sync(engine, content=False)
    ids = sorted(box.messages())
    box.expire_history()
    box.relabel(ids[-1], add=("STARRED",))
    gmail.page_limit = 3

    def change() -> None:
        for mid in ids[:8]:
            box.relabel(mid, add=("STARRED",))

    # the first listing finds nothing, the second begins where the sweep began, and its second page is gone
    gmail.before("history.list", change, times=1, after=1)
    fault = gmail.fail_next(status=404, reason="notFound", method="history.list", times=1, after=2)

    assert sync(engine, content=False).kind == "full"
    assert fault.served == 1
    sync(engine, content=False)

    assert_states_equal(engine, box)


def test_a_passing_404_of_a_new_message_is_no_deletion(engine: Engine, box: Mailbox, gmail: Simulator) -> None:
    sync(engine, content=False)
    gmail.inner_label_ids = "absent"
    box.add(subject="new")
    fault = gmail.fail_next(status=404, reason="notFound", method="messages.get", times=1)

    sync(engine, content=False)

    assert fault.served == 1
    assert_states_equal(engine, box)


@on_both
def test_a_renamed_label_keeps_its_id_and_a_deleted_one_leaves_its_messages(engine: Engine, box: Mailbox) -> None:
    box.generate(60, seed=2)
    label = box.create_label("Before")
    for message_id in list(box.messages())[:12]:
        box.relabel(message_id, add=(label,))
    sync(engine)

    box.rename_label(label, "After")
    sync(engine)
    assert _scalar(engine, "select name from mail.labels where label_id = ?", label) == "After"

    box.delete_label(label)
    sync(engine)
    assert_states_equal(engine, box)
    assert _scalar(engine, "select deleted_at is not null from mail.labels where label_id = ?", label) is True
    assert _scalar(engine, "select count(*) from mail.message_labels where label_id = ? and not is_deleted", label) == 0


def test_changes_during_a_sweep_are_replayed(engine: Engine, box: Mailbox, gmail: Simulator) -> None:
    box.generate(1_200, seed=2)
    ids = list(box.messages())
    changed = []

    def meddle(*_: object) -> None:
        position = len(changed)
        if position < 12:
            changed.append(ids[position])
            box.relabel(ids[position], add=("STARRED",), remove=("INBOX",))
            box.delete(ids[-1 - position])
            box.add(subject="x", sender="g@example.org", to="ada@example.com", body="x", labels=("INBOX", "UNREAD"))

    gmail.before("messages.list", meddle)
    sync(engine, content=False)
    sync(engine, content=False)

    assert len(changed) == 12
    assert_states_equal(engine, box)


@on_both
@pytest.mark.parametrize(("mode", "reads"), [("auto", 2), ("full", 1)])
def test_a_label_that_came_and_went_between_two_syncs_stays_on_no_message(
    engine: Engine, box: Mailbox, gmail: Simulator, mode: str, reads: int
) -> None:
    box.generate(10, seed=2)
    sync(engine, content=False)
    gmail.label_delete_records = False
    ids = list(box.messages())
    # the second one passes while the history is read, after the sweep
    first = box.create_label("Passing")
    box.relabel_many(ids[:6], add=(first,))
    box.delete_label(first)

    def pass_by() -> None:
        second = box.create_label("Passing too")
        box.relabel_many(ids[3:9], add=(second,))
        box.delete_label(second)

    gmail.before("history.list", pass_by, times=1)
    gmail.reset_ledger()
    sync(engine, mode=mode, content=False)

    assert gmail.calls("messages.get") == reads
    sync(engine, content=False)
    assert_states_equal(engine, box)


@pytest.mark.parametrize("call", [("before", "labels.get"), ("after", "labels.get"), ("after", "messages.list")])
def test_a_label_deleted_during_a_sweep_does_not_end_it(
    engine: Engine, box: Mailbox, gmail: Simulator, call: tuple[str, str]
) -> None:
    box.generate(10, seed=2, user_labels=0)
    label = box.create_label("Short-lived")
    box.relabel_many(list(box.messages())[:4], add=(label,))
    gmail.page_limit = 2
    sync(engine, content=False)

    def delete_when_asked_for(call: Call) -> None:
        if label in (call.resource, *call.params.replace("=", "&").split("&")) and label in box.labels():
            box.delete_label(label)

    (gmail.before if call[0] == "before" else gmail.after)(call[1], delete_when_asked_for)
    assert sync(engine, mode="full", content=False).kind == "full"
    sync(engine, content=False)

    assert label not in box.labels()
    assert_states_equal(engine, box)


def test_a_label_that_is_there_and_cannot_be_listed_ends_the_sweep(
    engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    from mail_ingest.ingest import SyncOptions

    box.generate(10, seed=2)
    sync(engine, content=False)
    gmail.fail_next(status=404, reason="notFound", method="labels.get")

    run = engine.sync(engine.accounts(), SyncOptions(mode="full", content=False))[0]

    assert run.error_class == "GmailError"
    sync(engine, content=False)
    assert_states_equal(engine, box)


def test_labels_that_gmail_does_not_list_are_kept(engine: Engine, box: Mailbox, gmail: Simulator) -> None:
    box.generate(20, seed=2)
    sync(engine)
    mid = next(iter(box.messages()))
    gmail.extra_labels = ("Label_999",)
    box.relabel(mid, add=("Label_999",))
    sync(engine, content=False)
    stored = _rows(
        engine, "select label_name from mail.message_labels where label_id = 'Label_999' and message_id = ?", mid
    )
    assert stored == [(None,)]

    box.delete(list(box.messages())[5])
    box.expire_history()
    sync(engine, content=False)

    stored = _rows(
        engine, "select label_name from mail.message_labels where label_id = 'Label_999' and message_id = ?", mid
    )
    assert stored == [(None,)]


@on_both
def test_label_events_are_bounded_by_the_two_observations(engine: Engine, box: Mailbox) -> None:
    box.generate(5, seed=2)
    sync(engine)
    first = _scalar(engine, "select last_synced_at from gmail.accounts")
    box.relabel(next(iter(box.messages())), add=("STARRED",))
    sync(engine)
    second = _scalar(engine, "select last_synced_at from gmail.accounts")

    events = _rows(
        engine, "select observed_after, observed_at, source from gmail.label_events where label_id = 'STARRED'"
    )

    assert events == [(first, second, "history")]


def test_a_short_sweep_deletes_nothing(engine: Engine, box: Mailbox, gmail: Simulator) -> None:
    from mail_ingest.ingest import SyncOptions

    box.generate(1_400, seed=2)
    sync(engine, content=False)
    ids = list(box.messages())
    # the mailbox loses a quarter of its mail between the profile and the sweep
    gmail.before("labels.list", lambda: [box.delete(message_id) for message_id in ids[:350]], times=1)

    run = engine.sync(engine.accounts(), SyncOptions(mode="full", content=False))[0]

    assert run.error_class == "SweepRefusedError"
    assert _scalar(engine, "select count(*) from gmail.message_states where is_deleted") == 0
    sync(engine, content=False)
    assert_states_equal(engine, box)


def test_pages_that_skip_ids_under_change_delete_nothing_that_lives(
    engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(2_600, seed=2)
    sync(engine, content=False)
    gmail.page_by_offset = True
    ids = sorted(box.messages(), reverse=True)
    gone = iter(ids[::9])
    gmail.before("messages.list", lambda: [box.delete(next(gone)) for _ in range(6)], times=5)

    run = sync(engine, mode="full", content=False)

    assert run.messages_deleted <= 30
    assert_states_equal(engine, box)


@on_both
def test_a_warehouse_restored_from_a_backup_is_swept_anew(engine: Engine, box: Mailbox, tmp_path: Path) -> None:
    box.generate(40, seed=2)
    sync(engine)
    restore = back_up(engine, tmp_path)
    ids = list(box.messages())
    box.delete(ids[0])
    box.relabel(ids[1], add=("STARRED",))
    new = box.add(subject="x", sender="g@example.org", to="ada@example.com", body="x", labels=("INBOX",))
    sync(engine)
    restore()

    run = sync(engine)

    assert run.kind == "full"
    assert run.contents_adopted == 1
    assert_states_equal(engine, box)
    assert _scalar(engine, "select count(*) from gmail.messages where message_id = ?", new) == 1


def test_a_mailbox_whose_history_begins_anew_is_swept_until_it_has_caught_up(
    engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(40, seed=2)
    sync(engine, content=False)
    with engine.warehouse.open() as connection:
        connection.execute("update gmail.message_states set history_id = history_id + 10000000")
        connection.execute("update gmail.accounts set cursor_history_id = cursor_history_id + 10000000")
    _move_cursor(engine, 10_000_000)
    ids = list(box.messages())

    box.delete(ids[0])
    box.relabel(ids[1], add=("STARRED",))
    assert sync(engine, content=False).kind == "full"
    assert_states_equal(engine, box)

    box.delete(ids[2])
    box.relabel(ids[1], remove=("STARRED",))
    assert sync(engine, content=False).kind == "full"
    assert_states_equal(engine, box)


def test_a_history_that_begins_anew_is_noticed_without_the_cursor_too(engine: Engine, box: Mailbox) -> None:
    box.generate(40, seed=2)
    sync(engine, content=False)
    with engine.warehouse.open() as connection:
        # as a package leaves them that landed in part, and whose working folder is gone
        connection.execute("update gmail.message_states set history_id = history_id + 10000000")
        connection.execute("update gmail.accounts set cursor_history_id = cursor_history_id - 1")
    first, second = sorted(box.messages())[:2]
    box.relabel(first, add=("STARRED",))
    assert sync(engine, content=False).kind == "full"
    assert_states_equal(engine, box)

    box.relabel(first, remove=("STARRED",))
    box.delete(second)
    sync(engine, content=False)

    assert_states_equal(engine, box)


def test_a_message_deleted_around_a_sweep_keeps_its_last_labels(engine: Engine, box: Mailbox, gmail: Simulator) -> None:
    first, second = (
        box.add(subject=name, sender="g@example.org", to="ada@example.com", body="x", labels=("INBOX", "STARRED"))
        for name in ("a", "b")
    )
    box.generate(20, seed=2)
    sync(engine, content=False)
    gmail.before("messages.list", lambda: box.delete(first), times=1)
    gmail.before("messages.list", lambda: box.delete(second), times=1, after=1)

    sync(engine, mode="full", content=False)

    assert_states_equal(engine, box)
    kept = _rows(engine, "select message_id, label_id from mail.message_labels where is_deleted order by 1, 2")
    assert set(kept) == {(mid, label) for mid in (first, second) for label in ("INBOX", "STARRED")}


def test_a_forced_full_sync_keeps_the_events_that_history_still_has(engine: Engine, box: Mailbox) -> None:
    box.generate(20, seed=2)
    sync(engine, content=False)
    ids = list(box.messages())
    box.relabel(ids[0], add=("STARRED",), remove=("INBOX",))
    box.delete(ids[1])

    sync(engine, mode="full", content=False)

    assert_states_equal(engine, box)
    events = set(_rows(engine, "select message_id, label_id, action, source from gmail.label_events"))
    assert (ids[0], "STARRED", "added", "history") in events
    assert (ids[1], "", "removed", "history") in events
    assert {event[3] for event in events} == {"history"}


@on_both
def test_many_changes_land_in_packages_of_bounded_size(
    engine: Engine, box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mail_ingest.ingest import packages

    monkeypatch.setattr(packages, "PART_ROWS", 100)
    box.generate(450, seed=2)
    sync(engine, content=False)
    assert _packages(engine) == 5

    box.relabel_many(list(box.messages()), add=("STARRED",))
    sync(engine, content=False)

    assert_states_equal(engine, box)
    changed = _scalar(engine, "select count(*) from gmail.label_events where label_id = 'STARRED'")
    assert changed == _scalar(engine, "select label_changes from gmail.sync_runs order by started_at desc limit 1")


def _move_cursor(engine: Engine, by: int) -> None:
    from mail_ingest.sources.landing import STATE_SOURCE, landing_source

    cursors = engine.pipelines.read_state("state_0", STATE_SOURCE)["cursors"]
    moved = {key: {**value, "history_id": str(int(value["history_id"]) + by)} for key, value in cursors.items()}
    engine.pipelines.load(
        "state_0", lambda staging: landing_source(STATE_SOURCE, [], lambda _: iter(()), staging=staging, cursors=moved)
    )


def _rows(engine: Engine, query: str, *values: object) -> list[tuple[object, ...]]:
    with engine.warehouse.open() as connection:
        return connection.execute(query, list(values)).fetchall()


def _scalar(engine: Engine, query: str, *values: object) -> object:
    return _rows(engine, query, *values)[0][0]


def _packages(engine: Engine) -> object:
    return _scalar(engine, "select count(*) from gmail._dlt_loads")
