"""What an unsuccessful answer of Gmail means and what to do about it.

Decided by Gmail's own word (`error.errors[0].reason`) and text before the status: one status carries many meanings.
The cases: https://developers.google.com/workspace/gmail/api/guides/handle-errors and answers captured since.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any

import orjson


class Remedy(Enum):
    """What to do next; one member per thing the caller does differently."""

    REPEAT = "repeat"
    REFRESH_TOKEN = "refresh token"  # noqa: S105
    WAIT_FOR_WINDOW = "wait for the quota window"
    WAIT_UNTIL = "wait until a given time"
    WAIT_FOR_DAY = "wait for the next day"
    FEWER_AT_ONCE = "fewer at once"
    RECONNECT = "connect the account again"
    PARK = "park the account"
    GONE = "does not exist"
    UNREACHABLE = "the server cannot be trusted or found"
    GIVE_UP = "give up this call"


@dataclass(frozen=True, slots=True)
class Refusal:
    """One unsuccessful answer.

    `text` is Gmail's, fit to be shown: no addresses, nothing of what was asked. `retry_at` and `window_start` are epoch seconds.
    """

    remedy: Remedy
    status: int
    reason: str = ""
    text: str = ""
    retry_at: float | None = None
    window_start: float | None = None
    whole_project: bool = False


_DAILY = {"dailyLimitExceeded", "quotaExceeded"}
_RATE = {"rateLimitExceeded", "userRateLimitExceeded"}
_RATE_TEXTS = ("quota exceeded", "limit exceeded", "resource has been exhausted")
_PARKED = {"domainPolicy", "failedPrecondition", "accessNotConfigured", "forbidden"}
_NO_SCOPE = {"insufficientPermissions"}
_RETRY_AFTER = re.compile(r"retry after (\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d))", re.IGNORECASE)
_ADDRESS = re.compile(r"[^\s<>\"'(),;:]+@[^\s<>\"'(),;:]+")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_WORD = re.compile(r"\w+", re.ASCII)
_LONGEST_REASON = 60
_LONGEST_TEXT = 2_000
_DIGITS = re.compile(r"[0-9]{1,15}")

LONGEST_WAIT_S = 90_000.0
"""No limit of Gmail's lasts longer than a day; a later time that it names is some mistake, and would stop an account."""


def classify(status: int, headers: Mapping[str, str], body: bytes, *, now: float) -> Refusal:
    """What an answer with a status other than 2xx asks for. `headers` by lower-cased name; `now` in epoch seconds."""
    error = _error(body)
    reason, text = _reason(error), _message(error)
    retry_at = _retry_at(text, headers, now)
    metadata = _metadata(error)
    return Refusal(
        remedy=_remedy(status, reason, text, retry_at),
        status=status,
        reason=reason,
        text=_showable(text, status),
        retry_at=retry_at,
        window_start=_number(metadata.get("window_start_time")),
        whole_project="{project}" in metadata.get("quota_unit", "") and "{user}" not in metadata.get("quota_unit", ""),
    )


def _remedy(status: int, reason: str, text: str, retry_at: float | None) -> Remedy:
    """What is not in Gmail's envelope is some proxy's word: a failure that passes, which parks and deletes nothing."""
    lower = text.lower()
    if status == 401:
        return Remedy.REFRESH_TOKEN
    if reason in _DAILY or "daily limit" in lower:
        return Remedy.WAIT_FOR_DAY
    if reason in _RATE or status == 429 or any(words in lower for words in _RATE_TEXTS):
        if "concurrent" in lower:
            return Remedy.FEWER_AT_ONCE
        return Remedy.WAIT_FOR_WINDOW if retry_at is None else Remedy.WAIT_UNTIL
    if status >= 500 or status == 408 or reason == "backendError" or not (reason or text):
        return Remedy.REPEAT
    if reason in _NO_SCOPE or "authentication scopes" in lower or "metadata scope" in lower:
        return Remedy.RECONNECT
    if status == 403 or reason in _PARKED:
        return Remedy.PARK
    return Remedy.GONE if status == 404 else Remedy.GIVE_UP


def _error(body: bytes) -> dict[str, Any]:
    """The `error` object; empty where the body is missing, HTML, or of another shape."""
    try:
        doc = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    error = doc.get("error") if isinstance(doc, dict) else None
    return error if isinstance(error, dict) else {}


def _reason(error: dict[str, Any]) -> str:
    """Gmail's word for it; empty where it is no word, and so might be anything."""
    first = next((item for item in _dicts(error.get("errors"))), {})
    reason = first.get("reason")
    return reason if isinstance(reason, str) and _WORD.fullmatch(reason) and len(reason) <= _LONGEST_REASON else ""


def _message(error: dict[str, Any]) -> str:
    message = error.get("message")
    return message if isinstance(message, str) else ""


def _metadata(error: dict[str, Any]) -> dict[str, str]:
    for detail in _dicts(error.get("details")):
        metadata = detail.get("metadata")
        if isinstance(metadata, dict):
            return {key: value for key, value in metadata.items() if isinstance(value, str)}
    return {}


def _dicts(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _retry_at(text: str, headers: Mapping[str, str], now: float) -> float | None:
    """When Gmail wants to be asked again, in epoch seconds, at most `LONGEST_WAIT_S` from now; None where it says nothing
    that can be understood."""
    header = headers.get("retry-after", "").strip()
    match = _RETRY_AFTER.search(text)
    try:
        if match:
            named = datetime.fromisoformat(match[1]).timestamp()
        elif _DIGITS.fullmatch(header):
            named = now + float(header)
        elif header:
            named = parsedate_to_datetime(header).timestamp()
        else:
            return None
    except (ValueError, OverflowError, TypeError, OSError):
        return None
    return min(named, now + LONGEST_WAIT_S)


def _number(value: str | None) -> float | None:
    return float(value) if value is not None and _DIGITS.fullmatch(value) else None


def _showable(text: str, status: int) -> str:
    """One line of characters that print, without addresses, and without what a 400 quotes from the request."""
    line = "".join(character if character.isprintable() else " " for character in text[:_LONGEST_TEXT])
    shown = _ADDRESS.sub("<address>", line)
    return (_QUOTED.sub("'...'", shown) if status == 400 else shown)[:200]
