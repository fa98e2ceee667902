"""Push: what `watch` sets up and Pub/Sub would deliver.

Facts: https://developers.google.com/workspace/gmail/api/guides/push . At most one notification a second and user, the
rest is dropped; a watch lives seven days and publishes once when it is made.
"""

import json
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pybase64

WATCH_LIFETIME_S = 7 * 86_400
_SHORTEST_GAP_S = 1.0


@dataclass(frozen=True, slots=True)
class Notification:
    """One published message."""

    at_s: float
    topic: str
    address: str
    history_id: int
    message_id: str
    """Pub/Sub's id; a duplicate delivery repeats it."""

    def data(self) -> bytes:
        """What Gmail publishes."""
        return json.dumps({"emailAddress": self.address, "historyId": self.history_id}).encode()

    def envelope(self, subscription: str = "projects/sim/subscriptions/gmail") -> dict[str, Any]:
        """What a push subscription would POST."""
        published = datetime.fromtimestamp(self.at_s, UTC).isoformat().replace("+00:00", "Z")
        return {
            "message": {
                "data": pybase64.urlsafe_b64encode(self.data()).decode(),
                "messageId": self.message_id,
                "message_id": self.message_id,
                "publishTime": published,
                "publish_time": published,
            },
            "subscription": subscription,
        }


class Published(list[Notification]):
    """What was published so far. `publisher`, if there is one, hears of each: see `pubsub.Publisher`."""

    publisher: Callable[[Notification], None] | None = None

    def add(self, notification: Notification) -> None:
        self.append(notification)
        if self.publisher is not None:
            self.publisher(notification)


@dataclass(slots=True)
class _Watch:
    topic: str
    label_ids: frozenset[str]
    excludes: bool
    expires_at_s: float


class WatchTakenError(Exception):
    """A watch on another topic is in force."""


class Push:
    """The watch of one mailbox."""

    def __init__(self, address: str, clock: Callable[[], float], published: Published) -> None:
        self._address = address
        self._clock = clock
        self._published = published
        self._watch: _Watch | None = None
        self._last_at_s = float("-inf")
        self.duplicates: Callable[[], bool] = lambda: False

    def watch(self, topic: str, label_ids: Iterable[str], *, excludes: bool, history_id: int) -> float:
        """Starts or renews, publishes once, and returns when it expires (epoch seconds)."""
        now_s = self._clock()
        running = self._watch
        if running is not None and running.expires_at_s > now_s and running.topic != topic:
            raise WatchTakenError
        self._watch = _Watch(topic, frozenset(label_ids), excludes, now_s + WATCH_LIFETIME_S)
        self._publish(self._watch, history_id, now_s)
        return self._watch.expires_at_s

    def stop(self) -> None:
        self._watch = None

    def changed(self, history_id: int, label_sets: Iterable[frozenset[str]]) -> None:
        """A history record was written about messages with these labels."""
        now_s = self._clock()
        watch = self._watch
        if watch is None or watch.expires_at_s <= now_s or now_s - self._last_at_s < _SHORTEST_GAP_S:
            return
        if watch.label_ids:
            touches = any(not watch.label_ids.isdisjoint(labels) for labels in label_sets)
            if touches == watch.excludes:
                return
        self._publish(watch, history_id, now_s)

    def _publish(self, watch: _Watch, history_id: int, now_s: float) -> None:
        self._last_at_s = now_s
        notification = Notification(now_s, watch.topic, self._address, history_id, str(secrets.randbelow(10**16)))
        for _ in range(2 if self.duplicates() else 1):
            self._published.add(notification)
