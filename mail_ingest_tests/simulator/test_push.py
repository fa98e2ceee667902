"""Watches and what they publish."""

import base64
import json
from collections.abc import Iterator

import pytest

from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.simulator.client import Client

TOPIC = {"topicName": "projects/p/topics/mail"}


class World:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self.gmail = Simulator(quota="off", clock=lambda: self.now).start()
        self.box: Mailbox = self.gmail.add_account("ada@example.com")
        self.client = Client(self.gmail.url, self.box.token)


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.client.close()
    made.gmail.stop()


def test_a_watch_lives_seven_days_and_publishes_at_once(world: World) -> None:
    answer = world.client.post("watch", TOPIC).json

    assert answer == {"historyId": str(world.box.history_id), "expiration": "1700604800000"}
    (note,) = world.gmail.notifications
    message = note.envelope()["message"]
    assert json.loads(base64.urlsafe_b64decode(message["data"])) == {
        "emailAddress": "ada@example.com",
        "historyId": world.box.history_id,
    }
    assert message["publishTime"] == "2023-11-14T22:13:20Z"
    assert note.topic == "projects/p/topics/mail"


def test_changes_are_published_at_most_once_a_second(world: World) -> None:
    world.client.post("watch", TOPIC)
    world.box.add()
    world.now += 1
    world.box.add()
    world.box.add()

    assert len(world.gmail.notifications) == 2
    assert world.gmail.notifications[1].history_id < world.box.history_id


def test_a_watch_can_be_limited_to_labels_or_to_all_others(world: World) -> None:
    for behaviour, expected in (("include", 1), ("exclude", 1)):
        world.client.post("watch", {**TOPIC, "labelIds": ["SPAM"], "labelFilterBehavior": behaviour})
        before = len(world.gmail.notifications)
        for labels in (("SPAM",), ("INBOX",)):
            world.now += 2
            world.box.add(labels=labels)

        assert len(world.gmail.notifications) - before == expected


def test_a_second_topic_is_refused_until_stop(world: World) -> None:
    world.client.post("watch", TOPIC)

    refused = world.client.post("watch", {"topicName": "projects/p/topics/other"})
    renewed = world.client.post("watch", TOPIC)
    stopped = world.client.post("stop")
    moved = world.client.post("watch", {"topicName": "projects/p/topics/other"})

    assert refused.status == 400
    assert refused.message == (
        "Only one user push notification client allowed per developer (call /stop then try again)"
    )
    assert (renewed.status, stopped.status, moved.status) == (200, 204, 200)


def test_an_expired_or_stopped_watch_is_silent(world: World) -> None:
    world.client.post("watch", TOPIC)
    world.now += 8 * 86_400
    world.box.add()
    world.client.post("watch", TOPIC)
    world.client.post("stop")
    world.now += 5
    world.box.add()

    assert len(world.gmail.notifications) == 2


def test_notifications_can_come_twice(world: World) -> None:
    world.gmail.duplicate_notifications = True
    world.client.post("watch", TOPIC)

    first, second = world.gmail.notifications
    assert first.message_id == second.message_id


@pytest.mark.parametrize(
    "body", [{}, {"topicName": "mail"}, {**TOPIC, "labelIds": ["Nope"]}, {**TOPIC, "labelFilterBehavior": "maybe"}]
)
def test_watches_that_cannot_be_are_400(world: World, body: dict[str, object]) -> None:
    assert world.client.post("watch", body).status == 400
    assert world.gmail.notifications == []
