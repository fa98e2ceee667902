"""Many messages side by side: results as they complete, with a bound on the memory that waits for the consumer."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from mail_ingest.errors import (
    AccountError,
    AuthError,
    ChangedAnswerError,
    ConcurrencyError,
    GmailError,
    MailIngestError,
    QuotaError,
    ServerError,
    UnreadableAnswerError,
    stack_of,
)
from mail_ingest.gmail.calls import MALFORMED
from mail_ingest.gmail.models import RawMessage
from mail_ingest.gmail.transport import Admit

logger = logging.getLogger(__name__)

Result = tuple[str, RawMessage | GmailError]
Get = Callable[[str, Admit], RawMessage]

#: What may concern every message: so many in a row are believed to.
_MAY_BE_ALL = (ServerError, UnreadableAnswerError, ChangedAnswerError)
_ENDS_ACCOUNT = (AuthError, AccountError, QuotaError, ConcurrencyError)


def fetch_all(message_ids: Iterable[str], get: Get, *, threads: int, max_waiting_bytes: int) -> Iterator[Result]:
    """Each id with its message, or with the error that concerns that message alone; in the order of completion.

    `get` is called in at most `threads` threads; it asks its second argument before it reads a large body. No message
    is begun, and no large one read on, while `max_waiting_bytes` of mail wait for the consumer, and large ones are
    read one at a time: memory is bounded by that, plus one message, plus `threads` small ones.

    `message_ids` is read in the consumer's thread, at most 2 x `threads` ahead. What ends the work on the account
    (also 2 x `threads` failures in a row) is raised once everything begun was handed out; ids that were not begun by
    then get no result. An exception that nobody foresaw counts as a failure of its message.
    """
    crew = _Crew(get, threads, max_waiting_bytes)
    ids = iter(message_ids)
    ended: Exception | None = None
    failures_in_a_row = 0
    try:
        while True:
            try:
                while ended is None and crew.pending < 2 * threads:
                    crew.ask(next(ids))
            except StopIteration:
                ids = iter(())
            except Exception as error:  # noqa: BLE001  raised below
                ended = error
            if crew.pending == 0:
                break
            message_id, outcome = crew.next_outcome()
            if outcome is None:
                continue
            if not isinstance(outcome, RawMessage | GmailError) or isinstance(outcome, _ENDS_ACCOUNT):
                ended = ended or outcome
                continue
            yield message_id, outcome
            if not isinstance(outcome, _MAY_BE_ALL) or outcome.reason == MALFORMED:
                failures_in_a_row = 0
            elif (failures_in_a_row := failures_in_a_row + 1) >= 2 * threads:
                ended = ended or outcome
                crew.stop()
    finally:
        crew.dismiss()
    if ended is not None:
        raise ended


class _Outcome(NamedTuple):
    message_id: str
    outcome: RawMessage | Exception | None
    """None: not begun, because the work had ended."""


class _Crew:
    """Threads that fetch the ids they are asked for; daemons, so that an abandoned fetch keeps no process alive.

    The first error that ends the work on the account keeps all of them from beginning another message.
    """

    def __init__(self, get: Get, threads: int, max_waiting_bytes: int) -> None:
        self._get = get
        self._threads = threads
        self._room = _Room(max_waiting_bytes)
        self._asked: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[_Outcome] = queue.SimpleQueue()
        self._started = 0
        self._stopped = False
        self.pending = 0

    def ask(self, message_id: str) -> None:
        if self._started < self._threads:
            self._started += 1
            threading.Thread(target=self._work, name=f"gmail-fetch-{self._started}", daemon=True).start()
        self.pending += 1
        self._asked.put(message_id)

    def next_outcome(self) -> _Outcome:
        done = self._done.get()
        self.pending -= 1
        if isinstance(done.outcome, RawMessage):
            self._room.taken(len(done.outcome.raw))
        return done

    def stop(self) -> None:
        """Lets nothing more be begun."""
        self._stopped = True

    def dismiss(self) -> None:
        """Sends everyone home; what is being read is dropped."""
        self.stop()
        self._room.close()
        for _ in range(self._started):
            self._asked.put(None)

    def _work(self) -> None:
        while self._room.enter() and (message_id := self._asked.get()) is not None:
            self._done.put(_Outcome(message_id, None if self._stopped else self._fetch(message_id)))

    def _fetch(self, message_id: str) -> RawMessage | Exception:
        outcome: RawMessage | Exception
        try:
            outcome = self._get(message_id, self._room.grow)
        except (MailIngestError, _NobodyWaitsError) as error:
            outcome = error
            if not isinstance(error, GmailError) or isinstance(error, _ENDS_ACCOUNT):
                self.stop()
        except Exception as error:  # noqa: BLE001  a message that our own code stumbles over must not stop the others
            outcome = _unreadable(message_id, error)
        self._room.leave(len(outcome.raw) if isinstance(outcome, RawMessage) else 0)
        return outcome


class _Room:
    """How much finished mail waits, and whether a large message is being read. Threads wait here when it is full."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._waiting = 0
        self._reader: int | None = None
        self._closed = False
        self._changed = threading.Condition()

    def enter(self) -> bool:
        """Waits until another message may be begun; False when none is wanted any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._waiting < self._max_bytes)
            return not self._closed

    def grow(self) -> None:
        """Waits until this thread may read a large body on."""
        me = threading.get_ident()
        with self._changed:
            self._changed.wait_for(
                lambda: self._closed or (self._reader in (None, me) and self._waiting < self._max_bytes)
            )
            if self._closed:
                raise _NobodyWaitsError
            self._reader = me

    def leave(self, size: int) -> None:
        """Counts a finished message, and lets the next large one be read."""
        with self._changed:
            self._waiting += size
            if self._reader == threading.get_ident():
                self._reader = None
                self._changed.notify_all()

    def taken(self, size: int) -> None:
        with self._changed:
            was_full = self._waiting >= self._max_bytes
            self._waiting -= size
            if was_full:
                self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def _unreadable(message_id: str, error: Exception) -> UnreadableAnswerError:
    # the message of the exception may quote mail, its stack does not
    kind, stack = type(error).__name__, stack_of(error)
    logger.error("unexpected %s while message %s was read\n%s", kind, message_id, stack)
    return UnreadableAnswerError(
        f"the answer about message {message_id} could not be read ({kind}); the log has the stack: please report it",
        reason=kind,
    )


class _NobodyWaitsError(Exception):
    """The consumer has gone; what is being read is dropped."""
