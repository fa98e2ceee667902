"""The governor on a clock of its own: how much leaves, when, and what it refuses."""

import threading
from bisect import bisect_left
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail_ingest.errors import QuotaError
from mail_ingest.gmail import OWN_DAY_LIMIT, QuotaGovernor, Shares, parse_quota
from mail_ingest_tests.gmail.stage import ADA, EPOCH, Clock

GET = "messages.get"
METHODS = ["getProfile", "messages.list", "history.list", GET]


class Log:
    """What left and when: the units in any stretch of time."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._sums = [0]

    def add(self, at: float, units: int) -> None:
        self._times.append(at)
        self._sums.append(self._sums[-1] + units)

    def units(self, start: float, seconds: float = 60.0) -> int:
        return self._sums[bisect_left(self._times, start + seconds)] - self._sums[bisect_left(self._times, start)]

    def worst_minute(self) -> int:
        """The most units in any 60 s: whatever second the windows begin at, none holds more."""
        return max((self.units(start) for start in self._times), default=0)


def spend(governor: QuotaGovernor, clock: Clock, seconds: float, method: str = GET) -> Log:
    """Calls as fast as the governor lets them."""
    log = Log()
    end = clock.now + seconds
    while clock.now < end:
        governor.acquire(ADA, method)
        log.add(clock.now, governor.profile.costs[method])
    return log


def make_governor(clock: Clock, quota: str = "2026", share: float = 1.0, **more: Any) -> QuotaGovernor:
    return QuotaGovernor(parse_quota(quota), share=share, clock=clock, sleep=clock.sleep, **more)


@pytest.mark.parametrize("quota", ["2026", "previous", "user=1000"])
def test_whole_limit_is_used_to_97_percent_in_every_minute_and_never_exceeded(quota: str) -> None:
    clock = Clock()
    governor = make_governor(clock, quota)
    limit = governor.profile.per_user_minute or 0

    log = spend(governor, clock, 600)

    assert log.worst_minute() <= limit
    assert min(log.units(EPOCH + phase) for phase in range(530)) >= 0.97 * limit


def test_share_of_the_limit_holds_for_every_minute_and_is_used_up_on_average() -> None:
    clock = Clock()

    log = spend(make_governor(clock, share=0.8), clock, 1_200)

    assert log.worst_minute() <= 0.8 * 6_000
    assert log.units(EPOCH, 1_200) >= 0.97 * 0.8 * 6_000 * 20


def test_another_share_holds_from_now_on_and_what_was_spent_before_counts() -> None:
    clock = Clock()
    governor = make_governor(clock, shares=Shares(0.8, 0.8, 0.3))
    spend(governor, clock, 30)

    governor.assign(ADA, purpose="backfill")
    log = spend(governor, clock, 600)

    assert log.worst_minute() <= 0.3 * 6_000
    assert log.units(EPOCH + 30, 20) == 0, "the minute before had spent more than the new share"
    assert log.units(EPOCH + 120, 300) >= 0.95 * 0.3 * 6_000 * 5


def test_a_smaller_share_ends_the_day_earlier_and_a_larger_one_goes_on() -> None:
    clock = Clock()
    governor = make_governor(clock, "user=none,project=none,day=1000", shares=Shares(0.8, 0.8, 0.4))
    governor.assign(ADA, purpose="backfill")

    with pytest.raises(QuotaError) as ended:
        spend(governor, clock, 600)
    governor.assign(ADA)
    governor.acquire(ADA, GET)

    assert ended.value.reason == OWN_DAY_LIMIT
    assert governor.ledger.snapshot().total().units == 420


def test_after_quiet_time_a_short_sync_does_not_wait() -> None:
    clock = Clock()
    governor = make_governor(clock, share=0.8)

    for method in ["getProfile", "labels.list", "history.list", *[GET] * 20]:
        governor.acquire(ADA, method)

    assert clock.naps == []


def test_pace_is_even_once_work_is_steady() -> None:
    clock = Clock()
    governor = make_governor(clock)
    spend(governor, clock, 120)

    log = spend(governor, clock, 60)

    assert max(log.units(clock.now - 60 + second, 1.0) for second in range(59)) <= 6_000 / 60 + 20


@given(
    st.lists(
        st.tuples(st.sampled_from(METHODS), st.integers(1, 60), st.sampled_from([0.0, 0.01, 0.5, 7.0, 61.0])),
        max_size=30,
    ),
    st.sampled_from([1.0, 0.8, 0.3]),
    st.sampled_from(["2026", "user=300", "costs=previous,user=600"]),
)
def test_no_minute_is_overspent_under_any_order_of_arrival(
    arrivals: Sequence[tuple[str, int, float]], share: float, quota: str
) -> None:
    clock = Clock()
    governor = make_governor(clock, quota, share)
    log = Log()

    for method, calls, pause in arrivals:
        for _ in range(calls):
            governor.acquire(ADA, method)
            log.add(clock.now, governor.profile.costs[method])
        clock.now += pause

    assert log.worst_minute() <= (governor.profile.per_user_minute or 0) * share


def test_many_threads_together_spend_neither_more_nor_less_than_one() -> None:
    clock = Clock()
    governor = make_governor(clock)
    threads = [
        threading.Thread(target=lambda: [governor.acquire(ADA, GET) for _ in range(60)], daemon=True) for _ in range(10)
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert governor.ledger.snapshot(ADA).total().units == 12_000
    assert 120 / 0.99 - 1.2 <= clock.now - EPOCH <= 120 / 0.97


def test_accounts_do_not_wait_for_each_other_until_the_project_does() -> None:
    clock = Clock()
    governor = make_governor(clock, "user=6000,project=12000")
    log = Log()

    for turn in range(1_500):
        governor.acquire(f"user{turn % 5}@example.com", GET)
        log.add(clock.now, 20)

    assert log.worst_minute() <= 12_000
    assert log.units(EPOCH + 60) >= 0.97 * 12_000


def test_refused_account_waits_for_the_end_of_the_window_once_and_goes_on_slower() -> None:
    clock = Clock()
    governor = make_governor(clock)
    before = spend(governor, clock, 60).units(EPOCH)
    clock.naps.clear()

    governor.refused(ADA, until=clock.now + 41.5)
    governor.acquire(ADA, GET)
    first_nap, reopened = clock.naps[0], clock.now
    after = spend(governor, clock, 60).units(reopened)

    assert first_nap == pytest.approx(41.5)
    assert 0.7 * before < after < 0.85 * before


def test_calls_that_are_refused_together_slow_the_pace_down_once() -> None:
    clock = Clock()
    governor = make_governor(clock)

    for late in range(10):
        governor.refused(ADA, until=EPOCH + 30 + late / 100)
    governor.acquire(ADA, GET)
    after = spend(governor, clock, 60).units(EPOCH + 31)

    assert after >= 0.75 * 6_000


def test_refusals_one_after_the_other_slow_the_pace_down_further_but_never_to_nothing() -> None:
    clock = Clock()
    governor = make_governor(clock)

    for _ in range(30):
        governor.refused(ADA, until=clock.now + 1)
        governor.acquire(ADA, GET)
    start = clock.now
    after = spend(governor, clock, 60).units(start)

    assert 0.15 * 6_000 <= after <= 0.3 * 6_000


def test_burst_of_a_quiet_account_is_not_repeated_every_minute() -> None:
    clock = Clock()
    governor = make_governor(clock, share=0.8)

    log = spend(governor, clock, 300)

    assert log.units(EPOCH, 1.0) >= 500
    assert max(log.units(EPOCH + second, 1.0) for second in range(1, 300)) <= 0.8 * 6_000 / 60 + 20


def test_pace_recovers_from_a_refusal_in_a_quarter_of_an_hour() -> None:
    clock = Clock()
    governor = make_governor(clock)
    governor.refused(ADA, until=clock.now + 1)

    log = spend(governor, clock, 1_200)

    assert log.units(EPOCH + 1_100) >= 0.97 * 6_000


def test_refusal_of_one_account_leaves_the_others_alone_and_of_the_project_none() -> None:
    clock = Clock()
    governor = make_governor(clock)

    governor.refused(ADA, until=clock.now + 30)
    governor.acquire("bob@example.com", GET)
    waited_for_ada = sum(clock.naps)
    governor.refused("bob@example.com", until=clock.now + 30, whole_project=True)
    governor.acquire("carol@example.com", GET)

    assert waited_for_ada == 0
    assert sum(clock.naps) == pytest.approx(30)


def test_wait_that_is_too_long_is_refused_with_the_time_to_come_back() -> None:
    clock = Clock()
    governor = make_governor(clock, max_wait_s=120.0)
    governor.refused(ADA, until=clock.now + 3_600)

    with pytest.raises(QuotaError) as caught:
        governor.acquire(ADA, GET)

    assert caught.value.resume_at == datetime.fromtimestamp(EPOCH + 3_600, UTC)
    assert caught.value.account_id == ADA
    assert clock.naps == []


def test_day_ends_work_at_our_share_and_begins_anew_at_midnight_in_california() -> None:
    clock = Clock(datetime(2026, 11, 21, 7, 59, tzinfo=UTC).timestamp())
    governor = make_governor(clock, "day=1000", share=0.8)
    governor.budgets.note_spent("default", 760)
    governor.acquire(ADA, GET)
    governor.acquire(ADA, GET)

    with pytest.raises(QuotaError) as caught:
        governor.acquire(ADA, GET)
    clock.now += 60
    governor.acquire(ADA, GET)

    assert caught.value.resume_at == datetime(2026, 11, 21, 8, 0, tzinfo=UTC)


def test_clock_that_is_set_back_does_not_stop_the_work() -> None:
    clock = Clock()
    governor = make_governor(clock)
    spend(governor, clock, 60)

    clock.now -= 3_600
    log = spend(governor, clock, 120)

    assert log.units(EPOCH - 3_600 + 60) >= 0.97 * 6_000


def test_ledger_tells_what_was_spent_between_two_moments_by_method_and_account() -> None:
    clock = Clock()
    governor = make_governor(clock, "user=100")
    governor.acquire(ADA, GET)
    before = governor.ledger.snapshot()

    governor.acquire(ADA, GET)
    governor.acquire(ADA, "history.list")
    governor.acquire("bob@example.com", GET)
    spent = governor.ledger.snapshot() - before

    assert {method: (usage.calls, usage.units) for method, usage in spent.account(ADA).items()} == {
        GET: (1, 20),
        "history.list": (1, 2),
    }
    assert spent.total().waited_s == pytest.approx(sum(clock.naps))
    assert spent.total().units == 42
    assert spent.total("bob@example.com").units == 20
    assert governor.ledger.snapshot(ADA).total().units == 42
