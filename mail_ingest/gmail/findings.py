"""What one client has found to differ from the contract, and the warnings about it in the log."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable

from mail_ingest.gmail.contract import MOST_FINDINGS

logger = logging.getLogger(__name__)

_MOST_WARNINGS = 200

_lock = threading.Lock()
_warned: set[str] = set()


class Findings:
    """Lines of `contract` that one client has seen, each once, at most `MOST_FINDINGS`. Shared by threads.

    Each line is warned of once per process, whichever account showed it first.
    """

    def __init__(self, account_id: str = "") -> None:
        self._account_id = account_id
        self._seen: set[str] = set()

    def add(self, lines: Iterable[str]) -> None:
        """Takes lines in; cheap for those that are known."""
        if len(self._seen) >= MOST_FINDINGS or self._seen.issuperset(lines):
            return
        with _lock:
            new = sorted(set(lines) - self._seen)[: MOST_FINDINGS - len(self._seen)]
            # another set: whoever goes through the old one is not disturbed
            self._seen = self._seen.union(new)
            for line in new:
                if line not in _warned and len(_warned) < _MOST_WARNINGS:
                    _warned.add(line)
                    logger.warning(
                        "Gmail's answers differ from what this version knows: %s (seen first for %s). What has a "
                        "meaning is read; gmail.sync_runs names what differs",
                        line,
                        self._account_id,
                    )

    def lines(self) -> tuple[str, ...]:
        """What was found so far, sorted."""
        return tuple(sorted(self._seen))
