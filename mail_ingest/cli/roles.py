"""`mail-ingest role ...`: which accounts restricted readers of a Postgres warehouse see."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from mail_ingest.accounts import check_groups
from mail_ingest.cli.output import print_json, print_table, say
from mail_ingest.cli.syncing import AsJson, Wait, open_engine
from mail_ingest.errors import ConfigError
from mail_ingest.warehouse import grants

if TYPE_CHECKING:
    from mail_ingest.ingest import Engine
    from mail_ingest.warehouse.connection import Connection

app = typer.Typer(help="Says which accounts restricted readers of a Postgres warehouse see.", no_args_is_help=True)

Role = Annotated[str, typer.Argument(help="A role of the database that is a member of mail_ingest_restricted_reader.")]
Accounts = Annotated[
    list[str] | None, typer.Option("--account", help="Address of a mailbox; may be given several times.")
]
Groups = Annotated[list[str] | None, typer.Option("--group", help="A group of accounts; may be given several times.")]


@app.command("grant")
def grant(role: Role, accounts: Accounts = None, groups: Groups = None, wait: Wait = 60.0) -> None:
    """Lets a restricted role, and its members, see accounts or groups, at once and in every relation of the schema mail.

    Accounts that join a group later are seen as well. Refused for a role that sees every account anyway.
    """
    if not accounts and not groups:
        raise ConfigError("role grant takes --account or --group, each as often as wanted")
    engine = open_engine(wait)
    addresses = _ids(accounts)
    for address in addresses:
        engine.registry.find(address)
    check_groups(engine.registry, groups or [])
    with _opened(engine) as connection:
        grants.grant(connection, role, addresses, groups or [])
    say(f"{role} sees {_told(addresses, groups)}")


@app.command("revoke")
def revoke(
    role: Role,
    accounts: Accounts = None,
    groups: Groups = None,
    everything: Annotated[bool, typer.Option("--all", help="Take back all that was granted to the role.")] = False,
    wait: Wait = 60.0,
) -> None:
    """Takes back what was granted to a role, at once."""
    if bool(accounts or groups) == everything:
        raise ConfigError("role revoke takes --account or --group, each as often as wanted, or --all")
    engine = open_engine(wait)
    addresses = _ids(accounts)
    with _opened(engine) as connection:
        if everything:
            count = grants.revoke_all(connection, role)
            say(f"took back {count} grants of {role}")
            return
        grants.revoke(connection, role, addresses, groups or [])
    say(f"{role} no longer has {_told(addresses, groups)}")


@app.command("list")
def list_roles(as_json: AsJson = False, wait: Wait = 60.0) -> None:
    """Lists the roles that read the schema mail: whether each sees every account, and what was granted to it.

    A role has what was granted to roles that it is a member of as well.
    """
    with _opened(open_engine(wait)) as connection:
        found = grants.readers(connection)
    if as_json:
        print_json(
            {
                "roles": [
                    {
                        "role": reader.role,
                        "sees_everything": reader.sees_everything,
                        "sees_everything_by": reader.free_by,
                        "accounts": reader.accounts,
                        "groups": reader.groups,
                    }
                    for reader in found
                ]
            }
        )
        return
    rows = [[reader.role, _sight(reader), ", ".join(reader.accounts), ", ".join(reader.groups)] for reader in found]
    print_table(["role", "sees", "accounts", "groups"], rows)


def _sight(reader: grants.Reader) -> str:
    if not reader.sees_everything:
        return "what was granted"
    others = [role for role in reader.free_by if role != reader.role]
    return f"everything, by {', '.join(others)}" if others else "everything"


@contextmanager
def _opened(engine: Engine) -> Iterator[Connection]:
    """The warehouse with the groups of accounts as they are now."""
    if not engine.warehouse.exists and engine.settings.is_duckdb:
        raise ConfigError("a DuckDB file has no roles; MAIL_INGEST_WAREHOUSE names a Postgres database to have them")
    engine.check_warehouse()
    with engine.warehouse.open() as connection:
        grants.check_roles(connection, engine.warehouse.dialect)
        engine.copy_account_states()
        yield connection


def _ids(accounts: list[str] | None) -> list[str]:
    return [account.strip().lower() for account in accounts or []]


def _told(accounts: list[str], groups: list[str] | None) -> str:
    return ", ".join([*accounts, *(f"the group {group}" for group in groups or [])])
