"""Asking for syncs from Python: the same requests that `mail-ingest request` and `cancel` file.

    from mail_ingest import requests

    filed = requests.request_sync("you@example.com", priority=0)
    print(requests.get(filed.request_id).state)

Every call is one short transaction in the control database that `MAIL_INGEST_*` names; a sensor of Dagster's turns requests
into runs. All raise ConfigError for what is wrong with their arguments, and where an account is not registered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from mail_ingest.accounts import Registry, Request, make_wish
from mail_ingest.accounts.requests import Requests
from mail_ingest.settings import load_settings

__all__ = ["Request", "cancel", "cancel_sync", "get", "open_requests", "request_sync"]


def request_sync(
    address: str,
    *,
    mode: str = "auto",
    months: Sequence[str] = (),
    priority: int = 0,
    at: datetime | None = None,
    requested_by: str = "person",
) -> Request:
    """Asks for a sync, and gives the request that stands for it: where one waits for the account already, that one.

    `mode` is auto, partial or full; `months` (2026-05, or 2026-01..2026-05) buy their content instead of what is new;
    `priority` goes from 0 (first) to 4; `at` is the earliest time, UTC where it names no zone. `requested_by`: `push` for
    notifications of Gmail's, which adaptive schedules take into account, or any other name of whoever asks.

    Beyond 10 requests for an account within a minute, nothing is started before the minute is over.
    """
    settings = load_settings()
    wish = make_wish(
        datetime.now(UTC), mode=mode, months=months, priority=priority, at=at, content_start=settings.content_start
    )
    with _requests() as requests:
        return requests.file(address, wish, requested_by)


def get(request_id: str) -> Request:
    """A request as it stands now; ended ones are kept for the days of `MAIL_INGEST_KEEP_REQUESTS`."""
    with _requests() as requests:
        return requests.get(request_id)


def open_requests(address: str | None = None) -> list[Request]:
    """The requests of one account, or of all, that wait or are being fulfilled; most urgent first."""
    with _requests() as requests:
        return requests.find(address)


def cancel(request_id: str, reason: str = "cancelled by a program") -> Request:
    """Takes a request back; its sync, if it is under way, stops within a package. Gives it as it was before."""
    with _requests() as requests:
        return requests.cancel(request_id, reason)


def cancel_sync(address: str, reason: str = "cancelled by a program") -> int:
    """Stops an account's sync that is under way, wherever it runs, and cancels the account's requests: how many."""
    with _requests() as requests:
        return requests.cancel_account(address, reason)


@contextmanager
def _requests() -> Iterator[Requests]:
    registry = Registry(load_settings())
    try:
        yield registry.requests
    finally:
        registry.close()
