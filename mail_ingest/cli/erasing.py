"""`mail-ingest erase`: a mailbox, or one person's traces, out of everything that is stored; and the receipts."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from mail_ingest.cli.output import fail, print_json, print_table, say
from mail_ingest.cli.syncing import AsJson, WaitForTurn, open_rewriting_engine
from mail_ingest.errors import ConfigError

if TYPE_CHECKING:
    from mail_ingest.ingest import Engine
    from mail_ingest.ingest.erasing.receipts import Erasure


def erase(
    account: Annotated[str, typer.Option(help="A mailbox: all that is stored of it, and its name.")] = "",
    contact: Annotated[
        str,
        typer.Option(
            help="A person: what they wrote, and their address and name wherever others wrote them. - reads the address from "
            "standard input."
        ),
    ] = "",
    in_account: Annotated[str, typer.Option(help="With --contact: in this mailbox alone.")] = "",
    forget: Annotated[
        bool, typer.Option("--forget", help="With --contact: let mail of a person that was erased come in again.")
    ] = False,
    show_list: Annotated[bool, typer.Option("--list", help="Show the receipts, and what is not finished.")] = False,
    finish: Annotated[bool, typer.Option("--finish", help="End what a killed process has left unfinished.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would be erased; do nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    wait: WaitForTurn = None,
    as_json: AsJson = False,
) -> None:
    """Erases a mailbox or one person's traces from warehouse, archive and control database, and searches for what is left.

    Prints a receipt without personal data, and keeps it. Exit code 1 where something was found that had to go. May be killed
    and run again. It goes before what is listed in mail_ingest.holds.
    """
    chosen = [bool(account), bool(contact), show_list, finish]
    if sum(chosen) != 1:
        raise ConfigError("erase takes exactly one of --account, --contact, --list and --finish")
    if (in_account or forget) and not contact:
        raise ConfigError("--in-account and --forget belong to --contact")
    if contact == "-":
        # arguments are seen by whoever lists processes, and stay in the shell's history
        contact = sys.stdin.readline().strip()
        if not contact:
            raise ConfigError("--contact - takes one address from standard input, and there was none; nothing was done")
    engine = open_rewriting_engine(wait)
    if show_list:
        _list(engine, as_json=as_json)
        return
    engine.check_warehouse()
    if forget:
        _forget(engine, contact, in_account)
        return
    if not (dry_run or yes or finish):
        _ask(account or contact)
    _report(_erase(engine, account, contact, in_account, is_dry_run=dry_run), as_json=as_json)


def _erase(engine: Engine, account: str, contact: str, in_account: str, *, is_dry_run: bool) -> list[Erasure]:
    from mail_ingest.ingest.erasing.contact import erase_contact
    from mail_ingest.ingest.erasing.mailbox import erase_mailbox
    from mail_ingest.ingest.erasing.resuming import finish_all

    if account:
        return [erase_mailbox(engine, account, is_dry_run=is_dry_run)]
    if contact:
        return [erase_contact(engine, contact, in_account=in_account, is_dry_run=is_dry_run)]
    return finish_all(engine)


def _ask(address: str) -> None:
    """Raises ConfigError unless a person says yes."""
    if not sys.stdin.isatty():
        raise ConfigError("nothing was done: erasing cannot be undone, say --yes; --dry-run counts what would go")
    if typer.prompt(f"What is stored of {address} is erased for good. Type the address to go on") != address:
        raise ConfigError("nothing was done: that was another address")


def _forget(engine: Engine, contact: str, in_account: str) -> None:
    from mail_ingest.ingest.erasing.contact import let_in

    if not let_in(engine, contact, in_account):
        raise ConfigError("nobody of that address is kept out there; nothing was done")
    say("mail of that person is stored again; what was left out of it is bought by the next syncs")


def _report(erasures: list[Erasure], *, as_json: bool) -> None:
    from mail_ingest.ingest.erasing.receipts import lines

    if as_json:
        print_json({"receipts": [erasure.receipt for erasure in erasures]})
    elif not erasures:
        say("nothing was left unfinished")
    for erasure in erasures:
        for line in () if as_json else lines(erasure):
            say(line)
        if not erasure.is_proven:
            for path in erasure.paths if as_json else ():
                fail(f"found in {path}")
            fail(
                "something that had to go was found, see above; where it is a label's name, rename the label in Gmail and sync. "
                "Then run the same command again"
            )
    if not all(erasure.is_proven for erasure in erasures):
        raise typer.Exit(1)


def _list(engine: Engine, *, as_json: bool) -> None:
    receipts = engine.registry.erasures.receipts()
    unfinished = engine.registry.erasures.unfinished()
    if as_json:
        print_json(
            {
                "receipts": receipts,
                "unfinished": [{"kind": each.kind, "begun_at": each.begun_at.isoformat()} for each in unfinished],
            }
        )
        return
    if receipts:
        print_table(
            ["receipt", "made at", "removed", "rewritten", "strings", "bytes searched", "found"],
            [
                [
                    receipt["receipt_id"],
                    receipt["made_at"],
                    str(receipt["messages_removed"]),
                    str(receipt["messages_changed"]),
                    str(receipt["strings_searched"]),
                    f"{receipt['bytes_searched']:,}",
                    str(sum(receipt["found"].values())),
                ]
                for receipt in receipts
            ],
        )
    else:
        say("nothing was erased yet")
    if unfinished:
        say(f"{len(unfinished)} accounts are not finished; `mail-ingest erase --finish` ends it")
