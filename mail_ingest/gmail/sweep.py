"""Sweeps: which messages exist and which labels they carry, without buying content.

All ids are listed (5 units per 500), then the members of every label that has any. A sweep is not a snapshot: the
mailbox changes under it, so the caller takes `getProfile.historyId` before, replays history after, and believes a
missing id only then.

Memory: about 0.25 KB a message: one id, one thread id (shared where the thread began with the message) and a number
that stands for the message's set of labels; sets are shared between messages.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator

from mail_ingest.errors import GmailError, SweepRefusedError
from mail_ingest.gmail.changes import (
    ADDED,
    FROM_SWEEP,
    REMOVED,
    LabelEvent,
    Replay,
    StateChange,
    StoredState,
)
from mail_ingest.gmail.client import GmailClient
from mail_ingest.gmail.models import Label, MessageRef

#: Below this share of the profile's total a sweep is not believed.
MIN_SWEEP_SHARE = 0.9

#: What labels.get (404) and messages.list (400) answer for a label that was deleted.
_LABEL_GONE = (400, 404)


class SweptMailbox:
    """Ids, threads and label sets as a sweep found them."""

    def __init__(self) -> None:
        self._index: dict[str, int] = {}
        self._threads: list[str] = []
        self._sets = array("I")
        self._combos: list[frozenset[str]] = [frozenset()]
        self._combo_ids: dict[frozenset[str], int] = {self._combos[0]: 0}
        self._with_label: dict[tuple[int, str], int] = {}
        self._marked = bytearray()

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, message_id: object) -> bool:
        return message_id in self._index

    def mark(self, message_id: str) -> None:
        """Remembers that a message was compared with its stored state."""
        position = self._index.get(message_id)
        if position is not None:
            self._marked[position] = 1

    def unmarked(self) -> Iterator[str]:
        """Ids of the messages that were never marked, in the order of the sweep."""
        return (message_id for message_id, position in self._index.items() if not self._marked[position])

    def add(self, refs: Iterable[MessageRef]) -> None:
        """Notes that messages exist. Repeats, as a walk over a changing mailbox gives them, change nothing."""
        for ref in refs:
            if ref.message_id in self._index:
                continue
            self._index[ref.message_id] = len(self._threads)
            # the same string object for message and thread halves what a thread of one message costs
            self._threads.append(ref.message_id if ref.thread_id == ref.message_id else ref.thread_id)
            self._sets.append(0)
            self._marked.append(0)

    def add_label(self, label_id: str, refs: Iterable[MessageRef]) -> None:
        """Notes that messages carry a label; a message that the id sweep did not show is noted as existing."""
        refs = list(refs)
        self.add(refs)
        for ref in refs:
            position = self._index[ref.message_id]
            self._sets[position] = self._combo_with(self._sets[position], label_id)

    def _combo_with(self, combo: int, label_id: str) -> int:
        known = self._with_label.get((combo, label_id))
        if known is None:
            labels = self._combos[combo] | {label_id}
            known = self._combo_ids.get(labels)
            if known is None:
                known = self._combo_ids[labels] = len(self._combos)
                self._combos.append(labels)
            self._with_label[(combo, label_id)] = known
        return known

    def state(self, message_id: str, history_id: int) -> StoredState | None:
        position = self._index.get(message_id)
        if position is None:
            return None
        return StoredState(message_id, self._threads[position], self._combos[self._sets[position]], history_id, False)


def sweep_mailbox(
    client: GmailClient, labels: Iterable[Label], *, on_ids: Callable[[int], object] = lambda _: None
) -> tuple[SweptMailbox, dict[str, Label]]:
    """Sweeps all ids, then the members of each label; also gives the labels with their counts, by id.

    Costs 5 units per 500 ids, 1 per label, and 5 per 500 members of each label that has any. `on_ids` hears how many
    ids were found so far.
    """
    swept = SweptMailbox()
    for page in client.iter_message_ids():
        swept.add(page.refs)
        on_ids(len(swept))
    counts: dict[str, Label] = {}
    for label in labels:
        try:
            counts[label.label_id] = counted = client.get_label(label.label_id)
            # other totals prove nothing, also not equal ones: one message may have gained what another lost
            if counted.messages_total == 0:
                continue
            for page in client.iter_message_ids(label_id=label.label_id):
                swept.add_label(label.label_id, page.refs)
        except GmailError as error:
            if not label_was_deleted(client, label.label_id, error):
                raise
            # deleted while we swept: the next sync takes it from its messages
            counts.pop(label.label_id, None)
    return swept, counts


def label_was_deleted(client: GmailClient, label_id: str, error: GmailError) -> bool:
    """Whether this refusal means that the label is gone. The list of labels decides (1 unit): members that cannot be
    listed for another reason must not lose it."""
    return error.status in _LABEL_GONE and all(label.label_id != label_id for label in client.list_labels())


def replay_since(
    client: GmailClient, history_id: int, replay: Replay, on_events: Callable[[Iterable[LabelEvent]], None]
) -> int:
    """Folds the history after `history_id` into `replay`; returns the history id from which to go on.

    That is the first page's: what changes while we page is seen again next time. Raises HistoryExpiredError.
    """
    first: int | None = None
    for page in client.iter_history(history_id):
        first = page.history_id if first is None else first
        on_events(replay.add(page.records))
    return history_id if first is None else first


def check_sweep_is_believable(swept: int, messages_total: int, account_id: str) -> None:
    """Raises SweepRefusedError when a sweep shows less than `MIN_SWEEP_SHARE` of the profile's total."""
    if swept < messages_total * MIN_SWEEP_SHARE:
        raise SweepRefusedError(
            f"The sweep of {account_id} returned {swept} messages, but the mailbox claims {messages_total}; nothing was "
            "marked deleted and nothing was written. Run the sync again. If it says so again and you know that the mailbox "
            f"really shrank, run: mail-ingest sync {account_id} --mode full --accept-shrink"
        )


def compare(
    swept: SweptMailbox,
    replay: Replay,
    replayed: dict[str, StateChange],
    stored_states: Iterable[StoredState],
    *,
    history_id: int,
    lasting_labels: Callable[[str], bool],
) -> Iterator[tuple[StateChange, list[LabelEvent]]]:
    """Yields each state that has to be written to make the store equal the mailbox, with the events that sweeps tell.

    `replayed` holds the states after replaying the history since the sweep's pinned `history_id`; they win over the
    sweep. `lasting_labels(label_id)` says that a stored label lies beyond what sweeps can see (it never stood in
    labels.list), so its absence from the sweep means nothing. New messages come last and carry no events: nobody knows
    when they arrived, and what history told of them has its own events.
    """
    seen_replayed: set[str] = set()
    for stored in stored_states:
        message_id = stored.message_id
        now = _now(swept, replayed, message_id, history_id)
        if now is None:
            if not stored.is_deleted:
                last = max(history_id, stored.history_id)
                change = StateChange(message_id, stored.thread_id, stored.label_ids, last, True, stored)
                yield change, _events(change, replay, history_id)
            continue
        swept.mark(message_id)
        if message_id in replayed:
            seen_replayed.add(message_id)
        if now.is_deleted:
            labels = stored.label_ids
        else:
            labels = now.label_ids | {label for label in stored.label_ids - now.label_ids if lasting_labels(label)}
        if (labels, now.thread_id, now.is_deleted) == (stored.label_ids, stored.thread_id, stored.is_deleted):
            continue
        if now.is_deleted and stored.is_deleted:
            continue
        # never lower than the stored one: after a mailbox began its history anew the row would not land
        last = max(now.history_id, stored.history_id)
        change = StateChange(message_id, now.thread_id, labels, last, now.is_deleted, stored)
        yield change, _events(change, replay, history_id)
    for message_id in swept.unmarked():
        state = swept.state(message_id, history_id)
        if state is not None and message_id not in replayed:
            yield StateChange(message_id, state.thread_id, state.label_ids, history_id, False, None), []
    for message_id, change in replayed.items():
        if message_id not in seen_replayed:
            yield (
                StateChange(message_id, change.thread_id, change.label_ids, change.history_id, change.is_deleted, None),
                [],
            )


def _now(
    swept: SweptMailbox, replayed: dict[str, StateChange], message_id: str, history_id: int
) -> StateChange | StoredState | None:
    return replayed.get(message_id) or swept.state(message_id, history_id)


def _events(change: StateChange, replay: Replay, history_id: int) -> list[LabelEvent]:
    stored = change.stored
    if stored is None:
        return []
    events = []
    if change.is_deleted != stored.is_deleted and not replay.explains(change.message_id, ""):
        events.append(("", REMOVED if change.is_deleted else ADDED))
    if not change.is_deleted:
        events += [(label, ADDED) for label in sorted(change.label_ids - stored.label_ids)]
        events += [(label, REMOVED) for label in sorted(stored.label_ids - change.label_ids)]
    return [
        LabelEvent(history_id, change.message_id, label, action, FROM_SWEEP)
        for label, action in events
        if not label or not replay.explains(change.message_id, label)
    ]
