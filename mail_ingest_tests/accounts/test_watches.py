"""Which watches are renewed, and when: by the run of the day, by what cannot wait for it, and by nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mail_ingest.accounts import Registry, token_env
from mail_ingest.accounts.watches import described
from mail_ingest.errors import ConfigError
from mail_ingest.settings import Settings, load_settings

NOW = datetime(2026, 11, 28, 8, 0, tzinfo=UTC)
TOPIC = "projects/p/topics/gmail"
ADA, BOB = "ada@example.com", "bob@example.com"


class Clock:
    """Time that stands still unless it is set."""

    now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def settings_in(home: Path, **variables: str) -> Settings:
    return load_settings({"MAIL_INGEST_HOME": str(home), "MAIL_INGEST_PUSH_TOPIC": TOPIC, **variables})


@pytest.fixture
def registry(tmp_path: Path, clock: Clock) -> Registry:
    """Two accounts that were synced."""
    made = Registry(settings_in(tmp_path), now=clock)
    for address in (ADA, BOB):
        made.add(address, token_env("T"))
        made.checked(address)
    return made


def watched(registry: Registry, address: str, expires_at: datetime, topic: str = TOPIC) -> None:
    registry.watches.renewed(address, topic, expires_at, history_id=7)


def test_accounts_are_watched_once_they_were_synced_unless_they_are_left_out_or_at_rest(registry: Registry) -> None:
    registry.add("new@example.com", token_env("T"))
    registry.change(BOB, push=False)

    assert registry.watches.due(TOPIC) == registry.watches.to_renew(TOPIC) == [ADA]
    registry.checked("new@example.com")
    registry.pause(ADA)
    assert registry.watches.due(TOPIC) == registry.watches.to_renew(TOPIC) == ["new@example.com"]
    assert registry.watches.due("") == registry.watches.to_renew("") == []


def test_the_run_of_the_day_renews_all_but_what_was_renewed_lately(registry: Registry, clock: Clock) -> None:
    watched(registry, ADA, NOW + timedelta(days=7))

    assert registry.watches.to_renew(TOPIC) == [BOB]
    clock.now = NOW + timedelta(hours=13)
    assert registry.watches.to_renew(TOPIC) == [BOB, ADA] or registry.watches.to_renew(TOPIC) == [ADA, BOB]


def test_what_is_about_to_lapse_does_not_wait_for_the_run_of_the_day(registry: Registry, clock: Clock) -> None:
    watched(registry, ADA, NOW + timedelta(days=7))
    watched(registry, BOB, NOW + timedelta(days=6))

    clock.now = NOW + timedelta(days=6) - timedelta(hours=1, seconds=1)
    assert registry.watches.due(TOPIC) == []
    clock.now += timedelta(seconds=2)
    assert registry.watches.due(TOPIC) == [BOB]
    clock.now = NOW + timedelta(days=30)
    assert registry.watches.due(TOPIC) == [BOB, ADA]


def test_another_topic_is_watched_at_once(registry: Registry) -> None:
    watched(registry, ADA, NOW + timedelta(days=7))
    watched(registry, BOB, NOW + timedelta(days=7), "projects/p/topics/before")

    assert registry.watches.due(TOPIC) == registry.watches.to_renew(TOPIC) == [BOB]


def test_a_renewal_that_failed_is_tried_again_soon_while_there_is_something_to_save(
    registry: Registry, clock: Clock
) -> None:
    watched(registry, ADA, NOW + timedelta(minutes=50))
    for address in (ADA, BOB):
        registry.watches.failed(address, "Gmail said no")

    assert registry.watches.due(TOPIC) == []
    clock.now += timedelta(minutes=16)
    assert registry.watches.due(TOPIC) == [ADA]
    clock.now = NOW + timedelta(hours=5)
    assert registry.watches.due(TOPIC) == [], "lapsed, and tried an hour before that"
    clock.now = NOW + timedelta(hours=7)
    assert set(registry.watches.due(TOPIC)) == {ADA, BOB}
    assert set(registry.watches.to_renew(TOPIC)) == {ADA, BOB}


def test_who_comes_back_does_not_wait_for_the_next_try(registry: Registry) -> None:
    registry.watches.failed(ADA, "the consent was revoked")
    assert registry.watches.due(TOPIC) == [BOB]

    registry.reconnect(ADA, token_env("T"))

    assert registry.watches.due(TOPIC) == [ADA, BOB]


def test_watches_that_nobody_wants_any_more_are_to_be_ended(registry: Registry, clock: Clock) -> None:
    for address in (ADA, BOB):
        watched(registry, address, NOW + timedelta(days=7))
    registry.change(BOB, push=False)

    assert registry.watches.to_stop(TOPIC) == [BOB]
    assert set(registry.watches.to_stop("")) == {ADA, BOB}, "the deployment pushes nobody any more"
    registry.watches.stopped(BOB)
    assert registry.watches.to_stop(TOPIC) == []
    clock.now = NOW + timedelta(days=8)
    assert registry.watches.to_stop("") == [], "it has lapsed"


def test_a_removed_account_comes_back_without_a_watch(registry: Registry) -> None:
    watched(registry, ADA, NOW + timedelta(days=7))
    registry.change(ADA, push=False)

    registry.remove(ADA)
    watched(registry, ADA, NOW + timedelta(days=7))
    account = registry.add(ADA, token_env("T"))

    assert (account.push, account.watch_topic, account.watch_expires_at) == (None, None, None)


def test_people_are_told_where_an_account_stands(registry: Registry, clock: Clock) -> None:
    def told(topic: str = TOPIC) -> str:
        return described(registry.get(ADA), topic, clock.now)

    assert (told(""), told()) == ("off", "no watch yet")
    registry.watches.failed(ADA, "no such topic")
    assert told() == "no watch: no such topic"
    watched(registry, ADA, NOW + timedelta(hours=1))
    assert told() == "until 2026-11-28 09:00"
    registry.watches.failed(ADA, "no such topic")
    assert told() == "until 2026-11-28 09:00, not renewed: no such topic"
    clock.now += timedelta(hours=1)
    assert told() == "lapsed 2026-11-28 09:00, not renewed: no such topic"
    registry.change(ADA, push=False)
    assert told() == "off"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAIL_INGEST_PUSH_TOPIC", "gmail"),
        ("MAIL_INGEST_PUSH_TOPIC", "projects/p/subscriptions/gmail"),
        ("MAIL_INGEST_PUSH_SUBSCRIPTION", "projects/p/topics/gmail"),
        ("MAIL_INGEST_PUSH_SUBSCRIPTION", "projects/p/subscriptions/g m"),
    ],
)
def test_names_that_pub_sub_would_not_know_are_refused(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is .*; it takes a name such as projects/your-project/"):
        settings_in(tmp_path, **{name: value})
