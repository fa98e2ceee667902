"""Copies the analyst tables, of all accounts or some, out of the warehouse: for people who may see no more.

A copy is the schema `mail` and nothing else, one state of all its relations, written anew: a file of which rows were
deleted would still hold them. Memory: 512 MB for a DuckDB file that is read, the same for one that is written, or one row
group of Parquet (64 MB), and a batch of 2,000 rows on the way. Postgres streams.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mail_ingest.errors import ConfigError
from mail_ingest.settings import Settings
from mail_ingest.warehouse.copies import check_output, copy_to
from mail_ingest.warehouse.marts import Relation, load_relations
from mail_ingest.warehouse.reading import open_reader, plain
from mail_ingest.warehouse.row_security import PUBLIC

_ACCOUNTS = "select account_id, account_group from mail.account_health order by account_id"


@dataclass(frozen=True, slots=True)
class Selection:
    """What a copy holds: the accounts named or in the groups named, all without either; of these what a role of the
    Postgres database may see. `without_text` leaves out columns that hold words of mail or names of people and files."""

    accounts: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    role: str | None = None
    without_text: bool = False


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: rows by relation, and of which accounts. `held_s`: seconds that the warehouse was open."""

    rows: Mapping[str, int]
    accounts: tuple[str, ...]
    held_s: float


def export(
    settings: Settings, output: Path, form: str, selection: Selection, *, is_forced: bool = False, wait_s: float = 60.0
) -> Exported:
    """Writes a copy to `output`, which is there once it is whole.

    Raises ConfigError for accounts, groups, roles and outputs that cannot be, before anything is written; BusyError where a
    load kept a DuckDB file longer than `wait_s`; WarehouseError where the copy cannot be written or the warehouse not read.
    """
    check_output(output, form, is_forced=is_forced, warehouse=settings.duckdb_path if settings.is_duckdb else None)
    relations = [relation for relation in load_relations() if relation.schema == "mail"]
    visible: tuple[str, ...] | None = None
    if selection.role is not None:
        relations, visible = _of_role(settings, selection.role, relations)
    with closing(open_reader(settings, wait_s, one_state=True)) as reader:
        accounts = _accounts(reader, selection, visible)
        rows: dict[str, int] = {}
        with copy_to(output, form) as copy:
            for relation in relations:
                kept = _without_text(relation) if selection.without_text else relation
                sql, parameters = _select(kept, accounts)
                rows[relation.name] = copy.write(kept, *plain(*reader.run(sql, parameters)))
    return Exported(rows, accounts, reader.held_s)


def _of_role(
    settings: Settings, role: str, relations: Sequence[Relation]
) -> tuple[list[Relation], tuple[str, ...] | None]:
    """The relations that a role may read, and its accounts; None where it sees all."""
    if settings.is_duckdb:
        raise ConfigError(
            "--role is for Postgres: a DuckDB file has no roles; --account and --group choose what is copied"
        )
    import psycopg2.errors

    from mail_ingest.warehouse.grants import check_roles, may_read
    from mail_ingest.warehouse.postgres import PostgresConnection
    from mail_ingest.warehouse.server import Server

    server = Server(settings.warehouse)
    try:
        with server.borrow() as borrowed:
            connection = PostgresConnection(borrowed)
            check_roles(connection, "postgres")
            names, accounts = may_read(connection, role)
    except psycopg2.errors.InsufficientPrivilege:
        raise ConfigError(
            "--role asks what was granted, which the loader may read alone; without --role a copy has what the user of "
            "MAIL_INGEST_WAREHOUSE sees"
        ) from None
    finally:
        server.close()
    readable = [relation for relation in relations if relation.name in names]
    if not readable or accounts == ():
        raise ConfigError(f"the role {role!r} sees no account; `mail-ingest role list` shows what was granted")
    return readable, accounts


def _accounts(reader: Any, selection: Selection, visible: tuple[str, ...] | None) -> tuple[str, ...]:
    """The accounts to be copied, of those that whoever reads can see."""
    _, batches = plain(*reader.run(_ACCOUNTS, ()))
    groups = {row["account_id"]: row["account_group"] for batch in batches for row in batch.to_pylist()}
    if visible is not None:
        groups = {account: group for account, group in groups.items() if account in visible}
    wanted = [account.strip().lower() for account in selection.accounts]
    whose = f" that {selection.role!r} may see" if selection.role else ""
    for account in wanted:
        if account not in groups:
            raise ConfigError(f"the warehouse has no account {account}{whose}; mail.account_health lists those it has")
    for group in selection.groups:
        if group not in groups.values():
            raise ConfigError(
                f"the warehouse has no account{whose} in the group {group!r}; a group that was changed reaches it with the next "
                "sync, and mail.account_health lists those it has"
            )
    if not wanted and not selection.groups:
        return tuple(groups)
    return tuple(account for account, group in groups.items() if account in wanted or group in selection.groups)


def _select(relation: Relation, accounts: tuple[str, ...]) -> tuple[str, Sequence[Any]]:
    select = f"select {', '.join(relation.columns)} from {relation.name}"
    order = f" order by {relation.order}" if relation.order else ""
    if relation.name in PUBLIC:
        return select + order, ()
    return f"{select} where account_id in (select unnest(cast(? as varchar[]))){order}", (list(accounts),)


def _without_text(relation: Relation) -> Relation:
    columns = {name: text for name, text in relation.columns.items() if name not in relation.texts}
    return replace(relation, columns=columns)
