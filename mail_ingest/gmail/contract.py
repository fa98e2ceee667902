"""What Gmail's answers hold: the fields of every answer that is read, by name and kind, and what differs from that.

A difference is a line such as `messages.get.importance: unknown string`, `messages.get.historyId: number instead of
digit string` or `getProfile.threadsTotal: missing`. Lines hold names of fields and kinds, never a value, and nothing from
inside an unknown field. Kinds are JSON's, but that Gmail sends numbers of 64 bits as strings of digits.

Sources: the discovery document of gmail.v1 (revision 20261005), and recorded answers for what is always there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

STRING = "string"
DIGITS = "digit string"
NUMBER = "number"
OBJECT = "object"
STRINGS = "list of strings"
OBJECTS = "list of objects"

PAGE_SIZE = 500
"""The most ids or history records that Gmail puts on a page; a page costs the same whatever its size."""

LONGEST_ID = 320
"""Characters of an id or a mailbox's address. Gmail's ids have 16 hexadecimal digits, those of labels some dozens."""

LONGEST_PAGE_TOKEN = 4_000
"""Characters of a page token, which has to fit into an address."""

MOST_FINDINGS = 20
"""Lines that one object, one client and one sync keep at most: a map with ids for names must not fill the memory."""

Notice = Callable[[Iterable[str]], None]
"""Hears the lines about an object, each time that it is read. Called from many threads."""

_PYTHON: dict[str, type] = {STRING: str, DIGITS: str, NUMBER: int, OBJECT: dict, STRINGS: list, OBJECTS: list}
_JSON: dict[type, str] = {
    str: STRING,
    int: NUMBER,
    float: "fraction",
    bool: "boolean",
    type(None): "null",
    dict: OBJECT,
    list: "list",
}
_LONGEST_NAME = 100
#: Gmail's own are in lower camel case. Ids of labels begin with a capital, ids of messages are hexadecimal.
_FIELD_NAME = re.compile(r"@?[a-z][A-Za-z]*(?:_[A-Za-z]+)*[0-9]{0,3}")
_MOST_SHAPES = 200
_LONGEST_SHAPE = 40

_LEAST, _GREATEST = -(2**63), 2**63 - 1
_EXACT = 2**53
_LONGEST_INTEGER = len(str(_LEAST))


class MalformedAnswerError(ValueError):
    """Gmail answered 200 with something that is not the documented answer: cut off, or of another shape."""


class ChangedAnswerFieldError(MalformedAnswerError):
    """A field that is relied upon is missing, or of a kind that has no meaning here. The text is the finding."""


class Fields:
    """The fields of one kind of JSON object, and how they are read.

    `needed` ones are never left out by Gmail; that one is missing is a finding. Reading raises
    ChangedAnswerFieldError where there is no value to go on with.
    """

    def __init__(self, path: str, kinds: Mapping[str, str], *, needed: Sequence[str]) -> None:
        self.path = path
        self.kinds = kinds
        self._needed = needed
        self._types = {name: _PYTHON[kind] for name, kind in kinds.items()}
        self._judged: dict[tuple[object, ...], tuple[str, ...]] = {}

    def check(self, value: object, notice: Notice) -> dict[str, Any]:
        """The object itself; `notice` hears what differs. Objects with the same names and types are judged once."""
        if type(value) is not dict:
            raise MalformedAnswerError("not a JSON object")
        shape = (*value, *map(type, value.values()))
        found = self._judged.get(shape)
        if found is None:
            found = self._judge(value)
            if len(self._judged) < _MOST_SHAPES and len(shape) <= _LONGEST_SHAPE:
                self._judged[shape] = found
        if found:
            notice(found)
        return value

    def are_plain(self, docs: Sequence[dict[str, Any]]) -> bool:
        """Whether these are objects of ids alone, none with an unknown field: a whole page at a time."""
        values = list(chain.from_iterable(map(dict.values, docs)))
        return self._types.keys() >= set().union(*docs) and {str} >= set(map(type, values)) and are_identifiers(values)

    def text(self, doc: dict[str, Any], name: str) -> str:
        value = doc.get(name)
        if type(value) is not str:
            raise self.changed(doc, name)
        return value

    def identifier(self, doc: dict[str, Any], name: str) -> str:
        """An id: opaque, but never empty, endless or with characters that do not print, which no table, log and terminal
        has to put up with."""
        value = self.text(doc, name)
        if not is_identifier(value):
            raise self.changed(doc, name, "other string")
        return value

    def identifiers(self, doc: dict[str, Any], name: str) -> tuple[str, ...]:
        """Several ids, none where the field is absent."""
        values = self.texts(doc, name)
        if not all(map(is_identifier, values)):
            raise self.changed(doc, name, "list of other strings")
        return values

    def optional_text(self, doc: dict[str, Any], name: str) -> str | None:
        """None also for another kind: what is only shown stops nothing."""
        value = doc.get(name)
        return value if type(value) is str else None

    def integer(self, doc: dict[str, Any], name: str) -> int:
        """A number or its digits: they mean the same. MalformedAnswerError for one that 64 bits cannot hold."""
        value = doc.get(name)
        if type(value) is str:
            if not (value.isascii() and value.removeprefix("-").isdigit()):
                raise self.changed(doc, name, "other string")
            value = int(value) if len(value) <= _LONGEST_INTEGER else _GREATEST + 1
        elif type(value) is float and value.is_integer() and abs(value) < _EXACT:
            value = int(value)
        if type(value) is not int:
            raise self.changed(doc, name)
        if not _LEAST <= value <= _GREATEST:
            raise MalformedAnswerError(f"{name} is not a whole number of 64 bits")
        return value

    def optional_integer(self, doc: dict[str, Any], name: str) -> int | None:
        return None if doc.get(name) is None else self.integer(doc, name)

    def optional_count(self, doc: dict[str, Any], name: str) -> int | None:
        """None also for another kind, as with `optional_text`."""
        try:
            return self.optional_integer(doc, name)
        except ChangedAnswerFieldError:
            return None

    def texts(self, doc: dict[str, Any], name: str) -> tuple[str, ...]:
        """Empty where the field is absent, as Gmail leaves out empty lists."""
        value = doc.get(name)
        if value is None:
            return ()
        if type(value) is not list or not {str}.issuperset(map(type, value)):
            raise self.changed(doc, name)
        return tuple(value)

    def objects(self, doc: dict[str, Any], name: str) -> list[dict[str, Any]]:
        """Empty where the field is absent. What is inside is not checked."""
        value = doc.get(name)
        if value is None:
            return []
        if type(value) is not list or not {dict}.issuperset(map(type, value)):
            raise self.changed(doc, name)
        return value

    def stands_in(self, doc: dict[str, Any], kind: type) -> list[str]:
        """Unknown fields of a Python type that hold something: one of them may be a known field by another name."""
        if self._types.keys() >= doc.keys():
            return []
        return [name for name, value in doc.items() if name not in self.kinds and type(value) is kind and value]

    def changed(self, doc: dict[str, Any], name: str, found: str = "") -> ChangedAnswerFieldError:
        """The error about a field as it stands in this object."""
        return ChangedAnswerFieldError(self._line(doc, name, found))

    def _judge(self, doc: dict[str, Any]) -> tuple[str, ...]:
        lines = [self._line(doc, name) for name in self._needed if name not in doc]
        for name, value in doc.items():
            known = self._types.get(name)
            if known is None:
                lines.append(f"{self.path}.{shown(name)}: unknown {_JSON[type(value)]}")
            elif type(value) is not known:
                lines.append(self._line(doc, name))
        return tuple(sorted(set(lines))[:MOST_FINDINGS])

    def _line(self, doc: dict[str, Any], name: str, found: str = "") -> str:
        if name not in doc:
            return f"{self.path}.{name}: missing"
        return f"{self.path}.{name}: {found or _found(doc[name], self.kinds[name])} instead of {self.kinds[name]}"


def is_identifier(value: str) -> bool:
    """Whether a string may be an id of Gmail's."""
    return 0 < len(value) <= LONGEST_ID and value.isprintable()


def are_identifiers(values: Sequence[str]) -> bool:
    return all(values) and max(map(len, values), default=0) <= LONGEST_ID and "".join(values).isprintable()


def _found(value: object, expected: str) -> str:
    """The kind of a value, down to its elements where a list was expected."""
    if type(value) is not list or expected not in (STRINGS, OBJECTS):
        return _JSON[type(value)]
    return "list of " + " and ".join(sorted({f"{_JSON[type(item)]}s" for item in value})) if value else "empty list"


def shown(name: str) -> str:
    """An unknown field's name where it reads like one. Others may be an id, an address or words of a mail."""
    return name[:_LONGEST_NAME] if _FIELD_NAME.fullmatch(name) else "(hidden name)"


_MESSAGE = {
    "id": STRING,
    "threadId": STRING,
    "labelIds": STRINGS,
    "snippet": STRING,
    "historyId": DIGITS,
    "internalDate": DIGITS,
    "payload": OBJECT,
    "sizeEstimate": NUMBER,
    "raw": STRING,
    "classificationLabelValues": OBJECTS,
}
_LABEL = {
    "id": STRING,
    "name": STRING,
    "messageListVisibility": STRING,
    "labelListVisibility": STRING,
    "type": STRING,
    "messagesTotal": NUMBER,
    "messagesUnread": NUMBER,
    "threadsTotal": NUMBER,
    "threadsUnread": NUMBER,
    "color": OBJECT,
}
_COLOR = {"textColor": STRING, "backgroundColor": STRING}
_COUNTS = ("messagesTotal", "messagesUnread", "threadsTotal", "threadsUnread")

PROFILE = Fields(
    "getProfile",
    {"emailAddress": STRING, "messagesTotal": NUMBER, "threadsTotal": NUMBER, "historyId": DIGITS},
    needed=("emailAddress", "messagesTotal", "threadsTotal", "historyId"),
)
WATCH = Fields("watch", {"historyId": DIGITS, "expiration": DIGITS}, needed=("historyId", "expiration"))
LABELS = Fields("labels.list", {"labels": OBJECTS}, needed=("labels",))
LISTED_LABEL = Fields("labels.list.labels", _LABEL, needed=("id", "name", "type"))
LISTED_COLOR = Fields("labels.list.labels.color", _COLOR, needed=())
LABEL = Fields("labels.get", _LABEL, needed=("id", "name", "type", *_COUNTS))
COLOR = Fields("labels.get.color", _COLOR, needed=())
ID_PAGE = Fields(
    "messages.list", {"messages": OBJECTS, "nextPageToken": STRING, "resultSizeEstimate": NUMBER}, needed=()
)
REF = Fields("messages.list.messages", {"id": STRING, "threadId": STRING}, needed=("id", "threadId"))
STATE = Fields("messages.get", _MESSAGE, needed=("id", "threadId", "historyId"))
RAW = Fields(
    "messages.get",
    _MESSAGE,
    needed=("id", "threadId", "snippet", "historyId", "internalDate", "sizeEstimate", "raw"),
)
METADATA = Fields(
    "messages.get",
    _MESSAGE,
    needed=("id", "threadId", "snippet", "historyId", "internalDate", "sizeEstimate", "payload"),
)
PAYLOAD = Fields(
    "messages.get.payload",
    {
        "partId": STRING,
        "mimeType": STRING,
        "filename": STRING,
        "headers": OBJECTS,
        "body": OBJECT,
        "parts": OBJECTS,
    },
    needed=("headers",),
)
HEADER = Fields("messages.get.payload.headers", {"name": STRING, "value": STRING}, needed=("name", "value"))
HISTORY_PAGE = Fields(
    "history.list", {"history": OBJECTS, "nextPageToken": STRING, "historyId": DIGITS}, needed=("historyId",)
)
CHANGE_ARRAYS = ("messagesAdded", "labelsAdded", "labelsRemoved", "messagesDeleted")
RECORD = Fields(
    "history.list.history",
    {"id": DIGITS, "messages": OBJECTS, **dict.fromkeys(CHANGE_ARRAYS, OBJECTS)},
    needed=("id",),
)
MENTIONED = Fields("history.list.history.messages", _MESSAGE, needed=("id", "threadId"))
CHANGES = {
    array: Fields(
        f"history.list.history.{array}",
        {"message": OBJECT, "labelIds": STRINGS} if array.startswith("labels") else {"message": OBJECT},
        needed=("message", "labelIds") if array.startswith("labels") else ("message",),
    )
    for array in CHANGE_ARRAYS
}
CHANGED_MESSAGES = {
    array: Fields(f"history.list.history.{array}.message", _MESSAGE, needed=("id", "threadId"))
    for array in CHANGE_ARRAYS
}
