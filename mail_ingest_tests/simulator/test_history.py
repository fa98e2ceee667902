"""The change log, through every verb and every switch."""

from typing import Any

import pytest

from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.simulator.client import Client


def records(client: Client, start: int, **params: Any) -> list[dict[str, Any]]:
    return client.pages("history", "history", startHistoryId=start, **params)


def kinds(record: dict[str, Any]) -> set[str]:
    return set(record) - {"id", "messages"}


def test_nothing_new_is_an_answer_without_the_history_key(box: Mailbox, client: Client) -> None:
    box.add()

    assert client.get("history", startHistoryId=box.history_id).json == {"historyId": str(box.history_id)}


def test_every_verb_writes_the_change_it_made(box: Mailbox, client: Client) -> None:
    start = box.history_id
    message_id = box.add(labels=("INBOX",))
    box.relabel(message_id, add=("STARRED", "IMPORTANT"))
    box.relabel(message_id, add=("UNREAD",), remove=("STARRED",))
    box.trash(message_id)
    box.untrash(message_id)
    box.delete(message_id)

    found = records(client, start)

    assert [kinds(record) for record in found] == [
        {"messagesAdded"},
        {"labelsAdded"},
        {"labelsAdded", "labelsRemoved"},
        {"labelsAdded"},
        {"labelsRemoved"},
        {"labelsRemoved"},
        {"messagesDeleted"},
    ]
    assert sorted(found[1]["labelsAdded"][0]["labelIds"]) == ["IMPORTANT", "STARRED"]
    assert found[3]["labelsAdded"][0]["labelIds"] == ["TRASH"]
    assert found[4]["labelsRemoved"][0]["labelIds"] == ["INBOX"]
    assert all(record["messages"] == [{"id": message_id, "threadId": message_id}] for record in found)
    ids = [int(record["id"]) for record in found]
    assert ids == sorted(ids)
    assert start < ids[0] and ids[-1] == box.history_id


def test_a_change_that_changes_nothing_is_not_recorded(box: Mailbox, client: Client) -> None:
    message_id = box.add(labels=("INBOX",))
    start = box.history_id

    box.relabel(message_id, add=("INBOX",), remove=("STARRED",))

    assert box.history_id == start


def test_a_message_carries_the_id_of_the_record_that_changed_it_last(box: Mailbox, client: Client) -> None:
    first, second = box.add(), box.add()
    box.relabel(first, add=("STARRED",))

    assert client.get(f"messages/{first}", format="minimal").json["historyId"] == str(box.history_id)
    assert box.message(second).history_id < box.history_id


def test_paging_gives_each_record_once_and_new_records_at_the_end(box: Mailbox, client: Client) -> None:
    start = box.history_id
    ids = [box.add() for _ in range(7)]
    page = client.get("history", startHistoryId=start, maxResults=3).json
    late = box.add()
    rest = client.pages("history", "history", startHistoryId=start, maxResults=3, pageToken=page["nextPageToken"])

    seen = [record["messages"][0]["id"] for record in page["history"] + rest]
    assert seen == [*ids, late]


def test_types_and_labels_narrow_what_is_listed(box: Mailbox, client: Client) -> None:
    start = box.history_id
    message_id = box.add(labels=("INBOX",))
    box.relabel(message_id, add=("STARRED",))
    other = box.add(labels=("SPAM",))
    box.delete(other)

    both = records(client, start, historyTypes=["messageAdded", "messageDeleted"])
    labelled = records(client, start, labelId="STARRED")

    assert [kinds(record) for record in both] == [{"messagesAdded"}, {"messagesAdded"}, {"messagesDeleted"}]
    assert [kinds(record) for record in labelled] == [{"labelsAdded"}]


def test_plural_types_are_refused(box: Mailbox, client: Client) -> None:
    answer = client.get("history", startHistoryId=box.history_id, historyTypes="labelsAdded")

    assert answer.status == 400
    assert answer.message.startswith("Invalid value at 'history_types'")


@pytest.mark.parametrize("mode", ["as_of_event", "current", "absent"])
def test_inner_labels_follow_the_switch(gmail: Simulator, box: Mailbox, client: Client, mode: str) -> None:
    gmail.inner_label_ids = mode
    start = box.history_id
    message_id = box.add(labels=("INBOX",))
    box.relabel(message_id, add=("STARRED",))

    added = records(client, start)[0]["messagesAdded"][0]["message"]

    expected = {"as_of_event": ["INBOX"], "current": ["INBOX", "STARRED"], "absent": []}[mode]
    assert sorted(added.get("labelIds", [])) == expected


def test_deleted_messages_carry_no_labels_in_records(box: Mailbox, client: Client) -> None:
    message_id = box.add()
    start = box.history_id
    box.delete(message_id)

    assert records(client, start)[0]["messagesDeleted"] == [{"message": {"id": message_id, "threadId": message_id}}]


def test_expired_history_is_404_until_something_changes(box: Mailbox, client: Client) -> None:
    box.add()
    box.expire_history()
    cursor = int(client.get("profile").json["historyId"])

    assert (client.get("history", startHistoryId=cursor).status) == 404

    box.add()
    assert client.get("history", startHistoryId=cursor).status == 404
    assert client.get("history", startHistoryId=box.history_id).status == 200


def test_history_can_expire_up_to_a_cursor(box: Mailbox, client: Client) -> None:
    old = box.history_id
    box.add()
    kept = box.history_id
    later = box.add()
    box.expire_history(before=kept)

    assert client.get("history", startHistoryId=old).status == 404
    assert [record["messages"][0]["id"] for record in records(client, kept)] == [later]


def test_a_cursor_that_was_never_reached_is_404(box: Mailbox, client: Client) -> None:
    assert client.get("history", startHistoryId=box.history_id + 1).reason == "notFound"


def test_retention_also_forgets_the_last_id_of_a_quiet_mailbox() -> None:
    now = [1_700_000_000.0]
    with Simulator(quota="off", clock=lambda: now[0], history_retention_s=7 * 86_400) as gmail:
        box = gmail.add_account("ada@example.com")
        client = Client(gmail.url, box.token)
        old = box.history_id
        box.add()
        now[0] += 6 * 86_400
        box.add()
        young = box.history_id

        now[0] += 2 * 86_400
        assert client.get("history", startHistoryId=old).status == 404
        assert client.get("history", startHistoryId=young).status == 200

        gmail.advance(7 * 86_400)
        assert client.get("history", startHistoryId=young).status == 404
        client.close()


def test_generated_mail_is_older_than_the_history_that_is_kept(box: Mailbox, client: Client) -> None:
    before = box.history_id
    box.generate(10)

    assert client.get("history", startHistoryId=before).status == 404
    assert client.get("history", startHistoryId=box.history_id).status == 200


def test_bulk_changes_are_cut_into_records_of_many_messages(box: Mailbox, client: Client) -> None:
    ids = box.generate(250, labels_per_message=0, user_labels=0)
    start = box.history_id
    label = box.create_label("Bulk")

    box.relabel_many(ids, add=(label,))
    found = records(client, start)

    assert [len(record["labelsAdded"]) for record in found] == [100, 100, 50]
    assert {entry["message"]["id"] for record in found for entry in record["labelsAdded"]} == set(ids)


@pytest.mark.parametrize("recorded", [True, False])
def test_deleting_a_label_is_recorded_or_not(gmail: Simulator, box: Mailbox, client: Client, recorded: bool) -> None:
    gmail.label_delete_records = recorded
    label = box.create_label("Doomed")
    message_id = box.add(labels=("INBOX", label))
    start = box.history_id

    box.delete_label(label)

    assert box.message(message_id).label_ids == {"INBOX"}
    assert [record["labelsRemoved"][0]["labelIds"] for record in records(client, start)] == [[label]] * recorded
    assert label not in {item["id"] for item in client.get("labels").json["labels"]}


def test_saving_a_draft_again_replaces_its_message_in_one_record(box: Mailbox, client: Client) -> None:
    draft = box.save_draft(body="one")
    old = box.draft_message_id(draft)
    start = box.history_id

    box.save_draft(body="two", draft=draft)
    new = box.draft_message_id(draft)
    (record,) = records(client, start)

    assert old != new
    assert kinds(record) == {"messagesAdded", "messagesDeleted"}
    assert record["messagesAdded"][0]["message"] == {"id": new, "threadId": old, "labelIds": ["DRAFT"]}
    assert record["messagesDeleted"][0]["message"] == {"id": old, "threadId": old}
    assert client.get(f"messages/{old}").status == 404


def test_sending_a_draft_deletes_it_and_adds_a_sent_message(box: Mailbox, client: Client) -> None:
    draft = box.save_draft(to="bob@example.org")
    old = box.draft_message_id(draft)

    sent = box.send_draft(draft)

    assert sent != old
    assert box.message(sent).label_ids == {"SENT"}
    assert "drafts" not in client.get("drafts").json
    assert client.get(f"drafts/{draft}").status == 404


def test_duplicate_records_repeat_the_last_one_of_the_page_before(
    gmail: Simulator, box: Mailbox, client: Client
) -> None:
    gmail.duplicate_records = True
    start = box.history_id
    ids = [box.add() for _ in range(5)]

    seen = [record["messages"][0]["id"] for record in records(client, start, maxResults=2)]

    assert seen == [ids[0], ids[1], ids[1], ids[2], ids[3], ids[3], ids[4]]


def test_records_can_come_out_of_order(gmail: Simulator, box: Mailbox, client: Client) -> None:
    gmail.out_of_order_records = True
    start = box.history_id
    ids = [box.add() for _ in range(4)]

    found = records(client, start)

    assert [record["messages"][0]["id"] for record in found] == [ids[1], ids[0], ids[3], ids[2]]
    assert len({record["id"] for record in found}) == 4


def test_empty_pages_have_a_token_and_no_history(gmail: Simulator, box: Mailbox, client: Client) -> None:
    gmail.empty_pages = True
    start = box.history_id
    ids = [box.add() for _ in range(3)]

    first = client.get("history", startHistoryId=start, maxResults=2).json

    assert set(first) == {"nextPageToken", "historyId"}
    assert [record["messages"][0]["id"] for record in records(client, start, maxResults=2)] == ids


def test_bare_records_name_a_message_and_nothing_else(gmail: Simulator, box: Mailbox, client: Client) -> None:
    gmail.bare_records = True
    start = box.history_id
    message_id = box.add()

    found = records(client, start)

    assert kinds(found[0]) == {"messagesAdded"}
    assert [kinds(record) for record in found[1:]] == [set(), set()]
    assert found[-1]["messages"] == [{"id": message_id, "threadId": message_id}]


def test_emptying_the_trash_and_the_passing_of_a_month_delete_for_good() -> None:
    now = [1_700_000_000.0]
    with Simulator(quota="off", clock=lambda: now[0]) as gmail:
        box = gmail.add_account("ada@example.com")
        kept, binned, spam = box.add(), box.add(), box.add(labels=("SPAM",))
        box.trash(binned)

        now[0] += 29 * 86_400
        late = box.add()
        box.trash(late)
        assert box.purge() == []

        now[0] += 2 * 86_400
        assert set(box.purge()) == {binned, spam}
        assert box.empty_trash() == [late]
        assert set(box.messages()) == {kept}
        assert box.deleted_ids() == {binned, spam, late}
