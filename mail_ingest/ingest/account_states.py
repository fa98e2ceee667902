"""Copies states, groups and privacy tiers of accounts from the control database to `gmail.accounts`, for people who ask the
warehouse.

A state sync writes them with its rows. This is for what changes without one: accounts that are paused, removed, moved to
another group or tier, or whose sync ended after its rows had landed. Three columns are set in place: a load of whole rows
would put back the cursor's copy that another process has just moved on. Accounts that never landed anything have no row.
"""

from __future__ import annotations

from collections.abc import Mapping

from mail_ingest.accounts import AccountState
from mail_ingest.privacy import Tier
from mail_ingest.warehouse.connection import Warehouse

States = Mapping[str, tuple[AccountState, str | None, Tier]]


def copy_account_states(warehouse: Warehouse, states: States) -> int:
    """Sets status, group and tier of the rows that say something else, in one transaction; how many did."""
    with warehouse.open() as connection:
        rows = connection.execute("select account_id, status, account_group, privacy from gmail.accounts").fetchall()
        changed = [
            (*states[account_id], account_id)
            for account_id, *stored in rows
            if account_id in states and states[account_id] != tuple(stored)
        ]
        if not changed:
            return 0
        connection.begin()
        try:
            for values in changed:
                connection.execute(
                    "update gmail.accounts set status = ?, account_group = ?, privacy = ? where account_id = ?",
                    list(values),
                )
            connection.commit()
        except BaseException:
            connection.rollback()
            raise
        return len(changed)
