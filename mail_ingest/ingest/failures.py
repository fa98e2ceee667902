"""Messages that cannot be had: when they are tried again, and what `fetch_failures` keeps of them.

failed      tried again after 5 minutes, then 10, 20, 40
dead letter after `PARK_AFTER` attempts: tried once a week, or when a person asks for it
unparsed    its bytes came and no parser could read them: a dead letter at once, read again by `reparse`
"""

from __future__ import annotations

from datetime import datetime, timedelta

from mail_ingest.errors import GmailError
from mail_ingest.gmail import Patience
from mail_ingest.sources.batches import clean
from mail_ingest.warehouse.queries import Failure

#: Attempts after which a message becomes a dead letter. An attempt is up to `Patience.attempts` requests.
PARK_AFTER = 5
#: How long a dead letter is left alone.
DEAD_LETTER_RETRY = timedelta(days=7)
#: Dead letters that one run tries at most: they come after all else, and the next account waits for them.
DEAD_LETTERS_PER_RUN = 20
#: A dead letter has had 40 requests before: two more tell whether it lives again.
DEAD_LETTER_PATIENCE = Patience(attempts=2, seconds=30.0)

PARSE_ERROR = "ParseError"

_FIRST_RETRY = timedelta(minutes=5)
_LONGEST_REASON = 100

Row = tuple[object, ...]


def failed(
    account_id: str, message_id: str, error: GmailError | str, earlier: Failure | None, now: datetime
) -> tuple[Row, bool]:
    """The row of a failed attempt, and whether it made the message a dead letter. A str names a parser's exception."""
    attempts = (earlier.attempts if earlier else 0) + 1
    parked_at = earlier.parked_at if earlier else None
    is_new = parked_at is None and attempts >= PARK_AFTER
    if is_new:
        parked_at = now
    wait = DEAD_LETTER_RETRY if parked_at else _FIRST_RETRY * 2 ** (attempts - 1)
    first = earlier.first_failed_at if earlier else now
    name, reason = _described(error)
    return (account_id, message_id, attempts, name, first, now, now + wait, None, reason, parked_at), is_new


def unparsed(
    account_id: str, message_id: str, exception: str, earlier: Failure | None, now: datetime
) -> tuple[Row, bool]:
    """The row of a message whose archived bytes the parser could not read, and whether it is a new dead letter.

    The same parser would fail again, so there is no next try.
    """
    attempts = (earlier.attempts if earlier else 0) + 1
    parked_at = (earlier.parked_at if earlier else None) or now
    first = earlier.first_failed_at if earlier else now
    name, reason = _described(exception)
    row = (account_id, message_id, attempts, name, first, now, None, None, reason, parked_at)
    return row, earlier is None or earlier.parked_at is None


def resolved(account_id: str, message_id: str, earlier: Failure, now: datetime) -> Row:
    """The row of a message whose content is stored after all."""
    return (account_id, message_id, earlier.attempts, "", earlier.first_failed_at, now, None, now, "", None)


def _described(error: GmailError | str) -> tuple[str, str]:
    """Class and reason of a failure, neither with anything out of the mail."""
    if isinstance(error, str):
        return PARSE_ERROR, error
    reason = error.reason or (f"status {error.status}" if error.status else type(error).__name__)
    return type(error).__name__, (clean(reason) or "")[:_LONGEST_REASON]
