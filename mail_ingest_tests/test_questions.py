"""The page of questions is true: every statement runs on both warehouses, and counts what the mailbox holds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from mail_ingest.ingest import Engine
from mail_ingest.simulator import Mailbox, MessageRecord, Simulator
from mail_ingest.warehouse.reading import ask
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.truth import sync

PAGE = (Path(__file__).parent.parent / "docs" / "questions.md").read_text()
QUESTIONS = {
    title: (re.findall(r"`(\w+)`", columns), sql)
    for title, columns, sql in re.findall(
        r"^## \d+\. ([^\n]+)\n.*?^Columns: ([^\n]+)\n.*?^```sql\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL
    )
}
Ask = Callable[[str], list[dict[str, Any]]]


def test_the_page_asks_at_least_fifteen_questions_each_with_its_columns_and_sql() -> None:
    titles = re.findall(r"^## (\d+)\. (.+)$", PAGE, re.MULTILINE)
    assert [int(number) for number, _ in titles] == list(range(1, len(titles) + 1))
    assert [title for _, title in titles] == list(QUESTIONS)
    assert len(QUESTIONS) >= 15
    assert PAGE.count("```sql") == len(QUESTIONS)


@pytest.mark.warehouses("duckdb", "postgres")
def test_every_answer_has_its_columns_and_several_count_what_the_mailbox_holds(
    engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(400, seed=91, mean_size_bytes=3_000)
    sync(engine)
    before = box.messages()
    gone = sorted(before)[:3]
    box.delete_many(gone)
    read, starred = [
        [mid for mid, message in before.items() if mid not in gone and fits(message.label_ids)][:count]
        for fits, count in ((lambda labels: "UNREAD" in labels, 6), (lambda labels: "STARRED" not in labels, 4))
    ]
    box.relabel_many(read, remove=("UNREAD",))
    box.relabel_many(starred, add=("STARRED",))
    _add_conversations(box)
    sync(engine)
    engine.close()
    answers: dict[str, list[dict[str, Any]]] = {}

    for title, (columns, sql) in QUESTIONS.items():
        with ask(engine.settings, sql) as answer:
            assert answer.schema.names == columns, title
            answers[title] = answer.table().to_pylist()

    empty = [title for title, rows in answers.items() if not rows]
    assert empty == [], "the mailbox has something to say to every question"
    _compare(answers, box, gone, starred)
    ever = {**before, **box.messages()}
    # a star that was there at first sight is seen then
    stars = [message_id for message_id, message in ever.items() if "STARRED" in message.label_ids]
    _compare_days(answers, ever, {"hours_to_read": read, "hours_to_star": stars, "hours_to_archive": []})
    _compare_threads(answers, box)
    cost = answers["What did syncs cost?"]
    assert {row["kind"]: row["syncs"] for row in cost} == {"full": 1, "partial": 1}
    assert sum(row["units"] for row in cost) == gmail.units()
    assert sum(row["contents_stored"] for row in cost) == len(ever)


def _add_conversations(box: Mailbox) -> None:
    """Mail that answers can be told of by hand: an inside sender, a mailing never read, people long quiet, an open thread."""
    old, new = datetime(2003, 5, 1, 8, tzinfo=UTC), datetime(2026, 2, 3, 9, tzinfo=UTC)
    first = box.add(subject="Old times", sender="quiet@example.net", to=ADDRESS, body="x", internal_date=old)
    thread = box.message(first).thread_id
    box.add(
        subject="Re: Old times",
        sender=ADDRESS,
        to="quiet@example.net",
        body="y",
        labels=("SENT",),
        thread_id=thread,
        internal_date=old.replace(hour=11),
    )
    box.add(
        subject="Inside",
        sender="bob@example.com",
        to=ADDRESS,
        body="z",
        labels=("INBOX",),
        internal_date=old.replace(day=2),
    )
    for size in (40_000, 90_000, 10_000):
        file = (f"{size}.bin", "application/octet-stream", bytes(size))
        box.add(
            subject="File",
            sender="bob@example.com",
            to=ADDRESS,
            attachments=[file],
            internal_date=new.replace(year=2025),
        )
    for number in range(3):
        box.add(
            subject=f"Offer {number}",
            sender="never-read@shop.example",
            to=ADDRESS,
            body="buy",
            labels=("UNREAD", "CATEGORY_PROMOTIONS"),
            internal_date=new.replace(hour=10 + number),
        )


def _compare(answers: dict[str, list[dict[str, Any]]], box: Mailbox, gone: list[str], starred: list[str]) -> None:
    messages = box.messages()
    labels = {label.id: label for label in box.labels().values()}

    unread = Counter(
        labels[label].name
        for message in messages.values()
        if "UNREAD" in message.label_ids
        for label in message.label_ids
    )
    told = {row["name"]: row["unread_count"] for row in answers["Where is unread mail, by label?"]}
    assert told == dict(unread)

    (health,) = answers["Is every mailbox in order?"]
    assert (health["message_count"], health["backlog_count"]) == (len(messages), 0)
    assert {row["message_id"] for row in answers["What was deleted lately?"]} == set(gone)
    assert ("bob@example.com", "Inside") in {
        (row["from_address"], row["subject"]) for row in answers["Whom do I owe an answer?"]
    }
    assert "quiet@example.net" in {row["address"] for row in answers["Which contacts have gone quiet?"]}
    never = {row["from_address"]: row["messages"] for row in answers["Which newsletters do I never read?"]}
    assert never["never-read@shop.example"] == 3
    (reply,) = [
        row for row in answers["How fast do I answer, by sender and month?"] if row["to_address"] == "quiet@example.net"
    ]
    assert (reply["replies"], reply["median_hours"], str(reply["month"])) == (1, 3.0, "2003-05-01")

    arrivals: Counter[tuple[int, int]] = Counter()
    for message in messages.values():
        if not message.label_ids & {"SENT", "DRAFT"}:
            moment = datetime.fromtimestamp(message.internal_date_ms / 1000, UTC)
            arrivals[moment.isoweekday(), moment.hour] += 1
    counted = {
        (row["weekday"], row["hour"]): row["received"] for row in answers["When does mail arrive, by weekday and hour?"]
    }
    assert sum(counted.values()) - sum(arrivals.values()) in range(len(gone) + 1), "deleted mail arrived as well"
    assert all(counted[slot] >= number for slot, number in arrivals.items())

    today = max(row["started_on"] for row in answers["Which label changes were observed?"])
    changes = {
        row["name"]: row["messages_labelled"]
        for row in answers["Which label changes were observed?"]
        if row["started_on"] == today
    }
    assert changes["STARRED"] == len(starred)
    inbox = answers["How full was the inbox at the end of each day?"][0]
    assert inbox["in_inbox"] == sum("INBOX" in message.label_ids for message in messages.values())
    largest = answers["Which attachments are largest, and what would deleting them free?"]
    sizes = [len(box.raw(row["message_id"])) for row in largest]
    assert [row["freed_bytes"] for row in largest] == sizes == sorted(sizes, reverse=True)
    assert largest[-1]["freed_so_far_bytes"] == sum(sizes)


def _compare_days(
    answers: dict[str, list[dict[str, Any]]], ever: dict[str, MessageRecord], observed: dict[str, list[str]]
) -> None:
    """What is counted by day, month and quarter, of all mail that ever was; and how long changes of it took to be seen."""
    moments = {
        message_id: datetime.fromtimestamp(held.internal_date_ms / 1000, UTC) for message_id, held in ever.items()
    }
    received = [message_id for message_id, held in ever.items() if not held.label_ids & {"SENT", "DRAFT"}]

    waits = answers["How long does mail wait to be read, archived, starred?"]
    arrived = Counter(_month(moments[message_id]) for message_id in received)
    assert {row["month"]: row["received"] for row in waits} == arrived
    now = datetime.now(UTC)
    for column, changed in observed.items():
        hours: dict[date, list[float]] = {}
        for message_id in set(changed).intersection(received):
            waited = (now - moments[message_id]).total_seconds() / 3600
            hours.setdefault(_month(moments[message_id]), []).append(waited)
        told = {row["month"]: row[column] for row in waits if row[column] is not None}
        assert told == {month: pytest.approx(median(each), abs=1.0) for month, each in hours.items()}, column

    busiest = answers["Which days were busiest?"]
    by_day = Counter(moments[message_id].date() for message_id in received)
    sent = Counter(moments[message_id].date() for message_id, held in ever.items() if "SENT" in held.label_ids)
    assert all((row["received_count"], row["sent_count"]) == (by_day[row["day"]], sent[row["day"]]) for row in busiest)
    counts = [row["received_count"] + row["sent_count"] for row in busiest]
    assert counts == sorted((by_day + sent).values(), reverse=True)[: len(counts)]

    # of two letters one came from inside
    quarters = {row["quarter"]: row for row in answers["How much mail comes from inside?"]}
    first = quarters[date(2003, 4, 1)]
    assert (first["received"], first["internal"], first["internal_percent"]) == (2, 1, 50.0)
    assert sum(row["received"] for row in quarters.values()) == len(received)


def _compare_threads(answers: dict[str, list[dict[str, Any]]], box: Mailbox) -> None:
    threads: dict[str, list[MessageRecord]] = {}
    for message in box.messages().values():
        threads.setdefault(message.thread_id, []).append(message)
    spans = []
    for messages in threads.values():
        ended = [message.internal_date_ms for message in messages if "DRAFT" not in message.label_ids]
        if len(messages) > 1 and ended:
            begun = min(message.internal_date_ms for message in messages)
            spans.append((max(ended) - begun, len(messages)))

    told = answers["Which conversations took longest?"]
    longest = sorted(spans, reverse=True)[: len(told)]
    assert [row["message_count"] for row in told] == [count for _, count in longest]
    # days are counted by midnights
    assert all(abs(row["days"] - ms / 86_400_000) < 1 for row, (ms, _) in zip(told, longest, strict=True))

    writers = {
        row["address"]: (row["received_count"], row["sent_count"])
        for row in answers["Who writes most, and whom do I write to?"]
    }
    assert (writers["bob@example.com"], writers["never-read@shop.example"]) == ((4, 0), (3, 0))
    totals = [sum(counts) for counts in writers.values()]
    assert totals == sorted(totals, reverse=True)


def _month(moment: datetime) -> date:
    return moment.date().replace(day=1)
