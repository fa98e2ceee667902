"""Notifications as Gmail publishes them, and as nobody should: each comes to a request, or is counted."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mail_ingest.accounts import Registry, token_env
from mail_ingest.accounts.notifications import Notification, read_notification, take_in
from mail_ingest.settings import load_settings

NOW = datetime(2026, 11, 28, 8, 0, tzinfo=UTC)
ADA, BOB = "ada@example.com", "bob@example.com"


def told(address: object = ADA, history_id: object = 10) -> bytes:
    return json.dumps({"emailAddress": address, "historyId": history_id}).encode()


@pytest.fixture(params=["sqlite", "postgres"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Registry:
    """Two accounts, at a time that stands still."""
    control = request.getfixturevalue("database") if request.param == "postgres" else ""
    settings = load_settings({"MAIL_INGEST_HOME": str(tmp_path), "MAIL_INGEST_CONTROL": control})
    made = Registry(settings, now=lambda: NOW)
    for address in (ADA, BOB):
        made.add(address, token_env("T"))
    return made


def waiting(registry: Registry) -> list[tuple[str, int, str, int]]:
    return [
        (request.account_id, request.priority, request.requested_by, request.filed_count)
        for request in registry.requests.find()
    ]


@pytest.mark.parametrize("history_id", [10, "10"])
def test_a_position_is_read_as_a_number_or_as_its_digits(history_id: object) -> None:
    assert read_notification(told("Ada@Example.com", history_id)) == Notification(ADA, 10)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b"null",
        told("", 10),
        told(None, 10),
        told(["a"], 10),
        told(ADA, None),
        told(ADA, True),
        told(ADA, 1.5),
        told(ADA, -1),
        told(ADA, 0),
        told(ADA, "ten"),
        told(ADA, 2**63),
        told("a" * 3_000),
        b"[" * 1_900,
    ],
)
def test_what_is_no_notification_is_none(data: bytes) -> None:
    assert read_notification(data) is None


def test_all_that_comes_for_a_mailbox_is_one_urgent_request(registry: Registry) -> None:
    counted = take_in(registry.requests, [told(history_id=12), told(history_id=11), told(BOB), told(history_id=12)])
    again = take_in(registry.requests, [told(history_id=13)])

    assert counted == {"filed": 2, "known": 2}
    assert again == {"filed": 1}
    assert waiting(registry) == [(ADA, 0, "push", 2), (BOB, 0, "push", 1)] or waiting(registry) == [
        (BOB, 0, "push", 1),
        (ADA, 0, "push", 2),
    ]
    assert registry.get(ADA).last_push_at == NOW


def test_what_comes_twice_or_late_asks_for_nothing_more(registry: Registry) -> None:
    take_in(registry.requests, [told(history_id=12)])
    [batch] = registry.requests.claim()
    registry.requests.acknowledge(batch.run_key, "run")

    counted = take_in(registry.requests, [told(history_id=12), told(history_id=11)])

    assert counted == {"known": 2}
    assert [request.state for request in registry.requests.find()] == ["started"]
    assert take_in(registry.requests, [told(history_id=13)]) == {"filed": 1}


def test_addresses_that_nobody_registered_are_counted(registry: Registry) -> None:
    registry.remove(BOB)

    counted = take_in(registry.requests, [told("nobody@example.com"), told(BOB), told(BOB, 11), b"?"])

    assert counted == {"unknown": 3, "unreadable": 1}
    assert waiting(registry) == []


@pytest.mark.parametrize("state", ["needs_reauth", "parked"])
def test_no_sync_is_asked_for_that_cannot_go_well(registry: Registry, state: str) -> None:
    registry.set_state(ADA, state, "a person has to act")  # type: ignore[arg-type]
    registry.change(BOB, push=False)

    assert take_in(registry.requests, [told(), told(BOB)]) == {"unwanted": 2}
    assert waiting(registry) == []
    registry.resume(ADA)
    assert take_in(registry.requests, [told()]) == {"filed": 1}, "what nobody acted on was noted as told"


def test_an_account_that_waits_after_failures_goes_on_waiting(registry: Registry) -> None:
    for _ in range(5):
        registry.sync_finished(ADA, "failed", error=ValueError())
    due_at = registry.get(ADA).next_due_at
    assert due_at is not None
    assert due_at > NOW + timedelta(minutes=1)

    assert take_in(registry.requests, [told()]) == {"filed": 1}

    assert registry.requests.find()[0].not_before == due_at
    assert registry.requests.claim() == []


def test_a_position_beyond_the_mailbox_keeps_later_ones_from_being_heard_until_the_next_renewal(
    registry: Registry,
) -> None:
    take_in(registry.requests, [told(history_id=2**62)])
    registry.requests.cancel_account(ADA, "a test")
    assert take_in(registry.requests, [told(history_id=50)]) == {"known": 1}

    registry.watches.renewed(ADA, "projects/p/topics/t", NOW + timedelta(days=7), history_id=50)

    assert take_in(registry.requests, [told(history_id=51)]) == {"filed": 1}


def test_a_renewal_forgets_nothing_that_was_told(registry: Registry) -> None:
    take_in(registry.requests, [told(history_id=12)])

    registry.watches.renewed(ADA, "projects/p/topics/t", NOW + timedelta(days=7), history_id=14)

    assert take_in(registry.requests, [told(history_id=12)]) == {"known": 1}
    assert take_in(registry.requests, [told(history_id=13)]) == {"filed": 1}, (
        "it was under way while the watch was renewed"
    )


def test_each_sensor_keeps_to_what_it_has_claimed(registry: Registry) -> None:
    take_in(registry.requests, [told()])
    assert registry.requests.claim("requests", pushes=False) == []
    assert registry.requests.claim("pushes", pushes=False) == []

    [batch] = registry.requests.claim("pushes")

    assert batch.run_key.startswith("pushes-")
    assert registry.requests.claim() == []
    assert registry.requests.claim("pushes", pushes=False) == [batch], "it is asked for until its run exists"
    take_in(registry.requests, [told(BOB)])
    [other] = registry.requests.claim()
    assert other.run_key.startswith("requests-")
