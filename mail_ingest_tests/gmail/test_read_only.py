"""Nothing but reads leaves the client, and only for the server it was given."""

import ast
import inspect
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest

from mail_ingest.errors import ConfigError
from mail_ingest.gmail import GmailClient, Transport
from mail_ingest.gmail import client as client_module
from mail_ingest.gmail.exchange import Exchange
from mail_ingest.gmail.models import Watch
from mail_ingest.gmail.quota import COSTS_2026, PUSH_COSTS
from mail_ingest.gmail.service import service
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.gmail.contacts import Contacts
from mail_ingest_tests.gmail.stage import Answer, Clock, Seen, Tokens, Wire, in_turn, json_answer, make_client


def use_everything(client: GmailClient, box: Mailbox) -> None:
    start = client.get_profile().history_id
    ids = [box.add() for _ in range(5)]
    client.list_labels()
    client.get_label("INBOX")
    list(client.iter_message_ids(label_id="INBOX"))
    list(client.iter_message_ids(query="after:2004/01/01"))
    client.get_message_state(ids[0])
    client.get_raw_message(ids[0])
    list(client.get_raw_messages(ids))
    list(client.iter_history(start))


def test_no_host_but_the_configured_one_is_resolved_or_contacted(
    gmail: Simulator, box: Mailbox, clock: Clock, contacts: Contacts
) -> None:
    """Also not while the Google library is imported and its resources are built."""
    service.cache_clear()
    port = urlsplit(gmail.url).port

    use_everything(make_client(gmail.url, Tokens(box.token), clock), box)

    assert contacts == {("connect", ("127.0.0.1", port)), ("resolve", "127.0.0.1")}


def test_everything_the_client_does_is_a_get(box: Mailbox, gmail: Simulator, clock: Clock) -> None:
    """Seen from a server in between, which passes on what it is sent."""
    inner = Transport()

    def script(seen: Seen) -> Answer:
        response, body = inner.request(gmail.url + seen.path, headers={"authorization": seen.headers["authorization"]})
        return Answer(response.status, body)

    with Wire(script) as wire:
        use_everything(make_client(wire.url, Tokens(box.token), clock), box)
        inner.close()

    assert {seen.method for seen in wire.seen} == {"GET"}
    assert {seen.body for seen in wire.seen} == {b""}
    assert {urlsplit(seen.path).path.split("/")[5] for seen in wire.seen} == {
        "profile",
        "labels",
        "messages",
        "history",
    }


def test_setting_up_notifications_posts_the_topic_and_stopping_posts_nothing(clock: Clock) -> None:
    with Wire(in_turn(json_answer({"historyId": "7", "expiration": "1790600000000"}), Answer(204))) as wire:
        client = make_client(wire.url, Tokens("t"), clock)
        watch = client.watch("projects/p/topics/t")
        client.stop_watch()

    assert watch == Watch(7, datetime(2026, 9, 28, 12, 53, 20, tzinfo=UTC))
    assert [(seen.method, urlsplit(seen.path).path, seen.body) for seen in wire.seen] == [
        ("POST", "/gmail/v1/users/me/watch", b'{"topicName":"projects/p/topics/t"}'),
        ("POST", "/gmail/v1/users/me/stop", b""),
    ]
    assert wire.seen[0].headers["content-type"] == "application/json"


def test_query_too_long_for_an_address_is_sent_as_a_get_in_the_body_of_a_post(clock: Clock) -> None:
    query = " ".join(f"-label:{number:04}" for number in range(400))

    with Wire(in_turn(json_answer({}))) as wire:
        make_client(wire.url, Tokens("t"), clock).list_messages(query=query)

    (seen,) = wire.seen
    assert seen.method == "POST"
    assert seen.headers["x-http-method-override"] == "GET"
    assert b"label%3A0399" in seen.body


@pytest.mark.parametrize(
    ("method", "uri"),
    [
        ("DELETE", "http://127.0.0.1:9/gmail/v1/users/me/messages/m1"),
        ("POST", "http://127.0.0.1:9/gmail/v1/users/me/messages/send"),
        ("PUT", "http://127.0.0.1:9/gmail/v1/users/me/labels/l1"),
        ("POST", "http://127.0.0.1:9/batch"),
        ("POST", "http://127.0.0.1:9/gmail/v1/users/me/watch/all"),
        ("POST", "http://127.0.0.1:9/gmail/v1/users/me/drafts/stop"),
        ("PUT", "http://127.0.0.1:9/gmail/v1/users/me/watch"),
        ("POST", "http://127.0.0.1:90/gmail/v1/users/me/stop"),
        ("GET", "http://127.0.0.1:9/batch"),
        ("GET", "http://127.0.0.1:9/gmail/v1/users/bob@example.com/profile"),
        ("GET", "http://127.0.0.1:90/gmail/v1/users/me/profile"),
        ("GET", "http://127.0.0.1:9@other.example/gmail/v1/users/me/profile"),
        ("GET", "https://gmail.googleapis.com/gmail/v1/users/me/profile"),
    ],
)
def test_anything_else_is_refused_before_it_leaves(method: str, uri: str, contacts: Contacts) -> None:
    exchange = Exchange(Transport(), "http://127.0.0.1:9", "secret-token", Clock())

    with pytest.raises(ConfigError, match="refused to send") as caught:
        exchange.request(uri, method, None, {})

    assert contacts == set()
    assert "secret-token" not in str(caught.value)


def test_every_method_the_client_calls_is_priced() -> None:
    calls = [
        node.args[0].value
        for node in ast.walk(ast.parse(inspect.getsource(client_module)))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Call"
        and isinstance(node.args[0], ast.Constant)
    ]

    assert set(calls) == {*COSTS_2026, *PUSH_COSTS}
