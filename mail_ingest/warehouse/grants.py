"""Who may read the schema `mail` on Postgres, and of which accounts (see `row_security`).

A role that reaches one which sees every account, by `set role`, sees every account itself: a grant to it would restrict
nothing, and is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mail_ingest.errors import ConfigError
from mail_ingest.warehouse.connection import Connection, transaction
from mail_ingest.warehouse.row_security import ROLE, VISIBLE_ACCOUNTS, is_made

_SCRIPT = "as the owner of the database run sql/roles.postgres.sql, then repeat this"
_RESTRICTED = f"pg_has_role({{}}, to_regrole('{ROLE}')::oid, 'usage')"
_READS = (
    "exists (select 1 from pg_class where relnamespace = 'mail'::regnamespace and relkind in ('r', 'v') "
    "and has_table_privilege({}, pg_class.oid, 'select'))"
)
#: Roles that a role is a member of, itself among them, and that no policy restricts.
_FREE = (
    "select array_agg(cast(reached.rolname as varchar) order by reached.rolname) from pg_roles as reached "
    "where pg_has_role(roles.oid, reached.oid, 'member') and (reached.rolsuper or "
    f"({_READS.format('reached.oid')} and (reached.rolbypassrls or not {_RESTRICTED.format('reached.oid')})))"
)
_READERS = (
    f"select rolname, coalesce(({_FREE}), array[]::varchar[]), "
    "array(select account_id from mail_config.grants where role::oid = roles.oid and account_id is not null order by 1), "
    "array(select account_group from mail_config.grants where role::oid = roles.oid and account_group is not null order by 1) "
    f"from pg_roles as roles where not rolsuper and left(rolname, 3) <> 'pg_' "
    f"and rolname not in ('{ROLE}', 'mail_ingest_reader') "
    "and not pg_has_role(oid, (select relowner from pg_class where oid = 'mail_config.grants'::regclass), 'member') "
    f"and (pg_has_role(oid, to_regrole('{ROLE}')::oid, 'member') or {_READS.format('roles.oid')}) order by rolname"
)


@dataclass(frozen=True, slots=True)
class Reader:
    """A role that reads the schema mail. `accounts` and `groups` were granted to itself; it has those of roles that it is a
    member of as well. `free_by`: the roles by which it sees every account, whatever was granted."""

    role: str
    free_by: tuple[str, ...]
    accounts: tuple[str, ...]
    groups: tuple[str, ...]

    @property
    def sees_everything(self) -> bool:
        return bool(self.free_by)


def check_roles(connection: Connection, dialect: str) -> None:
    """Raises ConfigError where there is nothing to be granted."""
    if dialect != "postgres":
        raise ConfigError(
            "a DuckDB file has no roles: whoever may read it sees all of it; `mail-ingest export` writes a copy with some "
            "accounts"
        )
    if not is_made(connection, dialect):
        raise ConfigError(f"the database has no role {ROLE}; {_SCRIPT}")


def readers(connection: Connection) -> list[Reader]:
    """Every role that reads the schema mail, by name; superusers and the loader are left out."""
    return [
        Reader(role, tuple(free_by), tuple(accounts), tuple(groups))
        for role, free_by, accounts, groups in connection.execute(_READERS).fetchall()
    ]


def grant(connection: Connection, role: str, accounts: Sequence[str], groups: Sequence[str]) -> None:
    """Lets a restricted role see accounts; what it has already, it keeps. Raises ConfigError for any other role."""
    _check_restricted(connection, role)
    with transaction(connection):
        for account_id, group in _pairs(accounts, groups):
            connection.execute(
                "insert into mail_config.grants select cast(oid as regrole), cast(? as varchar), cast(? as varchar) "
                "from pg_roles where rolname = ? on conflict do nothing",
                [account_id, group, role],
            )


def revoke(connection: Connection, role: str, accounts: Sequence[str], groups: Sequence[str]) -> None:
    """Takes grants back, all of them or none. Raises ConfigError for one that the role does not have."""
    with transaction(connection):
        for account_id, group in _pairs(accounts, groups):
            found = connection.execute(
                "delete from mail_config.grants where role::oid = (select oid from pg_roles where rolname = ?) "
                "and (account_id = ? or account_group = ?) returning 1",
                [role, account_id, group],
            ).fetchall()
            if not found:
                raise ConfigError(
                    f"{account_id or f'the group {group!r}'} was not granted to {role!r} itself, and nothing was taken back; "
                    "`mail-ingest role list` shows what was"
                )


def revoke_all(connection: Connection, role: str) -> int:
    """Takes every grant of a role back; how many there were."""
    deleted = (
        "delete from mail_config.grants where role::oid = (select oid from pg_roles where rolname = ?) returning 1"
    )
    return len(connection.execute(deleted, [role]).fetchall())


def forget_account(connection: Connection, dialect: str, account_id: str) -> None:
    """Deletes what was granted of an account by its address."""
    if is_made(connection, dialect):
        connection.execute("delete from mail_config.grants where account_id = ?", [account_id])


def may_read(connection: Connection, role: str) -> tuple[frozenset[str], tuple[str, ...] | None]:
    """The relations that a role may read, and the accounts of which it sees rows: None for all of them.

    To be asked by the owner of the grants. Raises ConfigError where there is no such role.
    """
    row = connection.execute(
        f"select roles.rolsuper or roles.rolbypassrls or not coalesce({_RESTRICTED.format('roles.oid')}, false) "
        "from pg_roles as roles where rolname = ?",
        [role],
    ).fetchone()
    if row is None:
        raise ConfigError(f"the database has no role {role!r}")
    relations = connection.execute(
        "select 'mail.' || relname from pg_class where relnamespace = 'mail'::regnamespace and relkind in ('r', 'v') "
        "and has_table_privilege(cast(? as name), oid, 'select')",
        [role],
    ).fetchall()
    if row[0]:
        return frozenset(name for (name,) in relations), None
    granted = connection.execute(VISIBLE_ACCOUNTS.format(who="cast(? as name), "), [role, role]).fetchall()
    return frozenset(name for (name,) in relations), tuple(sorted(account for (account,) in granted))


def _pairs(accounts: Sequence[str], groups: Sequence[str]) -> list[tuple[str | None, str | None]]:
    return [*((account, None) for account in accounts), *((None, group) for group in groups)]


def _check_restricted(connection: Connection, role: str) -> None:
    exists = connection.execute("select rolsuper from pg_roles where rolname = ?", [role]).fetchone()
    if exists is None:
        raise ConfigError(
            f"the database has no role {role!r}; an administrator makes it: create role {role} login password '...' "
            f"in role {ROLE}"
        )
    found = next((reader for reader in readers(connection) if reader.role == role), None)
    if found is None and not exists[0]:
        raise ConfigError(f"the role {role!r} reads nothing; an administrator lets it: grant {ROLE} to {role}")
    if found is None or found.sees_everything:
        by = "as a superuser" if found is None else f"by {', '.join(found.free_by)}"
        raise ConfigError(
            f"the role {role!r} is not restricted: it sees every account, {by}, whatever is granted. An administrator "
            f"restricts it: grant {ROLE} to {role}, and revoke from it each other role that sees everything"
        )
