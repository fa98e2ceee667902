"""The command `mail-ingest`: its subcommands, and how errors become exit codes.

0 all well · 1 an account failed, or the warehouse has drifted · 2 wrong usage or configuration, nothing was done ·
3 another process held what was needed · 130 (143 by SIGTERM) it was told to stop, or its sync was cancelled
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from mail_ingest import __version__
from mail_ingest.cli import (
    accounts,
    backfilling,
    erasing,
    exporting,
    keys,
    mending,
    querying,
    requesting,
    retaining,
    roles,
    serving,
    syncing,
    verifying,
)
from mail_ingest.cli.output import fail
from mail_ingest.errors import BusyError, ConfigError, MailIngestError

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_BUSY = 3
EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="mail-ingest",
    help="Copies Gmail mailboxes into a warehouse and keeps them true.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(accounts.app, name="account")
app.add_typer(keys.app, name="key")
app.add_typer(roles.app, name="role")
app.command("sync")(syncing.sync)
app.command("backfill")(backfilling.backfill)
app.command("status")(syncing.status)
app.command("request")(requesting.request)
app.command("cancel")(requesting.cancel)
app.command("query")(querying.query)
app.command("export")(exporting.export)
app.command("verify")(verifying.verify)
app.command("retry")(mending.retry)
app.command("reparse")(mending.reparse)
app.command("erase")(erasing.erase)
app.command("retention")(retaining.retention)
app.command("simulator")(serving.simulator)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mail-ingest {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Copies Gmail mailboxes into a warehouse and keeps them true."""


def main() -> None:
    """Runs the command line and ends the process with its exit code."""
    try:
        # outside click's standalone mode an Exit comes back as its code
        code = app(standalone_mode=False)
        if code == EXIT_INTERRUPTED:
            raise KeyboardInterrupt
        sys.exit(code if isinstance(code, int) else 0)
    except (typer.Abort, KeyboardInterrupt):
        fail("interrupted; what was loaded stays, the next sync goes on from there")
        sys.exit(EXIT_INTERRUPTED)
    except ConfigError as error:
        fail(str(error))
        sys.exit(EXIT_USAGE)
    except BusyError as error:
        fail(str(error))
        sys.exit(EXIT_BUSY)
    except MailIngestError as error:
        fail(str(error))
        sys.exit(EXIT_FAILED)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        fail(
            f"{where}{error.strerror or type(error).__name__}; check the folder that MAIL_INGEST_HOME names and the disk"
        )
        sys.exit(EXIT_USAGE)
    except Exception as error:
        # typer brings a click of its own, whose exceptions have no public name; a usage error can show itself
        show = getattr(error, "show", None)
        if show is None:
            raise
        show()
        sys.exit(EXIT_USAGE)
