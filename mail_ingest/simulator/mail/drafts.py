"""Drafts: an id that stays, around a message that every save replaces.

Seen by implementers: each save adds a message with DRAFT and deletes the one before; sending deletes the draft's
message and adds one with SENT. Both changes of a save stand in one history record here.
"""

from mail_ingest.simulator.mail import ids
from mail_ingest.simulator.mail.state import MailboxState


class Drafts:
    """Draft ids of one mailbox, each with the slot of its present message."""

    def __init__(self, state: MailboxState) -> None:
        self._state = state
        self._slots: dict[str, int] = {}
        self._ids: dict[int, str] = {}

    def adopt(self, first_slot: int) -> None:
        """Gives a draft id to every message with DRAFT from a slot on that has none."""
        for slot in self._state.members_of("DRAFT").order:
            if slot >= first_slot and slot not in self._ids:
                self._link(ids.draft_id(self._state.rng), slot)

    def create(self, raw: bytes, date_ms: int, thread_id: int | None) -> str:
        change = self._state.insert(date_ms, ("DRAFT",), raw, thread_id)
        self._state.record([change])
        draft = ids.draft_id(self._state.rng)
        self._link(draft, change.slot)
        return draft

    def save(self, draft: str, raw: bytes, date_ms: int) -> str:
        self._replace(draft, raw, date_ms, self._state.label_ids(self.slot(draft)))
        return draft

    def send(self, draft: str, date_ms: int, raw: bytes | None = None, label_ids: tuple[str, ...] = ("SENT",)) -> int:
        """Returns the slot of the sent message; the draft id is gone."""
        sent = self._replace(draft, raw or self._state.contents.raw(self.slot(draft)), date_ms, label_ids)
        self._forget(draft)
        return sent

    def delete(self, draft: str) -> None:
        self._state.record([self._state.remove(self.slot(draft))])
        self._forget(draft)

    def slot(self, draft: str) -> int:
        """The draft's present message; KeyError for a draft that does not exist (any more)."""
        slot = self._slots[draft]
        if not self._state.table.alive[slot] or "DRAFT" not in self._state.label_ids(slot):
            raise KeyError(draft)
        return slot

    def newest_first(self) -> list[tuple[str, int]]:
        """(draft id, slot) of all drafts."""
        return [
            (self._ids[slot], slot)
            for slot in self._state.members_of("DRAFT").order.newest_first()
            if slot in self._ids
        ]

    def _replace(self, draft: str, raw: bytes, date_ms: int, label_ids: frozenset[str] | tuple[str, ...]) -> int:
        old = self.slot(draft)
        thread_id = self._state.table.thread_id(old)
        added = self._state.insert(date_ms, label_ids, raw, thread_id)
        removed = self._state.remove(old)
        self._state.record([removed, added])
        self._ids.pop(old, None)
        self._link(draft, added.slot)
        return added.slot

    def _link(self, draft: str, slot: int) -> None:
        self._slots[draft] = slot
        self._ids[slot] = draft

    def _forget(self, draft: str) -> None:
        self._ids.pop(self._slots.pop(draft), None)
