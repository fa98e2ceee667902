"""Every answer has the fields and types of the discovery document, and every method is where it says."""

import base64
from typing import Any

import pytest

from mail_ingest.simulator import Mailbox
from mail_ingest.simulator.api.methods import METHODS
from mail_ingest_tests.simulator import discovery
from mail_ingest_tests.simulator.client import USERS, Client

RAW = base64.urlsafe_b64encode(b"From: a@example.org\r\nTo: ada@example.com\r\nSubject: hello\r\n\r\nBody\r\n").decode()


def tour(box: Mailbox, client: Client) -> list[tuple[str, Any]]:
    """Calls every method that is served at least once; returns (method, answer), None for an empty answer."""
    seen: list[tuple[str, Any]] = []

    def call(method: str, verb: str, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = client.request(verb, f"{USERS}/{path}", body)
        assert answer.status in (200, 204), (method, answer.data)
        seen.append((method, answer.json if answer.data else None))
        return seen[-1][1]

    box.generate(40, seed=2, mean_size_bytes=60_000)
    start = box.history_id
    call("getProfile", "GET", "profile")
    call("watch", "POST", "watch", {"topicName": "projects/p/topics/t", "labelIds": ["INBOX"]})
    label = call("labels.create", "POST", "labels", {"name": "Work", "color": {"backgroundColor": "#000000",
                                                                              "textColor": "#ffffff"}})["id"]  # fmt: skip
    call("labels.patch", "PATCH", f"labels/{label}", {"name": "Work/Old"})
    call("labels.update", "PUT", f"labels/{label}", {"name": "Work/New", "labelListVisibility": "labelHide"})
    call("labels.list", "GET", "labels")
    call("labels.get", "GET", f"labels/{label}")
    inserted = call("messages.insert", "POST", "messages", {"raw": RAW, "labelIds": ["INBOX", label]})["id"]
    call("messages.import", "POST", "messages/import", {"raw": RAW, "labelIds": ["INBOX", "UNREAD"]})
    sent = call("messages.send", "POST", "messages/send", {"raw": RAW})
    call("messages.modify", "POST", f"messages/{inserted}/modify", {"addLabelIds": ["STARRED"]})
    call("messages.trash", "POST", f"messages/{inserted}/trash")
    call("messages.untrash", "POST", f"messages/{inserted}/untrash")
    call("messages.batchModify", "POST", "messages/batchModify", {"ids": [inserted], "removeLabelIds": ["STARRED"]})
    call("messages.list", "GET", "messages?maxResults=5&includeSpamTrash=true")
    parts: list[tuple[str, str]] = []
    for message_id in box.messages():
        for form in ("minimal", "metadata", "full", "raw"):
            message = call("messages.get", "GET", f"messages/{message_id}?format={form}")
            parts += [(message_id, part["body"]["attachmentId"]) for part in message.get("payload", {}).get("parts", [])
                      if "attachmentId" in part.get("body", {})]  # fmt: skip
    message_id, attachment_id = parts[0]
    call("messages.attachments.get", "GET", f"messages/{message_id}/attachments/{attachment_id}")
    call("threads.list", "GET", "threads?maxResults=3")
    for form in ("minimal", "metadata", "full"):
        call("threads.get", "GET", f"threads/{sent['threadId']}?format={form}")
    call("threads.modify", "POST", f"threads/{sent['threadId']}/modify", {"addLabelIds": ["IMPORTANT"]})
    call("threads.trash", "POST", f"threads/{sent['threadId']}/trash")
    call("threads.untrash", "POST", f"threads/{sent['threadId']}/untrash")
    draft = call("drafts.create", "POST", "drafts", {"message": {"raw": RAW}})["id"]
    call("drafts.update", "PUT", f"drafts/{draft}", {"message": {"raw": RAW}})
    call("drafts.list", "GET", "drafts")
    for form in ("minimal", "metadata", "full", "raw"):
        call("drafts.get", "GET", f"drafts/{draft}?format={form}")
    call("drafts.send", "POST", "drafts/send", {"id": draft})
    doomed = call("drafts.create", "POST", "drafts", {"message": {"raw": RAW}})["id"]
    call("drafts.delete", "DELETE", f"drafts/{doomed}")
    call("messages.delete", "DELETE", f"messages/{inserted}")
    call("messages.batchDelete", "POST", "messages/batchDelete", {"ids": [box.add()]})
    call("threads.delete", "DELETE", f"threads/{sent['threadId']}")
    call("labels.delete", "DELETE", f"labels/{label}")
    call("history.list", "GET", f"history?startHistoryId={start}&maxResults=500")
    call("history.list", "GET", f"history?startHistoryId={box.history_id}")
    call("stop", "POST", "stop")
    return seen


def test_every_answer_of_every_method_fits_the_discovery_document(box: Mailbox, client: Client) -> None:
    answers = tour(box, client)

    assert {method for method, _ in answers} == {method.name for method in METHODS}
    for method, answer in answers:
        declared = discovery.methods()[method].get("response")
        if declared is None:
            assert answer is None, method
        else:
            discovery.check_answer(method, answer)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_paths_parameters_and_scopes_are_those_of_the_discovery_document(method: Any) -> None:
    declared = discovery.methods()[method.name]
    segments = declared["flatPath"].removeprefix("gmail/v1/users/{userId}/").split("/")
    query = {name: spec for name, spec in declared["parameters"].items() if spec["location"] == "query"}
    scopes = {scope for scope in declared["scopes"] if "addons" not in scope}

    assert method.verb == declared["httpMethod"]
    assert method.path == "/".join("*" if segment.startswith("{") else segment for segment in segments)
    assert set(method.declared.by_name) == set(query)
    assert {name for name, spec in query.items() if spec.get("repeated")} == {
        name for name, spec in method.declared.by_name.items() if spec.repeated
    }
    for name, spec in query.items():
        assert set(method.declared.by_name[name].choices) == set(spec.get("enum", ())), name
    assert set(method.scopes) == scopes


def test_only_settings_are_not_served() -> None:
    served = {method.name for method in METHODS}
    missing = {name for name in discovery.methods() if name not in served and not name.startswith("settings.")}

    assert missing == set()
