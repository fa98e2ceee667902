"""`mail-ingest backfill`: content by date, newest first, and its price beforehand."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from mail_ingest.cli.output import print_json, print_table, say
from mail_ingest.cli.syncing import (
    Addresses,
    AsJson,
    Groups,
    Wait,
    choose_accounts,
    exit_code,
    open_engine,
    run_and_report,
    runs_as_json,
)
from mail_ingest.errors import ConfigError
from mail_ingest.ingest import SyncOptions
from mail_ingest.ingest.windows import windows_between

if TYPE_CHECKING:
    from mail_ingest.ingest.estimate import AccountPrice, Estimate, Price


def backfill(
    first: Annotated[
        str, typer.Option("--from", help="First month (2023-01) or day (2023-01-15) of internal date, in UTC.")
    ],
    addresses: Addresses = None,
    last: Annotated[str, typer.Option("--to", help="Last month or day, included; today without it.")] = "",
    groups: Groups = None,
    max_messages: Annotated[
        int | None, typer.Option(help="Buy the content of at most N messages of each mailbox.", min=0)
    ] = None,
    only_estimate: Annotated[
        bool, typer.Option("--estimate", help="Tell what it would cost, by what is known, and do nothing.")
    ] = False,
    list_first: Annotated[
        bool,
        typer.Option(
            "--list", help="With --estimate: ask Gmail first which messages belong to the dates (5 units for 500)."
        ),
    ] = False,
    wait: Wait = 60.0,
    as_json: AsJson = False,
) -> None:
    """Buys the content of months or days, newest first, and of nothing else.

    States are brought up to date first. What is stored is never bought again: a finished range costs its list pages, one
    that was interrupted goes on where it was. MAIL_INGEST_BACKFILL_SHARE bounds what it takes of the quota, so that syncs of
    the same mailboxes run beside it.
    """
    if list_first and not only_estimate:
        raise ConfigError("--list goes with --estimate; a backfill lists anyway")
    engine = open_engine(wait)
    settings = engine.settings
    last = last or f"{datetime.now(UTC):%Y-%m-%d}"
    partitions = windows_between(first, last, settings.partitions, settings.content_start)
    accounts, skipped = choose_accounts(engine, addresses, groups, as_json=as_json)
    # imported here because dlt takes a second to import
    from mail_ingest.ingest.estimating import estimate_backfill

    runs = []
    if list_first or not only_estimate:
        options = SyncOptions(
            partitions=tuple(partitions),
            max_messages=max_messages,
            list_only=only_estimate,
            triggered_by="backfill",
        )
        runs = run_and_report(engine, accounts, options, as_json=as_json)
    estimate = estimate_backfill(engine, accounts, partitions, max_messages if only_estimate else None)
    if as_json:
        print_json({**runs_as_json(runs, skipped), **estimate.as_json()})
    else:
        _show(estimate, list_first=list_first, is_done=not only_estimate)
    raise typer.Exit(exit_code(runs, engine.stop_sign.stopped_by))


def _show(estimate: Estimate, *, list_first: bool, is_done: bool) -> None:
    """Partitions that hold anything, then accounts; zeros would fill pages where a mailbox begins late."""
    head = ["known", "stored", "failed", "to buy", "units", "minutes"]
    shown = {name: price for name, price in estimate.partitions.items() if price.counts.known}
    print_table(
        ["partition", *head], [[name, *_cells(price)] for name, price in [*shown.items(), ("total", estimate.total)]]
    )
    if len(shown) < len(estimate.partitions):
        say(
            f"{len(estimate.partitions) - len(shown)} more hold no message that is known; their list pages are in the total"
        )
    if is_done:
        return
    say("")
    print_table(
        ["account", *head, "of the day", "done at the quota's pace", "done at the pace so far"],
        [[account.account_id, *_cells(account), *_when(account)] for account in estimate.accounts]
        + ([["total", *_cells(estimate.total), *_when(estimate.total)]] if len(estimate.accounts) > 1 else []),
    )
    for account in estimate.accounts:
        if not account.is_synced:
            say(
                f"{account.account_id}: nothing is known of it yet; `mail-ingest sync {account.account_id} --max-messages 0` "
                "reads its ids, which is nearly free"
            )
        elif account.undated:
            say(
                f"{account.account_id}: {account.undated} more messages without content have no date that is known"
                + ("" if list_first else "; --list asks Gmail which of them belong here")
            )


def _cells(price: Price) -> list[str]:
    minutes = "" if price.minutes is None else f"{price.minutes:,.1f}"
    counts = price.counts
    return [
        *(f"{number:,}" for number in (counts.known, counts.stored, counts.failed, price.to_buy, price.units)),
        minutes,
    ]


def _when(account: AccountPrice) -> list[str]:
    share = "" if account.share_of_day is None else f"{account.share_of_day:.3%}"
    moments = (account.done_at, account.done_at_measured_pace)
    return [share, *("" if moment is None else f"{moment:%Y-%m-%d %H:%M} UTC" for moment in moments)]
