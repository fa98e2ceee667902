"""Folding history: whatever the order, the repeats and the inner label sets, the same state comes out."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from mail_ingest.gmail.changes import Replay, StoredState
from mail_ingest.gmail.models import HistoryChange, HistoryRecord, MessageState

LABELS = ("INBOX", "UNREAD", "STARRED", "Label_1")
INNER = ("as of the event", "current", "absent", "mixed")


class Model:
    """A mailbox that writes history, small enough to be obviously right."""

    def __init__(self) -> None:
        self.labels: dict[str, frozenset[str]] = {}
        self.history_id = 100
        self.changes: list[tuple[int, HistoryChange, frozenset[str]]] = []
        self.deleted: set[str] = set()

    def add(self, message_id: str, labels: frozenset[str]) -> None:
        if message_id in self.labels or message_id in self.deleted:
            return
        self.labels[message_id] = labels
        self._write("messageAdded", message_id)

    def relabel(self, message_id: str, label: str, is_added: bool) -> None:
        if message_id not in self.labels:
            return
        labels = self.labels[message_id]
        self.labels[message_id] = labels | {label} if is_added else labels - {label}
        self._write("labelAdded" if is_added else "labelRemoved", message_id, (label,))

    def delete(self, message_id: str) -> None:
        if self.labels.pop(message_id, None) is not None:
            self.deleted.add(message_id)
            self._write("messageDeleted", message_id)

    def _write(self, kind: str, message_id: str, changed: tuple[str, ...] = ()) -> None:
        self.history_id += 3
        now = self.labels.get(message_id, frozenset())
        self.changes.append((self.history_id, HistoryChange(kind, message_id, "t", None, changed), now))  # type: ignore[arg-type]

    def records(self, inner: str, rng: random.Random) -> list[HistoryRecord]:
        """The history as Gmail might serve it under one reading of its inner label sets."""
        records = []
        for history_id, change, then in self.changes:
            kind = rng.choice(INNER[:3]) if inner == "mixed" else inner
            now = self.labels.get(change.message_id, frozenset())
            told = {"as of the event": then, "current": now, "absent": None}[kind]
            if change.kind == "messageDeleted":
                told = None
            records.append(
                HistoryRecord(
                    history_id,
                    (HistoryChange(change.kind, change.message_id, "t", told, change.changed_label_ids),),
                )
            )
        return records


steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from("abcdef"), st.frozensets(st.sampled_from(LABELS))),
        st.tuples(st.just("relabel"), st.sampled_from("abcdef"), st.sampled_from(LABELS), st.booleans()),
        st.tuples(st.just("delete"), st.sampled_from("abcdef")),
    ),
    max_size=30,
)


def _run(model: Model, actions: list[tuple[object, ...]]) -> None:
    for name, *arguments in actions:
        getattr(model, str(name))(*arguments)


@given(before=steps, after=steps, inner=st.sampled_from(INNER), seed=st.integers(0, 1_000))
def test_any_history_in_any_order_folds_to_the_mailbox(
    before: list[tuple[object, ...]], after: list[tuple[object, ...]], inner: str, seed: int
) -> None:
    model, rng = Model(), random.Random(seed)
    _run(model, before)
    cursor = model.history_id
    stored = {
        message_id: StoredState(message_id, "t", labels, cursor, False) for message_id, labels in model.labels.items()
    }
    stored |= {message_id: StoredState(message_id, "t", frozenset(), cursor, True) for message_id in model.deleted}
    _run(model, after)
    records = [record for record in model.records(inner, rng) if record.history_id > cursor]
    served = records + rng.choices(records, k=len(records) // 2) if records else []
    rng.shuffle(served)

    replay = Replay()
    events = list(replay.add(served))
    states = dict(stored)
    for change in replay.fold(_lookup(stored), _reader(model)):
        states[change.message_id] = StoredState(
            change.message_id, change.thread_id, change.label_ids, change.history_id, change.is_deleted
        )

    live = {state.message_id: state.label_ids for state in states.values() if not state.is_deleted}
    assert live == model.labels
    told = {(record.history_id, change.message_id) for record in records for change in record.changes}
    assert {(event.history_id, event.message_id) for event in events} == told


@given(actions=steps, seed=st.integers(0, 1_000))
def test_records_older_than_the_stored_state_change_nothing(actions: list[tuple[object, ...]], seed: int) -> None:
    model = Model()
    _run(model, actions)
    stored = {
        message_id: StoredState(message_id, "t", labels, model.history_id, False)
        for message_id, labels in model.labels.items()
    }
    stored |= {key: StoredState(key, "t", frozenset(), model.history_id, True) for key in model.deleted}

    replay = Replay()
    list(replay.add(model.records("as of the event", random.Random(seed))))

    assert list(replay.fold(_lookup(stored), _reader(model))) == []


def test_a_message_only_mentioned_is_read_when_it_is_not_stored() -> None:
    replay = Replay()
    list(replay.add([HistoryRecord(7, (), ("known", "unknown", "gone"))]))
    stored = {"known": StoredState("known", "t", frozenset({"INBOX"}), 3, False)}
    asked = []

    def read(message_id: str) -> MessageState | None:
        asked.append(message_id)
        return None if message_id == "gone" else MessageState(message_id, "t9", frozenset({"SENT"}), 6)

    changes = {change.message_id: change for change in replay.fold(_lookup(stored), read)}

    assert sorted(asked) == ["gone", "unknown"]
    assert "known" not in changes
    assert (changes["unknown"].label_ids, changes["unknown"].is_deleted) == (frozenset({"SENT"}), False)
    assert changes["gone"].is_deleted


def _lookup(stored: Mapping[str, StoredState]):  # type: ignore[no-untyped-def]
    def lookup(message_ids: Sequence[str]) -> Mapping[str, StoredState]:
        return {message_id: stored[message_id] for message_id in message_ids if message_id in stored}

    return lookup


def _reader(model: Model):  # type: ignore[no-untyped-def]
    def read(message_id: str) -> MessageState | None:
        labels = model.labels.get(message_id)
        return None if labels is None else MessageState(message_id, "t", labels, model.history_id)

    return read
