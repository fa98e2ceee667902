"""Pub/Sub, as far as notifications of Gmail need it: topics, subscriptions, pull and acknowledge, over gRPC.

The real client library talks to it as it does to Google's own emulator: by PUBSUB_EMULATOR_HOST. Like Pub/Sub it delivers at
least once and in no order; unlike Google's emulator it can be told to drop, repeat, hold back and reorder.

It needs the package google-cloud-pubsub, whose messages it speaks (`pip install 'mail-ingest[push]'`).
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf.empty_pb2 import Empty  # type: ignore[attr-defined]  # made when it is imported
from google.pubsub_v1 import types

from mail_ingest.simulator.push import Notification

_NOTHING = Empty()
_MOST_AT_ONCE = 1_000
_LONGEST_WAIT_S = 30.0
_MARGIN_S = 0.2


@dataclass(slots=True)
class _Delivery:
    message: types.PubsubMessage
    ack_id: str = ""
    """Of the delivery that is under way; each has its own, as in Pub/Sub."""
    due_at: float = 0.0
    """When it may be delivered (again): its lease ends then."""
    attempts: int = 0


@dataclass(slots=True)
class _Subscription:
    topic: str
    ack_deadline_s: float
    waiting: dict[str, _Delivery] = field(default_factory=dict)
    """By a number that stands for one copy of one message."""


class PubSub:
    """A server of its own on a free port; `host` is what PUBSUB_EMULATOR_HOST takes.

    `drop_next` and `repeat_next` count published messages; `hold` keeps them back until `release`, which may turn their order
    round. `ack_deadline_s`: after so long what was not acknowledged comes again.
    """

    def __init__(self, *, ack_deadline_s: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.drop_next = 0
        self.repeat_next = 0
        self.acknowledged = 0
        """Copies of messages that were acknowledged."""
        self._ack_deadline_s = ack_deadline_s
        self._clock = clock
        self._topics: set[str] = set()
        self._subscriptions: dict[str, _Subscription] = {}
        self._held: list[tuple[str, types.PubsubMessage]] | None = None
        self._numbers = itertools.count(1)
        self._changed = threading.Condition()
        self._server = grpc.server(ThreadPoolExecutor(8, thread_name_prefix="pubsub"))
        self._server.add_generic_rpc_handlers((_Handler(self),))
        self.host = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop(grace=None).wait()

    def create(self, topic: str, subscription: str) -> None:
        """A topic and a subscription of it, as an operator makes them once."""
        with self._changed:
            self._topics.add(topic)
            self._subscriptions[subscription] = _Subscription(topic, self._ack_deadline_s)

    def waiting(self, subscription: str) -> int:
        """Copies of messages that are not acknowledged yet."""
        with self._changed:
            return len(self._subscriptions[subscription].waiting)

    def expire_leases(self) -> None:
        """Lets everything that was delivered and not acknowledged be delivered again now."""
        with self._changed:
            for subscription in self._subscriptions.values():
                for delivery in subscription.waiting.values():
                    delivery.due_at = 0.0
            self._changed.notify_all()

    def hold(self) -> None:
        """Keeps back what is published from now on."""
        self._held = []

    def release(self, *, in_reverse: bool = False) -> None:
        """Delivers what was held back."""
        with self._changed:
            held, self._held = self._held or [], None
            for topic, message in reversed(held) if in_reverse else held:
                self._deliver(topic, message)

    # -- the calls -----------------------------------------------------------------------------------------------

    def create_topic(self, request: types.Topic, context: Any) -> types.Topic:
        with self._changed:
            if request.name in self._topics:
                context.abort(grpc.StatusCode.ALREADY_EXISTS, "Topic already exists")
            self._topics.add(request.name)
        return request

    def create_subscription(self, request: types.Subscription, context: Any) -> types.Subscription:
        with self._changed:
            if request.topic not in self._topics:
                context.abort(grpc.StatusCode.NOT_FOUND, "Subscription topic does not exist")
            deadline_s = float(request.ack_deadline_seconds or self._ack_deadline_s)
            self._subscriptions[request.name] = _Subscription(request.topic, deadline_s)
        return request

    def publish(self, request: types.PublishRequest, context: Any) -> types.PublishResponse:
        ids = []
        with self._changed:
            if request.topic not in self._topics:
                context.abort(grpc.StatusCode.NOT_FOUND, "Topic not found")
            for message in request.messages:
                message.message_id = str(next(self._numbers))
                message.publish_time = datetime.now(UTC)
                ids.append(message.message_id)
                if self._held is not None:
                    self._held.append((request.topic, message))
                else:
                    self._deliver(request.topic, message)
        return types.PublishResponse(message_ids=ids)

    def pull(self, request: types.PullRequest, context: Any) -> types.PullResponse:
        """Waits for a message as long as the caller does, as Pub/Sub does, unless it is asked not to."""
        left_s = context.time_remaining()
        wait_s = 0.0 if request.return_immediately else _LONGEST_WAIT_S if left_s is None else left_s
        # answered before the caller gives up: what is leased to nobody comes again much later
        until = self._clock() + min(max(wait_s - _MARGIN_S, 0.0), _LONGEST_WAIT_S)
        with self._changed:
            subscription = self._known(request.subscription, context)
            while context.is_active():
                received = list(self._leased(subscription, min(request.max_messages, _MOST_AT_ONCE)))
                if received or self._clock() >= until:
                    return types.PullResponse(received_messages=received)
                self._changed.wait(min(until - self._clock(), 0.1))
        return types.PullResponse()

    def acknowledge(self, request: types.AcknowledgeRequest, context: Any) -> Any:
        """What is not known any more is passed over, as in Pub/Sub."""
        with self._changed:
            subscription = self._known(request.subscription, context)
            for ack_id in request.ack_ids:
                number = ack_id.partition(":")[0]
                known = subscription.waiting.get(number)
                if known is not None and known.ack_id == ack_id and known.due_at > self._clock():
                    del subscription.waiting[number]
                    self.acknowledged += 1
        return _NOTHING

    def _known(self, name: str, context: Any) -> _Subscription:
        if name not in self._subscriptions:
            context.abort(grpc.StatusCode.NOT_FOUND, "Resource not found (resource=subscription).")
        return self._subscriptions[name]

    def _deliver(self, topic: str, message: types.PubsubMessage) -> None:
        if self.drop_next > 0:
            self.drop_next -= 1
            return
        copies = 1
        if self.repeat_next > 0:
            self.repeat_next -= 1
            copies = 2
        for subscription in self._subscriptions.values():
            if subscription.topic == topic:
                for _ in range(copies):
                    subscription.waiting[str(next(self._numbers))] = _Delivery(message)
        self._changed.notify_all()

    def _leased(self, subscription: _Subscription, most: int) -> Iterator[types.ReceivedMessage]:
        now = self._clock()
        due = [(number, delivery) for number, delivery in subscription.waiting.items() if delivery.due_at <= now]
        for number, delivery in due[:most]:
            delivery.attempts += 1
            delivery.ack_id = f"{number}:{delivery.attempts}"
            delivery.due_at = now + subscription.ack_deadline_s
            yield types.ReceivedMessage(ack_id=delivery.ack_id, message=delivery.message)


class Publisher:
    """Publishes what Gmail would, with the real client library, to an emulator: ours or Google's."""

    def __init__(self, host: str) -> None:
        from google.pubsub_v1 import PublisherClient
        from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport

        self.client = PublisherClient(transport=PublisherGrpcTransport(channel=grpc.insecure_channel(host)))

    def __call__(self, notification: Notification) -> None:
        self.client.publish(
            topic=notification.topic, messages=[types.PubsubMessage(data=notification.data())], retry=None
        )


class _Handler(grpc.GenericRpcHandler):  # type: ignore[misc]  # its package has no types
    """Which calls there are, with the messages of the client library."""

    def __init__(self, server: PubSub) -> None:
        def unary(call: Callable[..., Any], request: Any, answer: Any) -> Any:
            to_bytes = type(_NOTHING).SerializeToString if answer is _NOTHING else answer.serialize
            return grpc.unary_unary_rpc_method_handler(call, request.deserialize, to_bytes)

        name = "/google.pubsub.v1."
        self._methods = {
            f"{name}Publisher/CreateTopic": unary(server.create_topic, types.Topic, types.Topic),
            f"{name}Publisher/Publish": unary(server.publish, types.PublishRequest, types.PublishResponse),
            f"{name}Subscriber/CreateSubscription": unary(
                server.create_subscription, types.Subscription, types.Subscription
            ),
            f"{name}Subscriber/Pull": unary(server.pull, types.PullRequest, types.PullResponse),
            f"{name}Subscriber/Acknowledge": unary(server.acknowledge, types.AcknowledgeRequest, _NOTHING),
        }

    def service(self, handler_call_details: Any) -> Any:
        return self._methods.get(handler_call_details.method)
