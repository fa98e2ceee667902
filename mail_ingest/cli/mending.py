"""`mail-ingest retry`: another try for what failed, without waiting for its time. `reparse`: rows of a newer parser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mail_ingest.cli.output import ProgressReport, fail, print_json, say
from mail_ingest.cli.syncing import Addresses, AsJson, Groups, Wait, exit_code, open_engine, run_and_report
from mail_ingest.errors import ConfigError
from mail_ingest.ingest import SyncOptions, SyncRun

if TYPE_CHECKING:
    from mail_ingest.accounts import Account
    from mail_ingest.ingest import Engine
    from mail_ingest.ingest.reparse import Reparsed


def retry(
    address: Annotated[str | None, typer.Argument(help="One mailbox; all active ones without it.")] = None,
    groups: Groups = None,
    message_id: Annotated[
        list[str] | None,
        typer.Option(help="Gmail's id of a message; may be repeated. Every failed message without it."),
    ] = None,
    wait: Wait = 60.0,
    as_json: AsJson = False,
) -> None:
    """Tries messages that failed again at once, dead letters included, and nothing else.

    States are brought up to date first. What still fails stays a dead letter, and is no failure of its account.
    """
    engine = open_engine(wait)
    accounts = engine.accounts([address] if address else [], groups or [])
    if not accounts:
        raise ConfigError("there is no active account; `mail-ingest account list` shows why")
    engine.check_warehouse()
    wanted = tuple(dict.fromkeys(message_id or ()))
    if wanted:
        accounts = _accounts_with(engine, accounts, wanted)
    options = SyncOptions(retry=True, message_ids=wanted)
    runs = run_and_report(engine, accounts, options, as_json=as_json)
    if as_json:
        print_json({"runs": [run.as_json() for run in runs], "units": sum(run.spent.total().units for run in runs)})
    elif not any(_did_something(run) for run in runs):
        say("no message was waiting for another try")
    raise typer.Exit(exit_code(runs, engine.stop_sign.stopped_by))


def _accounts_with(engine: Engine, accounts: list[Account], wanted: tuple[str, ...]) -> list[Account]:
    """The accounts in which any of these messages failed. Raises ConfigError for a message that failed in none."""
    failed = {account.account_id: engine.queries.failed_ids(account.account_id, wanted) for account in accounts}
    unknown = set(wanted).difference(*failed.values())
    if unknown:
        raise ConfigError(
            f"--message-id {min(unknown)!r}: no message of that id failed; `mail-ingest status --json` lists dead letters"
        )
    return [account for account in accounts if failed[account.account_id]]


def _did_something(run: SyncRun) -> bool:
    return bool(run.error or run.contents_stored or run.contents_adopted or run.contents_failed or run.contents_gone)


def reparse(addresses: Addresses = None, groups: Groups = None, wait: Wait = 60.0, as_json: AsJson = False) -> None:
    """Makes the rows of messages again that an older parser made, from the raw archive and without Gmail.

    Messages that no parser could read are tried again. Exit code 1 where a pack is missing or damaged; rows without
    archived bytes are counted, and keep the columns that they have.
    """
    from mail_ingest.ingest.reparse import reparse_accounts

    engine = open_engine(wait)
    named = engine.accounts(addresses or [], groups or [])
    # Gmail is not asked, so those that are paused or wait for a person are made again as well
    accounts = named if addresses else engine.registry.list(groups=groups or [])
    if not accounts:
        raise ConfigError("there is no account; `mail-ingest account add` registers one")
    engine.check_warehouse()
    with ProgressReport(live=False if as_json else None) as progress:
        results = reparse_accounts(engine, accounts, progress)
    if as_json:
        print_json({"accounts": [result.as_json() for result in results]})
    for result in results:
        if result.error:
            fail(result.error)
        if not as_json:
            _report_reparse(result)
    if any(result.unreadable or (result.error and not result.is_busy) for result in results):
        raise typer.Exit(1)
    raise typer.Exit(3 if any(result.is_busy for result in results) else 0)


def _report_reparse(result: Reparsed) -> None:
    say(
        f"{result.account_id}: {result.parsed} messages reparsed by version {result.parser_version}; "
        f"{result.unparsed} that it cannot read, {result.unreadable} in missing or damaged packs, "
        f"{result.without_bytes} without archived bytes"
        + (f", {result.left_out} that are left out now" if result.left_out else "")
    )
    if result.without_bytes:
        say(
            "  those without bytes keep the columns they have: they were stored with MAIL_INGEST_RAW=off, or it is off now. "
            "With the archive on, the next sync buys again (20 units a message) what is deleted from gmail.messages, "
            "gmail.message_recipients, gmail.attachments and gmail.message_html"
        )
