"""What calls cost and how many a minute allows.

Costs and limits: https://developers.google.com/workspace/gmail/api/reference/quota (page of 2026-09-10 for `2026`, the
copies until April 2026 for `previous`). Windows are fixed minutes whose start differs from user to user: a refusal
captured on the live API named a window start that was not a full minute.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from zlib import crc32

from mail_ingest.simulator.wire import errors

WINDOW_S = 60

_SHARED_COSTS = {
    "getProfile": 1,
    "history.list": 2,
    "labels.list": 1,
    "labels.get": 1,
    "labels.create": 5,
    "labels.update": 5,
    "labels.patch": 5,
    "labels.delete": 5,
    "messages.list": 5,
    "messages.modify": 5,
    "messages.untrash": 5,
    "messages.delete": 10,
    "messages.batchModify": 50,
    "messages.batchDelete": 50,
    "messages.insert": 25,
    "messages.import": 25,
    "messages.send": 100,
    "drafts.send": 100,
    "drafts.create": 10,
    "drafts.delete": 10,
    "drafts.update": 15,
    "drafts.list": 5,
    "threads.list": 10,
    "threads.modify": 10,
    "threads.delete": 20,
    "threads.untrash": 10,
    "watch": 100,
    "stop": 50,
}
_COSTS_2026 = {
    **_SHARED_COSTS,
    "messages.get": 20,
    "messages.attachments.get": 20,
    "messages.trash": 20,
    "threads.get": 40,
    "threads.trash": 20,
    "drafts.get": 20,
}
_COSTS_PREVIOUS = {
    **_SHARED_COSTS,
    "messages.get": 5,
    "messages.attachments.get": 5,
    "messages.trash": 5,
    "threads.get": 10,
    "threads.trash": 10,
    "drafts.get": 5,
}


@dataclass(frozen=True, slots=True)
class QuotaProfile:
    """A cost table with its limits; None means no limit."""

    costs: Mapping[str, int]
    per_user_per_minute: int | None
    per_project_per_minute: int | None = 1_200_000
    per_project_per_day: int | None = None
    """A cap that the project's owner has set. Google's 80,000,000 a day is a billing line, not a stop: only counted."""
    metric: str = "Total Query Cost"
    user_limit_name: str = "Units per minute per user"
    user_limit: str = "totalQueryCostPerMinutePerUser"
    project_limit_name: str = "Units per minute"
    project_limit: str = "totalQueryCostPerMinutePerProject"
    charges_refusals: bool = False
    """Whether a refused call uses up units too; nobody knows."""


PROFILES = {
    "2026": QuotaProfile(_COSTS_2026, 6_000),
    "previous": QuotaProfile(
        _COSTS_PREVIOUS,
        15_000,
        metric="Queries",
        user_limit_name="Previous quota: Units per minute per user",
        user_limit="previousQuotaUnitsPerMinutePerUser",
        project_limit_name="Previous quota: Units per minute",
        project_limit="previousQuotaUnitsPerMinutePerProject",
    ),
    "off": QuotaProfile(_COSTS_2026, None, None),
}


def window_start(key: str, now_s: float) -> int:
    """Start of the running minute of a user or project, in epoch seconds; its phase comes from the key."""
    phase = crc32(key.encode()) % WINDOW_S
    return int((now_s - phase) // WINDOW_S) * WINDOW_S + phase


@dataclass(slots=True)
class _Window:
    start_s: int
    spent: int = 0


@dataclass(slots=True)
class QuotaMeter:
    """Units spent by every user of one project and by the project as a whole."""

    project: str
    profile: QuotaProfile
    clock: Callable[[], float]
    day_units: Counter[int] = field(default_factory=Counter)
    """Units by day since the epoch (UTC)."""
    _windows: dict[str, _Window] = field(default_factory=dict)

    def cost(self, method: str) -> int:
        return self.profile.costs[method]

    def charge(self, method: str, user: str) -> int:
        """Takes the units of a call and returns them; raises the refusal when a window is exhausted."""
        units = self.profile.costs[method]
        now_s = self.clock()
        day = int(now_s // 86_400)
        profile = self.profile
        windows = [
            self._checked_window(name, units, limit, now_s)
            for name, limit in ((user, profile.per_user_per_minute), ("", profile.per_project_per_minute))
            if limit is not None
        ]
        if profile.per_project_per_day is not None and self.day_units[day] + units > profile.per_project_per_day:
            raise errors.daily_limit_exceeded()
        for window in windows:
            window.spent += units
        self.day_units[day] += units
        return units

    def refusal(self, user: str) -> errors.ApiError:
        """The refusal this user would get now for an exhausted minute."""
        limit = self.profile.per_user_per_minute or PROFILES["2026"].per_user_per_minute or 0
        return self._refusal(window_start(f"{self.project}/{user}", self.clock()), limit, is_user=True)

    def _checked_window(self, user: str, units: int, limit: int, now_s: float) -> _Window:
        """The running window of a user, or of the project when the name is empty; raises when it is too full."""
        start_s = window_start(f"{self.project}/{user}", now_s)
        window = self._windows.get(user)
        if window is None or window.start_s != start_s:
            window = self._windows[user] = _Window(start_s)
        if window.spent + units > limit:
            if self.profile.charges_refusals:
                window.spent += units
            raise self._refusal(start_s, limit, is_user=bool(user))
        return window

    def _refusal(self, start_s: int, limit: int, *, is_user: bool) -> errors.ApiError:
        profile = self.profile
        return errors.quota_exceeded(
            project=self.project,
            metric=profile.metric,
            limit_name=profile.user_limit_name if is_user else profile.project_limit_name,
            limit=profile.user_limit if is_user else profile.project_limit,
            value=limit,
            unit="1/min/{project}/{user}" if is_user else "1/min/{project}",
            window_start_s=start_s,
        )
