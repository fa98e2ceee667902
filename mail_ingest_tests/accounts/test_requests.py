"""Requests for syncs in the control database: what joins, what waits, what a run gets; on SQLite and on Postgres."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest

from mail_ingest.accounts import Registry, Request, Requests, make_wish, parse_time, token_env
from mail_ingest.accounts.requests import BATCH_ACCOUNTS, MOST_PER_MINUTE
from mail_ingest.accounts.wishes import stronger
from mail_ingest.errors import ConfigError
from mail_ingest.settings import Settings, load_settings
from mail_ingest_tests.accounts.conftest import Calendar
from mail_ingest_tests.postgres import connected, execute

T = TypeVar("T")
ADA, BOB = "ada@example.com", "bob@example.com"


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    variables = {"MAIL_INGEST_HOME": str(tmp_path / "home")}
    if request.param == "postgres":
        variables["MAIL_INGEST_CONTROL"] = str(request.getfixturevalue("control_database"))
    return load_settings(variables)


@pytest.fixture
def requests(registry: Registry) -> Requests:
    for address in (ADA, BOB):
        registry.add(address, token_env("T"))
    return registry.requests


@pytest.fixture
def ask(requests: Requests, calendar: Calendar) -> Callable[..., Request]:
    """Files a request for Ada, or another one."""

    def file(address: str = ADA, requested_by: str = "person", **wish: object) -> Request:
        return requests.file(address, make_wish(calendar.now, **wish), requested_by)  # type: ignore[arg-type]

    return file


def test_requests_that_wait_for_one_account_become_one_that_covers_them_all(
    ask: Callable[..., Request], requests: Requests, calendar: Calendar
) -> None:
    first = ask(priority=3, at=calendar.now + timedelta(hours=3), months=["2026-01"])
    ask(priority=1, at=calendar.now + timedelta(hours=1), mode="full", months=["2025-12..2026-01"])
    last = ask("ADA@example.com ", priority=2, at=calendar.now + timedelta(hours=2), mode="partial")

    assert requests.find() == [last]
    assert (last.request_id, last.filed_count) == (first.request_id, 3)
    assert (last.mode, last.months, last.new_mail, last.priority) == ("full", "2025-12,2026-01", True, 1)
    assert last.not_before == calendar.now + timedelta(hours=1)
    assert ask(BOB).request_id != first.request_id


def test_a_claimed_request_is_joined_by_nobody(ask: Callable[..., Request], requests: Requests) -> None:
    """Its run may be past the point at which the new wish would have mattered."""
    claimed = ask()
    [batch] = requests.claim()
    assert [request.request_id for request in batch.requests] == [claimed.request_id]

    later = ask(mode="full")

    assert later.request_id != claimed.request_id
    assert requests.get(claimed.request_id).mode == "auto"
    assert {request.state for request in requests.find(ADA)} == {"claimed", "waiting"}


def test_beyond_ten_in_a_minute_the_pending_request_stands_for_all_and_waits_for_the_end_of_the_minute(
    ask: Callable[..., Request], requests: Requests, calendar: Calendar
) -> None:
    started_at = calendar.now
    ids = set()
    for _ in range(MOST_PER_MINUTE):
        ids.add(ask().request_id)
        requests.claim()
        calendar.forward(seconds=1)
    assert len(ids) == MOST_PER_MINUTE

    pending = [ask() for _ in range(50)]

    assert len({request.request_id for request in pending}) == 1
    assert pending[0].request_id not in ids
    assert pending[-1].not_before == started_at + timedelta(minutes=1)
    assert len(requests.claim()) == MOST_PER_MINUTE, "the pending one was claimed before the minute was over"
    assert ask(BOB).not_before == calendar.now, "another account has to wait"
    calendar.forward(seconds=60)
    assert pending[0].request_id in {request.request_id for batch in requests.claim() for request in batch.requests}


def test_a_batch_holds_accounts_of_one_kind_and_comes_again_until_it_is_acknowledged(
    ask: Callable[..., Request], requests: Requests, registry: Registry, calendar: Calendar
) -> None:
    registry.add("eve@example.com", token_env("T"))
    urgent = {ask(ADA).request_id, ask(BOB).request_id}
    other = ask("eve@example.com", mode="full", priority=4).request_id

    first = requests.claim()
    again = requests.claim()

    assert [{request.request_id for request in batch.requests} for batch in first] == [urgent, {other}]
    assert again == first
    assert requests.acknowledge(first[0].run_key, "run-1") == 2
    assert requests.claim() == first[1:]
    assert {requests.get(request_id).run_id for request_id in urgent} == {"run-1"}
    assert requests.acknowledge(first[0].run_key, "run-2") == 0


def test_a_run_gets_at_most_a_hundred_accounts(requests: Requests, registry: Registry, calendar: Calendar) -> None:
    for number in range(BATCH_ACCOUNTS + 1):
        registry.add(f"user{number}@example.com", token_env("T"))
        requests.file(f"user{number}@example.com", make_wish(calendar.now), "person")

    assert [len(batch.requests) for batch in requests.claim()] == [BATCH_ACCOUNTS, 1]


def test_a_request_waits_for_its_time_and_for_its_account_to_be_resumed(
    ask: Callable[..., Request], requests: Requests, registry: Registry, calendar: Calendar
) -> None:
    ask(at=calendar.now + timedelta(hours=1))
    ask(BOB)
    registry.pause(BOB)

    assert requests.claim() == []
    registry.resume(BOB)
    assert [request.account_id for batch in requests.claim() for request in batch.requests] == [BOB]
    calendar.forward(hours=1)
    assert {request.account_id for batch in requests.claim() for request in batch.requests} == {ADA, BOB}


def test_a_run_takes_what_is_neither_done_nor_cancelled_and_nothing_twice(
    ask: Callable[..., Request], requests: Requests, registry: Registry
) -> None:
    registry.add("eve@example.com", token_env("T"))
    done, cancelled, failed = (ask(address).request_id for address in (ADA, BOB, "eve@example.com"))
    [batch] = requests.claim()
    requests.cancel(cancelled, "changed my mind")
    ids = [request.request_id for request in batch.requests]

    assert [request.request_id for request in requests.start(ids, "run-1")] == sorted((done, failed))
    requests.finish(done, "done")
    requests.finish(failed, "failed", "Gmail was away")

    assert [request.request_id for request in requests.start(ids, "run-2")] == [failed], "the second try of the run"
    states = {request.request_id: request for request in requests.find(only_open=False)}
    assert (states[done].state, states[cancelled].state) == ("done", "cancelled")
    assert (states[failed].state, states[failed].run_id, states[failed].reason) == ("started", "run-2", "")


def test_a_claimed_request_of_an_account_that_was_paused_waits_again(
    ask: Callable[..., Request], requests: Requests, registry: Registry
) -> None:
    request = ask(mode="full")
    requests.claim()
    registry.pause(ADA)

    assert requests.start([request.request_id], "run-1") == []
    assert requests.get(request.request_id).state == "waiting"

    registry.resume(ADA)
    requests.claim()
    registry.pause(ADA)
    newer = ask()
    assert requests.start([request.request_id], "run-2") == []
    assert requests.get(newer.request_id).mode == "full", "the wish of the older one was lost"
    assert requests.get(request.request_id).state == "cancelled"


def test_cancelling_an_account_ends_its_requests_and_the_sync_that_began_before(
    ask: Callable[..., Request], requests: Requests
) -> None:
    ask()
    before = requests.cancel_count(ADA)

    assert requests.cancel_account(ADA, "enough") == 1
    assert requests.cancel_count(ADA) != before
    assert requests.cancel_count(BOB) == 0
    assert requests.find() == []
    with pytest.raises(ConfigError, match="not registered"):
        requests.cancel_account("nobody@example.com", "")


def test_what_has_ended_cannot_be_cancelled_and_is_forgotten_after_a_week(
    ask: Callable[..., Request], requests: Requests, calendar: Calendar
) -> None:
    request = ask()
    requests.cancel(request.request_id, "")
    with pytest.raises(ConfigError, match="has ended"):
        requests.cancel(request.request_id, "")
    with pytest.raises(ConfigError, match="does not exist"):
        requests.cancel("123", "")

    calendar.forward(days=6)
    assert (requests.count_forgettable(), requests.forget_ended()) == ((0, 0), 0)
    calendar.forward(days=2)
    count, size = requests.count_forgettable()
    assert (count, size > len(ADA)) == (1, True)
    assert requests.forget_ended() == 1
    assert requests.count_forgettable() == (0, 0)
    with pytest.raises(ConfigError, match="no request"):
        requests.get(request.request_id)


def test_removing_an_account_cancels_its_requests_and_erasing_it_leaves_none(
    ask: Callable[..., Request], requests: Requests, registry: Registry
) -> None:
    request = ask()
    registry.remove(ADA)
    assert requests.get(request.request_id).state == "cancelled"
    with pytest.raises(ConfigError, match="not registered"):
        ask()

    registry.forget(ADA)

    assert requests.find(ADA, only_open=False) == []
    assert requests.is_cancelled(request.request_id)


def test_a_push_is_remembered_by_its_account(
    ask: Callable[..., Request], registry: Registry, calendar: Calendar
) -> None:
    ask(requested_by="push")
    ask(BOB)

    assert registry.get(ADA).last_push_at == calendar.now
    assert registry.get(BOB).last_push_at is None


_FILES = """
import sys
from datetime import UTC, datetime
from mail_ingest.accounts import Registry, make_wish
from mail_ingest.settings import load_settings
requests = Registry(load_settings({"MAIL_INGEST_HOME": sys.argv[1], "MAIL_INGEST_CONTROL": sys.argv[2]})).requests
print("ready", flush=True)
sys.stdin.readline()
month = sys.argv[3]
for _ in range(5):
    filed = requests.file("ada@example.com", make_wish(datetime.now(UTC), months=[month]), "person")
print(filed.request_id)
"""


def test_processes_that_ask_at_once_are_all_heard_by_one_request(requests: Requests, settings: Settings) -> None:
    months = [f"2025-{number:02}" for number in range(1, 5)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _FILES, str(settings.home), settings.control, month],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for month in months
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

    ids = {process.communicate("\n", timeout=120)[0].strip() for process in processes}

    [request] = requests.find(only_open=False)
    assert ids == {request.request_id}
    assert (request.filed_count, request.wish.months) == (20, tuple(months))


def _while_another_changes(url: str, change: str, request_id: str, act: Callable[[], T]) -> T:
    """What `act` gives that begins while another transaction has changed a request, and ends once that is committed."""
    waiting = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    with ThreadPoolExecutor(1) as threads, connected(url) as other:
        other.begin()
        other.execute(f"update sync_requests set {change} where request_id = ?", [request_id])
        acting = threads.submit(act)
        deadline = time.monotonic() + 30
        while not acting.done() and execute(url, waiting) == [(0,)] and time.monotonic() < deadline:
            time.sleep(0.02)
        other.commit()
        return acting.result(timeout=30)


@pytest.mark.parametrize("settings", ["postgres"], indirect=True)
def test_a_wish_does_not_join_a_request_that_is_being_claimed(
    ask: Callable[..., Request], requests: Requests, settings: Settings
) -> None:
    claimed = ask()
    change = "state = 'claimed', run_key = 'requests-1'"

    filed = _while_another_changes(settings.control, change, claimed.request_id, lambda: ask(mode="full"))

    assert (filed.state, filed.mode) == ("waiting", "full")
    assert (requests.get(claimed.request_id).state, requests.get(claimed.request_id).mode) == ("claimed", "auto")


@pytest.mark.parametrize("settings", ["postgres"], indirect=True)
def test_a_request_that_is_being_cancelled_is_not_started(
    ask: Callable[..., Request], requests: Requests, settings: Settings
) -> None:
    cancelled, other = ask(), ask(BOB)
    requests.claim()
    ids = [cancelled.request_id, other.request_id]

    started = _while_another_changes(
        settings.control, "state = 'cancelled'", cancelled.request_id, lambda: requests.start(ids, "run")
    )

    assert [request.account_id for request in started] == [BOB]
    assert requests.get(cancelled.request_id).state == "cancelled"


@pytest.mark.parametrize(
    ("wish", "why"),
    [
        ({"mode": "fast"}, "the mode is 'fast'"),
        ({"priority": 5}, r"0 \(a person or a push asked\)"),
        ({"months": ["2026-13"]}, "no month"),
        ({"months": ["2026-05..2026-01"]}, "ends before it begins"),
        ({"months": ["2003-01"], "content_start": "2004-04"}, "from 2004-04"),
        ({"months": ["2027-01"]}, "to 2026-11"),
    ],
)
def test_a_wish_that_makes_no_sense_says_so(wish: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        make_wish(datetime(2026, 11, 21, tzinfo=UTC), **wish)  # type: ignore[arg-type]


def test_times_are_in_utc_unless_they_name_a_zone() -> None:
    assert parse_time("2026-11-28T07:30") == datetime(2026, 11, 28, 7, 30, tzinfo=UTC)
    assert parse_time("2026-11-28T07:30+01:00") == datetime(2026, 11, 28, 6, 30, tzinfo=UTC)
    with pytest.raises(ConfigError, match="2026-11-28T07:30"):
        parse_time("tomorrow")


def test_the_stronger_wish_is_the_same_whoever_came_first() -> None:
    now = datetime(2026, 11, 21, tzinfo=UTC)
    one = make_wish(now, months=["2026-01"], priority=3)
    other = make_wish(now, mode="full", at=now + timedelta(hours=1))

    assert stronger(one, other) == stronger(other, one)
    assert stronger(one, one) == one
