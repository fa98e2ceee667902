"""What was spent at Gmail: counted where calls are made, read as snapshots whose difference is one run's share."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Usage:
    """Sums over calls.

    `calls` counts requests sent, refused and repeated ones too; `bytes` what came over the wire. `waited_s` adds up
    what each call waited for quota or for another try: more than time on the clock, where calls wait side by side.
    """

    calls: int = 0
    units: int = 0
    refusals: int = 0
    bytes: int = 0
    waited_s: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.calls + other.calls,
            self.units + other.units,
            self.refusals + other.refusals,
            self.bytes + other.bytes,
            self.waited_s + other.waited_s,
        )

    def __sub__(self, other: Usage) -> Usage:
        return Usage(
            self.calls - other.calls,
            self.units - other.units,
            self.refusals - other.refusals,
            self.bytes - other.bytes,
            self.waited_s - other.waited_s,
        )


_NOTHING = Usage()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The ledger at one moment, by (account_id, method); `later - earlier` is what was spent in between."""

    usage: Mapping[tuple[str, str], Usage]

    def account(self, account_id: str) -> dict[str, Usage]:
        """One account's usage by method."""
        return {method: usage for (owner, method), usage in self.usage.items() if owner == account_id}

    def total(self, account_id: str | None = None) -> Usage:
        """The sum over one account, or over all."""
        return _sum(usage for (owner, _), usage in self.usage.items() if account_id in (None, owner))

    def __sub__(self, earlier: Snapshot) -> Snapshot:
        spent = {key: usage - earlier.usage.get(key, _NOTHING) for key, usage in self.usage.items()}
        return Snapshot(MappingProxyType({key: usage for key, usage in spent.items() if usage != _NOTHING}))


class Ledger:
    """Counts usage by account and method. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._usage: dict[tuple[str, str], Usage] = {}

    def add(self, account_id: str, method: str, usage: Usage) -> None:
        with self._lock:
            self._usage[account_id, method] = self._usage.get((account_id, method), _NOTHING) + usage

    def snapshot(self, account_id: str | None = None) -> Snapshot:
        """What was spent so far, by one account or by all."""
        with self._lock:
            usage = {key: value for key, value in self._usage.items() if account_id in (None, key[0])}
        return Snapshot(MappingProxyType(usage))


def _sum(usages: Iterable[Usage]) -> Usage:
    total = _NOTHING
    for usage in usages:
        total += usage
    return total
