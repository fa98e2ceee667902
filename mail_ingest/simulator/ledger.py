"""What was asked of the server: every API call with its outcome and its price."""

from collections import Counter, deque
from collections.abc import Iterator
from threading import RLock
from typing import NamedTuple


class ServedRequest(NamedTuple):
    """One call, also one inner call of a batch."""

    at_s: float
    method: str
    """Method name as in `messages.get`, without `gmail.users.`."""
    account: str
    """Address of the mailbox, empty when the caller was not known."""
    status: int
    units: int
    reason: str
    """`errors[0].reason` of a refusal, empty on success."""
    params: str
    """The query string."""
    resource: str
    """Id in the path: message, thread, label or draft; empty for others."""
    sent_bytes: int


class Ledger:
    """Counts of everything, and the last requests in full (as many as `keep`)."""

    def __init__(self, lock: RLock, keep: int = 200_000) -> None:
        self._lock = lock
        self._recent: deque[ServedRequest] = deque(maxlen=keep)
        self._calls: Counter[tuple[str, str, int]] = Counter()
        self._units: Counter[str] = Counter()
        self._method_units: Counter[str] = Counter()
        self.sent_bytes = 0

    def add(self, served: ServedRequest) -> None:
        self._recent.append(served)
        self._calls[served.method, served.account, served.status] += 1
        self._units[served.account] += served.units
        self._method_units[served.method] += served.units
        self.sent_bytes += served.sent_bytes

    def reset(self) -> None:
        with self._lock:
            self._recent.clear()
            self._calls.clear()
            self._units.clear()
            self._method_units.clear()
            self.sent_bytes = 0

    def calls(self, method: str | None = None, account: str | None = None, status: int | None = None) -> int:
        with self._lock:
            return sum(
                count
                for (called, by, answered), count in self._calls.items()
                if method in (None, called) and account in (None, by) and status in (None, answered)
            )

    def units(self, account: str | None = None) -> int:
        """Units charged; refused calls cost none unless the quota profile says so."""
        with self._lock:
            return self._units.total() if account is None else self._units[account]

    def by_method(self) -> dict[str, int]:
        totals: Counter[str] = Counter()
        with self._lock:
            for (method, _, _), count in self._calls.items():
                totals[method] += count
        return dict(totals)

    def units_by_method(self) -> dict[str, int]:
        with self._lock:
            return dict(self._method_units)

    def by_status(self) -> dict[int, int]:
        totals: Counter[int] = Counter()
        with self._lock:
            for (_, _, status), count in self._calls.items():
                totals[status] += count
        return dict(totals)

    def __iter__(self) -> Iterator[ServedRequest]:
        with self._lock:
            return iter(list(self._recent))

    def __len__(self) -> int:
        return len(self._recent)

    def __getitem__(self, at: int) -> ServedRequest:
        return self._recent[at]
