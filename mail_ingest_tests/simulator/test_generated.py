"""Generated mailboxes: what they look like, and that size does not slow them down."""

import email
import re
import time
from collections import Counter
from typing import Any

import pytest

from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.simulator.client import Client


@pytest.fixture(scope="module")
def messages() -> list[email.message.Message]:
    box = Simulator(quota="off").add_account("ada@example.com")
    return [email.message_from_bytes(box.raw(message_id)) for message_id in box.generate(2_000, seed=11)]


def test_sizes_and_labels_are_as_asked(gmail: Simulator) -> None:
    for number, (size, labels) in enumerate([(20_000, 3), (3_000, 5), (60_000, 2.2)]):
        box = gmail.add_account(f"user{number}@example.com")
        ids = box.generate(3_000, seed=number, mean_size_bytes=size, labels_per_message=labels)
        truth = box.messages()

        assert sum(len(box.raw(i)) for i in ids) / len(ids) == pytest.approx(size, rel=0.2)
        assert sum(len(r.label_ids) for r in truth.values()) / len(ids) == pytest.approx(labels, rel=0.1)
        assert len({r.thread_id for r in truth.values()}) == pytest.approx(1_500, rel=0.1)


@pytest.mark.parametrize(
    "arguments",
    [
        {"count": 0}, {"count": 1}, {"count": 50, "user_labels": 0}, {"count": 50, "labels_per_message": 0},
        {"count": 50, "labels_per_message": 12}, {"count": 50, "messages_per_thread": 1},
        {"count": 50, "messages_per_thread": 40}, {"count": 50, "mean_size_bytes": 1},
        {"count": 50, "start": "2024-01-01", "end": "2024-01-01"},
    ],
)  # fmt: skip
def test_unusual_wishes_are_met(box: Mailbox, arguments: dict[str, Any]) -> None:
    ids = box.generate(**arguments)

    assert len(set(ids)) == len(box.messages()) == arguments["count"]
    assert all(email.message_from_bytes(box.raw(message_id))["Subject"] for message_id in ids)


def test_more_mail_can_be_generated_later_and_older(box: Mailbox, client: Client) -> None:
    box.generate(100, seed=1, start="2024-01-01", end="2024-12-31")
    message_id = box.add()
    box.generate(100, seed=2, start="2020-01-01", end="2020-12-31")
    truth = box.messages()

    listed = client.pages("messages", "messages", includeSpamTrash="true", maxResults=30)

    assert listed[0]["id"] == message_id
    dates = [truth[item["id"]].internal_date_ms for item in listed]
    assert (len(dates), dates) == (201, sorted(dates, reverse=True))
    assert all(client.get(f"messages/{i}", format="raw").status == 200 for i in list(truth)[::20])


def test_all_places_labels_and_kinds_occur(box: Mailbox) -> None:
    box.generate(3_000, seed=1, start="2022-01-01", end="2022-12-31")
    truth = box.messages().values()

    seen = Counter(label_id for record in truth for label_id in record.label_ids)
    assert {"INBOX", "UNREAD", "SENT", "DRAFT", "SPAM", "TRASH", "CHAT", "STARRED", "IMPORTANT"} <= set(seen)
    assert sum(label_id.startswith("Label_") for label_id in seen) == 20
    assert any(not record.label_ids for record in truth)
    assert min(r.internal_date_ms for r in truth) >= 1_640_995_200_000
    assert max(r.internal_date_ms for r in truth) < 1_672_444_800_000
    assert all(int(record.message_id, 16) >> 20 == record.internal_date_ms for record in truth)


def test_mail_is_as_varied_as_mail_is(messages: list[email.message.Message]) -> None:
    types = Counter(part.get_content_type() for message in messages for part in message.walk())
    charsets = {part.get_content_charset() for message in messages for part in message.walk()}
    encodings = {part.get("Content-Transfer-Encoding") for message in messages for part in message.walk()}

    assert {"text/plain", "text/html", "multipart/alternative", "multipart/mixed", "multipart/related"} <= set(types)
    assert {"application/pdf", "image/jpeg"} <= set(types)
    assert {"utf-8", "iso-8859-1", "windows-1252", "koi8-r", "gb2312", "iso-2022-jp"} <= charsets
    assert {"7bit", "8bit", "quoted-printable", "base64"} <= encodings
    received = [message for message in messages if message["Delivered-To"]]
    assert sum(len(message.keys()) for message in received) / len(received) > 18
    assert any("=?utf-8?" in (message["Subject"] or "") for message in messages)


def test_replies_name_the_message_above_and_share_its_subject(messages: list[email.message.Message]) -> None:
    by_id = {message["Message-ID"]: message for message in messages}
    replies = [message for message in messages if message["In-Reply-To"]]

    assert len(by_id) == len(messages)
    assert len(replies) > 500
    for reply in replies:
        above = by_id[reply["In-Reply-To"]]
        assert reply["In-Reply-To"] in reply["References"]
        assert reply["Subject"].removeprefix("Re: ") == above["Subject"].removeprefix("Re: ")


def test_both_halves_of_an_alternative_say_the_same(messages: list[email.message.Message]) -> None:
    checked = 0
    for message in messages:
        for part in message.walk():
            if part.get_content_type() == "multipart/alternative":
                plain, rich = (half.get_payload(decode=True).decode() for half in part.get_payload())
                told = re.sub(r"<[^>]*>", "", rich.partition("<body>")[2])
                assert told.split() == plain.split()
                checked += 1
    assert checked > 300


def test_snippets_of_generated_mail_are_the_beginning_of_its_text(box: Mailbox, client: Client) -> None:
    from mail_ingest.simulator.mail import mime
    from mail_ingest.simulator.mail.snippets import snippet_text, text_of_message

    for message_id in box.generate(300, seed=9):
        shown = client.get(f"messages/{message_id}", format="metadata").json["snippet"]
        assert shown == snippet_text(text_of_message(mime.parse(box.raw(message_id))))


def test_pages_of_a_large_mailbox_cost_no_more_than_those_of_a_small_one(gmail: Simulator) -> None:
    """Deep pages, label pages and date windows of 120,000 messages, each within milliseconds of CPU time."""
    box = gmail.add_account("large@example.com")
    client = Client(gmail.url, box.token)
    began = time.process_time()
    box.generate(120_000, seed=2)
    generated_s = time.process_time() - began
    began = time.process_time()
    swept = client.pages("messages", "messages", includeSpamTrash="true", maxResults=500)
    swept_s = time.process_time() - began
    slowest = 0.0
    for params in ({"labelIds": "Label_9"}, {"labelIds": "CHAT"}, {"q": "after:1640000000 before:1640086400"}) * 3:
        began = time.process_time()
        assert client.get("messages", maxResults=500, includeSpamTrash="true", **params).json["messages"]
        slowest = max(slowest, time.process_time() - began)
    client.close()

    assert len({item["id"] for item in swept}) == 120_000
    assert generated_s < 10
    assert swept_s < 5
    assert slowest < 0.2
