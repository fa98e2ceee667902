"""Decoded JSON answers of Gmail -> models. The only place in `gmail` that meets untyped values.

64-bit numbers arrive as decimal strings, empty arrays are absent, unknown keys are ignored. Every function tells `notice`
what differs from the contract (see `contract`). An answer of another shape raises `MalformedAnswerError`, which names the
field and never holds a value.

Gmail leaves out what is empty, so a list that is absent may also have got another name. Where the two cannot be told apart,
because a list that nobody knows stands beside it, nothing is read: an empty page would pass for a mailbox without messages.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pybase64

from mail_ingest.gmail import contract
from mail_ingest.gmail.contract import (
    LONGEST_PAGE_TOKEN,
    PAGE_SIZE,
    ChangedAnswerFieldError,
    Fields,
    MalformedAnswerError,
    Notice,
)
from mail_ingest.gmail.models import (
    ChangeKind,
    HistoryChange,
    HistoryPage,
    HistoryRecord,
    IdPage,
    Label,
    MessageRef,
    MessageState,
    Profile,
    RawMessage,
    Watch,
)

#: The end of the year 9999, the last that Python's times know.
_LAST_MS = 253_402_300_799_000

_CHANGE_ARRAYS: tuple[tuple[str, ChangeKind], ...] = (
    ("messagesAdded", "messageAdded"),
    ("labelsAdded", "labelAdded"),
    ("labelsRemoved", "labelRemoved"),
    ("messagesDeleted", "messageDeleted"),
)


def profile(answer: object, notice: Notice) -> Profile:
    fields = contract.PROFILE
    doc = fields.check(answer, notice)
    return Profile(
        email_address=fields.identifier(doc, "emailAddress"),
        messages_total=fields.optional_count(doc, "messagesTotal"),
        threads_total=fields.optional_count(doc, "threadsTotal"),
        history_id=fields.integer(doc, "historyId"),
    )


def watch(answer: object, notice: Notice) -> Watch:
    fields = contract.WATCH
    doc = fields.check(answer, notice)
    expires_ms = fields.integer(doc, "expiration")
    if not 0 <= expires_ms <= _LAST_MS:
        raise fields.changed(doc, "expiration", "other digit string")
    return Watch(fields.integer(doc, "historyId"), datetime.fromtimestamp(expires_ms / 1000, UTC))


def nothing(_answer: object, _notice: Notice) -> None:
    """Of a call whose answer is its status."""


def labels(answer: object, notice: Notice) -> list[Label]:
    doc = contract.LABELS.check(answer, notice)
    items = contract.LABELS.objects(doc, "labels")
    if not items:
        # no mailbox is without its system labels, and every label that is not listed would count as deleted
        raise contract.LABELS.changed(doc, "labels", "empty list")
    return [_label(item, contract.LISTED_LABEL, contract.LISTED_COLOR, notice) for item in items]


def label(answer: object, notice: Notice) -> Label:
    return _label(answer, contract.LABEL, contract.COLOR, notice)


def id_page(answer: object, notice: Notice) -> IdPage:
    fields = contract.ID_PAGE
    doc = fields.check(answer, notice)
    items = _listed(fields, doc, "messages")
    try:
        if contract.REF.are_plain(items):
            refs = tuple(MessageRef(item["id"], item["threadId"]) for item in items)
            return IdPage(refs, _next_page(fields, doc, len(refs)))
    except KeyError:
        pass  # found out and named below
    return IdPage(tuple(_ref(item, notice) for item in items), _next_page(fields, doc, len(items)))


def history_page(answer: object, notice: Notice) -> HistoryPage:
    fields = contract.HISTORY_PAGE
    doc = fields.check(answer, notice)
    items = _listed(fields, doc, "history")
    records = tuple(_history_record(item, notice) for item in items)
    return HistoryPage(records, _next_page(fields, doc, len(items)), fields.integer(doc, "historyId"))


def message_state(answer: object, notice: Notice, message_id: str) -> MessageState:
    fields = contract.STATE
    doc = _message(fields, answer, notice, message_id)
    if "labelIds" not in doc and fields.stands_in(doc, list):
        raise fields.changed(doc, "labelIds")
    return MessageState(
        message_id=message_id,
        thread_id=fields.identifier(doc, "threadId"),
        label_ids=frozenset(fields.identifiers(doc, "labelIds")),
        history_id=fields.optional_integer(doc, "historyId"),
        internal_date_ms=fields.optional_integer(doc, "internalDate"),
        size_estimate=fields.optional_integer(doc, "sizeEstimate"),
    )


def raw_message(answer: object, notice: Notice, message_id: str) -> RawMessage:
    fields = contract.RAW
    doc = _message(fields, answer, notice, message_id)
    raw = _decoded(fields.text(doc, "raw"))
    size_estimate = fields.optional_integer(doc, "sizeEstimate")
    if not raw and size_estimate:
        raise fields.changed(doc, "raw", "empty string")
    return RawMessage(
        message_id=message_id,
        thread_id=fields.identifier(doc, "threadId"),
        label_ids=frozenset(fields.identifiers(doc, "labelIds")),
        history_id=fields.optional_integer(doc, "historyId"),
        internal_date_ms=fields.integer(doc, "internalDate"),
        size_estimate=len(raw) if size_estimate is None else size_estimate,
        snippet="" if doc.get("snippet") is None else fields.text(doc, "snippet"),
        raw=raw,
    )


def header_message(answer: object, notice: Notice, message_id: str) -> RawMessage:
    """A message of `format=metadata`: its headers as a header block, nothing else of it."""
    fields = contract.METADATA
    doc = _message(fields, answer, notice, message_id)
    if type(doc.get("payload")) is not dict:
        raise fields.changed(doc, "payload")
    payload = contract.PAYLOAD.check(doc["payload"], notice)
    if "headers" not in payload and contract.PAYLOAD.stands_in(payload, list):
        raise contract.PAYLOAD.changed(payload, "headers")
    headers = [_header(item, notice) for item in contract.PAYLOAD.objects(payload, "headers")]
    return RawMessage(
        message_id=message_id,
        thread_id=fields.identifier(doc, "threadId"),
        label_ids=frozenset(fields.identifiers(doc, "labelIds")),
        history_id=fields.optional_integer(doc, "historyId"),
        internal_date_ms=fields.integer(doc, "internalDate"),
        size_estimate=fields.optional_integer(doc, "sizeEstimate") or 0,
        snippet="" if doc.get("snippet") is None else fields.text(doc, "snippet"),
        raw=b"".join([*headers, b"\r\n"]),
        is_whole=False,
    )


def _header(item: object, notice: Notice) -> bytes:
    """One header as a line. Gmail tells values unfolded and decoded; a line break in one would make it two headers."""
    header = contract.HEADER.check(item, notice)
    name, value = contract.HEADER.text(header, "name"), contract.HEADER.text(header, "value")
    return f"{' '.join(name.split())}: {' '.join(value.splitlines())}\r\n".encode("utf-8", "replace")


def _label(answer: object, fields: Fields, color_fields: Fields, notice: Notice) -> Label:
    doc = fields.check(answer, notice)
    color = doc.get("color")
    color = color_fields.check(color, notice) if type(color) is dict else {}
    return Label(
        label_id=fields.identifier(doc, "id"),
        name=fields.text(doc, "name"),
        type=fields.optional_text(doc, "type"),
        message_list_visibility=fields.optional_text(doc, "messageListVisibility"),
        label_list_visibility=fields.optional_text(doc, "labelListVisibility"),
        text_color=color_fields.optional_text(color, "textColor"),
        background_color=color_fields.optional_text(color, "backgroundColor"),
        messages_total=fields.optional_count(doc, "messagesTotal"),
        messages_unread=fields.optional_count(doc, "messagesUnread"),
        threads_total=fields.optional_count(doc, "threadsTotal"),
        threads_unread=fields.optional_count(doc, "threadsUnread"),
    )


def _ref(item: object, notice: Notice) -> MessageRef:
    doc = contract.REF.check(item, notice)
    return MessageRef(contract.REF.identifier(doc, "id"), contract.REF.identifier(doc, "threadId"))


def _listed(fields: Fields, doc: dict[str, Any], name: str) -> list[dict[str, Any]]:
    if name not in doc and fields.stands_in(doc, list):
        raise fields.changed(doc, name)
    return fields.objects(doc, name)


def _next_page(fields: Fields, doc: dict[str, Any], count: int) -> str | None:
    """The token of the next page. A page that is full and has none may be the last one, or have it by another name."""
    if doc.get("nextPageToken") is not None:
        token = fields.text(doc, "nextPageToken")
        if len(token) > LONGEST_PAGE_TOKEN:
            raise fields.changed(doc, "nextPageToken", "longer string")
        return token or None
    unknown = fields.stands_in(doc, str)
    if any("page" in name.lower() or "token" in name.lower() for name in unknown) or (unknown and count >= PAGE_SIZE):
        raise fields.changed(doc, "nextPageToken")
    return None


def _history_record(item: dict[str, Any], notice: Notice) -> HistoryRecord:
    fields = contract.RECORD
    doc = fields.check(item, notice)
    unclear: list[str] = []
    changes = tuple(
        change
        for array, kind in _CHANGE_ARRAYS
        if array in doc
        for change in _changes(doc, array, kind, unclear, notice)
    )
    mentioned = dict.fromkeys(_mentioned(message, notice) for message in fields.objects(doc, "messages"))
    if fields.stands_in(doc, list):
        # a kind of change that nobody knows, about some of these messages
        if not mentioned:
            raise fields.changed(doc, "messages")
        unclear += mentioned
    told = {change.message_id for change in changes}
    bare = tuple(message_id for message_id in mentioned if message_id not in told)
    return HistoryRecord(fields.integer(doc, "id"), changes, bare, tuple(dict.fromkeys(unclear)))


def _mentioned(message: object, notice: Notice) -> str:
    return contract.MENTIONED.identifier(contract.MENTIONED.check(message, notice), "id")


def _changes(
    record: dict[str, Any], array: str, kind: ChangeKind, unclear: list[str], notice: Notice
) -> Iterator[HistoryChange]:
    """The changes of one array. A message whose labels changed in a way that cannot be read goes to `unclear`."""
    fields, message_fields = contract.CHANGES[array], contract.CHANGED_MESSAGES[array]
    for element in contract.RECORD.objects(record, array):
        change = fields.check(element, notice)
        if type(change.get("message")) is not dict:
            raise fields.changed(change, "message")
        message = message_fields.check(change["message"], notice)
        message_id = message_fields.identifier(message, "id")
        label_ids = _label_ids(message_fields, message, notice)
        changed_label_ids = None
        if kind in ("labelAdded", "labelRemoved"):
            changed_label_ids = _label_ids(fields, change, notice)
            if not changed_label_ids:
                unclear.append(message_id)
        yield HistoryChange(
            kind=kind,
            message_id=message_id,
            thread_id=_thread_id(message_fields, message),
            label_ids=None if label_ids is None else frozenset(label_ids),
            changed_label_ids=changed_label_ids or (),
        )


def _thread_id(fields: Fields, doc: dict[str, Any]) -> str:
    """Empty where the record does not tell it."""
    return fields.identifier(doc, "threadId") if fields.optional_text(doc, "threadId") else ""


def _label_ids(fields: Fields, doc: dict[str, Any], notice: Notice) -> tuple[str, ...] | None:
    """Labels in a record, None where it has none that can be read: the message itself tells them as well."""
    try:
        return None if doc.get("labelIds") is None else fields.identifiers(doc, "labelIds")
    except ChangedAnswerFieldError as error:
        notice((str(error),))
        return None


def _message(fields: Fields, answer: object, notice: Notice, message_id: str) -> dict[str, Any]:
    doc = fields.check(answer, notice)
    if fields.text(doc, "id") != message_id:
        raise MalformedAnswerError("another message was answered")
    return doc


def _decoded(text: str) -> bytes:
    """Base64url with or without padding, which is documented nowhere and seen both ways; the plain alphabet as well."""
    try:
        return pybase64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError as error:
        raise MalformedAnswerError("raw is not base64url") from error
