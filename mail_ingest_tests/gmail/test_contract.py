"""What the client knows of Gmail's answers: complete by Google's own description, noticing what differs, quoting nothing."""

from __future__ import annotations

import json
import logging
import uuid
from importlib import resources
from typing import Any

import pytest

from mail_ingest.errors import ChangedAnswerError
from mail_ingest.gmail import GmailClient, answers, contract
from mail_ingest.gmail.contract import Fields, shown
from mail_ingest.gmail.findings import Findings
from mail_ingest.simulator import Mailbox, Simulator

DISCOVERY = json.loads(
    resources.files("googleapiclient").joinpath("discovery_cache/documents/gmail.v1.json").read_text()
)["schemas"]

#: Each description with the schema of the discovery document that it follows.
DESCRIBED = [
    (contract.PROFILE, "Profile"),
    (contract.LABELS, "ListLabelsResponse"),
    (contract.LISTED_LABEL, "Label"),
    (contract.LISTED_COLOR, "LabelColor"),
    (contract.LABEL, "Label"),
    (contract.COLOR, "LabelColor"),
    (contract.WATCH, "WatchResponse"),
    (contract.ID_PAGE, "ListMessagesResponse"),
    (contract.STATE, "Message"),
    (contract.RAW, "Message"),
    (contract.HISTORY_PAGE, "ListHistoryResponse"),
    (contract.RECORD, "History"),
    (contract.MENTIONED, "Message"),
    (contract.CHANGES["messagesAdded"], "HistoryMessageAdded"),
    (contract.CHANGES["messagesDeleted"], "HistoryMessageDeleted"),
    (contract.CHANGES["labelsAdded"], "HistoryLabelAdded"),
    (contract.CHANGES["labelsRemoved"], "HistoryLabelRemoved"),
    *((fields, "Message") for fields in contract.CHANGED_MESSAGES.values()),
]


def _kind(declared: dict[str, Any]) -> str:
    if "$ref" in declared:
        return contract.OBJECT
    if declared["type"] == "array":
        return contract.OBJECTS if "$ref" in declared["items"] else contract.STRINGS
    if declared.get("format") in ("uint64", "int64"):
        return contract.DIGITS
    return {"integer": contract.NUMBER, "string": contract.STRING}[declared["type"]]


@pytest.mark.parametrize(("fields", "schema"), DESCRIBED, ids=lambda part: getattr(part, "path", part))
def test_names_and_kinds_are_those_of_the_discovery_document(fields: Fields, schema: str) -> None:
    declared = {name: _kind(described) for name, described in DISCOVERY[schema]["properties"].items()}

    assert dict(fields.kinds) == declared


def test_ordinary_answers_give_no_finding(client: GmailClient, box: Mailbox, gmail: Simulator) -> None:
    box.generate(60, seed=5)
    start = box.history_id
    label = box.create_label("Made for the test")
    added = [box.add(labels=labels) for labels in ([], ["INBOX", label])]
    box.relabel(added[0], add=["STARRED"])
    box.relabel(added[0], remove=["STARRED"])
    box.delete(added[1])
    gmail.bare_records = gmail.minimal_has_snippet = True

    client.get_profile()
    client.watch("projects/p/topics/t")
    client.stop_watch()
    for listed in client.list_labels():
        client.get_label(listed.label_id)
    for page in client.iter_message_ids(page_size=20):
        for ref in page.refs:
            client.get_message_state(ref.message_id)
            client.get_raw_message(ref.message_id)
    assert any(page.records for page in client.iter_history(start))

    assert client.findings.lines() == ()


@pytest.mark.parametrize(
    ("path", "change", "to", "line"),
    [
        ("getProfile.novelty", "add", True, "unknown boolean"),
        ("getProfile.historyId", "number", None, "number instead of digit string"),
        ("getProfile.messagesTotal", "string", None, "string instead of number"),
        ("getProfile.threadsTotal", "remove", None, "missing"),
        ("watch.historyId", "number", None, "number instead of digit string"),
        ("watch.novelty", "add", "x", "unknown string"),
        ("labels.list.novelty", "add", [1], "unknown list"),
        ("labels.list.labels.type", "remove", None, "missing"),
        ("labels.list.labels.labelListVisibility", "object", None, "object instead of string"),
        ("labels.list.labels.color", "add", "#fff", "string instead of object"),
        ("labels.get.messagesUnread", "string", None, "string instead of number"),
        ("labels.get.threadsTotal", "remove", None, "missing"),
        ("labels.get.threadsUnread", "list", None, "list instead of number"),
        ("labels.get.color", "add", {"shade": 5}, None),
        ("messages.list.resultSizeEstimate", "string", None, "string instead of number"),
        ("messages.list.messages.novelty", "add", {"a": 1}, "unknown object"),
        ("messages.get.historyId", "number", None, "number instead of digit string"),
        ("messages.get.internalDate", "number", None, "number instead of digit string"),
        ("messages.get.sizeEstimate", "string", None, "string instead of number"),
        ("messages.get.snippet", "replace", None, "null instead of string"),
        ("messages.get.historyId", "remove", None, "missing"),
        ("messages.get.novelty", "add", None, "unknown null"),
        ("history.list.novelty", "add", 1.5, "unknown fraction"),
        ("history.list.historyId", "number", None, "number instead of digit string"),
        ("history.list.history.id", "number", None, "number instead of digit string"),
        ("history.list.history.novelty", "add", "x", "unknown string"),
        ("history.list.history.messages.novelty", "add", "x", "unknown string"),
        ("history.list.history.labelsAdded.novelty", "add", "x", "unknown string"),
        ("history.list.history.labelsAdded.message.threadId", "remove", None, "missing"),
        ("history.list.history.labelsAdded.message.labelIds", "object", None, "object instead of list of strings"),
    ],
)
def test_a_difference_is_found_and_what_still_has_a_meaning_is_read(
    client: GmailClient, box: Mailbox, gmail: Simulator, path: str, change: Any, to: Any, line: str | None
) -> None:
    start = box.history_id
    message_id = box.add(labels=["INBOX"])
    box.relabel(message_id, add=["STARRED"])
    as_documented = _read(client, start, message_id)
    gmail.change_answers(path, change, to)

    as_changed = _read(client, start, message_id)

    expected = f"{path}: {line}" if line else "labels.get.color.shade: unknown number"
    assert client.findings.lines() == (expected,)
    different = {key for key in as_documented if as_documented[key] != as_changed[key]}
    if change in ("number", "string") or line is None or line.startswith("unknown"):
        assert different == set()
    assert different <= {"threads_total", "types", "visibilities", "threads", "history", "snippet", "history_id"}


def _read(client: GmailClient, start: int, message_id: str) -> dict[str, object]:
    """All that the client says of a mailbox, by what may get lost without harm."""
    watch = client.watch("projects/p/topics/t")
    profile, listed, counted = client.get_profile(), client.list_labels(), client.get_label("INBOX")
    state, raw = client.get_message_state(message_id), client.get_raw_message(message_id)
    page = client.list_history(start)
    return {
        "profile": (profile.email_address, profile.messages_total, profile.history_id),
        "watch": watch.history_id,
        "threads_total": profile.threads_total,
        "labels": [(label.label_id, label.name) for label in listed],
        "types": [label.type for label in listed],
        "visibilities": [label.label_list_visibility for label in listed],
        "counts": (counted.messages_total, counted.messages_unread),
        "threads": (counted.threads_total, counted.threads_unread),
        "refs": client.list_messages().refs,
        "state": (state.thread_id, state.label_ids),
        "raw": (raw.raw, raw.thread_id, raw.label_ids, raw.internal_date_ms, raw.size_estimate),
        "snippet": raw.snippet,
        "history_id": (state.history_id, raw.history_id),
        "records": [
            (
                record.history_id,
                [(change.kind, change.message_id, change.changed_label_ids) for change in record.changes],
            )
            for record in page.records
        ],
        "history": page,
    }


@pytest.mark.parametrize(
    ("path", "change", "to", "line"),
    [
        ("getProfile.emailAddress", "remove", None, "missing"),
        ("getProfile.historyId", "rename", "cursor", "missing"),
        ("getProfile.historyId", "replace", "abc", "other string instead of digit string"),
        ("labels.list.labels", "remove", None, "missing"),
        ("labels.list.labels", "replace", [], "empty list instead of list of objects"),
        ("labels.list.labels", "object", None, "object instead of list of objects"),
        ("labels.list.labels", "replace", ["INBOX"], "list of strings instead of list of objects"),
        ("labels.list.labels.id", "remove", None, "missing"),
        ("labels.list.labels.name", "object", None, "object instead of string"),
        ("messages.list.messages", "rename", "items", "missing"),
        ("messages.list.messages.threadId", "remove", None, "missing"),
        ("messages.list.messages.id", "object", None, "object instead of string"),
        ("messages.list.nextPageToken", "rename", "continuationToken", "missing"),
        ("messages.list.nextPageToken", "object", None, "object instead of string"),
        ("messages.get.labelIds", "rename", "labels", "missing"),
        ("messages.get.threadId", "remove", None, "missing"),
        ("history.list.history", "rename", "records", "missing"),
        ("history.list.historyId", "remove", None, "missing"),
        ("history.list.nextPageToken", "rename", "nextPage", "missing"),
        ("history.list.history.id", "object", None, "object instead of digit string"),
        ("history.list.history.labelsAdded.message", "remove", None, "missing"),
        ("history.list.history.labelsAdded.message.id", "remove", None, "missing"),
        ("history.list.history.labelsAdded", "object", None, "object instead of list of objects"),
    ],
)
def test_what_cannot_be_read_for_what_it_was_is_an_error_that_names_it(
    client: GmailClient, box: Mailbox, gmail: Simulator, path: str, change: Any, to: Any, line: str
) -> None:
    start = box.history_id
    message_id = box.add(labels=["INBOX"])
    box.relabel(message_id, add=["STARRED"])
    box.add()
    gmail.page_limit = 1
    gmail.change_answers(path, change, to)
    ask = {
        "getProfile": client.get_profile,
        "labels.list": client.list_labels,
        "messages.list": client.list_messages,
        "messages.get": lambda: client.get_message_state(message_id),
        "history.list": lambda: list(client.iter_history(start)),
    }[".".join(path.split(".")[: 1 if path.startswith("getProfile") else 2])]

    with pytest.raises(ChangedAnswerError, match="update mail_ingest, or report this") as caught:
        ask()

    assert caught.value.reason == f"{path}: {line}"
    assert f"{path}: {line}" in str(caught.value)
    assert f"{path}: {line}" in client.findings.lines()


def test_a_full_page_without_a_token_is_the_last_one_unless_something_unknown_may_be_the_token() -> None:
    def page(count: int, **more: object) -> dict[str, object]:
        return {"messages": [{"id": f"m{number}", "threadId": "t"} for number in range(count)], **more}

    assert answers.id_page(page(500), _ignore).next_page_token is None
    assert answers.id_page(page(499, etag="x"), _ignore).next_page_token is None
    assert answers.id_page(page(500, etag=5), _ignore).next_page_token is None
    with pytest.raises(contract.ChangedAnswerFieldError, match="nextPageToken: missing"):
        answers.id_page(page(500, cursor="x"), _ignore)


def test_bytes_in_the_plain_base64_alphabet_are_read_as_well() -> None:
    message = {"id": "m", "threadId": "t", "internalDate": "1", "raw": "+/+/"}

    assert answers.raw_message(message, _ignore, "m").raw == answers.raw_message(
        {**message, "raw": "-_-_"}, _ignore, "m"
    ).raw == bytes([0xFB, 0xFF, 0xBF])  # fmt: skip


def test_unknown_kinds_of_change_have_their_messages_read_again() -> None:
    record = {"id": "7", "messages": [{"id": "a", "threadId": "t"}], "messagesMoved": [{"message": {"id": "a"}}]}

    [read] = answers.history_page({"history": [record], "historyId": "8"}, _ignore).records

    assert (read.unclear_ids, read.message_ids) == (("a",), ("a",))


def _ignore(lines: object) -> None:
    """Nobody listens."""


@pytest.mark.parametrize(
    "name",
    [
        "ada@example.com",
        "18f2a3b4c5d6e7f8",
        "f2a3b4c5d6e7f8a9",
        "INBOX",
        "Label_7",
        "Re: your offer",
        "naïve",
        "a\x1b[31m",
        "with space",
        "",
        "-leading",
    ],
)
def test_names_that_may_be_data_are_not_shown(name: str) -> None:
    assert shown(name) == "(hidden name)"


@pytest.mark.parametrize("name", ["importance", "sizeEstimate2", "@type", "label_color"])
def test_names_of_fields_are_shown(name: str) -> None:
    assert shown(name) == name
    assert shown(name + "x" * 1_000_000 if name[-1].isalpha() else "y" * 1_000_000) in (
        (name + "x" * 100)[:100],
        "y" * 100,
    )


def test_findings_are_bounded_and_each_is_logged_once_per_process(caplog: pytest.LogCaptureFixture) -> None:
    novelty = "x" + uuid.uuid4().hex.translate(str.maketrans("0123456789", "ghijklmnop"))
    findings, others = Findings("ada@example.com"), Findings("bob@example.com")
    caplog.set_level(logging.WARNING)

    for _ in range(3):
        contract.PROFILE.check({"emailAddress": "planted", novelty: "planted"}, findings.add)
        contract.PROFILE.check({"emailAddress": "planted", novelty: "planted"}, others.add)
    for letters in (chr(97 + number // 26) + chr(97 + number % 26) for number in range(200)):
        contract.PROFILE.check({f"{novelty}{letters}": {"planted": "planted"}}, findings.add)
        contract.PROFILE.check({f"{novelty}{other}{letters}": 1 for other in "abcdefghijklmnopqrstuvwxyz"}, others.add)

    assert len(findings.lines()) == len(others.lines()) == contract.MOST_FINDINGS
    assert findings.lines() == tuple(sorted(findings.lines()))
    assert sum(f"{novelty}: unknown" in record.getMessage() for record in caplog.records) == 1
    assert "planted" not in caplog.text
    assert len(contract.PROFILE._judged) <= contract._MOST_SHAPES
