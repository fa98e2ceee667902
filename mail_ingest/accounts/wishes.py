"""What a request asks for, how two wishes become one, and how people write them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from mail_ingest.errors import ConfigError

#: By how much they read: history alone, history or a sweep where it has expired, always a sweep.
MODES = ("partial", "auto", "full")
BACKFILL = 3
PRIORITIES = {
    0: "a person or a push asked",
    1: "its owner is active",
    2: "as scheduled",
    3: "backfill",
    4: "maintenance",
}
"""What the priorities are for; the lowest number goes first."""

_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")
_MOST_MONTHS = 1_200


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for. `new_mail`: the content backlog as in any sync; `months` (such as 2026-05) beside it, or alone."""

    mode: str
    new_mail: bool
    months: tuple[str, ...]
    priority: int
    not_before: datetime


def stronger(one: Wish, other: Wish) -> Wish:
    """A wish that covers both: the fuller mode, all months, the more urgent priority, the earlier time."""
    return Wish(
        max(one.mode, other.mode, key=MODES.index),
        one.new_mail or other.new_mail,
        tuple(sorted({*one.months, *other.months})),
        min(one.priority, other.priority),
        min(one.not_before, other.not_before),
    )


def make_wish(
    now: datetime,
    *,
    mode: str = "auto",
    months: Iterable[str] = (),
    priority: int = 0,
    at: datetime | None = None,
    content_start: str = "",
) -> Wish:
    """A wish that makes sense. Raises ConfigError that says what does not.

    `months` may name ranges such as 2026-01..2026-05; with months nothing else is bought. `at` is in UTC where it names no
    zone, and may have passed.
    """
    if mode not in MODES:
        raise ConfigError(f"the mode is {mode!r}; it takes auto, partial or full")
    if priority not in PRIORITIES:
        told = ", ".join(f"{number} ({meaning})" for number, meaning in PRIORITIES.items())
        raise ConfigError(f"the priority is {priority!r}; it takes {told}")
    wanted = sorted({month for text in months for month in _months_of(text)})
    if wanted and (wanted[0] < content_start or wanted[-1] > f"{now:%Y-%m}"):
        raise ConfigError(
            f"the months go from {wanted[0]} to {wanted[-1]}; there are months from {content_start} "
            f"(MAIL_INGEST_CONTENT_START) to {now:%Y-%m}"
        )
    not_before = now if at is None else max(_utc(at), now)
    return Wish(mode, not wanted, tuple(wanted), priority, not_before)


def parse_time(text: str) -> datetime:
    """A time as people write it: 2026-11-28, 2026-11-28T07:30 or with a zone. Raises ConfigError."""
    try:
        return _utc(datetime.fromisoformat(text.strip()))
    except ValueError:
        raise ConfigError(
            f"{text!r} is no time; it is written as 2026-11-28T07:30 (UTC) or 2026-11-28T07:30+01:00"
        ) from None


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _months_of(text: str) -> list[str]:
    first, _, last = text.strip().partition("..")
    ends = [_MONTH.fullmatch(end) for end in (first, last or first)]
    if ends[0] is None or ends[1] is None:
        raise ConfigError(f"{text!r} is no month; months are written as 2026-05, ranges as 2026-01..2026-05")
    begin, end = (int(match[1]) * 12 + int(match[2]) - 1 for match in ends if match is not None)
    if not 0 <= end - begin < _MOST_MONTHS:
        raise ConfigError(f"the range {text!r} ends before it begins, or takes more than a hundred years")
    return [f"{number // 12:04}-{number % 12 + 1:02}" for number in range(begin, end + 1)]
