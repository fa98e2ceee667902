"""Gmail publishes the changes of accounts, is asked again, and stops: at the wire, and paid for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from mail_ingest.accounts import token_env
from mail_ingest.errors import ConfigError
from mail_ingest.ingest import Engine, SyncOptions
from mail_ingest.ingest.watches import Kept, end_watch, keep_watches, renew_watch
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.conftest import ADDRESS

TOPIC = "projects/p/topics/gmail"
GRACE = "grace@example.com"


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    return {**environment, "MAIL_INGEST_PUSH_TOPIC": TOPIC}


@pytest.fixture
def synced(engine: Engine) -> Iterator[Engine]:
    engine.sync(engine.accounts(), SyncOptions())
    yield engine


@pytest.fixture
def other_box(gmail: Simulator, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Mailbox:
    box = gmail.add_account(GRACE)
    monkeypatch.setenv("GRACE_TOKEN", box.token)
    engine.registry.add(box.address, token_env("GRACE_TOKEN"))
    engine.registry.checked(GRACE)
    return box


def topics(gmail: Simulator) -> list[tuple[str, str]]:
    return [(notification.address, notification.topic) for notification in gmail.notifications]


def test_a_watch_is_made_noted_and_paid_for(synced: Engine, box: Mailbox, gmail: Simulator) -> None:
    gmail.reset_ledger()

    kept = keep_watches(synced)

    account = synced.registry.get(ADDRESS)
    assert kept == [Kept(ADDRESS, "renewed")]
    assert topics(gmail) == [(ADDRESS, TOPIC)], "a watch publishes at once"
    assert account.watch_topic == TOPIC
    assert account.watch_expires_at is not None
    assert timedelta(days=6, hours=23) < account.watch_expires_at - datetime.now(UTC) < timedelta(days=7, minutes=1)
    assert gmail.units() == synced.governor.ledger.snapshot().account(ADDRESS)["watch"].units == 100
    box.add()
    assert len(topics(gmail)) in (1, 2)


def test_a_run_that_is_repeated_buys_no_watch_twice(synced: Engine, gmail: Simulator) -> None:
    keep_watches(synced)
    gmail.reset_ledger()

    assert keep_watches(synced) == keep_watches(synced, only_due=True) == []
    assert gmail.units() == 0


def test_one_broken_account_stops_no_other_and_keeps_its_state(
    synced: Engine, box: Mailbox, other_box: Mailbox, gmail: Simulator
) -> None:
    box.revoke()

    broken, fine = sorted(keep_watches(synced), key=lambda one: one.outcome)

    assert (broken.account_id, broken.outcome, fine) == (ADDRESS, "failed", Kept(GRACE, "renewed"))
    account = synced.registry.get(ADDRESS)
    assert account.state == "active", "its next sync notes what is wrong with it"
    assert account.watch_error == broken.error != ""
    assert synced.registry.watches.due(TOPIC) == [], "it rests"


def test_switching_push_off_stops_the_watch(synced: Engine, box: Mailbox, gmail: Simulator) -> None:
    keep_watches(synced)
    synced.registry.change(ADDRESS, push=False)
    gmail.reset_ledger()
    before = topics(gmail)

    kept = keep_watches(synced)
    box.add()

    assert kept == [Kept(ADDRESS, "stopped")]
    assert topics(gmail) == before
    assert gmail.units() == 50
    assert synced.registry.get(ADDRESS).watch_expires_at is None


def test_a_deployment_that_names_no_topic_any_more_stops_all(
    synced: Engine, new_engine: Callable[..., Engine], gmail: Simulator
) -> None:
    keep_watches(synced)

    kept = keep_watches(new_engine(MAIL_INGEST_PUSH_TOPIC=""))

    assert kept == [Kept(ADDRESS, "stopped")]


def test_the_topic_moves_with_the_setting(
    synced: Engine, new_engine: Callable[..., Engine], gmail: Simulator, box: Mailbox
) -> None:
    """Gmail refuses a second topic, so the watch on the one of before is ended first."""
    keep_watches(synced)

    kept = keep_watches(new_engine(MAIL_INGEST_PUSH_TOPIC="projects/p/topics/next"))

    assert kept == [Kept(ADDRESS, "renewed")]
    assert topics(gmail)[-1] == (ADDRESS, "projects/p/topics/next")


def test_the_watch_of_another_program_is_left_alone_and_told_of(synced: Engine, box: Mailbox, gmail: Simulator) -> None:
    synced.client(synced.registry.get(ADDRESS)).watch("projects/p/topics/of-somebody-else")

    [kept] = keep_watches(synced)
    box.add()

    assert kept.outcome == "failed"
    assert "another program of the same Google project" in kept.error
    assert {topic for _, topic in topics(gmail)} == {"projects/p/topics/of-somebody-else"}


def test_without_a_topic_no_watch_is_made(synced: Engine, new_engine: Callable[..., Engine]) -> None:
    engine = new_engine(MAIL_INGEST_PUSH_TOPIC="")

    assert keep_watches(engine) == []
    with pytest.raises(ConfigError, match="MAIL_INGEST_PUSH_TOPIC names no Pub/Sub topic"):
        renew_watch(engine, engine.registry.get(ADDRESS))


def test_an_account_that_is_erased_is_watched_no_more(synced: Engine, box: Mailbox, gmail: Simulator) -> None:
    keep_watches(synced)
    before = topics(gmail)

    synced.erase_account(ADDRESS)
    box.add()

    assert topics(gmail) == before


def test_a_watch_that_cannot_be_ended_keeps_no_account_from_being_erased(synced: Engine, box: Mailbox) -> None:
    keep_watches(synced)
    box.revoke()

    assert "token" in end_watch(synced, synced.registry.get(ADDRESS))
    synced.erase_account(ADDRESS)

    assert synced.registry.states() == {}


def test_calls_that_fail_in_passing_are_repeated(synced: Engine, gmail: Simulator) -> None:
    gmail.fail_next(status=503, reason="backendError", times=2)

    assert keep_watches(synced) == [Kept(ADDRESS, "renewed")]
