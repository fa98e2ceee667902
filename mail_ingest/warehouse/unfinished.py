"""Takes back rows of loads that no process can finish any more.

dlt commits each table of a package by itself, and notes the load in `_dlt_loads` at the end. Where the working folder went
with a killed process (a new container), messages may be stored without their recipients and attachments, and nothing would
ever bring those. So the rows of such a load are removed before the backlog is looked at: their bytes are in the raw archive.
Events of sweeps land before the states that they compare, and are removed where those never came.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from mail_ingest.warehouse.connection import Warehouse, transaction

logger = logging.getLogger(__name__)


def remove_early_events(warehouse: Warehouse, dataset: str, account_id: str) -> None:
    """Removes events of a sweep whose states never landed: the next sweep tells them anew, with a later history id.

    To be called under the account's lock, before the states are read.
    """
    with warehouse.open() as connection:
        connection.execute(
            f"delete from {dataset}.label_events as e using {dataset}.message_states as s "
            "where e.account_id = ? and e.source = 'sweep' and s.account_id = e.account_id "
            "and s.message_id = e.message_id and s.history_id < e.history_id",
            [account_id],
        )


def remove_unfinished(warehouse: Warehouse, dataset: str, account_id: str, table: str, parts: Sequence[str]) -> int:
    """Removes an account's rows of `table` that unfinished loads brought, and their rows in the tables of `parts`.

    Returns how many rows of `table` went. To be called when nothing is pending or being loaded for the account.
    """
    with warehouse.open() as connection:
        loads = connection.execute(
            "select 1 from information_schema.tables where table_schema = ? and table_name = '_dlt_loads'", [dataset]
        ).fetchone()
        if loads is None:
            return 0
        # a row without a load was not brought by dlt
        unfinished = (
            f"select message_id from {dataset}.{table} where account_id = ? and _dlt_load_id is not null "
            f"and _dlt_load_id not in (select load_id from {dataset}._dlt_loads where status = 0)"
        )
        ids = [row[0] for row in connection.execute(unfinished, [account_id]).fetchall()]
        if not ids:
            return 0
        logger.warning(
            "%d messages of %s came with a load that was never finished, its working folder is gone; they are loaded again",
            len(ids),
            account_id,
        )
        with transaction(connection):
            for name in (*parts, table):
                connection.execute(
                    f"delete from {dataset}.{name} where account_id = ? and message_id in "
                    "(select unnest(cast(? as varchar[])))",
                    [account_id, ids],
                )
        return len(ids)
