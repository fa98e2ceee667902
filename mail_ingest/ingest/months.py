"""Months as partitions: names such as 2026-05, in UTC, with outliers in the first and the last."""

from __future__ import annotations

from datetime import UTC, datetime

from mail_ingest.errors import ConfigError

_FAR_PAST_S = 0
_FAR_FUTURE_S = 4_102_444_800


def month_bounds(month: str, first_month: str, now: datetime | None = None) -> tuple[str, int, int]:
    """(name, first second, first second after it), in epoch seconds.

    The first month also takes everything before it, the running one everything after: dates in 1970 or in the future
    have to be in some partition.
    """
    try:
        start = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
    except ValueError:
        raise ConfigError(f"{month!r} is no month; months are written like 2026-05") from None
    end = _next_month(start)
    running = (now or datetime.now(UTC)).strftime("%Y-%m")
    first_s = _FAR_PAST_S if month <= first_month else int(start.timestamp())
    last_s = _FAR_FUTURE_S if month >= running else int(end.timestamp())
    return month, first_s, last_s


def month_of(moment: datetime, first_month: str, now: datetime | None = None) -> str:
    """The partition of an internal date."""
    running = (now or datetime.now(UTC)).strftime("%Y-%m")
    return min(max(moment.astimezone(UTC).strftime("%Y-%m"), first_month), running)


def _next_month(start: datetime) -> datetime:
    return start.replace(year=start.year + (start.month == 12), month=start.month % 12 + 1)
