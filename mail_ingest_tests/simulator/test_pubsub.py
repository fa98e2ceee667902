"""The server that speaks Pub/Sub's protocol, with the real client: beside Google's own emulator where there is one."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from mail_ingest.accounts.subscription import Received, Subscription
from mail_ingest.errors import ConfigError, ServerError
from mail_ingest.simulator.pubsub import PubSub
from mail_ingest_tests.pubsub import HAS_GOOGLES, SUBSCRIPTION, TOPIC, create, googles_emulator, publish


@pytest.fixture(scope="module", params=["ours", *(["googles"] if HAS_GOOGLES else [])])
def host(request: pytest.FixtureRequest) -> Iterator[str]:
    """An emulator with a topic and a subscription."""
    if request.param == "googles":
        with googles_emulator() as address:
            create(address)
            yield address
        return
    with PubSub() as server:
        create(server.host)
        yield server.host


@pytest.fixture
def pubsub(monkeypatch: pytest.MonkeyPatch) -> Iterator[PubSub]:
    """Ours, which can be disturbed."""
    with PubSub() as server:
        server.create(TOPIC, SUBSCRIPTION)
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.host)
        yield server


@pytest.fixture
def subscription() -> Iterator[Subscription]:
    made = Subscription(SUBSCRIPTION)
    yield made
    made.close()


def test_what_is_published_comes_until_it_is_acknowledged(
    host: str, subscription: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", host)
    publish(host, b"one", b"two")

    received: list[Received] = []
    while len(received) < 2:
        received += subscription.pull()
    subscription.acknowledge(received)

    assert sorted(message.data for message in received) == [b"one", b"two"]
    began_at = time.monotonic()
    assert subscription.pull() == []
    assert time.monotonic() - began_at < 5, "a pull of nothing ends soon"


def test_a_subscription_that_is_not_there_is_a_setting_to_mend(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", host)

    with pytest.raises(ConfigError, match="there is no such subscription"):
        Subscription("projects/p/subscriptions/other").pull()


def test_what_was_not_acknowledged_in_time_comes_again(pubsub: PubSub, subscription: Subscription) -> None:
    publish(pubsub.host, b"one")
    first = subscription.pull()
    pubsub.expire_leases()

    second = subscription.pull()
    subscription.acknowledge(first)
    assert pubsub.waiting(SUBSCRIPTION) == 1, "an acknowledgement that came too late counted"
    subscription.acknowledge(second)

    assert [message.data for message in (*first, *second)] == [b"one", b"one"]
    assert pubsub.waiting(SUBSCRIPTION) == 0


def test_messages_are_dropped_repeated_held_back_and_reordered(pubsub: PubSub, subscription: Subscription) -> None:
    pubsub.drop_next = pubsub.repeat_next = 1
    publish(pubsub.host, b"dropped", b"repeated")
    assert [message.data for message in subscription.pull()] == [b"repeated", b"repeated"]

    pubsub.hold()
    publish(pubsub.host, b"one", b"two")
    assert subscription.pull() == []
    pubsub.release(in_reverse=True)
    assert [message.data for message in subscription.pull()] == [b"two", b"one"]


def test_a_server_that_goes_away_is_asked_again_over_a_new_connection(
    pubsub: PubSub, subscription: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(pubsub.host, b"before")
    assert len(subscription.pull()) == 1
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:1")
    subscription.close()

    with pytest.raises(ServerError, match="could not be pulled: ServiceUnavailable; tried again in a moment"):
        subscription.pull()
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub.host)
    publish(pubsub.host, b"one")

    assert [message.data for message in subscription.pull()] == [b"one"]


def test_messages_stay_out_of_what_is_shown() -> None:
    assert "secret" not in repr(Received("secret", b"secret"))
