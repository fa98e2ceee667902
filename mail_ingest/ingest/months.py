"""Months as partitions: names such as 2026-05, in UTC, with outliers in the first and the last."""

from __future__ import annotations

from datetime import UTC, datetime

from mail_ingest.errors import ConfigError


def month_query(month: str, first_month: str, now: datetime | None = None) -> str:
    """Gmail's query for the messages of a month, in epoch seconds (dates would mean midnight Pacific time).

    One second wider than the month at both ends, because Gmail does not say whether its bounds are inclusive. The first
    month also takes everything before it, the running one everything after: dates in 1970 or in the future have to be in
    some partition. Raises ConfigError where the text is no month.
    """
    try:
        start = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
    except ValueError:
        raise ConfigError(f"{month!r} is no month; months are written like 2026-05") from None
    end = _next_month(start)
    running = (now or datetime.now(UTC)).strftime("%Y-%m")
    bounds = []
    if month > first_month:
        bounds.append(f"after:{int(start.timestamp()) - 1}")
    if month < running:
        bounds.append(f"before:{int(end.timestamp()) + 1}")
    return " ".join(bounds)


def month_of(moment: datetime, first_month: str, now: datetime | None = None) -> str:
    """The partition of an internal date."""
    running = (now or datetime.now(UTC)).strftime("%Y-%m")
    return min(max(moment.astimezone(UTC).strftime("%Y-%m"), first_month), running)


def _next_month(start: datetime) -> datetime:
    return start.replace(year=start.year + (start.month == 12), month=start.month % 12 + 1)
