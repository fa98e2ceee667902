"""Windows of internal date as partitions: months such as 2026-05 or days such as 2026-05-03, in UTC.

Outliers belong to the first and to the running one: dates in 1970 or in the future have to be in some partition.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from mail_ingest.errors import ConfigError
from mail_ingest.settings import PartitionKind

#: Seconds that a listing is wider than its window, at both ends. Gmail says neither whether its bounds are inclusive nor
#: how fine its index is; what a listing shows of its neighbours is told apart by the internal date that comes with content.
OVERLAP_S = 60

_FORMATS: dict[PartitionKind, str] = {"month": "%Y-%m", "day": "%Y-%m-%d"}


def kind_of(partition: str) -> PartitionKind:
    """Whether a partition's name is a month's or a day's. Raises ConfigError where it is neither."""
    return "day" if _parse(partition)[1] - _parse(partition)[0] == timedelta(days=1) else "month"


def window_query(partition: str, first_month: str, now: datetime | None = None) -> str:
    """Gmail's query for the messages of a month or day, in epoch seconds (dates would mean midnight Pacific time).

    Wider by `OVERLAP_S` at both ends. The first window also takes everything before it, the running one everything after.
    Raises ConfigError where the text is neither month nor day.
    """
    start, end = _parse(partition)
    now = now or datetime.now(UTC)
    bounds = []
    if start > _parse(first_month)[0]:
        bounds.append(f"after:{int(start.timestamp()) - OVERLAP_S}")
    if end <= now:
        bounds.append(f"before:{int(end.timestamp()) + OVERLAP_S}")
    return " ".join(bounds)


def window_of(moment: datetime, kind: PartitionKind, first_month: str, now: datetime | None = None) -> str:
    """The partition of an internal date."""
    return clamped(f"{moment.astimezone(UTC):{_FORMATS[kind]}}", first_month, now)


def clamped(partition: str, first_month: str, now: datetime | None = None) -> str:
    """The partition that a month or day belongs to, as text of the same kind: outliers move to the first and the running."""
    now = now or datetime.now(UTC)
    if len(partition) > len("2026-05"):
        return min(max(partition, f"{first_month}-01"), f"{now:%Y-%m-%d}")
    return min(max(partition, first_month), f"{now:%Y-%m}")


def following(partition: str) -> str:
    """The month after a month, the day after a day."""
    return f"{_parse(partition)[1]:{_FORMATS[kind_of(partition)]}}"


def windows_between(
    first: str, last: str, kind: PartitionKind, first_month: str, now: datetime | None = None
) -> list[str]:
    """The partitions from one month or day to another, both included, newest first.

    Of `kind` month, days stand for the months that are asked for in part. What lies before the first month or after today
    is left out. Raises ConfigError where nothing is left, or where a text is neither month nor day.
    """
    now = now or datetime.now(UTC)
    tomorrow = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    if _parse(first)[0] >= _parse(last)[1]:
        raise ConfigError(f"--from {first} is after --to {last}; ranges go from the older month or day to the newer")
    start, end = max(_parse(first)[0], _parse(first_month)[0]), min(_parse(last)[1], tomorrow)
    if start >= end:
        raise ConfigError(
            f"there is nothing from {first} to {last}: content begins with {first_month} (MAIL_INGEST_CONTENT_START) and "
            f"ends today, {now:%Y-%m-%d}"
        )
    partitions = []
    while start < end:
        month = f"{start:%Y-%m}"
        month_ends = _parse(month)[1]
        if kind == "month" and start.day == 1 and min(month_ends, tomorrow) <= end:
            partitions.append(month)
            start = month_ends
        else:
            partitions.append(f"{start:%Y-%m-%d}")
            start += timedelta(days=1)
    return partitions[::-1]


def _parse(partition: str) -> tuple[datetime, datetime]:
    """Beginning and end of a month or day."""
    for kind, form in _FORMATS.items():
        try:
            start = datetime.strptime(partition, form).replace(tzinfo=UTC)
        except ValueError:
            continue
        if f"{start:{form}}" != partition or start.year > 9998:
            continue  # 2026-5 would be another name of the same window, and the end of 9999 is no date
        if kind == "day":
            return start, start + timedelta(days=1)
        return start, start.replace(year=start.year + (start.month == 12), month=start.month % 12 + 1)
    raise ConfigError(f"{partition!r} is neither month nor day; they are written like 2026-05 and 2026-05-03")
