"""What Gmail publishes of a mailbox's changes, and what becomes of it: a request for a sync of the account.

A notification is a hint: it names a mailbox and a position in its history, and may be late, doubled, out of order or lost.
So it is never taken for the change itself: the sync reads everything from the account's own cursor on, and accounts are
synced by their schedules whether anything was published or not.

https://developers.google.com/workspace/gmail/api/guides/push#receive_notifications
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import orjson

from mail_ingest.accounts.requests import Requests

Outcome = Literal["filed", "known", "unwanted", "unknown", "unreadable"]
"""filed: a request stands for it · known: it told nothing new · unwanted: push is off for the account, or a person has to act
first · unknown: no such account · unreadable: it is none of Gmail's."""

_LONGEST_BYTES = 2_000
_GREATEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Notification:
    """That a mailbox has changed up to `history_id`."""

    account_id: str
    history_id: int


def read_notification(data: bytes) -> Notification | None:
    """A notification from the bytes of a Pub/Sub message; None where they hold none."""
    if len(data) > _LONGEST_BYTES:
        return None
    try:
        told = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    address, history_id = (told.get("emailAddress"), told.get("historyId")) if isinstance(told, dict) else (None, None)
    if isinstance(history_id, str) and history_id.isascii() and history_id.isdigit():
        history_id = int(history_id)
    if not isinstance(address, str) or not address.strip() or type(history_id) is not int:
        return None
    return Notification(address.strip().lower(), history_id) if 0 < history_id <= _GREATEST else None


def take_in(requests: Requests, messages: Iterable[bytes]) -> Counter[Outcome]:
    """Stores what messages ask for, one request for all of a mailbox's; how many messages came to what.

    When this returns they may be acknowledged. Where it raises some may have been stored, and all have to come again, which
    changes nothing then.
    """
    counted: Counter[Outcome] = Counter()
    newest: dict[str, int] = {}
    notified: Counter[str] = Counter()
    for data in messages:
        told = read_notification(data)
        if told is None:
            counted["unreadable"] += 1
            continue
        newest[told.account_id] = max(told.history_id, newest.get(told.account_id, 0))
        notified[told.account_id] += 1
    for account_id, history_id in newest.items():
        outcome = requests.file_push(account_id, history_id)
        count = notified[account_id]
        counted[outcome] += 1 if outcome == "filed" else count
        if outcome == "filed" and count > 1:
            counted["known"] += count - 1
    return counted
