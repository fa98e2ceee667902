"""The same questions for many accounts at once: one query costs hardly more than one of a single account."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from mail_ingest.warehouse.connection import Warehouse
from mail_ingest.warehouse.queries import COUNTED_BACKLOG, FAILED, OF_ONE_ACCOUNT, Backlog, Scope

_OF_MANY = "s.account_id in (select unnest(cast(? as varchar[])))"


class Surveys:
    """Reads of one warehouse. Accounts of which nothing is stored are left out of the answers."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    def loaded_cursors(self, account_ids: Sequence[str]) -> dict[str, int]:
        """The cursors' copies that were loaded with the last packages of states."""
        with self._warehouse.open() as connection:
            rows = connection.execute(
                "select s.account_id, s.cursor_history_id from gmail.accounts s "
                f"where {_OF_MANY} and s.cursor_history_id is not null",
                [list(account_ids)],
            ).fetchall()
        return {account_id: int(cursor) for account_id, cursor in rows}

    def backlogs(self, account_ids: Sequence[str], scope: Scope, now: datetime) -> dict[str, Backlog]:
        """What is missing of accounts that have the same scope."""
        condition, values = scope.condition()
        missing = scope.missing().replace(OF_ONE_ACCOUNT, _OF_MANY)
        counted = COUNTED_BACKLOG.format(account="s.account_id, ", condition=condition, missing=missing)
        with self._warehouse.open() as connection:
            rows = connection.execute(
                counted.replace("select ", "select account_id, ", 1) + " group by account_id",
                [*values, now, None, list(account_ids)],
            ).fetchall()
        return {account_id: Backlog(*counts) for account_id, *counts in rows}

    def any_backlog(self, account_ids: Sequence[str], scope: Scope) -> bool:
        """Whether any live message of these accounts lacks its content, within the scope that they have."""
        condition, values = scope.condition()
        missing = scope.missing().replace(OF_ONE_ACCOUNT, _OF_MANY)
        with self._warehouse.open() as connection:
            found = connection.execute(f"select 1 {missing} and {condition} limit 1", [list(account_ids), *values])
            return found.fetchone() is not None

    def dead_letters(self, account_ids: Sequence[str]) -> dict[str, int]:
        """How many live messages are dead letters, unparsed ones included."""
        failed = FAILED.replace("f.account_id = ?", _OF_MANY)
        with self._warehouse.open() as connection:
            rows = connection.execute(
                f"select s.account_id, count(*) {failed} and f.parked_at is not null group by s.account_id",
                [list(account_ids)],
            ).fetchall()
        return dict(rows)

    def forms(self, account_ids: Sequence[str]) -> dict[str, set[tuple[str, bool]]]:
        """The forms in which messages are stored, each with whether there are such with attachments; see `Queries.forms`."""
        found: dict[str, set[tuple[str, bool]]] = {}
        if account_ids:
            with self._warehouse.open() as connection:
                rows = connection.execute(
                    "select distinct s.account_id, coalesce(s.privacy, 'full'), coalesce(s.attachment_count, 0) > 0 "
                    f"from gmail.messages s where {_OF_MANY}",
                    [list(account_ids)],
                ).fetchall()
            for account_id, form, has_attachments in rows:
                found.setdefault(account_id, set()).add((form, has_attachments))
        return found

    def with_unfinished_loads(self) -> set[str]:
        """Accounts with messages of loads that did not come to their end; see `unfinished`."""
        with self._warehouse.open() as connection:
            made = connection.execute(
                "select 1 from information_schema.tables where table_schema = 'gmail' and table_name = '_dlt_loads'"
            ).fetchone()
            if made is None:
                return set()
            rows = connection.execute(
                "select distinct account_id from gmail.messages where _dlt_load_id in (select brought_by from "
                "(select distinct _dlt_load_id as brought_by from gmail.messages where _dlt_load_id is not null) as loads "
                "where brought_by not in (select load_id from gmail._dlt_loads where status = 0))"
            ).fetchall()
        return {account_id for (account_id,) in rows}
