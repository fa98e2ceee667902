"""`mail-ingest verify`: an audit of mailboxes, the warehouse and the raw archive."""

from __future__ import annotations

from typing import Annotated

import typer

from mail_ingest.cli.output import fail, print_json, say
from mail_ingest.cli.syncing import AsJson, Groups, Wait, open_engine
from mail_ingest.errors import BusyError, ConfigError, MailIngestError


def verify(
    address: Annotated[str | None, typer.Argument(help="One mailbox; all active ones without it.")] = None,
    groups: Groups = None,
    sample: Annotated[
        int, typer.Option(help="Read so many messages of each mailbox at Gmail again: 20 units each.", min=0)
    ] = 0,
    max_units: Annotated[
        int | None, typer.Option(help="Spend at most so many quota units on each mailbox.", min=0)
    ] = None,
    wait: Wait = 60.0,
    as_json: AsJson = False,
) -> None:
    """Audits mailboxes, warehouse and raw archive; exit code 1 unless the drift is zero.

    Sweeps ids and labels, opens every pack and reads a sample of it. What changed in the mailbox after the last sync is
    told apart by its history and is no drift. Where that history has expired the code is 1 as well if anything differs.
    """
    engine = open_engine(wait)
    accounts = engine.accounts([address] if address else [], groups or [])
    if not accounts:
        raise ConfigError("there is no active account to verify; `mail-ingest account list` shows why")
    engine.check_warehouse()
    from mail_ingest.ingest.audit import AuditOptions, audit_account

    audits, failed, busy = [], False, False
    for account in accounts:
        try:
            audits.append(audit_account(engine, account, AuditOptions(sample=sample, max_units=max_units)))
        except BusyError as error:
            fail(str(error))
            busy = True
        except MailIngestError as error:
            fail(str(error))
            failed = True
    if as_json:
        print_json({"accounts": [audit.as_json() for audit in audits], "drift": sum(audit.drift for audit in audits)})
    else:
        for audit in audits:
            for line in audit.lines():
                say(line)
    if failed or any(audit.drift or (audit.cursor_expired and audit.undecided) for audit in audits):
        raise typer.Exit(1)
    raise typer.Exit(3 if busy else 0)
