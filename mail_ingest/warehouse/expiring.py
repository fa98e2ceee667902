"""Which rows of the warehouse are older than they are kept, and deleting them.

    sync_history    syncs that ended before a moment; the newest of each account stays, whatever its age
    failures        failures that were resolved before a moment
    label_events    changes of labels that were observed before a moment
    deleted mail    the content of messages whose deletion was observed before a moment; their states stay

What people hold is left out (`holds`), but for the history of syncs, which is no mail. Rows go in transactions of
`BATCH_ROWS` rows or those of one account, whichever is more; memory does not grow with what is stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from mail_ingest.warehouse.builds import SCHEMA
from mail_ingest.warehouse.connection import Connection, Warehouse, transaction
from mail_ingest.warehouse.holds import TABLE as HOLDS
from mail_ingest.warehouse.loads import note_vanished

#: Why a message has no row, in `gmail.left_out_messages`: it was deleted long ago. It is bought should it turn out to live.
RETENTION = "retention"
BATCH_ROWS = 200_000

#: Messages that are held; by thread where their state is known.
_HELD = (
    f"(select lower(trim(account_id)) as account_id, message_id from {HOLDS} where message_id is not null "
    f"union select states.account_id, states.message_id from {HOLDS} as threads inner join gmail.message_states as states "
    "on states.account_id = lower(trim(threads.account_id)) and states.thread_id = threads.thread_id)"
)
_IS_HELD = (
    f"exists (select 1 from {_HELD} as held where held.account_id = t.account_id and held.message_id = t.message_id)"
)


@dataclass(frozen=True, slots=True)
class Kind:
    """Rows of a landing table `t` that go: those that meet `condition`, whose parameter is a moment, and are not held."""

    name: str
    table: str
    condition: str
    is_mail: bool = True
    is_noted: bool = False

    @property
    def expired(self) -> str:
        return f"{self.condition} and not {_IS_HELD}" if self.is_mail else self.condition


#: `is_noted`: builds of the analyst tables are told the keys, because nothing else tells them.
KINDS = (
    Kind(
        "sync_history",
        "gmail.sync_runs",
        "t.finished_at < ? and exists (select 1 from gmail.sync_runs as newer "
        "where newer.account_id = t.account_id and newer.started_at > t.started_at)",
        is_mail=False,
    ),
    Kind("failures", "gmail.fetch_failures", "t.resolved_at < ?"),
    Kind("label_events", "gmail.label_events", "t.observed_at < ?", is_noted=True),
)
#: `t` is the row in `gmail.messages`.
_DELETED = (
    "exists (select 1 from gmail.message_states as s where s.account_id = t.account_id and s.message_id = t.message_id "
    "and s.is_deleted and s.deleted_at < ?)"
)
_EXPIRED_MAIL = f"{_DELETED} and not {_IS_HELD}"
_PARTS = ("gmail.message_recipients", "gmail.attachments", "gmail.message_html")


@dataclass(slots=True)
class Amount:
    """What goes: rows, and the bytes of their values (of mail: of the messages as they came); what would go too and is held."""

    rows: int = 0
    bytes: int = 0
    held: int = 0


class Expiry:
    """The rows of one warehouse that are older than they are kept."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    def count(self, kind: Kind, before: datetime) -> Amount:
        """What of a kind is older than a moment. Writes nothing."""
        with self._warehouse.open() as connection:
            size = "pg_column_size(t.*)" if self._warehouse.dialect == "postgres" else "strlen(cast(t as varchar))"
            [rows, size_bytes] = connection.execute(
                f"select count(*), coalesce(sum({size}), 0) from {kind.table} as t where {kind.expired}", [before]
            ).fetchone()
            amount = Amount(int(rows), int(size_bytes))
            if kind.is_mail:
                amount.held = _count(connection, f"{kind.table} as t where {kind.condition} and {_IS_HELD}", before)
        return amount

    def delete(self, kind: Kind, before: datetime) -> Iterator[int]:
        """Deletes it, batch by batch: how many rows each had. The warehouse may be let go in between."""
        with self._warehouse.open() as connection:
            by_account = connection.execute(
                f"select t.account_id, count(*) from {kind.table} as t where {kind.expired} group by 1 order by 1",
                [before],
            ).fetchall()
        for accounts, rows in _batches(by_account):
            condition = f"t.account_id in (select unnest(cast(? as varchar[]))) and {kind.expired}"
            with self._warehouse.open() as connection, transaction(connection):
                if kind.is_noted:
                    note_vanished(
                        connection, SCHEMA, self._warehouse.dialect, kind.table, condition, [accounts, before]
                    )
                connection.execute(f"delete from {kind.table} as t where {condition}", [accounts, before])
            yield rows

    # -- deleted mail --------------------------------------------------------------------------------------------

    def count_mail(self, before: datetime) -> tuple[int, Amount]:
        """Messages whose content goes, and their rows in all tables. Reads no text: long ones are what memory goes to."""
        with self._warehouse.open() as connection:
            [messages, size_bytes] = connection.execute(
                f"select count(*), coalesce(sum(t.size_bytes), 0) from gmail.messages as t where {_EXPIRED_MAIL}",
                [before],
            ).fetchone()
            amount = Amount(int(messages), int(size_bytes))
            amount.held = _count(connection, f"gmail.messages as t where {_DELETED} and {_IS_HELD}", before)
            of_mail = (
                "exists (select 1 from gmail.messages as m where m.account_id = t.account_id and m.message_id = t.message_id) "
                f"and {_EXPIRED_MAIL}"
            )
            for table in _PARTS if messages else ():
                amount.rows += _count(connection, f"{table} as t where {of_mail}", before)
        return int(messages), amount

    def accounts_with_mail(self, before: datetime) -> list[str]:
        """The accounts with content that goes."""
        with self._warehouse.open() as connection:
            rows = connection.execute(
                f"select distinct t.account_id from gmail.messages as t where {_EXPIRED_MAIL} order by 1", [before]
            ).fetchall()
        return [account_id for (account_id,) in rows]

    def mail_by_pack(self, account_id: str, before: datetime) -> dict[str | None, int]:
        """How many messages of an account go, by the pack that they point into, None for those without bytes."""
        with self._warehouse.open() as connection:
            rows = connection.execute(
                f"select t.raw_pack, count(*) from gmail.messages as t where t.account_id = ? and {_EXPIRED_MAIL} group by 1",
                [account_id, before],
            ).fetchall()
        return dict(rows)

    def mail_in(self, account_id: str, packs: Sequence[str], before: datetime) -> set[str]:
        """The messages that go of those that point into these packs."""
        with self._warehouse.open() as connection:
            rows = connection.execute(
                "select t.message_id from gmail.messages as t where t.account_id = ? "
                f"and t.raw_pack in (select unnest(cast(? as varchar[]))) and {_EXPIRED_MAIL}",
                [account_id, list(packs), before],
            ).fetchall()
        return {message_id for (message_id,) in rows}

    def mail_outside(self, account_id: str, packs: Sequence[str], before: datetime, limit: int) -> list[str]:
        """Messages that go and point into none of these packs, at most `limit`."""
        with self._warehouse.open() as connection:
            rows = connection.execute(
                "select t.message_id from gmail.messages as t where t.account_id = ? and (t.raw_pack is null "
                f"or t.raw_pack not in (select unnest(cast(? as varchar[])))) and {_EXPIRED_MAIL} limit ?",
                [account_id, list(packs), before, limit],
            ).fetchall()
        return [message_id for (message_id,) in rows]

    def packs_of(self, account_ids: Sequence[str]) -> dict[str, dict[str, int]]:
        """By account, the packs that its rows point into, and how many rows each has."""
        found: dict[str, dict[str, int]] = {account_id: {} for account_id in account_ids}
        with self._warehouse.open() as connection:
            rows = connection.execute(
                "select account_id, raw_pack, count(*) from gmail.messages where raw_pack is not null "
                "and account_id in (select unnest(cast(? as varchar[]))) group by 1, 2",
                [list(account_ids)],
            ).fetchall()
        for account_id, pack, count in rows:
            found[account_id][pack] = int(count)
        return found


def _count(connection: Connection, rest: str, before: datetime) -> int:
    return int(connection.execute(f"select count(*) from {rest}", [before]).fetchone()[0])


def _batches(by_account: Sequence[tuple[str, int]]) -> Iterator[tuple[list[str], int]]:
    accounts: list[str] = []
    rows = 0
    for account_id, count in by_account:
        if accounts and rows + count > BATCH_ROWS:
            yield accounts, rows
            accounts, rows = [], 0
        accounts.append(account_id)
        rows += int(count)
    if accounts:
        yield accounts, rows
