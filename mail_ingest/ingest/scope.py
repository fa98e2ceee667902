"""An account's content horizon: how far back content is bought without being asked for."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from mail_ingest.accounts import Account
from mail_ingest.errors import ConfigError


def account_horizon(account: Account, now: datetime | None = None) -> datetime | None:
    """The moment before which the account's content is out of scope; None for all of it."""
    return parse_since(account.content_since, now)


def parse_since(text: str, now: datetime | None = None) -> datetime | None:
    """`all`, a number of days such as 30d, or a date such as 2026-01-31 (UTC midnight). Raises ConfigError otherwise."""
    if text in ("", "all"):
        return None
    now = now or datetime.now(UTC)
    if match := re.fullmatch(r"(\d{1,5})d", text):
        return now - timedelta(days=int(match[1]))
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise ConfigError(
            f"{text!r} is no date; it takes a date such as 2026-01-31, days such as 30d, or all"
        ) from None
