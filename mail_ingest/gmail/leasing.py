"""The arithmetic of a project's budget that processes share: what one of them may take of the minute and of the day.

Five numbers are a project's whole state: the day and its units, and for each purpose the time by which what was taken is
spent at an even pace. The minute is pyrate-limiter's GCRA; the day is Google's calendar day, which no sliding window is.
A lease is good for `LEASE_S`: what is not spent by then is not spent at all, so whatever 60 s begin, what is sent in them was
leased within `LEASE_S + SLACK_S` more, and the rates are such that this is no more than the limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pyrate_limiter import GCRA, Decision, Rate, StateAlgorithm

from mail_ingest.gmail.quota import WINDOW_S, QuotaProfile, day_ends_at, pacific_day

Purpose = Literal["asked", "scheduled", "backfill"]
#: Who may take more comes first: each purpose is bound by its own rate and by all before it.
PURPOSES: tuple[Purpose, ...] = ("asked", "scheduled", "backfill")

LEASE_S = 1.5
SLACK_S = 0.5
"""For clocks of machines that differ, and for calls that reach Gmail late."""
_BURST = 0.03
"""Part of a minute that may be taken at once after idle time."""
_MINUTE_MS = 60_000
_DAY_MS = 86_400_000
_DAY_S = 86_400
EARLY_UNITS = 1_000_000
"""Units that a project's day may have cost when backfills begin to be bound by the hour: an hour and a half of five mailboxes."""
_GCRA = GCRA()
_NOTHING = (0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Shares:
    """Which part of Google's limits each purpose may spend, the others' units included."""

    asked: float
    scheduled: float
    backfill: float

    @classmethod
    def of(cls, share: float, reserve: float = 0.0, backfill_share: float = 1.0) -> Shares:
        """`reserve`: the part of our share that is kept for what people and pushes ask for."""
        scheduled = share * (1.0 - reserve)
        return cls(share, scheduled, min(backfill_share, scheduled))


@dataclass(frozen=True, slots=True)
class Terms:
    """The limits of a project and the parts of them that may be spent; None is no limit."""

    minute: int | None
    day: int | None
    dearest: int
    shares: Shares

    @classmethod
    def of(cls, profile: QuotaProfile, shares: Shares, part: float = 1.0) -> Terms:
        """`part`: of both limits, where this process knows nothing of what others spend."""
        minute, day = profile.per_project_minute, profile.per_project_day
        return cls(
            None if minute is None else int(minute * part),
            None if day is None else int(day * part),
            max(profile.costs.values()),
            shares,
        )

    def day_limit(self, purpose: Purpose, now_s: float) -> int | None:
        """Units of a day, all purposes together, at which this purpose stops.

        That of backfills grows with the day beyond `EARLY_UNITS`: what they took in the morning, the syncs of the evening would
        lack.
        """
        if self.day is None:
            return None
        # a whole number of units must not be lost to a float just below it
        limit = int(self.day * getattr(self.shares, purpose) + 1e-6)
        if purpose != "backfill":
            return limit
        gone = 1.0 - (day_ends_at(now_s).timestamp() - now_s) / _DAY_S
        return max(int(limit * gone), min(limit, EARLY_UNITS))

    def rates(self, purpose: Purpose) -> list[Rate]:
        """What bounds a purpose: its own rate a minute, and those of all that may spend more."""
        if self.minute is None:
            return []
        return [self._rate(self.minute * getattr(self.shares, name)) for name in _bounding(purpose)]

    def _rate(self, limit: float) -> Rate:
        burst = max(int(limit * _BURST), self.dearest)
        steady = (limit - burst) * WINDOW_S / (WINDOW_S + LEASE_S + SLACK_S)
        return Rate(max(int(steady), 1), _MINUTE_MS, burst)


@dataclass(frozen=True)
class Lease(Decision):
    """What was given, and the units of the day so far; refused where `failing_rate` is set."""

    units: int = 0
    day: int = 0
    day_units: int = 0


@dataclass(frozen=True, slots=True)
class Correction:
    """Units that were leased and not spent (negative), or spent without a lease, and the day they belong to."""

    day: int = 0
    units: int = 0
    at_least: int = 0
    """What the day is known to have cost, whatever the state says."""


class Leasing(StateAlgorithm):
    """One request for units: up to the weight, and never less than `least`.

    Of the minute less than half the weight is given to nobody: leases that shrink with every refusal would cost one each call.
    """

    def __init__(self, terms: Terms, purpose: Purpose, least: int, correction: Correction = Correction()) -> None:
        self._terms = terms
        self._purpose = purpose
        self._least = least
        self._correction = correction

    def initial(self, rates: list[Rate]) -> tuple[float, ...]:  # noqa: ARG002
        return _NOTHING

    def step(
        self, rates: list[Rate], state: tuple[float, ...], now: int, weight: int
    ) -> tuple[tuple[float, ...], Lease]:
        """The state afterwards and what was given. A correction is kept whether anything was given or not."""
        day, units = self._today(state, now)
        others = state[2 + len(rates) :]
        times = tuple(state[2 : 2 + len(rates)])
        limit = self._terms.day_limit(self._purpose, now / 1000)
        given = weight if limit is None else min(weight, limit - units)
        if given < self._least:
            left_ms = int(day_ends_at(now / 1000).timestamp() * 1000) - now
            if self._purpose == "backfill" and limit is not None:
                left_ms = min(left_ms, self._until_it_has_grown(units + self._least, limit, now) or left_ms)
            return (float(day), float(units), *times, *others), Lease(
                Rate(max(limit or 0, 1), _DAY_MS), max(left_ms, 1), 0, day, units
            )
        need = max(self._least, min([given, *(rate.burst for rate in rates)]) // 2)
        for rate, time in zip(rates, times, strict=True):
            given = min(given, rate.burst - _GCRA.consumed([rate], (time,), now))
        taken, decision = _GCRA.step(rates, times, now, max(given, need))
        if not decision.allowed:
            return (float(day), float(units), *times, *others), Lease(
                decision.failing_rate, decision.retry_after_ms, 0, day, units
            )
        return (float(day), float(units + given), *taken, *others), Lease(None, None, given, day, units + given)

    def decode(self, values: Sequence[str]) -> tuple[float, ...]:
        return tuple(float(value) for value in values)

    def _until_it_has_grown(self, wanted: int, limit: int, now: int) -> int:
        """Milliseconds until the limit of backfills, which is lower now, reaches so many units; 0 where it never does."""
        assert self._terms.day is not None
        whole = int(self._terms.day * self._terms.shares.backfill + 1e-6)
        if wanted > whole or limit >= whole:
            return 0
        begun_at = int(day_ends_at(now / 1000).timestamp() * 1000) - _DAY_MS
        return max(begun_at + int(_DAY_MS * wanted / whole) + 1 - now, 1)

    def _today(self, state: tuple[float, ...], now: int) -> tuple[int, int]:
        """The day and its units, corrected; a clock that is set back begins no day anew."""
        today = max(pacific_day(now / 1000), int(state[0]))
        units = int(state[1]) if today == int(state[0]) else 0
        if self._correction.day == today:
            units = max(units + self._correction.units, self._correction.at_least, 0)
        return today, units


def units_of_day(state: tuple[float, ...], now_s: float) -> int:
    """The units of the present day that a state counts."""
    return int(state[1]) if int(state[0]) == pacific_day(now_s) else 0


def _bounding(purpose: Purpose) -> tuple[Purpose, ...]:
    return PURPOSES[: PURPOSES.index(purpose) + 1]
