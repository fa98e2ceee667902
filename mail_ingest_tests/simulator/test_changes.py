"""Writing through the API: messages, threads, labels and drafts."""

import base64
from typing import Any

import pytest

from mail_ingest.simulator import Mailbox
from mail_ingest_tests.simulator.client import USERS, Client


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def mail(**headers: str) -> str:
    lines = {"From": "bob@example.org", "To": "ada@example.com", "Subject": "Hi", **headers}
    return encoded(
        "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items() if value) + "\r\nBody\r\n"
    )


def test_insert_takes_labels_and_now_as_its_date_and_import_takes_the_date_header(box: Mailbox, client: Client) -> None:
    raw = mail(Date="Tue, 05 Mar 2019 10:00:00 +0100")
    inserted = client.post("messages", {"raw": raw, "labelIds": ["STARRED"]}).json
    imported = client.post("messages/import", {"raw": raw}).json

    assert inserted["labelIds"] == ["STARRED"]
    assert box.message(inserted["id"]).internal_date_ms > 1_700_000_000_000
    assert box.message(imported["id"]).internal_date_ms == 1_551_776_400_000
    assert int(imported["id"], 16) >> 20 > 1_700_000_000_000, "the id tells when it came, not when it was written"
    assert "labelIds" not in imported


def test_a_message_can_join_a_thread_that_exists(box: Mailbox, client: Client) -> None:
    first = box.add()

    joined = client.post("messages", {"raw": mail(), "threadId": first})
    lost = client.post("messages", {"raw": mail(), "threadId": "00000000000000ff"})

    assert joined.json["threadId"] == first
    assert lost.status == 404


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "'raw' RFC822 payload message string or uploading message via /upload/* URL required"),
        ({"raw": "not base64!"}, "Invalid value at 'message.raw' (TYPE_BYTES), \"Base64 decoding failed\""),
        ({"raw": mail(), "labelIds": ["Label_404"]}, "labelId not found"),
        ({"raw": mail(), "labelIds": ["Nonsense"]}, "Invalid label: Nonsense"),
        ({"raw": mail(), "threadId": "xyz"}, "Invalid thread_id value"),
    ],
)
def test_inserts_that_cannot_be_are_400(box: Mailbox, client: Client, body: dict[str, Any], text: str) -> None:
    answer = client.post("messages", body)

    assert (answer.status, answer.message) == (400, text)
    assert box.messages() == {}


def test_sent_mail_is_under_sent_and_in_the_inbox_when_it_goes_to_oneself(box: Mailbox, client: Client) -> None:
    away = client.post("messages/send", {"raw": mail(To="bob@example.org")}).json
    home = client.post("messages/send", {"raw": mail()}).json
    nobody = client.post("messages/send", {"raw": mail(To="")})

    assert away["labelIds"] == ["SENT"]
    assert set(home["labelIds"]) == {"SENT", "INBOX", "UNREAD"}
    assert (nobody.status, nobody.message) == (400, "Recipient address required")
    headers = client.get(f"messages/{away['id']}", format="metadata").json["payload"]["headers"]
    names = [header["name"] for header in headers]
    assert names.count("Received") == 2
    assert {"Date", "Message-Id"} <= set(names)


def test_modify_adds_and_removes_and_refuses_what_nobody_sets_by_hand(box: Mailbox, client: Client) -> None:
    message_id = box.add()

    changed = client.post(f"messages/{message_id}/modify", {"addLabelIds": ["STARRED"], "removeLabelIds": ["UNREAD"]})
    nothing = client.post(f"messages/{message_id}/modify", {})
    sent = client.post(f"messages/{message_id}/modify", {"removeLabelIds": ["SENT"]})

    assert set(changed.json["labelIds"]) == {"INBOX", "STARRED"} == box.message(message_id).label_ids
    assert (nothing.status, nothing.message) == (400, "No label add or removes specified")
    assert (sent.status, sent.message) == (400, "Invalid label: SENT")


def test_bulk_methods_pass_over_missing_ids_and_stop_at_a_thousand(box: Mailbox, client: Client) -> None:
    ids = [box.add() for _ in range(3)]

    changed = client.post("messages/batchModify", {"ids": [*ids, "00000000000000ff"], "addLabelIds": ["STARRED"]})
    deleted = client.post("messages/batchDelete", {"ids": ids[:2]})
    many = client.post("messages/batchModify", {"ids": [ids[2]] * 1_001, "addLabelIds": ["STARRED"]})
    none = client.post("messages/batchDelete", {"ids": []})

    assert (changed.status, deleted.status) == (204, 204)
    assert changed.data == b""
    assert set(box.messages()) == {ids[2]}
    assert box.message(ids[2]).label_ids == {"INBOX", "UNREAD", "STARRED"}
    assert (many.status, many.message) == (400, "Number of ids cannot exceed 1000")
    assert none.status == 400


def test_deleting_twice_is_404(box: Mailbox, client: Client) -> None:
    message_id = box.add()

    assert client.request("DELETE", f"{USERS}/messages/{message_id}").status == 204
    assert client.request("DELETE", f"{USERS}/messages/{message_id}").status == 404


def test_a_thread_is_listed_once_at_its_newest_message_with_the_highest_history_id(
    box: Mailbox, client: Client
) -> None:
    first = box.add(subject="one", body="oldest")
    other = box.add(subject="other")
    reply = box.add(body="newest words", thread_id=first)
    box.relabel(first, add=("STARRED",))

    listed = client.get("threads").json["threads"]
    thread = client.get(f"threads/{first}", format="minimal").json

    assert [item["id"] for item in listed] == [first, other]
    assert listed[0]["snippet"] == "newest words"
    assert listed[0]["historyId"] == thread["historyId"] == str(box.message(first).history_id)
    assert [message["id"] for message in thread["messages"]] == [first, reply]


def test_paging_threads_gives_each_thread_once(box: Mailbox, client: Client) -> None:
    box.generate(300, seed=4, messages_per_thread=3)
    truth = {record.thread_id for record in box.messages().values()}

    for size in (500, 7):
        listed = client.pages("threads", "threads", maxResults=size, includeSpamTrash="true")

        assert len(listed) == len(truth)
        assert {item["id"] for item in listed} == truth


def test_thread_verbs_reach_every_message_and_threads_do_not_come_raw(box: Mailbox, client: Client) -> None:
    first = box.add()
    second = box.add(thread_id=first)

    client.post(f"threads/{first}/modify", {"addLabelIds": ["STARRED"]})
    client.post(f"threads/{first}/trash")

    assert {frozenset(r.label_ids) for r in box.messages().values()} == {frozenset({"UNREAD", "STARRED", "TRASH"})}
    assert client.get(f"threads/{first}", format="raw").status == 400
    client.request("DELETE", f"{USERS}/threads/{first}")
    assert box.deleted_ids() == {first, second}
    assert client.get(f"threads/{first}").status == 404


def test_a_thread_outlives_the_message_that_began_it(box: Mailbox, client: Client) -> None:
    first = box.add()
    second = box.add(thread_id=first)
    box.delete(first)

    assert [message["id"] for message in client.get(f"threads/{first}").json["messages"]] == [second]
    assert box.message(box.add(thread_id=first)).thread_id == first


def test_label_counts_follow_messages_and_threads(box: Mailbox, client: Client) -> None:
    label = client.post("labels", {"name": "Work"}).json["id"]
    first = box.add(labels=(label, "UNREAD"))
    box.add(labels=(label, "UNREAD"), thread_id=first)
    third = box.add(labels=(label,))
    box.relabel(third, add=("UNREAD",))
    box.delete(first)

    counts = client.get(f"labels/{label}").json

    assert counts["messagesTotal"] == counts["messagesUnread"] == 2
    assert counts["threadsTotal"] == counts["threadsUnread"] == 2
    listed = next(item for item in client.get("labels").json["labels"] if item["id"] == label)
    assert "messagesTotal" not in listed


def test_label_names_are_unique_whatever_their_case_and_some_are_reserved(client: Client) -> None:
    client.post("labels", {"name": "Work"})

    taken = client.post("labels", {"name": "work"})
    reserved = client.post("labels", {"name": "Drafts"})
    unnamed = client.post("labels", {})

    assert (taken.status, taken.reason, taken.message) == (409, "aborted", "Label name exists or conflicts")
    assert (reserved.status, reserved.message) == (400, "Invalid label name")
    assert unnamed.status == 400


def test_renaming_keeps_the_id_and_system_labels_stay(box: Mailbox, client: Client) -> None:
    label = client.post("labels", {"name": "Old", "messageListVisibility": "hide"}).json["id"]

    patched = client.request("PATCH", f"{USERS}/labels/{label}", {"name": "New"}).json
    updated = client.request("PUT", f"{USERS}/labels/{label}", {"name": "Newer"}).json

    assert (patched["id"], patched["name"], patched["messageListVisibility"]) == (label, "New", "hide")
    assert (updated["name"], updated["messageListVisibility"]) == ("Newer", "show")
    assert client.request("DELETE", f"{USERS}/labels/INBOX").status == 400
    assert client.request("PATCH", f"{USERS}/labels/INBOX", {"name": "x"}).status == 400
    assert client.request("DELETE", f"{USERS}/labels/Label_404").status == 404


def test_colours_come_from_the_palette(client: Client) -> None:
    good = client.post("labels", {"name": "a", "color": {"backgroundColor": "#fb4c2f", "textColor": "#ffffff"}})
    bad = client.post("labels", {"name": "b", "color": {"backgroundColor": "#123456", "textColor": "#ffffff"}})

    assert good.json["color"] == {"backgroundColor": "#fb4c2f", "textColor": "#ffffff"}
    assert (bad.status, bad.message) == (400, "Label color #123456 is not on the allowed color palette")


def test_labels_that_no_list_shows_are_still_on_messages(gmail: Any, box: Mailbox, client: Client) -> None:
    message_id = box.add(labels=("INBOX", "Label_ghost"))
    label = box.create_label("Hidden")
    gmail.extra_labels = {label}

    assert "Label_ghost" in client.get(f"messages/{message_id}", format="minimal").json["labelIds"]
    assert client.get("messages", labelIds="Label_ghost").json["messages"][0]["id"] == message_id
    assert {"Label_ghost", label}.isdisjoint(item["id"] for item in client.get("labels").json["labels"])
    assert client.get(f"labels/{label}").status == 404


def test_drafts_keep_their_id_while_their_message_changes(box: Mailbox, client: Client) -> None:
    created = client.post("drafts", {"message": {"raw": mail(Subject="one")}}).json
    updated = client.request("PUT", f"{USERS}/drafts/{created['id']}", {"message": {"raw": mail(Subject="two")}}).json
    shown = client.get(f"drafts/{created['id']}", format="metadata").json

    assert updated["id"] == created["id"]
    assert updated["message"]["id"] != created["message"]["id"]
    assert updated["message"]["threadId"] == created["message"]["threadId"]
    assert {"name": "Subject", "value": "two"} in shown["message"]["payload"]["headers"]
    assert client.get("drafts").json == {
        "drafts": [{"id": created["id"], "message": {"id": updated["message"]["id"],
                                                     "threadId": created["message"]["threadId"]}}],
        "resultSizeEstimate": 1,
    }  # fmt: skip


def test_drafts_are_paged_and_filtered(box: Mailbox, client: Client) -> None:
    drafts = [box.save_draft(subject=f"number {n}", to="x@example.org") for n in range(5)]

    listed = client.pages("drafts", "drafts", maxResults=2)
    found = client.get("drafts", q="subject:3").json["drafts"]

    assert {item["id"] for item in listed} == set(drafts)
    assert [item["id"] for item in found] == [drafts[3]]


def test_changes_over_http_and_in_python_are_the_same_to_the_truth(box: Mailbox, client: Client) -> None:
    message_id = client.post("messages", {"raw": mail()}).json["id"]
    client.post(f"messages/{message_id}/trash")

    record = box.messages()[message_id]

    assert record.label_ids == {"TRASH"}
    assert record.history_id == box.history_id
