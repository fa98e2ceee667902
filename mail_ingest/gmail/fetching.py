"""Many messages side by side: results as they complete, with a bound on what waits for the consumer."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from mail_ingest.errors import AccountError, AuthError, ConcurrencyError, GmailError, QuotaError, ServerError
from mail_ingest.gmail.calls import MALFORMED
from mail_ingest.gmail.models import RawMessage

Result = tuple[str, RawMessage | GmailError]

_ENDS_ACCOUNT = (AuthError, AccountError, QuotaError, ConcurrencyError)


def fetch_all(
    message_ids: Iterable[str], get: Callable[[str], RawMessage], *, threads: int, max_waiting_bytes: int
) -> Iterator[Result]:
    """Each id with its message, or with the error that concerns that message alone; in the order of completion.

    At most `threads` calls are under way, and none starts while `max_waiting_bytes` of raw mail wait for the consumer:
    memory is bounded by that plus `threads` messages. `message_ids` is read lazily, in the consumer's thread.
    An error of the whole account is raised once everything under way was handed out.
    """
    crew = _Crew(get, threads)
    ids = iter(message_ids)
    ended: Exception | None = None
    under_way = 0
    failures_in_a_row = 0
    try:
        while True:
            while ended is None and under_way < threads and crew.waiting_bytes < max_waiting_bytes:
                try:
                    message_id = next(ids)
                except StopIteration:
                    break
                crew.start(message_id)
                under_way += 1
            if under_way == 0:
                break
            message_id, outcome = crew.next_result()
            under_way -= 1
            if isinstance(outcome, _ENDS_ACCOUNT) or not isinstance(outcome, RawMessage | GmailError):
                ended = ended or outcome
                continue
            if isinstance(outcome, ServerError) and outcome.reason != MALFORMED:
                failures_in_a_row += 1
                if failures_in_a_row >= 2 * threads:
                    ended = ended or outcome
            else:
                failures_in_a_row = 0
            yield message_id, outcome
    finally:
        crew.dismiss()
    if ended is not None:
        raise ended


@dataclass(slots=True)
class _Crew:
    """Daemon threads that fetch ids handed to them."""

    get: Callable[[str], RawMessage]
    threads: int
    waiting_bytes: int = 0
    _work: queue.SimpleQueue[str | None] = field(default_factory=queue.SimpleQueue)
    _done: queue.SimpleQueue[tuple[str, RawMessage | Exception]] = field(default_factory=queue.SimpleQueue)
    _started: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, message_id: str) -> None:
        if self._started < self.threads:
            self._started += 1
            threading.Thread(target=self._run, name=f"gmail-fetch-{self._started}", daemon=True).start()
        self._work.put(message_id)

    def next_result(self) -> tuple[str, RawMessage | Exception]:
        message_id, outcome = self._done.get()
        if isinstance(outcome, RawMessage):
            with self._lock:
                self.waiting_bytes -= len(outcome.raw)
        return message_id, outcome

    def dismiss(self) -> None:
        for _ in range(self._started):
            self._work.put(None)

    def _run(self) -> None:
        while (message_id := self._work.get()) is not None:
            outcome: RawMessage | Exception
            try:
                outcome = self.get(message_id)
                with self._lock:
                    self.waiting_bytes += len(outcome.raw)
            except Exception as error:  # noqa: BLE001  raised again in the consumer's thread
                outcome = error
            self._done.put((message_id, outcome))
