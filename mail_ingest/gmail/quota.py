"""What Gmail's calls cost and how much may be spent: cost tables, limits, and the text form of a custom budget.

Costs are units per call, whatever the format or size of the answer. Sources: the usage limits page
https://developers.google.com/workspace/gmail/api/reference/quota (as of 2026-09-10; in force for new projects since
1 May 2026, to be extended to older ones) and its copies from before 2026. The page prints the new table only, while
consoles of older projects show a metric of their own ("Previous quota: Units per minute per user"): the operator picks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType

from mail_ingest.errors import ConfigError

WINDOW_S = 60.0
"""Gmail meters in fixed windows of one minute. Where they begin is told only by a refusal's `window_start_time`."""

_PACIFIC = timezone(timedelta(hours=-8))
"""Google's days end at midnight Pacific time. Without daylight saving: an hour late in summer, never early."""

COSTS_2026: Mapping[str, int] = MappingProxyType(
    {
        "getProfile": 1,
        "labels.list": 1,
        "labels.get": 1,
        "messages.list": 5,
        "messages.get": 20,
        "history.list": 2,
    }
)
COSTS_PREVIOUS: Mapping[str, int] = MappingProxyType({**COSTS_2026, "messages.get": 5})
PUSH_COSTS: Mapping[str, int] = MappingProxyType({"watch": 100, "stop": 50})
"""Of setting up notifications: the same in both tables, once a day, and no measure of what a budget has to pay at least."""

_COSTS = {"2026": COSTS_2026, "previous": COSTS_PREVIOUS}
_LIMITS = {"user": "per_user_minute", "project": "per_project_minute", "day": "per_project_day"}


@dataclass(frozen=True, slots=True)
class QuotaProfile:
    """Units per call and the limits they count against; None is no limit.

    `per_project_day` is where Google starts to bill, and we stop: https://developers.google.com/workspace/tools-safety
    """

    name: str
    costs: Mapping[str, int]
    per_user_minute: int | None
    per_project_minute: int | None
    per_project_day: int | None

    @property
    def is_off(self) -> bool:
        """Whether nothing is limited. Fit for a local server only."""
        return self.per_user_minute is None and self.per_project_minute is None and self.per_project_day is None

    def cost(self, method: str) -> int:
        """Units of one call."""
        return PUSH_COSTS[method] if method in PUSH_COSTS else self.costs[method]


PROFILES: Mapping[str, QuotaProfile] = MappingProxyType(
    {
        "2026": QuotaProfile("2026", COSTS_2026, 6_000, 1_200_000, 80_000_000),
        "previous": QuotaProfile("previous", COSTS_PREVIOUS, 15_000, 1_200_000, None),
        "off": QuotaProfile("off", COSTS_2026, None, None, None),
    }
)


def parse_quota(spec: str) -> QuotaProfile:
    """The budget that `MAIL_INGEST_QUOTA` names: `2026`, `previous`, `off`, or `key=value,...` on top of `2026`.

    Keys: `costs` (`2026` or `previous`: the cost table), `user` and `project` (units a minute), `day` (units a day
    and project; `none` for no limit), or a method's name (`messages.get=5`: its cost). Example:
    `user=15000,costs=2026,day=none`. Raises ConfigError that says what it takes.
    """
    spec = spec.strip()
    if spec in PROFILES:
        return PROFILES[spec]
    pairs = _pairs(spec)
    costs = dict(_COSTS[_cost_table(spec, pairs.pop("costs", "2026"))])
    limits: dict[str, int | None] = {}
    for key, value in pairs.items():
        if key in _LIMITS:
            limits[_LIMITS[key]] = None if value == "none" else _units(spec, key, value)
        elif key in costs:
            costs[key] = _units(spec, key, value)
        else:
            raise _refused(spec, f"{key!r} is no key")
    profile = replace(PROFILES["2026"], name=spec, costs=MappingProxyType(costs), **limits)
    dearest = max(costs.values())
    for key, name in _LIMITS.items():
        if (limits.get(name) or dearest) < dearest:
            raise _refused(spec, f"{key}={limits[name]} cannot pay a single call of {dearest} units")
    return profile


def pacific_day(moment: float) -> int:
    """The number of the day that the limits of a day are for, of a time in epoch seconds."""
    return datetime.fromtimestamp(moment, _PACIFIC).toordinal()


def day_ends_at(moment: float) -> datetime:
    """When the day's limits begin anew after a time in epoch seconds."""
    today = datetime.fromtimestamp(moment, _PACIFIC)
    midnight = today.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return midnight.astimezone(UTC)


def _pairs(spec: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for part in spec.split(","):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not key or not value:
            raise _refused(spec, f"{part.strip()!r} is no key=value pair")
        if key in pairs:
            raise _refused(spec, f"{key!r} is given twice")
        pairs[key] = value
    return pairs


def _cost_table(spec: str, value: str) -> str:
    if value not in _COSTS:
        raise _refused(spec, f"costs={value} names no cost table")
    return value


def _units(spec: str, key: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and int(value) > 0):
        raise _refused(spec, f"{key}={value} is no positive whole number")
    return int(value)


def _refused(spec: str, why: str) -> ConfigError:
    return ConfigError(
        f"MAIL_INGEST_QUOTA is {spec!r}: {why}; it takes 2026, previous, off (loopback addresses only), or "
        f"comma separated pairs of {', '.join(_LIMITS)} (units, or none), costs (2026 or previous) "
        f"and {', '.join(COSTS_2026)} (units a call)"
    )
