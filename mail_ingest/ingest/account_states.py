"""Copies how accounts stand (state, group, privacy tier, watch) from the control database to `gmail.accounts`, for people who
ask the warehouse.

A state sync writes the first of them with its rows. This is for what changes without one: accounts that are paused, removed,
moved to another group or tier, notified, or whose sync ended after its rows had landed. The columns are set in place: a load
of whole rows would put back the cursor's copy that another process has just moved on. Accounts that never landed anything have
no row.
"""

from __future__ import annotations

from collections.abc import Mapping

from mail_ingest.accounts import Standing
from mail_ingest.warehouse.connection import Warehouse, transaction

States = Mapping[str, Standing]


def copy_account_states(warehouse: Warehouse, states: States) -> int:
    """Sets the columns of the rows that say something else, in one transaction; how many did."""
    columns = Standing._fields
    with warehouse.open() as connection:
        rows = connection.execute(f"select account_id, {', '.join(columns)} from gmail.accounts").fetchall()
        changed = [
            (*states[account_id], account_id)
            for account_id, *stored in rows
            if account_id in states and states[account_id] != tuple(stored)
        ]
        if not changed:
            return 0
        set_columns = ", ".join(f"{column} = ?" for column in columns)
        with transaction(connection):
            for values in changed:
                connection.execute(f"update gmail.accounts set {set_columns} where account_id = ?", list(values))
        return len(changed)
