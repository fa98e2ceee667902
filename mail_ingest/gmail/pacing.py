"""When the next call may leave so that no minute of Gmail's is overspent, whatever second that minute begins at.

Gmail's windows are fixed but of unknown phase, so the promise is made for every 60 s: calls leave evenly, and the units
of the last 60 s never exceed the budget. Even spacing alone would do at a steady pace; the sliding sum makes it hold
across bursts.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from mail_ingest.gmail.quota import WINDOW_S

_PACE = 0.98
"""Share of the budget that the even pace spends; the rest is for a burst, and for calls that are late at the server."""

_SLOWER = 0.8
_SLOWEST = 0.2
_RECOVERY_PER_WINDOW = 0.02


class Pace(Protocol):
    """Tells when a call may leave. Not thread-safe: the owner locks."""

    def delay(self, now: float, units: int, /) -> float:
        """Seconds until a call of `units` may leave; 0 is now."""
        ...

    def sent(self, now: float, units: int, /) -> None:
        """Counts a call that leaves now."""
        ...

    def close(self, now: float, until: float) -> None:
        """Lets nothing leave before `until`."""
        ...

    def set_share(self, share: float) -> None:
        """Spends another part of the limit from now on; what was sent still counts."""
        ...


class Unlimited:
    """No budget: waits only where Gmail said so."""

    def __init__(self) -> None:
        self._closed_until = float("-inf")

    def delay(self, now: float, _units: int, /) -> float:
        return max(self._closed_until - now, 0.0)

    def sent(self, _now: float, _units: int, /) -> None:
        pass

    def close(self, now: float, until: float) -> None:  # noqa: ARG002  only a pace has a now to slow down from
        self._closed_until = max(self._closed_until, until)

    def set_share(self, share: float) -> None:
        """A part of no limit is none."""


class Pacer:
    """One budget of units per minute.

    `limit` is Gmail's, `share` our part of it. After idle time up to an eighth of the budget may leave at once,
    as far as the part of the limit that is not ours covers the burst: at share 1.0 it is 1 %.
    """

    def __init__(self, limit: int, share: float) -> None:
        self._limit = limit
        self.set_share(share)
        self._sent: deque[tuple[float, int]] = deque()
        self._sum = 0
        self._due_at = float("-inf")
        self._closed_until = float("-inf")
        self._slowed = 1.0

    def set_share(self, share: float) -> None:
        self.budget = self._limit * share
        self._burst = min(self.budget / 8, 0.01 * self._limit + (1 - share) * self._limit / 2)

    def delay(self, now: float, units: int, /) -> float:
        self._forget(now)
        burst_s = self._burst / self._rate(now)
        blocked = max(self._closed_until - now, self._until_sum_allows(now, units))
        if blocked > 0:
            self._due_at = max(self._due_at, now + blocked + burst_s)
        return max(blocked, self._due_at - burst_s - now, 0.0)

    def sent(self, now: float, units: int, /) -> None:
        self._due_at = max(self._due_at, now) + units / self._rate(now)
        self._sent.append((now, units))
        self._sum += units

    def close(self, now: float, until: float) -> None:
        """Lets nothing leave before `until`, and goes slower for some minutes: others spend from the same limit.

        Calls that were under way together are refused together; that slows down once.
        """
        if now >= self._closed_until:
            self._slowed = max(self._slowdown(now) * _SLOWER, _SLOWEST)
        self._closed_until = max(self._closed_until, until)

    def _rate(self, now: float) -> float:
        """Units a second."""
        return self.budget * _PACE * self._slowdown(now) / WINDOW_S

    def _slowdown(self, now: float) -> float:
        if self._slowed >= 1.0:
            return 1.0
        windows = max((now - self._closed_until) / WINDOW_S, 0.0)
        return min(1.0, self._slowed + _RECOVERY_PER_WINDOW * windows)

    def _until_sum_allows(self, now: float, units: int) -> float:
        excess = self._sum + units - max(self.budget, units)
        for sent_at, spent in self._sent:
            if excess <= 0:
                return 0.0
            excess -= spent
            if excess <= 0:
                return sent_at + WINDOW_S - now
        return 0.0

    def _forget(self, now: float) -> None:
        while self._sent and self._sent[0][0] <= now - WINDOW_S:
            self._sum -= self._sent.popleft()[1]
