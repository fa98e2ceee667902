"""What an audit may spend at Gmail, and what it did not reach for want of units."""

from __future__ import annotations

from mail_ingest.gmail import QuotaGovernor


class Budget:
    """Quota units of one audit of one account. `left_out` names what was not done, in words for people.

    Calls that Gmail makes us repeat are charged again, and a call that is under way is not cut short: the budget may be
    overrun by that much. `reserved` units are kept for what comes last.
    """

    def __init__(self, governor: QuotaGovernor, account_id: str, max_units: int | None) -> None:
        self._governor = governor
        self._account_id = account_id
        self._max_units = max_units
        self._before = governor.ledger.snapshot(account_id)
        self.reserved = 0
        self.left_out: list[str] = []

    @property
    def units(self) -> int:
        """Spent so far."""
        return (self._governor.ledger.snapshot(self._account_id) - self._before).total().units

    def allows(self, method: str, calls: int = 1) -> bool:
        """Whether so many calls of a method fit into what is left."""
        if self._max_units is None:
            return True
        return self.units + self.reserved + calls * self._governor.profile.costs[method] <= self._max_units

    def reaches(self, what: str, method: str, calls: int = 1) -> bool:
        """As `allows`; notes `what` as left out where it does not."""
        if self.allows(method, calls):
            return True
        self.left_out.append(what)
        return False
