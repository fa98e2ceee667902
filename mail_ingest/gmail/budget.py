"""What this process has leased of the budgets of Google projects, and spends call by call.

A lease is sized by what was spent under the one before, so that a process asks about once in `LEASE_S`, however fast it is.
Where the store of the budgets cannot be reached, the process goes on by itself with a tenth of each limit.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pyrate_limiter import Duration, InMemoryStateStore, StateStore

from mail_ingest.errors import BudgetStoreError, QuotaError
from mail_ingest.gmail.leasing import LEASE_S, Correction, Lease, Leasing, Purpose, Shares, Terms, units_of_day
from mail_ingest.gmail.quota import QuotaProfile, day_ends_at, pacific_day

logger = logging.getLogger(__name__)

OWN_DAY_LIMIT = "shareOfTheDaySpent"
"""`reason` of a QuotaError that comes from our own share of the project's day, and not from Gmail."""

FIRST_UNITS = 100
"""What a process leases at first: a look at some quiet mailboxes."""
ALONE = 0.1
"""Part of each limit that a process spends while it cannot ask what others do."""
LOOK_AGAIN_S = 30.0
_FULLNESS = 0.9
"""How much of a lease is expected to be spent: less is bought than the pace promises, because the rest is lost."""
_JITTER_S = 0.25
"""Processes that wait for the same units should not ask in the same moment."""
_LONGEST_CLOSED_S = 120.0
_DAY_MS = int(Duration.DAY)


@dataclass(slots=True)
class _Part:
    """What is left of one lease."""

    left: int
    day: int
    until: float

    def is_good(self, now: float) -> bool:
        # a clock that was set back must not keep an old lease alive
        return self.until - LEASE_S <= now < self.until


@dataclass(slots=True)
class _Purse:
    """The leases of one purpose: a call may be paid from several, the oldest first, so that no rest is too small to be spent."""

    parts: deque[_Part] = field(default_factory=deque)
    leased: int = 0
    began: float = float("-inf")
    spent: int = 0
    asked_for: int = 0
    closed_until: float = float("-inf")

    def next_size(self, now: float) -> int:
        """What is worth asking for: the pace since the last lease, for as long as the next one is good."""
        if self.asked_for:
            return self.asked_for
        pace = self.spent / max(now - self.began, 1e-3)
        return max(min(int(pace * LEASE_S * _FULLNESS), 2 * self.leased), FIRST_UNITS)

    def fill(self, lease: Lease, now: float) -> None:
        self.parts.append(_Part(lease.units, lease.day, now + LEASE_S))
        self.leased, self.began, self.spent, self.asked_for = lease.units, now, 0, 0

    def pay(self, units: int) -> None:
        self.spent += units
        while units:
            paid = min(self.parts[0].left, units)
            self.parts[0].left -= paid
            units -= paid
            if not self.parts[0].left:
                self.parts.popleft()


@dataclass(slots=True)
class _Project:
    store: StateStore
    lock: threading.Lock = field(default_factory=threading.Lock)
    purses: dict[Purpose, _Purse] = field(default_factory=dict)
    alone: StateStore | None = None
    look_again_at: float = float("-inf")
    known_day: int = 0
    known_units: int = 0
    owed: int = 0
    """Units of `known_day` that the store does not know of: spent alone, or leased and not spent (negative)."""


@dataclass(frozen=True, slots=True)
class DayUse:
    """A project's day: units leased so far by all processes, and what each purpose may still lease; None is no limit."""

    project: str
    units: int
    left: int | None
    left_scheduled: int | None
    ends_at: datetime


class Budgets:
    """The budgets of all projects that this process spends from. Thread-safe.

    `stores` hands out where a project's state is kept, and is asked once for each; a store raises BudgetStoreError where it
    cannot be used. Without stores each project's day is counted in this process alone.
    """

    def __init__(
        self,
        profile: QuotaProfile,
        shares: Shares,
        *,
        stores: Callable[[str], StateStore] | None = None,
        clock: Callable[[], float] = time.time,
        rand: Callable[[], float] = random.random,
    ) -> None:
        self._terms = Terms.of(profile, shares)
        self._terms_alone = Terms.of(profile, shares, ALONE)
        if stores is None:
            # the caller paces the minute itself, to the last percent
            self._terms = Terms(None, self._terms.day, self._terms.dearest, shares)
        self._stores = stores or (lambda _project: InMemoryStateStore())
        self._clock = clock
        self._rand = rand
        self._lock = threading.Lock()
        self._projects: dict[str, _Project] = {}

    def take(self, account_id: str, project: str, purpose: Purpose, units: int) -> float:
        """Counts units as spent and returns 0, or the seconds to wait before asking again.

        Raises QuotaError when the day has none left for this purpose.
        """
        if self._terms.minute is None and self._terms.day is None:
            return 0.0
        budget = self._budget(project)
        with budget.lock:
            purse = budget.purses.setdefault(purpose, _Purse())
            now = self._clock()
            self._drop_old(budget, purse, now)
            lacking = units - sum(part.left for part in purse.parts)
            if lacking > 0:
                if 0 < purse.closed_until - now <= _LONGEST_CLOSED_S:
                    return purse.closed_until - now
                wanted = max(purse.next_size(now), lacking)
                lease = self._lease(project, budget, purpose, lacking, wanted, now)
                if not lease.allowed:
                    purse.asked_for = max(wanted // 2, lacking)
                    return self._refused(account_id, project, purse, purpose, lease, now)
                purse.fill(lease, now)
            purse.pay(units)
            return 0.0

    def put_back(self, project: str, purpose: Purpose, units: int) -> None:
        """Undoes a `take` whose call did not leave."""
        if self._terms.minute is None and self._terms.day is None:
            return
        budget = self._budget(project)
        with budget.lock:
            purse = budget.purses[purpose]
            purse.spent -= units
            # what is not good any more is given back by the next call
            purse.parts.append(_Part(units, budget.known_day, purse.began + LEASE_S))

    def settle(self) -> None:
        """Gives the rest of every lease back to the day: nothing is about to be spent. Raises nothing."""
        with self._lock:
            projects = list(self._projects.items())
        for project, budget in projects:
            with budget.lock:
                now = self._clock()
                for purse in budget.purses.values():
                    self._drop_old(budget, purse, float("inf"))
                if budget.owed and self._can_ask(budget, now):
                    self._correct(project, budget, Correction(budget.known_day, budget.owed), now)

    def note_spent(self, project: str, units: int) -> None:
        """Notes that the present day has cost a project this many units at least, whatever its budget says: the store may be
        younger than the day. Raises nothing."""
        budget = self._budget(project)
        with budget.lock:
            now = self._clock()
            if units and self._can_ask(budget, now):
                today = pacific_day(now)
                owed = budget.owed if budget.known_day == today else 0
                self._correct(project, budget, Correction(today, owed, units), now)

    def day_use(self, project: str) -> DayUse:
        """What a project has spent of the present day, all processes together. Raises BudgetStoreError."""
        now = self._clock()
        leasing = Leasing(self._terms, "asked", 0)
        state = self._budget(project).store.read(leasing, [])
        units = units_of_day(tuple(state), now)  # type: ignore[arg-type]  # no store of ours answers later
        left = [
            None if limit is None else max(limit - units, 0)
            for limit in (self._terms.day_limit("asked", now), self._terms.day_limit("scheduled", now))
        ]
        return DayUse(project, units, left[0], left[1], day_ends_at(now))

    def _budget(self, project: str) -> _Project:
        with self._lock:
            budget = self._projects.get(project)
            if budget is None:
                budget = self._projects[project] = _Project(self._stores(project))
            return budget

    def _lease(self, project: str, budget: _Project, purpose: Purpose, least: int, wanted: int, now: float) -> Lease:
        if self._can_ask(budget, now):
            correction = Correction(budget.known_day, budget.owed)
            try:
                lease = self._check(budget.store, self._terms, purpose, least, wanted, now, correction)
            except BudgetStoreError as error:
                self._go_on_alone(project, budget, error, now)
            else:
                self._heard(project, budget, lease)
                return lease
        assert budget.alone is not None
        lease = self._check(budget.alone, self._terms_alone, purpose, least, wanted, now, Correction())
        self._know_day(budget, lease.day)
        budget.owed += lease.units
        return lease

    @staticmethod
    def _check(
        store: StateStore, terms: Terms, purpose: Purpose, least: int, wanted: int, now: float, correction: Correction
    ) -> Lease:
        rates = terms.rates(purpose) if wanted else []
        lease = store.check(Leasing(terms, purpose, least, correction), rates, int(now * 1000), wanted)
        assert isinstance(lease, Lease)
        return lease

    def _correct(self, project: str, budget: _Project, correction: Correction, now: float) -> None:
        """Brings the day's units up to date without leasing any."""
        try:
            lease = self._check(budget.store, self._terms, "asked", 0, 0, now, correction)
        except BudgetStoreError as error:
            self._go_on_alone(project, budget, error, now)
        else:
            self._heard(project, budget, lease)

    def _heard(self, project: str, budget: _Project, lease: Lease) -> None:
        if budget.alone is not None:
            logger.info("the budget of project %s is shared again", project)
            budget.alone = None
        budget.known_day, budget.known_units, budget.owed = lease.day, lease.day_units, 0

    def _can_ask(self, budget: _Project, now: float) -> bool:
        return budget.alone is None or not 0 < budget.look_again_at - now <= LOOK_AGAIN_S

    def _go_on_alone(self, project: str, budget: _Project, error: BudgetStoreError, now: float) -> None:
        budget.look_again_at = now + LOOK_AGAIN_S
        if budget.alone is None:
            budget.alone = InMemoryStateStore()
            before = Correction(budget.known_day, int(budget.known_units * ALONE))
            self._check(budget.alone, self._terms_alone, "asked", 0, 0, now, before)
            logger.warning(
                "%s. This process goes on with a tenth of the limits of project %s, and looks again every %d s",
                error,
                project,
                LOOK_AGAIN_S,
            )

    def _drop_old(self, budget: _Project, purse: _Purse, now: float) -> None:
        """What is left of an old lease is spent by nobody: the day gets it back, its minute has passed."""
        for part in purse.parts:
            if not part.is_good(now):
                self._know_day(budget, part.day)
                if part.day == budget.known_day:
                    budget.owed -= part.left
        purse.parts = deque(part for part in purse.parts if part.is_good(now))

    @staticmethod
    def _know_day(budget: _Project, day: int) -> None:
        """What is owed to a day that is over is owed to nobody."""
        if day > budget.known_day:
            budget.known_day, budget.known_units, budget.owed = day, 0, 0

    def _refused(
        self, account_id: str, project: str, purse: _Purse, purpose: Purpose, lease: Lease, now: float
    ) -> float:
        rate, wait_ms = lease.failing_rate, lease.retry_after_ms or 1
        assert rate is not None
        if rate.interval < _DAY_MS:
            wait_s = wait_ms / 1000 + self._rand() * _JITTER_S
            purse.closed_until = now + wait_s
            return wait_s
        if purpose == "backfill" and wait_ms <= 1000 * _LONGEST_CLOSED_S:
            # its limit grows with the day
            purse.closed_until = now + wait_ms / 1000
            return wait_ms / 1000
        # the wait is of whole milliseconds, and would end a fraction of one after midnight
        resume_at = min(datetime.fromtimestamp(now + wait_ms / 1000, UTC), day_ends_at(now))
        raise QuotaError(
            f"quota is used up for {account_id} ({lease.day_units:,} units of project {project} today, of which "
            f"{_WHO[purpose]} may spend {rate.limit:,}); work resumes at {resume_at:%Y-%m-%d %H:%M:%S} UTC",
            resume_at=resume_at,
            account_id=account_id,
            reason=OWN_DAY_LIMIT,
        )


_WHO: dict[Purpose, str] = {
    "asked": "what people ask for",
    "scheduled": "scheduled work",
    "backfill": "backfills",
}
