"""How often an account is synced, by its schedule and its activity."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mail_ingest.accounts import Registry, schedule_of, token_env
from mail_ingest.accounts.schedules import ADAPTIVE, Activity, Schedule, interval, priority_of
from mail_ingest.errors import ConfigError
from mail_ingest_tests.accounts.conftest import Calendar

NOW = datetime(2026, 11, 21, 5, 0, tzinfo=UTC)
ACTIVE, IDLE = NOW - timedelta(hours=2), NOW - timedelta(hours=2, seconds=1)
PUSHED, QUIET = NOW - timedelta(days=7), NOW - timedelta(days=7, seconds=1)


@pytest.mark.parametrize(
    ("schedule", "read_at", "in_day", "in_week", "minutes"),
    [
        ("aggressive", ACTIVE, 0, 0, 5),
        ("aggressive", ACTIVE, 500, 500, 5),
        ("aggressive", IDLE, 51, 51, 15),
        ("aggressive", IDLE, 0, 351, 15),
        ("aggressive", IDLE, 50, 350, 30),
        ("aggressive", None, 0, 0, 30),
        ("balanced", ACTIVE, 51, 51, 15),
        ("balanced", ACTIVE, 50, 50, 30),
        ("balanced", IDLE, 51, 51, 60),
        ("balanced", IDLE, 50, 50, 240),
        ("conservative", ACTIVE, 51, 51, 120),
        ("conservative", ACTIVE, 50, 50, 720),
        ("conservative", IDLE, 51, 51, 720),
        ("conservative", IDLE, 0, 0, 720),
    ],
)
def test_the_interval_follows_from_schedule_and_activity(
    schedule: Schedule, read_at: datetime | None, in_day: int, in_week: int, minutes: int
) -> None:
    activity = Activity(read_at, in_day, in_week, last_push_at=None)

    assert interval(schedule, activity, NOW) == timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("schedule", "pushed_at", "minutes"),
    [
        ("aggressive", PUSHED, 30),
        ("aggressive", QUIET, 5),
        ("balanced", PUSHED, 240),
        ("balanced", QUIET, 15),
        ("conservative", PUSHED, 720),
        ("conservative", QUIET, 120),
    ],
)
def test_what_is_pushed_is_asked_for_as_rarely_as_its_schedule_knows(
    schedule: Schedule, pushed_at: datetime, minutes: int
) -> None:
    assert interval(schedule, Activity(ACTIVE, 51, 51, pushed_at), NOW) == timedelta(minutes=minutes)


@pytest.mark.parametrize("schedule", ADAPTIVE)
def test_an_account_that_was_never_measured_is_due_at_once(schedule: Schedule) -> None:
    assert interval(schedule, Activity(None, None, None, None), NOW) == timedelta(0)


def test_status_tells_when_an_account_is_due(registry: Registry, calendar: Calendar) -> None:
    registry.add("ada@example.com", token_env("T"))
    assert registry.get("ada@example.com").due_at(calendar.now) is None
    registry.change("ada@example.com", schedule="balanced")
    assert registry.get("ada@example.com").due_at(calendar.now) == calendar.now
    registry.note_traffic({"ada@example.com": (0, 0)})
    registry.checked("ada@example.com")

    assert registry.get("ada@example.com").due_at(calendar.now) == calendar.now + timedelta(hours=4)
    for _ in range(3):
        registry.sync_finished("ada@example.com", "failed", error=ValueError())
    registry.change("ada@example.com", schedule="aggressive")
    assert registry.get("ada@example.com").due_at(calendar.now) == calendar.now + timedelta(minutes=30)


def test_accounts_of_active_owners_go_first() -> None:
    assert priority_of(Activity(ACTIVE, 0, 0, None), NOW) == 1
    assert priority_of(Activity(IDLE, 500, 500, None), NOW) == 2


def test_an_account_has_the_schedule_that_it_was_given(registry: Registry) -> None:
    registry.add("ada@example.com", token_env("T"))
    assert registry.get("ada@example.com").schedule == "hourly"

    registry.change("ada@example.com", schedule=schedule_of("balanced"))

    assert registry.get("ada@example.com").schedule == "balanced"
    assert registry.due(schedules=["hourly"]) == []
    assert [account.account_id for account in registry.due(schedules=ADAPTIVE)] == ["ada@example.com"]
    with pytest.raises(ConfigError, match="hourly, aggressive, balanced, conservative, off"):
        schedule_of("weekly")


def test_nobody_expects_looks_at_accounts_that_are_synced_on_demand(registry: Registry) -> None:
    registry.add("ada@example.com", token_env("T"))
    registry.change("ada@example.com", schedule="off")

    assert registry.looks() == []


def test_a_cancelled_sync_says_nothing_about_its_account(registry: Registry, calendar: Calendar) -> None:
    registry.add("ada@example.com", token_env("T"))
    for _ in range(3):
        registry.sync_finished("ada@example.com", "failed", error=ValueError())
    before = registry.get("ada@example.com")

    calendar.forward(minutes=1)
    registry.sync_finished("ada@example.com", "cancelled", owner_active_at=calendar.now)

    after = registry.get("ada@example.com")
    assert (after.consecutive_failures, after.next_due_at) == (3, before.next_due_at)
    assert (after.last_outcome, after.last_checked_at, after.owner_active_at) == ("cancelled", None, calendar.now)
