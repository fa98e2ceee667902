"""Decoded JSON answers of Gmail -> models. The only place in `gmail` that meets untyped values.

64-bit numbers arrive as decimal strings, empty arrays are absent, unknown keys are ignored. An answer of another shape
raises `MalformedAnswerError`, which names the key and never holds a value.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pybase64

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
)

_CHANGE_ARRAYS: tuple[tuple[str, ChangeKind], ...] = (
    ("messagesAdded", "messageAdded"),
    ("labelsAdded", "labelAdded"),
    ("labelsRemoved", "labelRemoved"),
    ("messagesDeleted", "messageDeleted"),
)


_LEAST, _GREATEST = -(2**63), 2**63 - 1
_LONGEST_INTEGER = len(str(_LEAST))


class MalformedAnswerError(ValueError):
    """Gmail answered 200 with something that is not the documented answer: cut off, or of another shape."""


def profile(answer: object) -> Profile:
    doc = _object(answer)
    return Profile(
        email_address=_text(doc, "emailAddress"),
        messages_total=_integer(doc, "messagesTotal", 0),
        threads_total=_integer(doc, "threadsTotal", 0),
        history_id=_integer(doc, "historyId"),
    )


def labels(answer: object) -> list[Label]:
    return [label(item) for item in _items(_object(answer), "labels")]


def label(answer: object) -> Label:
    doc = _object(answer)
    color = _object(doc.get("color") or {})
    return Label(
        label_id=_text(doc, "id"),
        name=_text(doc, "name"),
        type=_text(doc, "type", "user"),
        message_list_visibility=_optional_text(doc, "messageListVisibility"),
        label_list_visibility=_optional_text(doc, "labelListVisibility"),
        text_color=_optional_text(color, "textColor"),
        background_color=_optional_text(color, "backgroundColor"),
        messages_total=_optional_integer(doc, "messagesTotal"),
        messages_unread=_optional_integer(doc, "messagesUnread"),
        threads_total=_optional_integer(doc, "threadsTotal"),
        threads_unread=_optional_integer(doc, "threadsUnread"),
    )


def id_page(answer: object) -> IdPage:
    doc = _object(answer)
    refs = tuple(MessageRef(_text(item, "id"), _text(item, "threadId")) for item in _items(doc, "messages"))
    return IdPage(refs, _optional_text(doc, "nextPageToken") or None)


def history_page(answer: object) -> HistoryPage:
    doc = _object(answer)
    records = tuple(_history_record(item) for item in _items(doc, "history"))
    return HistoryPage(records, _optional_text(doc, "nextPageToken") or None, _integer(doc, "historyId"))


def message_state(answer: object, message_id: str) -> MessageState:
    doc = _message(answer, message_id)
    return MessageState(
        message_id=message_id,
        thread_id=_text(doc, "threadId"),
        label_ids=_label_ids(doc) or frozenset(),
        history_id=_optional_integer(doc, "historyId"),
        internal_date_ms=_optional_integer(doc, "internalDate"),
        size_estimate=_optional_integer(doc, "sizeEstimate"),
    )


def raw_message(answer: object, message_id: str) -> RawMessage:
    doc = _message(answer, message_id)
    raw = _decoded(_text(doc, "raw"))
    return RawMessage(
        message_id=message_id,
        thread_id=_text(doc, "threadId"),
        label_ids=_label_ids(doc) or frozenset(),
        history_id=_optional_integer(doc, "historyId"),
        internal_date_ms=_integer(doc, "internalDate"),
        size_estimate=_integer(doc, "sizeEstimate", len(raw)),
        snippet=_text(doc, "snippet", ""),
        raw=raw,
    )


def _history_record(item: dict[str, Any]) -> HistoryRecord:
    changes = tuple(change for array, kind in _CHANGE_ARRAYS for change in _changes(item, array, kind))
    told = {change.message_id for change in changes}
    mentioned = dict.fromkeys(_text(message, "id") for message in _items(item, "messages"))
    return HistoryRecord(_integer(item, "id"), changes, tuple(id_ for id_ in mentioned if id_ not in told))


def _changes(item: dict[str, Any], array: str, kind: ChangeKind) -> Iterator[HistoryChange]:
    for change in _items(item, array):
        message = _object(change.get("message"))
        yield HistoryChange(
            kind=kind,
            message_id=_text(message, "id"),
            thread_id=_text(message, "threadId", ""),
            label_ids=_label_ids(message),
            changed_label_ids=_texts(change, "labelIds"),
        )


def _message(answer: object, message_id: str) -> dict[str, Any]:
    doc = _object(answer)
    if _text(doc, "id") != message_id:
        raise MalformedAnswerError("another message was answered")
    return doc


def _decoded(text: str) -> bytes:
    """Base64url with or without padding; documented nowhere, seen both ways."""
    try:
        return pybase64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError as error:
        raise MalformedAnswerError("raw is not base64url") from error


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedAnswerError("not a JSON object")
    return value


def _items(doc: dict[str, Any], key: str) -> list[dict[str, Any]]:
    value = doc.get(key)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise MalformedAnswerError(f"{key} is not a list of objects")
    return value


def _label_ids(doc: dict[str, Any]) -> frozenset[str] | None:
    return frozenset(_texts(doc, "labelIds")) if "labelIds" in doc else None


def _texts(doc: dict[str, Any], key: str) -> tuple[str, ...]:
    value = doc.get(key) or []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise MalformedAnswerError(f"{key} is not a list of strings")
    return tuple(value)


def _text(doc: dict[str, Any], key: str, default: str | None = None) -> str:
    value = doc.get(key, default)
    if not isinstance(value, str):
        raise MalformedAnswerError(f"{key} is missing or not a string")
    return value


def _optional_text(doc: dict[str, Any], key: str) -> str | None:
    return None if doc.get(key) is None else _text(doc, key)


def _integer(doc: dict[str, Any], key: str, default: int | None = None) -> int:
    value = doc.get(key, default)
    if (
        isinstance(value, str)
        and len(value) <= _LONGEST_INTEGER
        and value.isascii()
        and value.removeprefix("-").isdigit()
    ):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and _LEAST <= value <= _GREATEST:
        return value
    raise MalformedAnswerError(f"{key} is missing or not a whole number of 64 bits")


def _optional_integer(doc: dict[str, Any], key: str) -> int | None:
    return None if doc.get(key) is None else _integer(doc, key)
