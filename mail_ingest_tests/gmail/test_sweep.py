"""Comparing a sweep with the store: what is written, what is an event, and what is not believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail_ingest.errors import SweepRefusedError
from mail_ingest.gmail.changes import Replay, StoredState
from mail_ingest.gmail.models import HistoryChange, HistoryRecord, MessageRef
from mail_ingest.gmail.sweep import SweptMailbox, check_sweep_is_believable, compare

mailboxes = st.dictionaries(
    st.sampled_from("abcdefgh"), st.frozensets(st.sampled_from(["INBOX", "STARRED", "Label_1"])), max_size=8
)


def _swept(mailbox: dict[str, frozenset[str]]) -> SweptMailbox:
    swept = SweptMailbox()
    swept.add(MessageRef(message_id, "t") for message_id in mailbox)
    for label in ("INBOX", "STARRED", "Label_1"):
        swept.add_label(label, [MessageRef(key, "t") for key, labels in mailbox.items() if label in labels])
    return swept


@given(stored=mailboxes, deleted=st.sets(st.sampled_from("abcdefgh")), mailbox=mailboxes)
def test_what_is_written_makes_the_store_equal_the_mailbox(
    stored: dict[str, frozenset[str]], deleted: set[str], mailbox: dict[str, frozenset[str]]
) -> None:
    states = {key: StoredState(key, "t", labels, 5, key in deleted) for key, labels in stored.items()}

    written = {
        change.message_id: change
        for change, _ in compare(
            _swept(mailbox), Replay(), {}, list(states.values()), history_id=9, lasting_labels=lambda _: False
        )
    }

    live = {key: state.label_ids for key, state in states.items() if not state.is_deleted}
    for key, change in written.items():
        live.pop(key, None)
        if not change.is_deleted:
            live[key] = change.label_ids
    assert live == mailbox
    unchanged = {key for key, state in states.items() if not state.is_deleted and mailbox.get(key) == state.label_ids}
    assert not unchanged & written.keys(), "rows were written that had not changed"


def test_changes_that_history_tells_are_no_events_of_the_sweep() -> None:
    replay = Replay()
    record = HistoryRecord(12, (HistoryChange("labelAdded", "a", "t", None, ("STARRED",)),))
    list(replay.add([record]))
    swept = _swept({"a": frozenset({"INBOX"})})
    arrived = swept.state("a", 10)
    assert arrived is not None
    replayed = {change.message_id: change for change in replay.fold(lambda _: {"a": arrived}, lambda _: None)}
    stored = [StoredState("a", "t", frozenset({"Label_1"}), 3, False)]

    [(change, events)] = compare(swept, replay, replayed, stored, history_id=10, lasting_labels=lambda _: False)

    assert change.label_ids == {"INBOX", "STARRED"}
    assert {(event.label_id, event.action) for event in events} == {("INBOX", "added"), ("Label_1", "removed")}


def test_a_message_met_by_a_label_sweep_alone_exists() -> None:
    swept = SweptMailbox()
    swept.add_label("INBOX", [MessageRef("late", "t")])

    assert [change.message_id for change, _ in compare(
        swept, Replay(), {}, [], history_id=1, lasting_labels=lambda _: False
    )] == ["late"]  # fmt: skip


@pytest.mark.parametrize(("found", "claimed", "is_believed"), [(100, 100, True), (90, 100, True), (89, 100, False)])
def test_a_sweep_below_nine_tenths_is_refused(found: int, claimed: int, is_believed: bool) -> None:
    if is_believed:
        check_sweep_is_believable(found, claimed, "ada@example.com")
        return
    with pytest.raises(SweepRefusedError, match=r"ada@example\.com returned 89 messages"):
        check_sweep_is_believable(found, claimed, "ada@example.com")
