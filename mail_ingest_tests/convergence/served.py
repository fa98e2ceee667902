"""What the server served, told by itself: which contents were bought, and which changes the history showed."""

from __future__ import annotations

import time
from collections import Counter
from typing import NamedTuple

import orjson

from mail_ingest.simulator import Call, Simulator


class Event(NamedTuple):
    """One change as history tells it; an empty label is the message itself."""

    history_id: int
    message_id: str
    label_id: str
    action: str


class Served:
    """Listens to one server. `history` is every event ever served whole, `events` those since the last `begin`."""

    def __init__(self, gmail: Simulator) -> None:
        self._gmail = gmail
        self._begun = self._ended = 0
        self.history: set[Event] = set()
        self.events: set[Event] = set()
        #: Whole answers with content, or with headers alone, by message id; what the request log counts beyond them was damaged.
        self.bought: Counter[str] = Counter()
        gmail.before(None, self._begin_call)
        gmail.after(None, self._end_call)

    def begin(self) -> None:
        """A sync begins: its events are counted from here."""
        self.events = set()

    def settle(self) -> None:
        """Waits until the server has dealt with everything that a dead process asked for."""
        quiet = 0
        while quiet < 3:
            time.sleep(0.005)
            quiet = quiet + 1 if self._begun == self._ended else 0

    def bought_by_the_log(self) -> Counter[str]:
        """Contents by message id as the request log has them: every answer of status 200, damaged ones as well."""
        return Counter(
            request.resource
            for request in self._gmail.requests
            if request.method == "messages.get" and request.status == 200 and _buys(request.params)
        )

    def _begin_call(self) -> None:
        self._begun += 1

    def _end_call(self, call: Call, answer: bytes | None) -> None:
        if answer is not None and call.method == "history.list":
            found = events_of(answer)
            self.history |= found
            self.events |= found
        if answer is not None and call.method == "messages.get" and _buys(call.params):
            self.bought[call.resource] += 1
        self._ended += 1


def _buys(params: str) -> bool:
    """Whether a call asks for what is stored of a message; the tier `headers` asks for its headers alone."""
    return "format=raw" in params or "format=metadata" in params


def events_of(answer: bytes) -> set[Event]:
    """The changes of a history page. A message that is added brings a change for each label it comes with."""
    events = set()
    for record in orjson.loads(answer).get("history", []):
        history_id = int(record["id"])
        for kind, action in (("labelsAdded", "added"), ("labelsRemoved", "removed")):
            for change in record.get(kind, []):
                for label_id in change["labelIds"]:
                    events.add(Event(history_id, change["message"]["id"], label_id, action))
        for change in record.get("messagesDeleted", []):
            events.add(Event(history_id, change["message"]["id"], "", "removed"))
        for change in record.get("messagesAdded", []):
            for label_id in ("", *change["message"].get("labelIds", [])):
                events.add(Event(history_id, change["message"]["id"], label_id, "added"))
    return events
