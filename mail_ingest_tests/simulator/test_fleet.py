"""Thousands of mailboxes on one server: what they take, how all of them change at once, and the truth about them."""

from __future__ import annotations

import csv
import email
import io
import time
import tracemalloc

import pytest

from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest.simulator import main as program
from mail_ingest.simulator.made.headers import People
from mail_ingest_tests.simulator.client import Client


def test_a_small_mailbox_takes_a_hundred_kilobytes_and_a_fraction_of_a_second() -> None:
    """Of ten thousand mailboxes: a gigabyte and minutes; `python -m benchmarks.fleet` prints both."""
    gmail = Simulator(quota="off")
    gmail.add_account("first@example.com").generate(500)  # makes what all mailboxes share
    began = time.process_time()
    for number in range(10):
        gmail.add_account(f"user{number}@example.com").generate(500, seed=number)
    each_s = (time.process_time() - began) / 10
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        boxes = [gmail.add_account(f"more{number}@example.com") for number in range(5)]
        for number, box in enumerate(boxes):
            box.generate(500, seed=100 + number)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert (after - before) / 5 < 100_000
    assert each_s < 0.05  # with room for a busy machine


def test_received_mail_arrives_now_with_history_and_the_mailboxs_correspondents(box: Mailbox, client: Client) -> None:
    old = box.generate(200, seed=3)
    cursor = box.history_id

    received = box.receive(40, seed=5)

    added = client.pages("history", "history", startHistoryId=cursor)
    assert [entry["message"]["id"] for record in added for entry in record["messagesAdded"]] == received
    records = [box.message(message_id) for message_id in received]
    assert all(record.internal_date_ms > max(box.message(each).internal_date_ms for each in old) for record in records)
    assert all("UNREAD" in record.label_ids for record in records)
    assert 5 < sum(record.thread_id != record.message_id for record in records) < 35
    people = People(box.address, seed=3)
    new = [email.message_from_bytes(box.raw(each)) for each in received]
    assert {message["From"] for message in new} <= {*people.persons, *people.bulk}
    assert all(message["Subject"] for message in new)
    assert box.raw(received[0]) == box.raw(received[0])
    assert client.get(f"messages/{received[0]}", format="raw").json["id"] == received[0]


def test_received_mail_is_made_when_it_is_read_and_never_kept(box: Mailbox) -> None:
    box.generate(50)
    box.raw(box.receive(1)[0])
    tracemalloc.start()
    try:
        received = box.receive(200, seed=2)
        for message_id in received:
            box.raw(message_id)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert kept < 200 * 1_500  # of 20 KB that a message has


def test_an_hour_changes_every_mailbox_as_much_as_is_asked(gmail: Simulator) -> None:
    boxes = [gmail.add_account(f"user{number}@example.com") for number in range(3)]
    for number, box in enumerate(boxes):
        box.generate(100, seed=number)
    before = [(box.messages(), box.history_id) for box in boxes]

    gmail.pass_hour(messages=10, label_changes=5, deletions=2, seed=9)

    for box, (earlier, cursor) in zip(boxes, before, strict=True):
        now = box.messages()
        assert len(now.keys() - earlier.keys()) == 10
        assert earlier.keys() - now.keys() == box.deleted_ids()
        assert len(box.deleted_ids()) == 2
        assert sum(now[key].label_ids != earlier[key].label_ids for key in now.keys() & earlier.keys()) == 5
        client = Client(gmail.url, box.token)
        assert len(client.pages("history", "history", startHistoryId=cursor)) == 17
        client.close()
    assert boxes[0].deleted_ids() != boxes[1].deleted_ids()


def test_an_hour_in_an_empty_or_small_mailbox_changes_what_is_there(box: Mailbox, gmail: Simulator) -> None:
    gmail.pass_hour(messages=0, seed=1)
    assert box.messages() == {}

    box.add()
    gmail.pass_hour(messages=1, label_changes=5, deletions=1, seed=1)

    assert (len(box.messages()), len(box.deleted_ids())) == (1, 1)


def test_the_truth_about_all_mailboxes_is_one_table(gmail: Simulator) -> None:
    boxes = [gmail.add_account(f"user{number}@example.com") for number in range(3)]
    boxes[0].generate(6_000, seed=1)
    boxes[1].generate(30, seed=2)
    control = Client(gmail.url, None)
    assert control.request("POST", "/simulator/hour", {"messages": 3, "label_changes": 2, "seed": 4}).status == 200
    assert control.request("POST", "/simulator/hour", {"mails": 3}).status == 400

    table = list(csv.DictReader(io.StringIO(control.request("GET", "/simulator/messages").data.decode())))
    control.close()

    assert {(row["address"], row["message_id"]) for row in table} == {
        (box.address, message_id) for box in boxes for message_id in box.messages()
    }
    truth = boxes[0].messages()
    for row in table:
        if row["address"] == boxes[0].address:
            record = truth[row["message_id"]]
            assert row["thread_id"] == record.thread_id
            assert row["label_ids"] == ";".join(sorted(record.label_ids))
            assert int(row["internal_date_ms"]) == record.internal_date_ms
    assert boxes[2].messages().keys() == {row["message_id"] for row in table if row["address"] == boxes[2].address}


def test_units_are_counted_by_method(box: Mailbox, client: Client, gmail: Simulator) -> None:
    message_id = box.add()
    client.get("profile")
    client.get(f"messages/{message_id}")
    client.get(f"messages/{message_id}")
    control = Client(gmail.url, None)

    assert gmail.requests.units_by_method() == {"getProfile": 1, "messages.get": 40}
    assert control.request("GET", "/simulator/requests").json["units_by_method"] == gmail.requests.units_by_method()
    control.close()
    gmail.reset_ledger()
    assert gmail.requests.units_by_method() == {}


def test_the_large_mailboxes_of_a_fleet_lie_evenly_among_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr("mail_ingest.simulator.wire.server.Server.serve", lambda server: server.stop())

    program.run(
        port=0, accounts=["ada@example.com"], mailboxes=6, large=2, messages=10, large_messages=40, out=told.append
    )

    assert [line.split()[1] for line in told[1:8]] == ["10", "40", "10", "10", "40", "10", "10"]
