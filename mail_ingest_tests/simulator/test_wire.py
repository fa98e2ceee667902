"""HTTP details: parameters, masks, compression, overrides and uploads."""

import gzip
import json
from typing import Any

import pytest

from mail_ingest.simulator import Mailbox
from mail_ingest_tests.simulator.client import USERS, Client


def test_unknown_parameters_and_bad_values_are_400(box: Mailbox, client: Client) -> None:
    texts = {
        "messages?foo=1": "Invalid JSON payload received. Unknown name \"foo\": Cannot bind query parameter. Field 'foo' could "
        "not be found in request message.",
        "messages?maxResults=-1": "Invalid value at 'max_results' (TYPE_UINT32), \"-1\"",
        "messages?includeSpamTrash=maybe": "Invalid value at 'include_spam_trash' (TYPE_BOOL), \"maybe\"",
        "history?startHistoryId=abc": "Invalid value at 'start_history_id' (TYPE_UINT64), \"abc\"",
    }
    for path, text in texts.items():
        answer = client.request("GET", f"{USERS}/{path}")
        assert (answer.status, answer.message, answer.json["error"]["status"]) == (400, text, "INVALID_ARGUMENT")


@pytest.mark.parametrize("query", ["alt=json", "prettyPrint=false", "key=abc", "quotaUser=x", "$.xgafv=2"])
def test_standard_parameters_are_accepted_everywhere(client: Client, query: str) -> None:
    assert client.request("GET", f"{USERS}/profile?{query}").status == 200


def test_unknown_paths_are_a_404_page(client: Client) -> None:
    for path in ("/gmail/v1/users/me/nothing", "/drive/v3/files", "/gmail/v1/users/me/messages/a/b/c/d/e"):
        answer = client.request("GET", path)
        assert (answer.status, answer.headers["content-type"]) == (404, "text/html; charset=UTF-8")


def test_answers_are_indented_unless_told_otherwise(client: Client) -> None:
    pretty = client.get("profile")
    plain = client.get("profile", prettyPrint="false")

    assert pretty.headers["content-type"] == "application/json; charset=UTF-8"
    assert pretty.data.startswith(b'{\n  "emailAddress": "ada@example.com",\n')
    assert plain.data.startswith(b'{"emailAddress":"ada@example.com",')


@pytest.mark.parametrize(
    ("fields", "keys"),
    [
        ("id,threadId", {"id": None, "threadId": None}),
        ("payload/mimeType", {"payload": {"mimeType": None}}),
        ("payload(mimeType,headers/name)", {"payload": {"mimeType": None, "headers": [{"name": None}]}}),
        ("*", None),
        ("raw", {}),
    ],
)
def test_masks_select_fields(box: Mailbox, client: Client, fields: str, keys: Any) -> None:
    message_id = box.add()
    whole = client.get(f"messages/{message_id}", format="metadata").json

    answer = client.get(f"messages/{message_id}", format="metadata", fields=fields).json

    def cut(value: Any, mask: Any) -> Any:
        if isinstance(mask, list):
            return [cut(item, mask[0]) for item in value]
        return value if mask is None else {key: cut(value[key], below) for key, below in mask.items()}

    assert answer == cut(whole, keys)


def test_masks_reach_into_lists(box: Mailbox, client: Client) -> None:
    ids = [box.add() for _ in range(3)]

    assert client.get("messages", fields="messages/id").json == {"messages": [{"id": i} for i in reversed(ids)]}
    assert set(client.get("messages", fields="nextPageToken,messages(id)", maxResults=1).json) == {
        "messages",
        "nextPageToken",
    }
    assert client.get("threads", fields="threads(id,historyId)").json["threads"][0].keys() == {"id", "historyId"}


@pytest.mark.parametrize("fields", ["nothing", "messages/nothing", "messages(id", "id(", ",", "messages/id/x"])
def test_masks_that_fit_nothing_are_400(client: Client, fields: str) -> None:
    answer = client.get("messages", fields=fields)

    assert answer.status == 400
    assert answer.message.startswith("Invalid field selection")


def test_gzip_needs_the_header_and_a_user_agent_that_says_so(box: Mailbox, client: Client) -> None:
    message_id = box.add(body="word " * 5_000)
    path = f"{USERS}/messages/{message_id}?format=raw"

    plain = client.request("GET", path, headers={"Accept-Encoding": "gzip", "User-Agent": "loader/1.0"})
    packed = client.request(
        "GET", path, headers={"Accept-Encoding": "gzip, deflate", "User-Agent": "loader/1.0 (gzip)"}
    )

    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.data) == plain.data
    assert len(packed.data) < len(plain.data) / 3


def test_a_long_get_may_come_as_a_post(box: Mailbox, client: Client) -> None:
    message_id = box.add(subject="needle")
    form = "q=subject%3Aneedle&maxResults=5&alt=json"

    answer = client.request(
        "POST",
        f"{USERS}/messages",
        form.encode(),
        {"x-http-method-override": "GET", "Content-Type": "application/x-www-form-urlencoded"},
    )

    assert answer.json["messages"][0]["id"] == message_id


def test_a_body_that_is_not_json_is_400(box: Mailbox, client: Client) -> None:
    message_id = box.add()

    for body in (b"{", b"[]", b"addLabelIds=STARRED"):
        assert client.request("POST", f"{USERS}/messages/{message_id}/modify", body).status == 400


MAIL = b"From: a@example.org\r\nTo: ada@example.com\r\nSubject: uploaded\r\n\r\nBody \xff\r\n"


def test_a_message_can_be_uploaded_as_it_is(box: Mailbox, client: Client) -> None:
    answer = client.request(
        "POST", f"/upload{USERS}/messages?uploadType=media", MAIL, {"Content-Type": "message/rfc822"}
    )

    assert box.raw(answer.json["id"]) == MAIL


def test_a_message_can_be_uploaded_with_its_labels(box: Mailbox, client: Client) -> None:
    body = (
        b'--sep\r\nContent-Type: application/json\r\n\r\n{"labelIds": ["STARRED"]}\r\n'
        b"--sep\r\nContent-Type: message/rfc822\r\n\r\n" + MAIL + b"\r\n--sep--"
    )

    answer = client.request(
        "POST",
        f"/upload{USERS}/messages/import?uploadType=multipart",
        body,
        {"Content-Type": "multipart/related; boundary=sep"},
    )

    assert answer.json["labelIds"] == ["STARRED"]
    assert box.raw(answer.json["id"]) == MAIL


def test_a_message_can_be_uploaded_in_pieces(box: Mailbox, client: Client) -> None:
    started = client.request(
        "POST", f"/upload{USERS}/messages?uploadType=resumable", json.dumps({"labelIds": ["INBOX"]}).encode()
    )
    place = started.headers["location"].partition("//")[2].partition("/")[2]
    first = client.request("PUT", f"/{place}", MAIL[:20], {"Content-Range": f"bytes 0-19/{len(MAIL)}"})
    asked = client.request("PUT", f"/{place}", b"", {"Content-Range": f"bytes */{len(MAIL)}"})
    last = client.request("PUT", f"/{place}", MAIL[20:], {"Content-Range": f"bytes 20-{len(MAIL) - 1}/{len(MAIL)}"})

    assert (started.status, first.status, first.headers["range"]) == (200, 308, "bytes=0-19")
    assert asked.status == 308
    assert last.json["labelIds"] == ["INBOX"]
    assert box.raw(last.json["id"]) == MAIL
    assert client.request("PUT", f"/{place}", b"x").status == 404


def test_uploads_of_an_unknown_kind_are_400(client: Client) -> None:
    assert client.request("POST", f"/upload{USERS}/messages?uploadType=carrier", MAIL).status == 400
