"""What the retention never takes: the table `mail_ingest.holds`, in which people list mail that other records point to.

People write it, nothing here does, but for an erasure: that goes before every hold, and takes the account's rows with it.
"""

from __future__ import annotations

from mail_ingest.warehouse.connection import Connection
from mail_ingest.warehouse.marts import quote

TABLE = "mail_ingest.holds"
DESCRIPTION = (
    "One row per message or thread that the retention leaves alone, because other records point to it. People insert and delete "
    "rows; erase goes before them."
)
COLUMNS = {
    "account_id": ("varchar not null", "Account that holds the mail: the address of its mailbox."),
    "message_id": ("varchar", "Gmail's id of a message; null where a whole thread is held."),
    "thread_id": ("varchar", "Gmail's id of a thread, all messages of which are held; null where a message is."),
    "reason": ("varchar", "Why it is held, for people: the record that points to it."),
    "held_since": ("timestamp with time zone default current_timestamp", "When the row was inserted."),
}
#: A definition that changes is brought to warehouses that are there, as those of landing tables are.
TEXT = repr((TABLE, DESCRIPTION, COLUMNS))


def make_holds(connection: Connection) -> None:
    """Makes the table where it is not there, and brings its comments up to date."""
    columns = ", ".join(f"{name} {kind}" for name, (kind, _) in COLUMNS.items())
    connection.execute(
        f"create table if not exists {TABLE} ({columns}, check (message_id is not null or thread_id is not null))"
    )
    connection.execute(f"comment on table {TABLE} is {quote(DESCRIPTION)}")
    for name, (_, description) in COLUMNS.items():
        connection.execute(f"comment on column {TABLE}.{name} is {quote(description)}")


def forget_holds(connection: Connection, account_id: str) -> int:
    """Deletes the holds of an account that is erased; how many there were."""
    [count] = connection.execute(
        f"select count(*) from {TABLE} where lower(trim(account_id)) = ?", [account_id]
    ).fetchone()
    connection.execute(f"delete from {TABLE} where lower(trim(account_id)) = ?", [account_id])
    return int(count)
