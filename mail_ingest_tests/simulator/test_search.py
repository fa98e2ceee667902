"""The `q` parameter."""

from datetime import UTC, datetime
from itertools import pairwise

import pytest

from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.simulator.client import Client


def found(client: Client, q: str, **params: object) -> set[str]:
    return {item["id"] for item in client.pages("messages", "messages", q=q, **params)}


@pytest.fixture
def mail(box: Mailbox) -> dict[str, str]:
    """Messages by a word each."""
    label = box.create_label("Clients/Acme Corp")
    return {
        "report": box.add(
            subject="Quarterly report", sender="Grace Hopper <grace@navy.example>", body="numbers inside"
        ),
        "lunch": box.add(subject="Lunch?", sender="bob@example.org", body="pizza or pasta", labels=("INBOX",)),
        "acme": box.add(subject="Contract", to="sales@example.com", body="sign please", labels=(label,)),
        "file": box.add(subject="Scan", body="see file", attachments=[("scan.pdf", "application/pdf", b"x" * 30_000)]),
        "spam": box.add(subject="Win", body="pizza for free", labels=("SPAM",)),
        "starred": box.add(subject="Star", labels=("INBOX", "STARRED", "CATEGORY_PROMOTIONS")),
    }


@pytest.mark.parametrize(
    ("q", "words"),
    [
        ("report", {"report"}),
        ("repo", set()),
        ('"quarterly report"', {"report"}),
        ("subject:lunch", {"lunch"}),
        ("from:grace@navy.example", {"report"}),
        ("from:bob", {"lunch"}),
        ("to:sales", {"acme"}),
        ("pizza", {"lunch"}),
        ("pizza in:anywhere", {"lunch", "spam"}),
        ("in:spam", {"spam"}),
        ("label:clients-acme-corp", {"acme"}),
        ("has:attachment", {"file"}),
        ("filename:pdf", {"file"}),
        ("larger:20k", {"file"}),
        ("smaller:20k in:inbox", {"report", "lunch", "starred"}),
        ("is:unread", {"report", "file"}),
        ("is:read in:inbox", {"lunch", "starred"}),
        ("is:starred", {"starred"}),
        ("category:promotions", {"starred"}),
        ("has:userlabels", {"acme"}),
        ("lunch OR contract", {"lunch", "acme"}),
        ("{lunch contract}", {"lunch", "acme"}),
        ("subject:(quarterly report)", {"report"}),
        ("in:inbox -is:unread -starred", {"lunch", "starred"}),
        ("in:inbox -is:unread -is:starred", {"lunch"}),
        ("(lunch OR scan) has:attachment", {"file"}),
        ("-{lunch contract scan star}", {"report"}),
        ("is:muted", set()),
        ("nonsense:word", set()),
    ],
)
def test_operators(mail: dict[str, str], client: Client, q: str, words: set[str]) -> None:
    assert found(client, q) == {mail[word] for word in words}


def test_a_message_is_found_by_its_rfc822_id(box: Mailbox, client: Client) -> None:
    message_id = box.add(raw=b"Message-ID: <Odd.Id+1@example.org>\r\n\r\nx")
    box.add()

    assert found(client, "rfc822msgid:<Odd.Id+1@example.org>") == {message_id}
    assert found(client, "rfc822msgid:Odd.Id+1@example.org") == {message_id}


@pytest.mark.parametrize(
    ("bounds", "after", "before"),
    [("inclusive", {1, 2}, {0, 1}), ("exclusive", {2}, {0})],
)
def test_epoch_bounds_are_inclusive_or_exclusive(
    gmail: Simulator, box: Mailbox, client: Client, bounds: str, after: set[int], before: set[int]
) -> None:
    gmail.date_bounds = bounds
    middle = 1_700_000_000
    ids = [box.add(internal_date=datetime.fromtimestamp(middle + offset, UTC)) for offset in (-1, 0.5, 1)]

    assert found(client, f"after:{middle}") == {ids[n] for n in after}
    assert found(client, f"before:{middle}") == {ids[n] for n in before}
    assert found(client, f"after:{middle} before:{middle}") == {ids[n] for n in after & before}


def test_dates_mean_midnight_pacific_time_with_daylight_saving(box: Mailbox, client: Client) -> None:
    winter = [box.add(internal_date=datetime(2024, 1, 15, hour, 59, tzinfo=UTC)) for hour in (7, 8)]
    summer = [box.add(internal_date=datetime(2024, 7, 15, hour, 59, tzinfo=UTC)) for hour in (6, 7)]

    assert found(client, "after:2024/01/15 before:2024/01/16") == {winter[1]}
    assert found(client, "after:2024-07-15 before:2024-07-16") == {summer[1]}
    assert found(client, "after:07/15/2024") == {summer[1]}


def test_ages_count_from_the_clock() -> None:
    now = datetime(2024, 6, 15, 12, tzinfo=UTC)
    with Simulator(quota="off", clock=now.timestamp) as gmail:
        box = gmail.add_account("ada@example.com")
        client = Client(gmail.url, box.token)
        old = box.add(internal_date=datetime(2023, 1, 1, tzinfo=UTC))
        recent = box.add(internal_date=datetime(2024, 6, 14, tzinfo=UTC))

        assert found(client, "newer_than:2d") == {recent}
        assert found(client, "older_than:1y") == {old}
        client.close()


def test_date_windows_part_a_mailbox(gmail: Simulator, box: Mailbox, client: Client) -> None:
    """A walk through adjoining windows, as clients do it, meets every message."""
    box.generate(400, start="2023-01-01", end="2023-12-31")
    seconds = [int(datetime(2023, month, 1, tzinfo=UTC).timestamp()) for month in range(1, 13)]
    edges = [*seconds, int(datetime(2024, 1, 2, tzinfo=UTC).timestamp())]

    windows = [
        found(client, f"after:{low} before:{high}", includeSpamTrash="true", maxResults=50)
        for low, high in pairwise(edges)
    ]

    assert set().union(*windows) == set(box.messages())
    assert all(windows)


def test_a_page_token_belongs_to_its_query(box: Mailbox, client: Client) -> None:
    box.generate(300)
    token = client.get("messages", q="in:anywhere", maxResults=10).json["nextPageToken"]

    other = client.get("messages", q="in:inbox", maxResults=10, pageToken=token)
    unknown = client.get("messages", pageToken="12345678901234567890")

    assert (other.status, other.message) == (400, "Invalid pageToken")
    assert unknown.status == 400
    assert client.get("messages", q="in:anywhere", maxResults=99, pageToken=token).status == 200
