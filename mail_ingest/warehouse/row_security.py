"""Row-level security on Postgres: members of the role `mail_ingest_restricted_reader` see the accounts granted to them.

    mail_config.grants            who may see which account, or which group of accounts
    mail_config.visible_accounts  the accounts of whoever asks
    tables of the schema mail     policies on them; other readers see every row, and the owner is not asked at all
    views of the schema mail      run with their owner's rights, which no policy touches, so the same condition is in them

Nothing here is done where the role does not exist (`sql/roles.postgres.sql` makes it). A table is open to the role only
once its policies are there, in the same transaction, so what nobody has thought of shows no rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mail_ingest.warehouse.connection import Connection

if TYPE_CHECKING:
    from mail_ingest.warehouse.marts import Relation

ROLE = "mail_ingest_restricted_reader"
#: Relations that hold nothing of any account.
PUBLIC = ("mail.business_calendar",)

_GRANTED = "account_id = any (array(select account_id from mail_config.visible_accounts))"
#: Whoever row security does not bind (the owner, a superuser), and readers that are not restricted.
_UNRESTRICTED = (
    "(select not row_security_active('mail_config.grants'::regclass) "
    f"or not coalesce(pg_has_role(to_regrole('{ROLE}')::oid, 'usage'), false))"
)
#: A constant, which costs nothing. It makes the policy depend on the view, as the other one does: whatever drops the view,
#: and that one with it, leaves a table that shows no rows, not one that shows all.
_EVERYTHING = "'mail_config.visible_accounts'::regclass is not null"
_POLICIES = {
    "everything": f"for select using ({_EVERYTHING})",
    "granted_accounts": f"as restrictive for select to {ROLE} using ({_GRANTED})",
}
#: Roles are kept by id, not by name: one that is made anew under an old name inherits no grants.
_GRANTS = """
create table if not exists mail_config.grants (
    role regrole not null,
    account_id varchar,
    account_group varchar,
    check (num_nonnulls(account_id, account_group) = 1),
    check (account_id = lower(account_id))
)
"""
#: Accounts granted to whoever asks, or to another: `who` is then the first parameter of pg_has_role, and a comma.
VISIBLE_ACCOUNTS = """
select account_id
from mail_config.grants
where account_id is not null and pg_has_role({who}role::oid, 'usage')
union
select accounts.account_id
from gmail.accounts
inner join mail_config.grants on accounts.account_group = grants.account_group
where pg_has_role({who}grants.role::oid, 'usage')
"""
_KEY = "(role, coalesce(account_id, ''), coalesce(account_group, ''))"
_COMMENT = (
    f"One row per account, or group of accounts, that a member of {ROLE} may see. A grant to a role holds for its members. "
    "`mail-ingest role` writes it, and people may."
)
_MADE = (
    _GRANTS,
    f"create unique index if not exists grants_key on mail_config.grants {_KEY}",
    "alter table mail_config.grants enable row level security",
    f"comment on table mail_config.grants is '{_COMMENT}'",
    # a view, because it reads with its owner's rights and still knows who asks
    f"create or replace view mail_config.visible_accounts with (security_barrier) as {VISIBLE_ACCOUNTS.format(who='')}",
    "comment on view mail_config.visible_accounts is 'One row per account that was granted to whoever asks.'",
    f"grant select on mail_config.visible_accounts to {ROLE}",
)
#: What the definitions depend on, for the digest of all of them.
TEXT = repr((_GRANTED, _UNRESTRICTED, _POLICIES, _MADE))


def is_wanted(connection: Connection, dialect: str) -> bool:
    """Whether there is a role whose members are to be restricted."""
    if dialect != "postgres":
        return False
    [there] = connection.execute(f"select to_regrole('{ROLE}') is not null").fetchone()
    return bool(there)


def is_made(connection: Connection, dialect: str) -> bool:
    """Whether `make_grants` has made what everything else here depends on."""
    if dialect != "postgres":
        return False
    asked = f"select to_regrole('{ROLE}') is not null and to_regclass('mail_config.visible_accounts') is not null"
    [there] = connection.execute(asked).fetchone()
    return bool(there)


def make_grants(connection: Connection) -> None:
    """Makes the table of grants and the view on it, empty at first."""
    for statement in _MADE:
        connection.execute(statement)


def create_view(connection: Connection, relation: Relation) -> None:
    """Creates or replaces a view, cut down to what whoever asks may see, and opens it to the role.

    A barrier: conditions of a query's own, whose errors could quote a row, are tried on visible rows alone.
    """
    if relation.key[0] != "account_id":
        raise ValueError(
            f"{relation.name} has no account_id in front of its key, so it cannot be restricted by account"
        )
    connection.execute(
        f"create or replace view {relation.name} with (security_barrier) as "
        f"select * from ({relation.select}) as every_row where {_UNRESTRICTED} or {_GRANTED}"
    )
    connection.execute(f"grant select on {relation.name} to {ROLE}")


def secure_tables(connection: Connection, relations: Iterable[Relation], *, anew: bool = False) -> None:
    """Gives the tables of the schema mail their policies, and opens them to the role: those that lack either, or all, `anew`.

    One query where nothing is lacking. Otherwise waits, as a new definition does, for transactions that read the table.
    """
    connection.execute("delete from mail_config.grants where role::oid not in (select oid from pg_roles)")
    secured = {
        f"mail.{name}"
        for (name,) in connection.execute(
            "select relname from pg_class as tables where relnamespace = 'mail'::regnamespace and relkind = 'r' "
            f"and has_table_privilege('{ROLE}', oid, 'select') and (relrowsecurity and {len(_POLICIES)} = "
            f"(select count(*) from pg_policy where polrelid = tables.oid and polname in ({_list(_POLICIES)})) "
            f"or 'mail.' || relname in ({_list(PUBLIC)}))"
        ).fetchall()
    }
    for relation in relations:
        if relation.schema == "mail" and relation.is_table and (anew or relation.name not in secured):
            _secure(connection, relation)


def _secure(connection: Connection, relation: Relation) -> None:
    if relation.name not in PUBLIC:
        connection.execute(f"alter table {relation.name} enable row level security")
        for name, policy in _POLICIES.items():
            connection.execute(f"drop policy if exists {name} on {relation.name}")
            connection.execute(f"create policy {name} on {relation.name} {policy}")
    connection.execute(f"grant select on {relation.name} to {ROLE}")


def _list(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
