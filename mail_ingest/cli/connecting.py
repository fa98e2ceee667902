"""`mail-ingest account connect`: a person's consent, with a browser here or elsewhere."""

from __future__ import annotations

import sys
import threading
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from mail_ingest.accounts import account_id_of
from mail_ingest.cli.output import say
from mail_ingest.cli.privacy import (
    Attachments,
    Chats,
    Drafts,
    ExcludeLabels,
    IncludeLabels,
    Privacy,
    SignInMail,
    privacy_of,
)
from mail_ingest.cli.syncing import open_engine
from mail_ingest.errors import ConfigError

_ELSEWHERE = """
If that browser is on another machine, do one of two things:
  - before you open the address, forward the port from there: ssh -L {port}:127.0.0.1:{port} THIS-MACHINE
  - or allow, wait for the page that cannot be reached, copy its whole address and paste it here, followed by Enter.
"""


def connect(
    address: Annotated[str, typer.Argument(help="Address of the mailbox.")],
    client_file: Annotated[
        Path, typer.Option("--client", help="An OAuth client of type desktop app: the JSON file from Google's console.")
    ],
    no_browser: Annotated[
        bool,
        typer.Option(
            "--no-browser",
            help="Open none here, and say how a browser on another machine does: a forwarded port, or the address that it "
            "ends at, pasted back.",
        ),
    ] = False,
    port: Annotated[
        int,
        typer.Option(help="Port of 127.0.0.1 that the browser comes back to; 0 takes a free one.", min=0, max=65_535),
    ] = 0,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the person.", min=1)] = 300.0,
    content_since: Annotated[
        str | None, typer.Option(help="Content horizon: all, days such as 30d, or a date such as 2026-01-31.")
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(help="The team, customer or person that the mailbox belongs to; it keeps its group without this."),
    ] = None,
    privacy: Privacy = None,
    include_labels: IncludeLabels = None,
    exclude_labels: ExcludeLabels = None,
    attachments: Attachments = None,
    sign_in_mail: SignInMail = None,
    chats: Chats = None,
    drafts: Drafts = None,
) -> None:
    """Asks the mailbox's owner for consent to read it, and registers it, or connects it again."""
    from mail_ingest.accounts.account import group_of
    from mail_ingest.accounts.consent import ask, read_client
    from mail_ingest.ingest.connecting import store_consent
    from mail_ingest.ingest.scope import parse_since

    account_id = account_id_of(address)
    client = read_client(client_file)
    if content_since is not None:
        parse_since(content_since)
    group_of(group or "")
    wanted = privacy_of(privacy, include_labels, exclude_labels, attachments, sign_in_mail, chats, drafts)
    engine = open_engine(wait_s=60.0)
    try:
        # what is wrong with the control database is said before anybody is asked
        if wanted.changes_anything and account_id in {account.account_id for account in engine.registry.list()}:
            raise ConfigError(
                f"{account_id} is registered already and keeps its privacy; `mail-ingest account set` changes that, and says "
                "what it means for what is stored"
            )
        grant = ask(
            client,
            account_id,
            port=port,
            timeout_s=timeout,
            show=lambda url, at: _show(url, at, account_id, opens=not no_browser),
            tell=_tell,
            pasted=sys.stdin if no_browser else None,
        )
        account, is_new = store_consent(engine, account_id, grant, content_since, group, wanted)
    finally:
        engine.close()
    done = "connected" if is_new else "connected again"
    say(f"{done} {account.account_id}; `mail-ingest sync {account.account_id}` reads it")


def _show(url: str, port: int, account_id: str, *, opens: bool) -> None:
    if opens:
        _tell(
            f"A browser opens; log in as {account_id} and allow reading. If none does, open this address:\n\n  {url}\n"
        )
        # a browser in the terminal keeps its caller until it ends, and we have to answer it meanwhile
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
    else:
        _tell(f"Open this address in a browser, log in as {account_id} and allow reading:\n\n  {url}\n")
        _tell(_ELSEWHERE.format(port=port).strip("\n"))


def _tell(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
