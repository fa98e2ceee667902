"""Google's own Python client against the simulator, unchanged."""

import base64
import copy
import io
from collections.abc import Iterator
from typing import Any

import google.oauth2.credentials
import pytest
from googleapiclient.discovery import build, build_from_document
from googleapiclient.errors import HttpError
from googleapiclient.http import BatchHttpRequest, MediaIoBaseUpload

from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.simulator import discovery


@pytest.fixture
def service(gmail: Simulator, box: Mailbox) -> Iterator[Any]:
    info = box.authorized_user(["https://mail.google.com/"])
    credentials = google.oauth2.credentials.Credentials(
        None,
        refresh_token=info["refresh_token"],
        client_id=info["client_id"],
        client_secret=info["client_secret"],
        token_uri=info["token_uri"],
    )
    with build("gmail", "v1", credentials=credentials, client_options={"api_endpoint": gmail.url}) as made:
        yield made


def test_listing_and_reading_a_mailbox(box: Mailbox, service: Any) -> None:
    box.generate(230)
    messages = service.users().messages()
    request = messages.list(userId="me", includeSpamTrash=True, maxResults=100)
    ids = []
    while request is not None:
        answer = request.execute()
        ids += [item["id"] for item in answer["messages"]]
        request = messages.list_next(request, answer)

    assert sorted(ids) == sorted(box.messages())
    for message_id in ids[:20]:
        raw = messages.get(userId="me", id=message_id, format="raw").execute()["raw"]
        assert base64.urlsafe_b64decode(raw) == box.raw(message_id)


def test_history_labels_and_changes(box: Mailbox, service: Any) -> None:
    users = service.users()
    message_id = box.add()
    start = users.getProfile(userId="me").execute()["historyId"]
    label = users.labels().create(userId="me", body={"name": "Work"}).execute()
    users.messages().modify(userId="me", id=message_id, body={"addLabelIds": [label["id"]]}).execute()
    users.messages().batchModify(userId="me", body={"ids": [message_id], "removeLabelIds": ["UNREAD"]}).execute()
    users.messages().trash(userId="me", id=message_id).execute()

    history = users.history().list(userId="me", startHistoryId=start, historyTypes=["labelAdded"]).execute()

    assert [record["labelsAdded"][0]["labelIds"] for record in history["history"]] == [[label["id"]], ["TRASH"]]
    assert users.labels().get(userId="me", id=label["id"]).execute()["messagesTotal"] == 1


def test_an_expired_token_is_refreshed_without_a_word(gmail: Simulator, box: Mailbox, service: Any) -> None:
    service.users().getProfile(userId="me").execute()
    box.expire_token()

    assert service.users().getProfile(userId="me").execute()["emailAddress"] == "ada@example.com"
    assert [request.status for request in gmail.requests] == [200, 401, 200]


def test_refusals_are_retried_where_the_library_can_tell(gmail: Simulator, service: Any) -> None:
    request = service.users().getProfile(userId="me")
    request._sleep = lambda seconds: None
    gmail.fail_next(status=403, window_start=True)
    gmail.fail_next(status=429)
    gmail.fail_next(status=503, reason="backendError")

    assert request.execute(num_retries=3)["emailAddress"] == "ada@example.com"
    gmail.fail_next(status=403, reason="domainPolicy")
    with pytest.raises(HttpError, match="disabled Gmail apps"):
        request.execute(num_retries=3)


def test_a_query_longer_than_a_url_may_be_still_works(box: Mailbox, service: Any) -> None:
    message_id = box.add(subject="needle")
    q = "subject:needle " + " ".join(f"-word{n}" for n in range(400))

    assert service.users().messages().list(userId="me", q=q).execute()["messages"][0]["id"] == message_id


def test_batches_once_they_are_told_where_the_server_is(gmail: Simulator, box: Mailbox, service: Any) -> None:
    ids = [box.add(subject=f"number {n}") for n in range(10)]
    seen: dict[str, Any] = {}

    def callback(request_id: str, response: Any, exception: Exception | None) -> None:
        seen[request_id] = exception or response["snippet"]

    batch = BatchHttpRequest(callback=callback, batch_uri=f"{gmail.url}/batch")
    for message_id in [*ids, "00000000000000ff"]:
        batch.add(service.users().messages().get(userId="me", id=message_id, format="metadata"), request_id=message_id)
    gmail.fail_next(status=429, message_id=ids[3])
    batch.execute()

    assert {message_id for message_id in ids if seen[message_id] == "Hello"} == set(ids) - {ids[3]}
    assert seen[ids[3]].status_code == 429
    assert seen["00000000000000ff"].status_code == 404


@pytest.fixture
def moved(gmail: Simulator, box: Mailbox) -> Iterator[Any]:
    """The client built from a document whose root is the simulator: then uploads and batches go there too."""
    document = {**copy.deepcopy(discovery.document()), "rootUrl": f"{gmail.url}/", "mtlsRootUrl": f"{gmail.url}/"}
    credentials = google.oauth2.credentials.Credentials(box.token)
    with build_from_document(document, credentials=credentials) as made:
        yield made


@pytest.mark.parametrize("resumable", [False, True])
def test_uploads(box: Mailbox, moved: Any, resumable: bool) -> None:
    raw = b"From: a@example.org\r\nSubject: up\r\n\r\n" + b"line\r\n" * 60_000
    media = MediaIoBaseUpload(io.BytesIO(raw), "message/rfc822", chunksize=256 * 1024, resumable=resumable)

    done = moved.users().messages().insert(userId="me", body={"labelIds": ["STARRED"]}, media_body=media).execute()

    assert box.raw(done["id"]) == raw
    assert box.message(done["id"]).label_ids == {"STARRED"}


def test_the_services_own_batches_reach_a_moved_root(box: Mailbox, moved: Any) -> None:
    seen: list[Any] = []
    batch = moved.new_batch_http_request(callback=lambda _, response, __: seen.append(response["emailAddress"]))
    batch.add(moved.users().getProfile(userId="me"))
    batch.execute()

    assert seen == ["ada@example.com"]


def test_fields_and_attachments(box: Mailbox, service: Any) -> None:
    message_id = box.add(attachments=[("a.bin", "application/octet-stream", b"\x00" * 5_000)])
    messages = service.users().messages()

    part = messages.get(userId="me", id=message_id, fields="payload/parts(filename,body)").execute()["payload"][
        "parts"
    ][1]
    got = messages.attachments().get(userId="me", messageId=message_id, id=part["body"]["attachmentId"]).execute()

    assert (part["filename"], part["body"]["size"]) == ("a.bin", 5_000)
    assert base64.urlsafe_b64decode(got["data"]) == b"\x00" * 5_000
