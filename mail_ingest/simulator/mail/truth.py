"""What is really in a mailbox, whatever the server is told to answer."""

from collections.abc import Iterable
from dataclasses import dataclass
from threading import RLock

from mail_ingest.simulator.mail import ids
from mail_ingest.simulator.mail.labels import Label
from mail_ingest.simulator.mail.state import MailboxState


@dataclass(frozen=True, slots=True)
class MessageRecord:
    """The truth about one message."""

    message_id: str
    thread_id: str
    label_ids: frozenset[str]
    history_id: int
    internal_date_ms: int


class Truth:
    """Reading a mailbox directly; every method sees one moment."""

    def __init__(self, address: str, lock: RLock, state: MailboxState) -> None:
        self.address = address
        self.lock = lock
        self.state = state

    def messages(self) -> dict[str, MessageRecord]:
        """Every message that exists, by id."""
        with self.lock:
            return {record.message_id: record for record in map(self.record, self.state.table.live_slots())}

    def deleted_ids(self) -> set[str]:
        """Ids of messages that existed and were deleted for good."""
        with self.lock:
            return {ids.to_hex(number) for number in self.state.deleted}

    def labels(self) -> dict[str, Label]:
        with self.lock:
            return dict(self.state.labels)

    @property
    def history_id(self) -> int:
        with self.lock:
            return self.state.history.current

    def raw(self, message_id: str) -> bytes:
        with self.lock:
            return self.state.contents.raw(self._slots([message_id])[0])

    def message(self, message_id: str) -> MessageRecord:
        with self.lock:
            return self.record(self._slots([message_id])[0])

    def record(self, slot: int) -> MessageRecord:
        table = self.state.table
        return MessageRecord(
            ids.to_hex(table.ids[slot]),
            ids.to_hex(table.thread_id(slot)),
            self.state.label_ids(slot),
            table.history[slot],
            table.dates[slot],
        )

    def _slots(self, message_ids: Iterable[str]) -> list[int]:
        slots = []
        for message_id in message_ids:
            slot = self.state.table.live_slot(self._number(message_id))
            if slot is None:
                raise KeyError(f"no message {message_id} in {self.address}")
            slots.append(slot)
        return slots

    def _number(self, message_id: str) -> int:
        number = ids.parse_hex(message_id)
        if number is None:
            raise ValueError(f"{message_id!r} is not a message id: 1 to 16 hexadecimal digits")
        return number

    def _hex(self, slot: int) -> str:
        return ids.to_hex(self.state.table.ids[slot])
