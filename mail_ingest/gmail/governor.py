"""Spends the quota: every call asks here first, waits its turn, and is counted.

One governor serves all accounts of a project, in this process alone: several processes divide the limit through
`share`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

from mail_ingest.errors import QuotaError
from mail_ingest.gmail.concurrency import InFlight
from mail_ingest.gmail.ledger import Ledger, Usage
from mail_ingest.gmail.pacing import Pace, Pacer, Unlimited
from mail_ingest.gmail.quota import QuotaProfile

_PACIFIC = timezone(timedelta(hours=-8))
"""Google's days end at midnight Pacific time. Without daylight saving: an hour late in summer, never early."""

OWN_DAY_LIMIT = "shareOfTheDaySpent"
"""`reason` of a QuotaError that comes from our own share of the project's day, and not from Gmail."""

_SHORTEST_SLEEP_S = 0.001


class _Lane:
    """One account's queue: whoever holds `turn` is next to leave."""

    def __init__(self, pace: Pace) -> None:
        self.turn = threading.Lock()
        self.pace = pace
        self.in_flight: InFlight | None = None


class QuotaGovernor:
    """Paces calls per account and per project so that no minute and no day is overspent. Thread-safe.

    `share` is the part of each limit that may be used. `units_today` is what was already spent since midnight Pacific
    time. No call waits longer than `max_wait_s`; what would have to is refused with QuotaError.
    """

    def __init__(
        self,
        profile: QuotaProfile,
        *,
        share: float = 0.8,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        max_wait_s: float = 120.0,
        units_today: int = 0,
    ) -> None:
        self.profile = profile
        self.ledger = Ledger()
        self._share = share
        self._clock = clock
        self._sleep = sleep
        self._max_wait_s = max_wait_s
        self._lock = threading.Lock()
        self._lanes: dict[str, _Lane] = {}
        self._project = self._pace(profile.per_project_minute)
        self._last = clock()
        self._lag = 0.0
        self._day = self._pacific_day()
        self._units_today = units_today

    def acquire(self, account_id: str, method: str) -> None:
        """Waits until a call may leave, and counts it as sent.

        Raises QuotaError when the day's units are spent, or the wait would exceed `max_wait_s`.
        """
        units = self.profile.costs[method]
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
            pace = self._project if whole_project else lane.pace
            now = self._now()
            pace.close(now, until + self._lag)

    def set_share(self, share: float) -> None:
        """Uses another part of each limit from now on; what was spent so far still counts."""
        with self._lock:
            self._share = share
            for pace in (self._project, *(lane.pace for lane in self._lanes.values())):
                pace.set_share(share)

    def in_flight(self, account_id: str, ceiling: int) -> InFlight:
        """The account's limiter of parallel calls, shared by its clients; the ceiling is the highest of theirs."""
        lane = self._lane(account_id)
        with self._lock:
            if lane.in_flight is None:
                lane.in_flight = InFlight(ceiling)
            lane.in_flight.widen(ceiling)
            return lane.in_flight

    def spent_before(self, units: int) -> None:
        """Notes what other processes have spent of today's units."""
        with self._lock:
            self._units_today += units

    def day_ends_at(self) -> datetime:
        """When the day's limits begin anew."""
        today = datetime.fromtimestamp(self._clock(), _PACIFIC)
        midnight = today.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        return midnight.astimezone(UTC)

    def _try_to_leave(self, account_id: str, lane: _Lane, units: int) -> float:
        """Counts the call and returns 0, or the seconds to wait before trying again."""
        with self._lock:
            self._spend_day(account_id, 0)
            now = self._now()
            delay = max(lane.pace.delay(now, units), self._project.delay(now, units))
            if delay <= 0:
                self._spend_day(account_id, units)
                lane.pace.sent(now, units)
                self._project.sent(now, units)
            return delay

    def _spend_day(self, account_id: str, units: int) -> None:
        today = self._pacific_day()
        if today != self._day:
            self._day, self._units_today = today, 0
        limit = self.profile.per_project_day
        if limit is not None and self._units_today + units > limit * self._share:
            raise self._out_of_quota(
                account_id, f"{self._units_today} units today", self.day_ends_at(), reason=OWN_DAY_LIMIT
            )
        self._units_today += units

    def _out_of_quota(self, account_id: str, what: str, resume_at: datetime, reason: str = "") -> QuotaError:
        return QuotaError(
            f"quota is used up for {account_id} ({what}); work resumes at {resume_at:%Y-%m-%d %H:%M:%S} UTC",
            resume_at=resume_at,
            account_id=account_id,
            reason=reason,
        )

    def _lane(self, account_id: str) -> _Lane:
        with self._lock:
            lane = self._lanes.get(account_id)
            if lane is None:
                lane = self._lanes[account_id] = _Lane(self._pace(self.profile.per_user_minute))
            return lane

    def _pace(self, limit: int | None) -> Pace:
        return Unlimited() if limit is None else Pacer(limit, self._share)

    def _now(self) -> float:
        """The clock, but never backwards: a clock that is set back must not stop the pace."""
        now = self._clock() + self._lag
        if now < self._last:
            self._lag += self._last - now
            now = self._last
        self._last = now
        return now

    def _pacific_day(self) -> int:
        return datetime.fromtimestamp(self._clock(), _PACIFIC).toordinal()
