"""Accounts that keep failing are left alone for a while, and days' budgets end syncs cleanly."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from mail_ingest.accounts import token_env
from mail_ingest.ingest import Engine, SyncOptions
from mail_ingest.ingest.run import why_skipped
from mail_ingest.settings import load_settings
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.truth import assert_states_equal, assert_true_to_gmail, sync

BOB = "bob@example.com"


class Clock:
    """A time that moves when it is told to."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 21, 5, 0, tzinfo=UTC)

    def __call__(self) -> float:
        return self.now.timestamp()

    def forward(self, **span: float) -> None:
        self.now += timedelta(**span)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def waiting(
    environment: dict[str, str], box: Mailbox, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Engine]:
    """An engine whose accounts wait by the clock of the test."""
    monkeypatch.setenv("ADA_TOKEN", box.token)
    engine = Engine(load_settings(environment), wait_s=5.0, sleep=lambda seconds: None, clock=clock)
    engine.registry.add(ADDRESS, token_env("ADA_TOKEN"))
    yield engine
    engine.close()


def test_an_account_that_keeps_failing_is_left_alone_until_its_time_comes(
    waiting: Engine, box: Mailbox, gmail: Simulator, clock: Clock
) -> None:
    box.generate(5, seed=1)
    gmail.fail_next(status=500, reason="backendError", method="getProfile", times=-1)
    for _ in range(3):
        _sync_due(waiting)
    asked = gmail.calls()

    assert _sync_due(waiting) == []
    assert gmail.calls() == asked
    ((_, skipped),) = [waiting.due()]
    assert "after 3 failed syncs in a row" in why_skipped(skipped[0])
    clock.forward(minutes=4, seconds=59)
    assert _sync_due(waiting) == []
    clock.forward(seconds=1)
    gmail.clear_faults()
    assert _sync_due(waiting) == ["success"]
    assert waiting.registry.get(ADDRESS).consecutive_failures == 0
    assert_true_to_gmail(waiting, box)


def test_from_the_fifth_failure_on_it_cools_down_and_a_sync_that_names_it_overrides(
    waiting: Engine, box: Mailbox, gmail: Simulator, clock: Clock
) -> None:
    box.generate(5, seed=1)
    gmail.fail_next(status=500, reason="backendError", method="getProfile", times=-1)
    for _ in range(5):
        waiting.sync(waiting.accounts([ADDRESS]), SyncOptions())
    account = waiting.registry.get(ADDRESS)
    gmail.clear_faults()

    assert (account.state, account.resume_at) == ("cooling_down", clock.now + timedelta(minutes=30))
    assert "ServerError" in why_skipped(account)
    assert _sync_due(waiting) == []
    assert sync_named(waiting) == "success"
    account = waiting.registry.get(ADDRESS)
    assert (account.state, account.state_reason, account.resume_at) == ("active", "", None)


def test_one_account_that_waits_does_not_keep_the_others_waiting(
    waiting: Engine, box: Mailbox, gmail: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = gmail.add_account(BOB)
    monkeypatch.setenv("BOB_TOKEN", other.token)
    waiting.registry.add(BOB, token_env("BOB_TOKEN"))
    gmail.fail_next(status=500, reason="backendError", account=ADDRESS, times=-1)

    outcomes = [_sync_due(waiting) for _ in range(4)]

    assert outcomes == [["failed", "success"]] * 3 + [["success"]]


def test_a_warehouse_that_cannot_be_written_is_not_the_accounts_failure(
    waiting: Engine, box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mail_ingest.errors import WarehouseError

    def full(*_: object, **__: object) -> None:
        raise WarehouseError("the disk is full")

    box.generate(3, seed=1)
    monkeypatch.setattr(waiting.pipelines, "load", full)
    for _ in range(4):
        assert _sync_due(waiting) == ["failed"]
    assert waiting.registry.get(ADDRESS).consecutive_failures == 0


def test_a_spent_day_ends_the_sync_cleanly_and_the_next_process_knows_of_it(
    environment: dict[str, str], box: Mailbox, gmail: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADA_TOKEN", box.token)
    box.generate(40, seed=1)
    settings = load_settings({**environment, "MAIL_INGEST_QUOTA": "day=500", "MAIL_INGEST_QUOTA_SHARE": "1.0"})
    first, second = (Engine(settings, wait_s=5.0, sleep=lambda seconds: None) for _ in range(2))
    first.registry.add(ADDRESS, token_env("ADA_TOKEN"))

    run = first.sync(first.accounts(), SyncOptions())[0]
    first.close()
    spent = gmail.units()
    again = second.sync(second.accounts(), SyncOptions())[0]

    assert (run.outcome, run.error_class) == ("partial", "QuotaError")
    assert 480 <= spent <= 500
    assert run.contents_stored > 15
    assert (again.outcome, again.error_class) == ("partial", "QuotaError")
    assert gmail.units() - spent <= 20
    account = second.registry.get(ADDRESS)
    assert account.next_due_at == again.resume_at == second.governor.day_ends_at()
    assert account.consecutive_failures == 0
    assert second.due()[0] == []
    assert "for Gmail's quota" in why_skipped(account)
    second.close()


def test_a_short_sweep_marks_the_account_and_a_person_may_accept_it(
    engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(1_400, seed=2)
    sync(engine, content=False)
    ids = list(box.messages())
    # the mailbox loses a quarter of its mail between the profile and the sweep, each time anew
    gmail.before("labels.list", lambda: [box.delete(message_id) for message_id in ids[:350]], times=1)
    refused = engine.sync(engine.accounts(), SyncOptions(mode="full", content=False))[0]
    marked = engine.registry.get(ADDRESS)
    gmail.before("labels.list", lambda: [box.delete(message_id) for message_id in ids[350:700]], times=1)

    accepted = sync(engine, mode="full", content=False, accept_shrink=True)

    assert refused.error_class == "SweepRefusedError"
    assert "--accept-shrink" in marked.state_reason
    assert accepted.messages_deleted == 700
    assert engine.registry.get(ADDRESS).state_reason == ""
    assert_states_equal(engine, box)


def sync_named(engine: Engine) -> str:
    return engine.sync(engine.accounts([ADDRESS]), SyncOptions())[0].outcome


def _sync_due(engine: Engine) -> list[str]:
    """Outcomes of a sync that names nobody."""
    return [run.outcome for run in engine.sync(engine.due()[0], SyncOptions())]
