"""What the simulator answers, beside what the real API was recorded to answer."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest.simulator.api.methods import METHODS
from mail_ingest_tests.simulator.client import Client
from mail_ingest_tests.simulator.recordings import Recording, rebuilt, recorded_messages, recordings, shape
from mail_ingest_tests.simulator.shared_data import shared_data
from mail_ingest_tests.simulator.test_discovery import tour

Connect = Callable[[str | None], Client]

# What no recording shows, so that it rests on documentation and reports alone.
UNRECORDED_METHODS = {
    "watch", "stop", "labels.create", "labels.update", "labels.patch", "labels.delete", "messages.insert",
    "messages.import", "messages.send", "messages.modify", "messages.trash", "messages.untrash", "messages.delete",
    "messages.batchModify", "messages.batchDelete", "threads.modify", "threads.trash", "threads.untrash",
    "threads.delete", "drafts.create", "drafts.update", "drafts.delete", "drafts.send",
}  # fmt: skip
UNRECORDED_FORMATS = {
    "messages.get raw", "threads.get full", "drafts.get minimal", "drafts.get metadata", "drafts.get raw",
}  # fmt: skip
UNRECORDED_FIELDS = {
    "history.list .history[].messagesDeleted[]",
    "history.list .history[].messagesDeleted[].message",
    "labels.list .labels[].color",
    "labels.get .color",
    "labels.get .labelListVisibility",
    "labels.get .messageListVisibility",
}


def test_full_payloads_are_rebuilt_exactly(box: Mailbox, client: Client) -> None:
    """Each recorded payload is turned back into a message; the simulator's payload of it must be the recorded one."""
    count = 0
    for form, message in recorded_messages():
        if form != "full":
            continue
        message_id = box.add(raw=rebuilt(message["payload"]), labels=message.get("labelIds", ()))

        answer = client.get(f"messages/{message_id}").json

        assert _without_attachment_ids(answer["payload"]) == _without_attachment_ids(message["payload"])
        assert list(answer) == list(message)
        assert sorted(answer["labelIds"]) == sorted(message["labelIds"])
        count += 1
    assert count == 18


def test_metadata_payloads_are_rebuilt_exactly(box: Mailbox, client: Client) -> None:
    count = 0
    for form, message in recorded_messages():
        if form != "metadata":
            continue
        message_id = box.add(raw=rebuilt({**message["payload"], "body": {"size": 0, "data": ""}}))

        answer = client.get(f"messages/{message_id}", format="metadata").json

        assert answer["payload"] == message["payload"]
        assert list(answer) == list(message)
        count += 1
    assert count > 30


def test_snippets_of_recorded_messages_are_alike(box: Mailbox, client: Client) -> None:
    """Word for word, as far as both go; the exact cut is Gmail's own."""
    for form, message in recorded_messages():
        if form == "full" and message["snippet"]:
            message_id = box.add(raw=rebuilt(message["payload"]))

            answer = client.get(f"messages/{message_id}", format="metadata").json

            ours, theirs = answer["snippet"].split(), message["snippet"].split()
            common = min(len(ours), len(theirs)) - 1
            assert ours[:common] == theirs[:common]


def test_minimal_has_the_recorded_keys(box: Mailbox, client: Client) -> None:
    minimal = next(message for form, message in recorded_messages() if form == "minimal")

    answer = client.get(f"messages/{box.add()}", format="minimal").json

    assert list(answer) == list(minimal)
    assert answer["payload"] == minimal["payload"]


def test_label_lists_equal_the_recorded_ones(gmail: Simulator, connect: Connect) -> None:
    for number, recording in enumerate(_of("labels.list")):
        box = gmail.add_account(f"user{number}@example.com")
        for label in recording.response["labels"]:
            if label["type"] == "user":
                assert box.create_label(label["name"]) == label["id"]

        assert connect(box.token).get("labels").json == recording.response


def test_history_repeats_a_recorded_log(gmail: Simulator, box: Mailbox, client: Client) -> None:
    """The same actions give the same records: a thread trashed, mail sent, its bounce, the thread taken out again."""
    recorded = _of("history.list")[0].response
    gmail.bare_records = True
    first = box.add(labels=("SENT",))
    box.add(labels=("INBOX", "CATEGORY_UPDATES"), thread_id=first)
    start = box.history_id

    client.post(f"threads/{first}/trash")
    sent = box.add(labels=("SENT",))
    gmail.bare_records = False
    box.add(labels=("UNREAD", "CATEGORY_UPDATES", "INBOX"), thread_id=sent)
    client.post(f"threads/{first}/untrash")
    answer = client.get("history", startHistoryId=start).json

    assert list(answer) == list(recorded)
    assert _anonymous(answer["history"]) == _anonymous(recorded["history"])


@pytest.mark.parametrize("method", ["getProfile", "messages.list", "threads.list", "drafts.list", "labels.get"])
def test_answers_have_the_recorded_keys_in_the_recorded_order(box: Mailbox, client: Client, method: str) -> None:
    box.generate(600)
    box.save_draft()
    paths = {"getProfile": "profile", "labels.get": "labels/INBOX"}
    answer = client.get(paths.get(method) or f"{method.partition('.')[0]}").json

    for recording in _of(method):
        expected = recording.response
        assert [key for key in answer if key in expected] == list(expected)
        for key, value in expected.items():
            assert type(answer[key]) is type(value)
            if isinstance(value, list):
                assert set(value[0]) <= set(answer[key][0])
        if "nextPageToken" in expected:
            assert len(expected["nextPageToken"]) == len(answer["nextPageToken"]) == 20
            assert answer["nextPageToken"].isdigit()
            assert answer["resultSizeEstimate"] == expected["resultSizeEstimate"] == 201


def test_attachments_have_the_recorded_form(box: Mailbox, client: Client) -> None:
    recorded = _of("messages.attachments.get")[0].response
    data = b"This is a test file\n\nThis file has content\n"
    message_id = box.add(attachments=[("test.txt", "text/plain", data)])
    part = client.get(f"messages/{message_id}").json["payload"]["parts"][1]

    answer = client.get(f"messages/{message_id}/attachments/{part['body']['attachmentId']}").json

    assert list(answer) == list(recorded)
    assert answer["data"].endswith("=") == recorded["data"].endswith("=")
    assert len(part["body"]["attachmentId"]) == 319


def test_errors_are_the_observed_ones(gmail: Simulator, box: Mailbox, client: Client, connect: Connect) -> None:
    observed = json.loads(shared_data("gmail", "api", "errors-observed.json").read_text())["errors"]
    by_case = {error["case"]: error for error in observed}

    def compare(case: str, status: int, body: dict[str, Any]) -> None:
        expected = by_case[case]
        assert status == expected["status"], case
        known, ours = expected["body"]["error"], body["error"]
        if not isinstance(known, dict):
            assert body == expected["body"]
            return
        assert ours["code"] == known["code"]
        assert ours["message"].rstrip(".") == known["message"].rstrip("."), case
        first = {key: value.rstrip(".") for key, value in known["errors"][0].items()}
        assert first.items() <= {key: value.rstrip(".") for key, value in ours["errors"][0].items()}.items(), case
        if "status" in known:
            assert ours["status"] == known["status"]

    stale = client.get("history", startHistoryId=1)
    compare("history.list with a startHistoryId that is too old", stale.status, stale.json)
    missing = client.get("history")
    compare("history.list without startHistoryId", missing.status, missing.json)
    for case, fault in {
        "resource exhausted": {"status": 429},
        "older 403 form, Drive-style": {"status": 403, "reason": "userRateLimitExceeded"},
        "backend unavailable (reported for another Google API; same envelope)": {
            "status": 503,
            "reason": "backendError",
        },
    }.items():
        gmail.fail_next(**fault)
        failed = client.get("profile")
        compare(case, failed.status, failed.json)
    bad = connect("nonsense").get("profile")
    compare("bad or expired access token", bad.status, bad.json)
    box.disable_mail()
    disabled = client.get("profile")
    compare("account has no Gmail", disabled.status, disabled.json)
    user = box.authorized_user()
    form = f"grant_type=refresh_token&client_id={user['client_id']}&client_secret=x&refresh_token="
    bare = client.request("POST", "/token", (form + "unknown").encode())
    compare("refresh refused, bare", bare.status, bare.json)
    box.revoke()
    revoked = client.request("POST", "/token", (form + user["refresh_token"]).encode())
    compare("refresh token revoked (token endpoint, another body shape)", revoked.status, revoked.json)


def test_what_no_recording_covers_is_known(
    box: Mailbox, client: Client, record_property: Callable[[str, object], None]
) -> None:
    """Prints it, too: whoever relies on one of these relies on documentation and reports."""
    known: dict[str, set[str]] = {}
    forms = set()
    for recording in recordings():
        known.setdefault(recording.method, set()).update(shape(recording.response))
        if recording.method in ("messages.get", "threads.get", "drafts.get"):
            forms.add(f"{recording.method} {recording.form}")
    served_forms = {f"{name}.get {form}" for name in ("messages", "drafts", "threads")
                    for form in ("minimal", "metadata", "full", "raw")} - {"threads.get raw"}  # fmt: skip
    methods = {method.name for method in METHODS} - set(known)
    fields = {
        f"{method} {path.rpartition(':')[0]}"
        for method, answer in tour(box, client)
        if method in known and answer is not None and not method.endswith(".get")
        for path in shape(answer) - known[method]
        if path.endswith(":object") or path.count(".") < 3
    } | {
        f"{method} {path.rpartition(':')[0]}"
        for method, answer in tour_labels(client)
        for path in shape(answer) - known[method]
        if path.endswith(":object") or path.count(".") < 2
    }

    for name, items in (("methods", methods), ("formats", served_forms - forms), ("fields", fields)):
        record_property("figure", f"{name} that no recording of the real API covers: {', '.join(sorted(items))}")
    assert methods == UNRECORDED_METHODS
    assert served_forms - forms == UNRECORDED_FORMATS
    assert fields == UNRECORDED_FIELDS


def tour_labels(client: Client) -> list[tuple[str, Any]]:
    """`labels.get` and `labels.list` with a coloured user label."""
    color = {"backgroundColor": "#000000", "textColor": "#ffffff"}
    label = client.post("labels", {"name": "Coloured", "color": color}).json["id"]
    return [("labels.get", client.get(f"labels/{label}").json), ("labels.list", client.get("labels").json)]


def _of(method: str) -> list[Recording]:
    found = [recording for recording in recordings() if recording.method == method]
    assert found
    return found


def _without_attachment_ids(payload: Any) -> Any:
    if isinstance(payload, list):
        return [_without_attachment_ids(item) for item in payload]
    if isinstance(payload, dict):
        return {key: "id" if key == "attachmentId" else _without_attachment_ids(v) for key, v in payload.items()}
    return payload


def _anonymous(history: list[dict[str, Any]]) -> Any:
    """Records with ids numbered in order of appearance, labels sorted, and neighbouring bare records as one."""
    names: dict[str, str] = {}

    def clean(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {inner: clean(below, inner) for inner, below in value.items() if not (key == "" and inner == "id")}
        if isinstance(value, list):
            items = [clean(item, key) for item in value]
            return sorted(items) if key == "labelIds" else items
        return value if key == "labelIds" else names.setdefault(value, f"#{len(names)}")

    cleaned: list[Any] = []
    for record in history:
        item = clean(record)
        if not cleaned or item != cleaned[-1]:
            cleaned.append(item)
    return cleaned
