"""Profile, listings and messages, as any client reads them."""

import base64
import email
from datetime import UTC, datetime

from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.simulator.client import Client


def test_profile_counts_messages_and_threads_and_names_the_newest_history_id(box: Mailbox, client: Client) -> None:
    first = box.add()
    box.add(thread_id=first)
    box.add()

    assert client.get("profile").json == {
        "emailAddress": "ada@example.com",
        "messagesTotal": 3,
        "threadsTotal": 2,
        "historyId": str(box.history_id),
    }


def test_an_empty_mailbox_leaves_the_messages_key_out(box: Mailbox, client: Client) -> None:
    assert client.get("messages").json == {"resultSizeEstimate": 0}


def test_paging_with_any_page_size_gives_every_message_once_newest_first(box: Mailbox, client: Client) -> None:
    box.generate(730, seed=3)
    truth = box.messages()

    for size in (1_000, 500, 100, 37):
        listed = client.pages("messages", "messages", includeSpamTrash="true", maxResults=size)

        assert {item["id"]: item["threadId"] for item in listed} == {k: r.thread_id for k, r in truth.items()}
        assert len(listed) == len(truth)
        dates = [truth[item["id"]].internal_date_ms for item in listed]
        assert dates == sorted(dates, reverse=True)


def test_a_page_never_holds_more_than_500_and_the_default_is_100(box: Mailbox, client: Client) -> None:
    box.generate(600)

    assert len(client.get("messages", maxResults=2_000, includeSpamTrash="true").json["messages"]) == 500
    assert len(client.get("messages").json["messages"]) == 100


def test_the_size_estimate_saturates_at_201_and_is_right_on_the_last_page(box: Mailbox, client: Client) -> None:
    box.generate(450)

    first = client.get("messages", maxResults=300, includeSpamTrash="true").json
    last = client.get("messages", maxResults=300, includeSpamTrash="true", pageToken=first["nextPageToken"]).json

    assert first["resultSizeEstimate"] == 201
    assert last["resultSizeEstimate"] == 450


def test_labels_are_combined_with_and_and_bins_are_hidden_unless_asked_for(box: Mailbox, client: Client) -> None:
    both = box.add(labels=("INBOX", "STARRED"))
    inbox = box.add(labels=("INBOX",))
    binned = box.add(labels=("INBOX", "TRASH"))
    spam = box.add(labels=("SPAM",))

    def ids(**params: object) -> set[str]:
        return {item["id"] for item in client.pages("messages", "messages", **params)}

    assert ids(labelIds=["INBOX", "STARRED"]) == {both}
    assert ids() == {both, inbox}
    assert ids(includeSpamTrash="true") == {both, inbox, binned, spam}
    assert ids(labelIds="INBOX") == {both, inbox}
    assert ids(labelIds="TRASH") == {binned}


def test_bins_can_be_made_to_need_the_flag(gmail: Simulator, box: Mailbox, client: Client) -> None:
    spam = box.add(labels=("SPAM",))
    gmail.spam_trash_needs_flag = True

    assert "messages" not in client.get("messages", labelIds="SPAM").json
    assert "messages" not in client.get("messages", q="in:spam").json
    assert client.get("messages", q="in:spam", includeSpamTrash="true").json["messages"][0]["id"] == spam


def test_drafts_are_listed_like_messages(box: Mailbox, client: Client) -> None:
    draft = box.save_draft(body="not yet")

    assert client.get("messages").json["messages"][0]["id"] == box.draft_message_id(draft)


def test_raw_is_the_message_byte_for_byte_in_base64url_with_crlf(box: Mailbox, client: Client) -> None:
    sent = b"Subject: odd bytes\nContent-Type: text/plain; charset=latin-1\n\nna\xefve >?\xff\xfe\n"
    message_id = box.add(raw=sent)

    answer = client.get(f"messages/{message_id}", format="raw").json

    assert base64.urlsafe_b64decode(answer["raw"]) == sent.replace(b"\n", b"\r\n") == box.raw(message_id)
    assert answer["sizeEstimate"] == len(sent.replace(b"\n", b"\r\n"))
    assert "payload" not in answer


def test_numbers_of_64_bits_are_strings_and_the_size_is_a_number(box: Mailbox, client: Client) -> None:
    message_id = box.add(internal_date=datetime(2024, 3, 1, tzinfo=UTC))

    answer = client.get(f"messages/{message_id}", format="minimal").json

    assert answer["internalDate"] == "1709251200000"
    assert answer["historyId"] == str(box.message(message_id).history_id)
    assert isinstance(answer["sizeEstimate"], int)
    assert int(answer["id"], 16) >> 20 == 1709251200000


def test_a_message_without_labels_has_no_label_ids_key(box: Mailbox, client: Client) -> None:
    message_id = box.add(labels=())

    assert "labelIds" not in client.get(f"messages/{message_id}", format="minimal").json


def test_metadata_gives_the_headers_that_were_asked_for_whatever_their_case(box: Mailbox, client: Client) -> None:
    message_id = box.add(subject="Über alles", sender="Zoë <zoe@example.org>")

    some = client.get(f"messages/{message_id}", format="metadata", metadataHeaders=["subject", "FROM"]).json
    none = client.get(f"messages/{message_id}", format="metadata", metadataHeaders="X-Missing").json

    assert some["payload"] == {
        "mimeType": "text/plain",
        "headers": [
            {"name": "From", "value": "Zoë <zoe@example.org>"},
            {"name": "Subject", "value": "Über alles"},
        ],
    }
    assert none["payload"] == {"mimeType": "text/plain"}


def test_unknown_and_malformed_ids_differ(client: Client, box: Mailbox) -> None:
    missing = client.get("messages/00000000000000aa")
    malformed = client.get("messages/not-an-id")

    assert (missing.status, missing.reason) == (404, "notFound")
    assert (malformed.status, malformed.message) == (400, "Invalid id value")


def test_a_deleted_message_is_gone(box: Mailbox, client: Client) -> None:
    message_id = box.add()
    box.delete(message_id)

    assert client.get(f"messages/{message_id}").status == 404
    assert box.deleted_ids() == {message_id}
    assert box.messages() == {}


def test_generated_mail_is_the_same_for_the_same_seed_and_is_parsable(gmail: Simulator) -> None:
    one = gmail.add_account("one@example.com")
    two = gmail.add_account("two@example.com")
    ids = one.generate(300, seed=5)

    assert two.generate(300, seed=5) == ids
    assert [one.messages()[i].label_ids for i in ids] == [two.messages()[i].label_ids for i in ids]
    for message_id in ids:
        raw = one.raw(message_id)
        message = email.message_from_bytes(raw)
        assert one.raw(message_id) == raw
        assert b"\n" not in raw.replace(b"\r\n", b"")
        assert message["Message-ID"]
        assert not message.defects
        for part in message.walk():
            assert not part.defects
            if part.get_content_maintype() == "text" and part.get_filename() is None:
                part.get_payload(decode=True).decode(part.get_content_charset())
