"""`mail-ingest account ...`: which mailboxes are read."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mail_ingest.accounts import (
    Credential,
    Registry,
    application_default,
    authorized_user,
    from_reference,
    service_account,
    token_env,
)
from mail_ingest.accounts.references import check_reference
from mail_ingest.cli.connecting import connect
from mail_ingest.cli.discovering import discover_accounts
from mail_ingest.cli.output import print_json, print_table, say
from mail_ingest.errors import ConfigError
from mail_ingest.settings import load_settings

app = typer.Typer(help="Registers mailboxes and shows the state they are in.", no_args_is_help=True)

app.command("connect")(connect)
app.command("discover")(discover_accounts)

Address = Annotated[str, typer.Argument(help="Address of the mailbox.")]


@app.command("add")
def add(
    address: Address,
    authorized_user_file: Annotated[
        Path | None, typer.Option("--authorized-user", help="A person's consent, as google-auth's to_json() writes it.")
    ] = None,
    service_account_file: Annotated[
        Path | None, typer.Option("--service-account", help="A service account with domain-wide delegation.")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            "--credentials",
            help="Where either document is kept and stays: env://NAME, file:///path or "
            "gcp-secret://projects/P/secrets/S/versions/V.",
        ),
    ] = None,
    use_application_default: Annotated[
        bool, typer.Option("--application-default", help="Google's application-default credentials of each process.")
    ] = False,
    token_variable: Annotated[
        str | None, typer.Option("--token-env", help="Name of a variable that holds a bearer token at run time.")
    ] = None,
    subject: Annotated[
        str, typer.Option(help="Whom a service account acts for, where that is not the mailbox's own address.")
    ] = "",
    content_since: Annotated[
        str, typer.Option(help="Content horizon: all, days such as 30d, or a date such as 2026-01-31.")
    ] = "all",
    raw_archive: Annotated[
        bool, typer.Option("--raw-archive/--no-raw-archive", help="Keep every message's bytes in the raw archive.")
    ] = True,
) -> None:
    """Registers a mailbox, without calling Gmail. Exactly one kind of credentials is needed."""
    given = (authorized_user_file, service_account_file, reference, use_application_default or None, token_variable)
    if len([value for value in given if value is not None]) != 1:
        raise ConfigError(
            "account add takes exactly one of --authorized-user, --service-account, --credentials, --application-default "
            "and --token-env"
        )
    if subject and (authorized_user_file is not None or token_variable is not None):
        raise ConfigError("--subject is for service accounts: a person's consent and a token act for nobody else")
    from mail_ingest.ingest.scope import parse_since

    parse_since(content_since)
    credential: Credential
    if authorized_user_file is not None:
        credential = authorized_user(authorized_user_file)
    elif service_account_file is not None:
        credential = service_account(service_account_file, subject)
    elif reference is not None:
        credential = from_reference(check_reference(reference), subject)
    elif use_application_default:
        credential = application_default(subject)
    else:
        credential = token_env(token_variable or "")
    account = Registry(load_settings()).add(address, credential, content_since=content_since, raw_archive=raw_archive)
    say(f"registered {account.account_id}; `mail-ingest sync {account.account_id}` reads it")


@app.command("set")
def change(
    address: Address,
    content_since: Annotated[
        str | None, typer.Option(help="Content horizon: all, days such as 30d, or a date such as 2026-01-31.")
    ] = None,
    raw_archive: Annotated[
        bool | None,
        typer.Option("--raw-archive/--no-raw-archive", help="Keep bytes of messages that are bought from now on."),
    ] = None,
) -> None:
    """Changes what is bought and kept of a mailbox from now on; what is stored stays."""
    if content_since is None and raw_archive is None:
        raise ConfigError("account set takes --content-since, --raw-archive or --no-raw-archive")
    from mail_ingest.ingest.scope import parse_since

    if content_since is not None:
        parse_since(content_since)
    Registry(load_settings()).change(address, content_since=content_since, raw_archive=raw_archive)
    say(f"changed {address.strip().lower()}")


@app.command("list")
def list_accounts(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False) -> None:
    """Lists the registered mailboxes with their state."""
    accounts = Registry(load_settings()).list()
    if as_json:
        print_json({"accounts": [asdict(account) for account in accounts]})
        return
    if not accounts:
        say("no accounts yet; `mail-ingest account add ADDRESS --authorized-user FILE` registers one")
        return
    print_table(
        ["account", "state", "reason", "last sync", "outcome", "content since"],
        [
            [
                account.account_id,
                account.state,
                account.state_reason,
                f"{account.last_sync_finished_at:%Y-%m-%d %H:%M}" if account.last_sync_finished_at else "never",
                account.last_outcome or "",
                account.content_since,
            ]
            for account in accounts
        ],
    )


@app.command("remove")
def remove(address: Address) -> None:
    """Forgets a mailbox's credentials and stops reading it. Its rows in the warehouse stay."""
    Registry(load_settings()).remove(address)
    say(f"removed {address.strip().lower()}; its rows stay in the warehouse")


@app.command("pause")
def pause(address: Address) -> None:
    """Leaves a mailbox out of syncs until `account resume`."""
    Registry(load_settings()).pause(address, "paused by a person")
    say(f"paused {address.strip().lower()}")


@app.command("resume")
def resume(address: Address) -> None:
    """Makes a mailbox active again, whatever stopped it."""
    Registry(load_settings()).resume(address)
    say(f"resumed {address.strip().lower()}")
