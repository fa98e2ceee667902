"""Batches, as the guide describes them and as Google's client sends them."""

import json
from email.parser import BytesParser
from typing import Any

import pytest

from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.simulator.client import Answer, Client


def batch(client: Client, calls: list[tuple[str, str]], path: str = "/batch", extra: str = "") -> Answer:
    """A batch of (Content-ID, request line), with one header line more in each call."""
    parts = [
        f"--sep\r\nContent-Type: application/http\r\nContent-ID: {content_id}\r\n\r\n{line}\r\n{extra}\r\n"
        for content_id, line in calls
    ]
    body = "".join(parts) + "--sep--\r\n"
    return client.request("POST", path, body.encode(), {"Content-Type": 'multipart/mixed; boundary="sep"'})


def parts(answer: Answer) -> list[tuple[str, int, Any]]:
    """(Content-ID, status, JSON) of every part."""
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    found = []
    for part in BytesParser().parsebytes(head + answer.data).get_payload():
        status_line, _, rest = part.get_payload().partition("\n")
        body = rest.replace("\r\n", "\n").partition("\n\n")[2]
        found.append((part["Content-ID"], int(status_line.split()[1]), json.loads(body) if body.strip() else None))
    return found


@pytest.mark.parametrize("path", ["/batch", "/batch/gmail/v1"])
def test_answers_come_in_order_with_the_content_ids_they_were_asked_with(
    box: Mailbox, client: Client, path: str
) -> None:
    message_id = box.add()
    calls = [
        ("<b29c5de2-0db4 + 1>", "GET /gmail/v1/users/me/profile?alt=json HTTP/1.1"),
        ("<b29c5de2-0db4 + 2>", f"GET /gmail/v1/users/me/messages/{message_id}?format=minimal"),
        ("item3", "GET /gmail/v1/users/me/messages/00000000000000ff"),
    ]

    answer = batch(client, calls, path)

    assert answer.status == 200
    assert [part[:2] for part in parts(answer)] == [
        ("<response-b29c5de2-0db4 + 1>", 200),
        ("<response-b29c5de2-0db4 + 2>", 200),
        ("response-item3", 404),
    ]
    assert parts(answer)[1][2]["id"] == message_id


def test_each_call_costs_its_units_and_is_in_the_ledger(gmail: Simulator, box: Mailbox, client: Client) -> None:
    message_id = box.add()
    batch(client, [(f"<{n}>", f"GET /gmail/v1/users/me/messages/{message_id}") for n in range(3)])

    assert gmail.units() == 60
    assert gmail.calls("messages.get") == 3


def test_more_than_a_hundred_calls_are_refused_as_a_whole(gmail: Simulator, client: Client) -> None:
    answer = batch(client, [(f"<{n}>", "GET /gmail/v1/users/me/profile") for n in range(101)])

    assert answer.status == 400
    assert answer.message == "Inner request count exceeds the limit. Received: 101, Limit: 100"
    assert gmail.calls() == 0


def test_calls_of_a_batch_run_at_once_so_too_many_are_429_within_a_200(box: Mailbox, client: Client) -> None:
    answer = batch(client, [(f"<{n}>", "GET /gmail/v1/users/me/profile") for n in range(100)])

    statuses = [status for _, status, _ in parts(answer)]
    assert answer.status == 200
    assert (statuses.count(200), statuses.count(429)) == (48, 52)
    assert parts(answer)[-1][2]["error"]["message"] == "Too many concurrent requests for user."
    assert client.get("profile").status == 200


def test_calls_may_bring_their_own_token_and_write(gmail: Simulator, box: Mailbox, client: Client) -> None:
    bob = gmail.add_account("bob@example.com")
    message_id = box.add()
    other = batch(client, [("<1>", "GET /gmail/v1/users/me/profile")], extra=f"Authorization: Bearer {bob.token}\r\n")
    expired = batch(client, [("<1>", "GET /gmail/v1/users/me/profile")], extra="Authorization: Bearer old\r\n")
    body = json.dumps({"addLabelIds": ["STARRED"]})
    written = batch(
        client,
        [("<1>", f"POST /gmail/v1/users/me/messages/{message_id}/modify")],
        extra=f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}\r\n",
    )
    deleted = batch(client, [("<1>", f"DELETE /gmail/v1/users/me/messages/{message_id}")])

    assert parts(other)[0][2]["emailAddress"] == "bob@example.com"
    assert parts(expired)[0][1] == 401
    assert "STARRED" in parts(written)[0][2]["labelIds"]
    assert parts(deleted)[0][1:] == (204, None)


def test_malformed_batches_are_400(client: Client) -> None:
    plain = client.request("POST", "/batch", b"{}", {"Content-Type": "application/json"})
    empty = client.request("POST", "/batch", b"--s--\r\n", {"Content-Type": "multipart/mixed; boundary=s"})
    unknown = batch(client, [("<1>", "GET /calendar/v3/users/me")])

    assert (plain.status, empty.status) == (400, 400)
    assert unknown.data.count(b"HTTP/1.1 404 Not Found") == 1


def test_parts_can_fail_come_reversed_or_be_missing(gmail: Simulator, box: Mailbox, client: Client) -> None:
    calls = [(f"<{n}>", "GET /gmail/v1/users/me/profile") for n in range(3)]
    gmail.fail_next(status=429, after=1)
    assert [status for _, status, _ in parts(batch(client, calls))] == [200, 429, 200]

    gmail.reversed_batch_parts = True
    assert parts(batch(client, calls))[0][0] == "<response-2>"

    gmail.missing_batch_part = True
    assert [content_id for content_id, _, _ in parts(batch(client, calls))] == ["<response-1>", "<response-0>"]


def test_a_whole_batch_can_fail(gmail: Simulator, client: Client) -> None:
    gmail.fail_next(method="batch", status=503, reason="backendError")

    assert batch(client, [("<1>", "GET /gmail/v1/users/me/profile")]).status == 503
    assert batch(client, [("<1>", "GET /gmail/v1/users/me/profile")]).status == 200
