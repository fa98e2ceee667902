"""Budgets that processes share, on a clock of their own: what may be leased, by whom, and what becomes of the rest."""

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyrate_limiter import InMemoryStateStore, StateStore

from mail_ingest.errors import BudgetStoreError, QuotaError
from mail_ingest.gmail import OWN_DAY_LIMIT, Budgets, QuotaGovernor, Shares, parse_quota
from mail_ingest.gmail.budget import LOOK_AGAIN_S
from mail_ingest.gmail.leasing import LEASE_S, PURPOSES, SLACK_S, Correction, Lease, Leasing, Purpose, Terms
from mail_ingest.gmail.quota import day_ends_at
from mail_ingest_tests.gmail.stage import EPOCH, Clock
from mail_ingest_tests.gmail.test_pacing import GET, Log

#: Long before midnight in California.
MORNING = datetime(2026, 11, 21, 16, tzinfo=UTC).timestamp()


class Stores:
    """One store for each project, handed to every process; `broken` makes all of them fail."""

    def __init__(self) -> None:
        self.broken = False
        self._stores: dict[str, StateStore] = {}

    def of(self, project: str) -> StateStore:
        store = self._stores.setdefault(project, InMemoryStateStore())
        outer = self

        class Breakable(StateStore):
            def check(self, *arguments: Any) -> Any:
                if outer.broken:
                    raise BudgetStoreError("the shared budget cannot be read")
                return store.check(*arguments)

            def read(self, *arguments: Any) -> Any:
                return store.read(*arguments)

            def reset(self) -> None:
                store.reset()

        return Breakable()


def process(clock: Clock, stores: Stores, quota: str, shares: Shares = Shares.of(1.0), **more: Any) -> QuotaGovernor:  # noqa: B008
    """A governor as one of several processes has it."""
    profile = parse_quota(quota)
    budgets = Budgets(profile, shares, stores=stores.of, clock=clock, rand=lambda: 0.5)
    return QuotaGovernor(profile, shares=shares, budgets=budgets, clock=clock, sleep=clock.sleep, **more)


def take_turns(
    clock: Clock,
    seconds: float,
    governors: list[QuotaGovernor],
    project: str = "default",
    purpose: Purpose = "asked",
    method: str = GET,
) -> Log:
    """All processes spend as fast as they may, none waiting in another's place."""
    log, end = Log(), clock.now + seconds
    units = governors[0].profile.costs[method]
    ready = dict.fromkeys(range(len(governors)), clock.now)
    while (number := min(ready, key=ready.__getitem__)) is not None and ready[number] < end:
        clock.now = max(clock.now, ready[number])
        delay = governors[number].budgets.take(f"{number}@example.com", project, purpose, units)
        if delay:
            ready[number] = clock.now + delay
        else:
            log.add(clock.now, units)
            ready[number] = clock.now + 0.01
    clock.now = end
    return log


@given(
    st.lists(
        st.tuples(
            st.sampled_from(PURPOSES),
            st.sampled_from([1, 20]),
            st.integers(1, 4_000),
            st.sampled_from([0, 1, 7, 250, 1_900, 30_000, 61_000]),
            st.booleans(),
        ),
        max_size=60,
    ),
    st.sampled_from(["project=6000,day=20000", "project=1000,day=none", "project=1200000,day=80000000"]),
    st.sampled_from([1.0, 0.8, 0.3]),
    st.sampled_from([0.0, 0.1, 0.5]),
)
def test_no_minute_and_no_day_is_overspent_whoever_leases_what(
    wishes: list[tuple[Purpose, int, int, int, bool]], quota: str, share: float, reserve: float
) -> None:
    terms = Terms.of(parse_quota(quota), Shares.of(share, reserve, 0.6))
    store, now = InMemoryStateStore(), int(MORNING * 1000)
    logs = {purpose: Log() for purpose in PURPOSES}
    day = returned = 0
    for purpose, least, more, wait_ms, gives_back in wishes:
        now += wait_ms
        correction = Correction(0, 0)
        lease = store.check(Leasing(terms, purpose, least, correction), terms.rates(purpose), now, least + more)
        assert isinstance(lease, Lease)
        assert lease.units == 0 or least <= lease.units <= least + more
        assert lease.allowed == (lease.units > 0)
        day += lease.units
        for bound in PURPOSES[: PURPOSES.index(purpose) + 1]:
            logs[bound].add(now / 1000, lease.units)
        if gives_back and lease.units:
            back = Correction(lease.day, -lease.units)
            store.check(Leasing(terms, "asked", 0, back), [], now, 0)
            day, returned = day - lease.units, returned + lease.units
        limit = terms.day_limit(purpose, now / 1000)
        assert limit is None or lease.units == 0 or day + (lease.units if gives_back else 0) <= limit
    window = 60 + LEASE_S + SLACK_S
    assert terms.minute is not None
    for purpose, log in logs.items():
        worst = max((log.units(start, window) for start in log._times), default=0)
        assert worst <= terms.minute * getattr(terms.shares, purpose)
    assert day >= 0


def test_a_backfill_leaves_the_syncs_of_the_evening_their_part_of_the_day() -> None:
    terms = Terms.of(parse_quota("2026"), Shares.of(0.8, 0.1, 0.6))
    begins = day_ends_at(MORNING).timestamp() - 86_400

    of_hours = [terms.day_limit("backfill", begins + hour * 3_600) for hour in (0, 0.2, 6, 12, 23.999)]

    assert of_hours[:2] == [1_000_000, 1_000_000]
    assert of_hours[2:4] == [12_000_000, 24_000_000]
    assert 47_900_000 < (of_hours[4] or 0) <= 48_000_000
    assert terms.day_limit("scheduled", begins) == 57_600_000
    small = Terms.of(parse_quota("day=1000"), Shares.of(0.8, 0.1, 0.6))
    assert small.day_limit("backfill", begins) == 600, "so little may be spent at once"


def test_a_backfill_that_is_ahead_of_the_day_waits_for_it() -> None:
    clock, stores = Clock(MORNING), Stores()
    budgets = process(clock, stores, "2026", Shares.of(0.8, 0.1, 0.6)).budgets
    limit = Terms.of(parse_quota("2026"), Shares.of(0.8, 0.1, 0.6)).day_limit("backfill", clock())
    assert limit is not None
    budgets.note_spent("default", limit + 555)

    first = budgets.take("a@b.example", "default", "backfill", 20)
    clock.now += first

    assert 0 < first < 5
    assert budgets.take("a@b.example", "default", "asked", 20) == 0
    budgets.note_spent("default", limit + 1_000_000)
    with pytest.raises(QuotaError) as ended:
        budgets.take("a@b.example", "default", "backfill", 20)
    assert ended.value.reason == OWN_DAY_LIMIT
    assert clock() + 120 < ended.value.resume_at.timestamp() < clock() + 7_200


def test_four_processes_use_more_than_nine_tenths_of_every_minute_and_overspend_none() -> None:
    clock, stores = Clock(MORNING), Stores()
    governors = [process(clock, stores, "user=none,project=6000,day=none") for _ in range(4)]

    log = take_turns(clock, 600, governors)

    assert log.worst_minute() <= 6_000
    assert min(log.units(MORNING + phase) for phase in range(530)) >= 0.9 * 6_000


def test_a_process_that_dies_costs_the_others_its_lease_and_nothing_after_a_minute() -> None:
    clock, stores = Clock(MORNING), Stores()
    governors = [process(clock, stores, "user=none,project=6000,day=none") for _ in range(4)]
    take_turns(clock, 90, governors)

    died_at = clock.now
    log = take_turns(clock, 240, governors[:1])

    assert log.worst_minute() <= 6_000
    assert log.units(died_at + 60) >= 0.9 * 6_000


def test_a_process_asks_seldom_however_fast_it_spends() -> None:
    clock, stores = Clock(MORNING), Stores()
    governor = process(clock, stores, "user=none,day=none")
    checks: list[int] = []
    store = governor.budgets._budget("default").store
    before = store.check
    store.check = lambda *arguments: (checks.append(1), before(*arguments))[1]  # type: ignore[method-assign]

    log = Log()
    while clock.now < MORNING + 60:
        governor.budgets.take("a@example.com", "default", "asked", 20)
        log.add(clock.now, 20)
        clock.now += 1 / 400

    assert len(checks) <= 60
    assert len(log._times) / len(checks) >= 300


def test_a_call_may_be_paid_from_two_leases_and_a_lease_is_good_for_its_time_alone() -> None:
    clock, stores = Clock(MORNING), Stores()
    budgets = process(clock, stores, "user=none,project=none,day=1000").budgets

    for _ in range(5):
        budgets.take("a@example.com", "p", "asked", 19)
    before = budgets.day_use("p").units
    budgets.take("a@example.com", "p", "asked", 19)
    clock.now += LEASE_S
    budgets.take("a@example.com", "p", "asked", 1)
    budgets.settle()

    assert before == 100, "five calls of 19 fit into the first lease"
    assert budgets.day_use("p").units == 6 * 19 + 1, "what was not spent was given back"


def test_what_people_ask_for_goes_through_when_scheduled_work_has_spent_its_part() -> None:
    clock, stores = Clock(MORNING), Stores()
    shares = Shares.of(1.0, 0.1, 0.6)
    workers = [process(clock, stores, "user=none,project=6000,day=none", shares) for _ in range(4)]
    log = take_turns(clock, 240, workers, purpose="scheduled")
    person = process(clock, stores, "user=none,project=6000,day=none", shares)

    person.acquire("ada@example.com", GET)

    assert clock.naps == [], "a person waited for scheduled work"
    assert log.worst_minute() <= 0.9 * 6_000
    assert log.units(MORNING + 120) >= 0.9 * 0.9 * 6_000


def test_backfills_leave_schedules_their_part_and_both_leave_some_to_people() -> None:
    clock, stores = Clock(MORNING), Stores()
    budgets = process(clock, stores, "user=none,project=none,day=1000", Shares.of(1.0, 0.1, 0.6)).budgets

    for purpose, limit in (("backfill", 600), ("scheduled", 900), ("asked", 1_000)):
        with pytest.raises(QuotaError) as spent:
            while True:
                budgets.take("ada@example.com", "p", purpose, 20)  # type: ignore[arg-type]
        assert budgets.day_use("p").units == limit
        assert spent.value.reason == OWN_DAY_LIMIT
        assert spent.value.resume_at == datetime(2026, 11, 22, 8, tzinfo=UTC)
    assert "1,000 units of project p today" in str(spent.value)


def test_the_day_is_shared_to_the_last_unit_and_begins_anew_at_midnight_in_california() -> None:
    clock, stores = Clock(MORNING), Stores()
    governors = [process(clock, stores, "user=none,project=none,day=1000") for _ in range(3)]
    calls = 0
    for turn in range(200):
        try:
            governors[turn % 3].acquire("ada@example.com", GET)
            calls += 1
        except QuotaError:
            governors[turn % 3].budgets.settle()
    clock.now = datetime(2026, 11, 22, 8, 0, 1, tzinfo=UTC).timestamp()
    governors[0].acquire("ada@example.com", GET)

    assert calls == 50
    assert governors[1].budgets.day_use("default").units == 20


def test_two_projects_do_not_disturb_each_other() -> None:
    clock, stores = Clock(MORNING), Stores()
    governor = process(clock, stores, "user=none,project=60000,day=500")
    governor.assign("ada@example.com", project="1")
    governor.assign("bob@example.com", project="2")
    with pytest.raises(QuotaError, match="project 1 today"):
        for _ in range(100):
            governor.acquire("ada@example.com", GET)
    clock.naps.clear()

    for _ in range(5):
        governor.acquire("bob@example.com", GET)

    assert clock.naps == []
    assert [governor.budgets.day_use(project).units for project in ("1", "2")] == [500, 100]


def test_without_its_store_a_process_goes_on_with_a_tenth_says_so_once_and_owns_up_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, stores = Clock(MORNING), Stores()
    governor = process(clock, stores, "user=none,project=60000,day=none")
    with caplog.at_level(logging.INFO):
        governor.budgets.take("ada@example.com", "p", "asked", 20)
        stores.broken = True
        log = take_turns(clock, 300, [governor], "p")
        stores.broken = False
        clock.now += LOOK_AGAIN_S
        governor.budgets.take("ada@example.com", "p", "asked", 20)
    governor.budgets.settle()

    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2, told
    assert "goes on with a tenth of the limits of project p" in told[0]
    assert "is shared again" in told[1]
    assert 0 < log.worst_minute() <= 6_100
    assert governor.budgets.day_use("p").units == sum(log._sums[-1:]) + 40


def test_a_tenth_of_what_was_left_of_the_day_is_the_most_that_is_spent_without_the_store() -> None:
    clock, stores = Clock(MORNING), Stores()
    budgets = process(clock, stores, "user=none,project=none,day=10000").budgets
    budgets.note_spent("p", 9_000)
    stores.broken = True

    with pytest.raises(QuotaError):
        for _ in range(1_000):
            budgets.take("ada@example.com", "p", "asked", 20)

    stores.broken = False
    clock.now += LOOK_AGAIN_S
    budgets.settle()
    assert 9_000 < budgets.day_use("p").units <= 9_100


def test_a_budget_that_was_lost_learns_what_the_day_has_cost_and_never_less() -> None:
    clock, stores = Clock(MORNING), Stores()
    budgets = process(clock, stores, "user=none,project=none,day=1000").budgets

    budgets.note_spent("p", 700)
    budgets.note_spent("p", 300)

    assert budgets.day_use("p").units == 700


def test_a_clock_that_is_set_back_keeps_no_lease_alive_and_begins_no_day_anew() -> None:
    clock, stores = Clock(MORNING), Stores()
    budgets = process(clock, stores, "user=none,project=none,day=1000").budgets
    budgets.take("ada@example.com", "p", "asked", 20)

    clock.now -= 86_400
    budgets.take("ada@example.com", "p", "asked", 20)
    clock.now += 86_400
    budgets.settle()

    assert budgets.day_use("p").units == 40


def test_threads_of_one_process_share_a_lease_and_spend_it_once() -> None:
    clock, stores = Clock(EPOCH), Stores()
    budgets = process(clock, stores, "user=none,project=none,day=80000").budgets
    run: Callable[[], None] = lambda: [budgets.take("a@example.com", "p", "asked", 20) for _ in range(200)] and None  # noqa: E731
    threads = [threading.Thread(target=run, daemon=True) for _ in range(8)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    budgets.settle()

    assert budgets.day_use("p").units == 8 * 200 * 20
