"""How often an account is synced: every hour, on demand alone, or as its activity asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, get_args

from mail_ingest.errors import ConfigError

Schedule = Literal["hourly", "aggressive", "balanced", "conservative", "off"]
"""hourly: with all others, every hour · aggressive, balanced, conservative: as its activity asks for · off: on demand."""
SCHEDULES: tuple[Schedule, ...] = get_args(Schedule)
ADAPTIVE: tuple[Schedule, ...] = ("aggressive", "balanced", "conservative")

#: An owner who read or sent within this time is active.
ACTIVE_FOR = timedelta(hours=2)
#: An account with more messages a day is busy.
BUSY_MESSAGES = 50
#: Gmail's watches end after a week at the latest: an account that was pushed since then still is.
PUSHED_FOR = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Activity:
    """What is known of an account's activity, None where it was never measured.

    `owner_active_at`: when a sync last saw that its owner had read or sent something · `messages_last_day` and
    `messages_last_week`: that arrived or were sent within a day and a week before its last sync.
    """

    owner_active_at: datetime | None
    messages_last_day: int | None
    messages_last_week: int | None
    last_push_at: datetime | None

    def is_active(self, now: datetime) -> bool:
        return self.owner_active_at is not None and now - self.owner_active_at <= ACTIVE_FOR

    @property
    def is_busy(self) -> bool:
        """By the day or by the mean day of the week, whichever is more: it is busy at once, and stays so over a Sunday."""
        return max(self.messages_last_day or 0, (self.messages_last_week or 0) / 7) > BUSY_MESSAGES

    def is_pushed(self, now: datetime) -> bool:
        return self.last_push_at is not None and now - self.last_push_at <= PUSHED_FOR

    @property
    def is_measured(self) -> bool:
        return self.messages_last_week is not None


_MINUTES: Mapping[str, Mapping[tuple[bool, bool], int]] = {
    # by (active, busy)
    "aggressive": {(True, True): 5, (True, False): 5, (False, True): 15, (False, False): 30},
    "balanced": {(True, True): 15, (True, False): 30, (False, True): 60, (False, False): 240},
    "conservative": {(True, True): 120, (True, False): 720, (False, True): 720, (False, False): 720},
}


def interval(schedule: Schedule, activity: Activity, now: datetime) -> timedelta:
    """The time between two syncs of an account with an adaptive schedule.

    What is pushed needs no asking: then syncs are a safety net, as rare as the schedule knows. An account that was never
    measured is due at once.
    """
    minutes = _MINUTES[schedule]
    if not activity.is_measured:
        return timedelta(0)
    if activity.is_pushed(now):
        return timedelta(minutes=max(minutes.values()))
    return timedelta(minutes=minutes[activity.is_active(now), activity.is_busy])


def priority_of(activity: Activity, now: datetime) -> int:
    """1 while the owner is active, 2 otherwise; see `requests` for what priorities mean."""
    return 1 if activity.is_active(now) else 2


def schedule_of(name: str) -> Schedule:
    """A schedule by its name. Raises ConfigError."""
    for schedule in SCHEDULES:
        if schedule == name:
            return schedule
    raise ConfigError(f"the schedule is {name!r}; it takes one of {', '.join(SCHEDULES)}")
