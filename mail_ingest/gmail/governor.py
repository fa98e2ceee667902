"""Spends the quota: every call asks here first, waits its turn, and is counted.

An account's minute is paced here, because one process at a time syncs it; the minute and the day of its Google project are
leased from a budget that processes share (`budget`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from mail_ingest.errors import QuotaError
from mail_ingest.gmail.budget import Budgets
from mail_ingest.gmail.concurrency import InFlight
from mail_ingest.gmail.leasing import Purpose, Shares
from mail_ingest.gmail.ledger import Ledger, Usage
from mail_ingest.gmail.pacing import Pace, Pacer, Unlimited
from mail_ingest.gmail.quota import QuotaProfile, day_ends_at

DEFAULT_PROJECT = "default"
"""The project of accounts whose credentials name none."""

_SHORTEST_SLEEP_S = 0.001


class _Lane:
    """One account's queue: whoever holds `turn` is next to leave."""

    def __init__(self, pace: Pace) -> None:
        self.turn = threading.Lock()
        self.pace = pace
        self.in_flight: InFlight | None = None
        self.project = DEFAULT_PROJECT
        self.purpose: Purpose = "asked"


class QuotaGovernor:
    """Paces calls per account and per project so that no minute and no day is overspent. Thread-safe.

    `shares` are the parts of each limit that may be used, by purpose; `share` is one for all. `budgets` are those that
    processes share; without them this process is alone in its projects. No call waits longer than `max_wait_s`; what would
    have to is refused with QuotaError.
    """

    def __init__(
        self,
        profile: QuotaProfile,
        *,
        share: float = 0.8,
        shares: Shares | None = None,
        budgets: Budgets | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        max_wait_s: float = 120.0,
    ) -> None:
        self.profile = profile
        self.ledger = Ledger()
        self.shares = shares or Shares.of(share)
        self.budgets = budgets or Budgets(profile, self.shares, clock=clock)
        self._clock = clock
        self._sleep = sleep
        self._max_wait_s = max_wait_s
        self._lock = threading.Lock()
        self._lanes: dict[str, _Lane] = {}
        self._projects: dict[str, Pace] = {}
        self._last = clock()
        self._lag = 0.0

    def assign(self, account_id: str, *, project: str = DEFAULT_PROJECT, purpose: Purpose = "asked") -> None:
        """Says which project an account's calls are charged to from now on, and what they are for. What its minute has seen
        so far still counts."""
        lane = self._lane(account_id)
        with self._lock:
            lane.project, lane.purpose = project, purpose
            lane.pace.set_share(self.shares.backfill if purpose == "backfill" else self.shares.asked)

    def acquire(self, account_id: str, method: str) -> None:
        """Waits until a call may leave, and counts it as sent.

        Raises QuotaError when the day's units are spent, or the wait would exceed `max_wait_s`.
        """
        units = self.profile.cost(method)
        lane = self._lane(account_id)
        began = self._clock()
        with lane.turn:
            give_up_at = self._clock() + self._max_wait_s
            while (delay := self._try_to_leave(account_id, lane, units)) > 0:
                if self._clock() + delay > give_up_at:
                    raise self._out_of_quota(account_id, method, datetime.fromtimestamp(self._clock() + delay, UTC))
                self._sleep(max(delay, _SHORTEST_SLEEP_S))
            waited_s = max(self._clock() - began, 0.0)
        self.ledger.add(account_id, method, Usage(calls=1, units=units, waited_s=waited_s))

    def refused(self, account_id: str, *, until: float, whole_project: bool = False) -> None:
        """Notes a quota refusal: nothing leaves for this account (or project) before `until`, in epoch seconds."""
        lane = self._lane(account_id)
        with self._lock:
            pace = self._project_pace(lane.project) if whole_project else lane.pace
            now = self._now()
            pace.close(now, until + self._lag)

    def in_flight(self, account_id: str, ceiling: int) -> InFlight:
        """The account's limiter of parallel calls, shared by its clients; the ceiling is the highest of theirs."""
        lane = self._lane(account_id)
        with self._lock:
            if lane.in_flight is None:
                lane.in_flight = InFlight(ceiling)
            lane.in_flight.widen(ceiling)
            return lane.in_flight

    def day_ends_at(self) -> datetime:
        """When the day's limits begin anew."""
        return day_ends_at(self._clock())

    def _try_to_leave(self, account_id: str, lane: _Lane, units: int) -> float:
        """Counts the call and returns 0, or the seconds to wait before trying again."""
        project, purpose = lane.project, lane.purpose
        if (delay := self._pass_paces(lane, units, leaves=False)) > 0:
            return delay
        # outside of the lock: a lease may take milliseconds, and other projects need not wait for it
        if (delay := self.budgets.take(account_id, project, purpose, units)) > 0:
            return delay
        if (delay := self._pass_paces(lane, units, leaves=True)) > 0:
            self.budgets.put_back(project, purpose, units)
        return delay

    def _pass_paces(self, lane: _Lane, units: int, *, leaves: bool) -> float:
        """Seconds until the paces of account and project let a call leave; at 0 it is counted if it leaves."""
        with self._lock:
            now = self._now()
            paces = (lane.pace, self._project_pace(lane.project))
            delay = max(pace.delay(now, units) for pace in paces)
            if leaves and delay <= 0:
                for pace in paces:
                    pace.sent(now, units)
            return delay

    def _out_of_quota(self, account_id: str, what: str, resume_at: datetime) -> QuotaError:
        return QuotaError(
            f"quota is used up for {account_id} ({what}); work resumes at {resume_at:%Y-%m-%d %H:%M:%S} UTC",
            resume_at=resume_at,
            account_id=account_id,
        )

    def _project_pace(self, project: str) -> Pace:
        pace = self._projects.get(project)
        if pace is None:
            pace = self._projects[project] = self._pace(self.profile.per_project_minute)
        return pace

    def _lane(self, account_id: str) -> _Lane:
        with self._lock:
            lane = self._lanes.get(account_id)
            if lane is None:
                lane = self._lanes[account_id] = _Lane(self._pace(self.profile.per_user_minute))
            return lane

    def _pace(self, limit: int | None) -> Pace:
        return Unlimited() if limit is None else Pacer(limit, self.shares.asked)

    def _now(self) -> float:
        """The clock, but never backwards: a clock that is set back must not stop the pace."""
        now = self._clock() + self._lag
        if now < self._last:
            self._lag += self._last - now
            now = self._last
        self._last = now
        return now
