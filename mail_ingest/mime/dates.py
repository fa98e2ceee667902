"""The Date header -> an aware datetime in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_tz

from mail_ingest.mime.defects import Defect

_MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES, start=1)}
_USUAL = re.compile(
    r"\s*(?:[A-Za-z]{3},\s*)?(\d{1,2})\s+([A-Za-z]{3})\s+(\d{4})\s+(\d{1,2}):(\d\d):(\d\d)\s*"
    r"(?:([+-])(\d\d)(\d\d)|GMT|UTC?)(?:\s*\([^()]{0,60}\))?\s*"
)
_ISO = re.compile(r"\s*\d{4}-\d\d-\d\d[T ]\d\d:")
_AFTER_TIME = re.compile(r"\d[:.]\d\d(?:[:.]\d\d)?(?![:.\d])(.*)")
_OFFSET = re.compile(r"[+-]\d\d:?\d\d\b")
_ZONES = frozenset({"UT", "UTC", "GMT", "Z", *(first + last for first in "AECMP" for last in ("ST", "DT"))})
_LONGEST = 200


def parse_date(value: str, defects: set[Defect]) -> datetime | None:
    """The moment in UTC, or None with the defect "bad-date". A leap second is read as the one before it."""
    date = _usual(value) or _lenient(value[:_LONGEST], defects)
    if date is None:
        defects.add("bad-date")
    return date


def _usual(value: str) -> datetime | None:
    found = _USUAL.fullmatch(value)
    if found is None:
        return None
    day, month, year, hour, minute, second, sign, hours, minutes = found.groups()
    try:
        local = datetime(
            int(year), _MONTHS[month.lower()], int(day), int(hour), int(minute), min(int(second), 59), tzinfo=UTC
        )
        if sign is None or (hours == "00" and minutes == "00"):
            return local
        offset = timedelta(hours=int(hours), minutes=int(minutes))
        return local - offset if sign == "+" else local + offset
    except (ValueError, KeyError, OverflowError):
        return None


def _names_zone(value: str) -> bool:
    found = _AFTER_TIME.search(value)
    rest = "" if found is None else found[1].partition("(")[0]
    return _OFFSET.search(rest) is not None or not _ZONES.isdisjoint(rest.upper().split())


def _lenient(value: str, defects: set[Defect]) -> datetime | None:
    try:
        fields = parsedate_tz(value)
        if fields is not None:
            year, month, day, hour, minute, second = fields[:6]
            local = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=UTC)
            if not _names_zone(value):
                defects.add("date-without-zone")
            return local - timedelta(seconds=fields[9] or 0)
        if _ISO.match(value) is None:
            return None
        date = datetime.fromisoformat(value.strip())
        if date.tzinfo is None:
            defects.add("date-without-zone")
            return date.replace(tzinfo=UTC)
        return date.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
