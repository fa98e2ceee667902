"""What Gmail says, as frozen values.

Ids are Gmail's own strings, opaque to us; history ids are integers because they are compared; label ids are sets
because Gmail gives them in no order. What people wrote (snippet, raw bytes, label names) stays out of every `repr`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

ChangeKind = Literal["messageAdded", "messageDeleted", "labelAdded", "labelRemoved"]


@dataclass(frozen=True, slots=True)
class Watch:
    """That Gmail publishes a mailbox's changes until `expires_at`; `history_id` is its newest history record."""

    history_id: int
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Profile:
    """The mailbox as a whole. `history_id` is its newest history record: the cursor to start from.

    Totals are None where Gmail gives none.
    """

    email_address: str
    messages_total: int | None
    threads_total: int | None
    history_id: int


@dataclass(frozen=True, slots=True)
class Label:
    """One label. Type, colours and visibilities are None where Gmail names none; counts unless `get_label` asked."""

    label_id: str
    name: str = field(repr=False)
    type: str | None
    message_list_visibility: str | None = None
    label_list_visibility: str | None = None
    text_color: str | None = None
    background_color: str | None = None
    messages_total: int | None = None
    messages_unread: int | None = None
    threads_total: int | None = None
    threads_unread: int | None = None


@dataclass(frozen=True, slots=True)
class MessageRef:
    """A message's two ids, all that a listing tells."""

    message_id: str
    thread_id: str


@dataclass(frozen=True, slots=True)
class IdPage:
    """One page of a listing, newest first by convention only. The last page has no `next_page_token`."""

    refs: tuple[MessageRef, ...]
    next_page_token: str | None


def arrived_at(message_id: str) -> datetime | None:
    """When a message came into the mailbox, as ids of 16 hex digits tell; None for others, which are opaque."""
    if not re.fullmatch("[0-9a-f]{16}", message_id):
        return None
    return datetime.fromtimestamp((int(message_id, 16) >> 20) / 1000, UTC)


def first_id_of(moment: datetime) -> str:
    """The lowest id of 16 hex digits that a message of this moment can have."""
    return f"{max(int(moment.timestamp() * 1000), 0) << 20:016x}"


@dataclass(frozen=True, slots=True)
class HistoryChange:
    """One change of one message.

    `label_ids` are the message's labels as the record tells them, None where it does not; whether they are those of
    the event or of now is undocumented. `changed_label_ids` are the labels added or removed, empty for other kinds.
    """

    kind: ChangeKind
    message_id: str
    thread_id: str
    label_ids: frozenset[str] | None = None
    changed_label_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HistoryRecord:
    """One record of the change log; several messages may be in it.

    Within a record, additions come first and deletions last, as Gmail gives no order between its arrays.
    `message_ids` are messages that the record mentions without telling what changed, `unclear_ids` those of which it tells
    in a way that is not known: they have to be read.
    """

    history_id: int
    changes: tuple[HistoryChange, ...] = ()
    message_ids: tuple[str, ...] = ()
    unclear_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """One page of history; it may be empty and still have a next one. `history_id` is the mailbox's newest record."""

    records: tuple[HistoryRecord, ...]
    next_page_token: str | None
    history_id: int


@dataclass(frozen=True, slots=True)
class MessageState:
    """What can change about a message, as `format=minimal` tells it."""

    message_id: str
    thread_id: str
    label_ids: frozenset[str]
    history_id: int | None = None
    internal_date_ms: int | None = None
    size_estimate: int | None = None


@dataclass(frozen=True, slots=True)
class RawMessage:
    """A whole message: `raw` is the mail as Gmail keeps it, byte for byte. `internal_date_ms` is epoch milliseconds.

    Where it is not whole (`is_whole`), `raw` is its header block, made from the headers that Gmail told.
    """

    message_id: str
    thread_id: str
    label_ids: frozenset[str]
    history_id: int | None
    internal_date_ms: int
    size_estimate: int
    snippet: str = field(repr=False)
    raw: bytes = field(repr=False)
    is_whole: bool = True
