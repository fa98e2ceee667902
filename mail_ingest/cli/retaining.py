"""`mail-ingest retention`: deletes what is older than it is kept, and gives its room back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mail_ingest.cli.output import fail, print_json, say
from mail_ingest.cli.syncing import DEFAULT_WAIT_S, AsJson, Wait, open_engine

if TYPE_CHECKING:
    from mail_ingest.ingest.retention import Retained

_NAMES = {
    "requests": "requests",
    "sync_history": "syncs in the history",
    "failures": "resolved failures",
    "label_events": "label events",
    "deleted_mail": "deleted mail",
}


def retention(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and do nothing.")] = False,
    wait: Wait = DEFAULT_WAIT_S,
    as_json: AsJson = False,
) -> None:
    """Deletes what is older than MAIL_INGEST_KEEP_... says, but for what is listed in mail_ingest.holds.

    The history of syncs goes after 90 days and requests after 7; resolved failures, label events and the content of deleted mail
    are kept unless days are set. Packs of the raw archive and the warehouse's file give back what is free in them. Dagster's own
    runs go by its job `retention` alone. Exit code 3 where accounts were busy, 1 where one failed; the others were done.
    """
    from mail_ingest.ingest.retention import retain

    done = retain(open_engine(wait), is_dry_run=dry_run)
    if as_json:
        print_json(done.as_json())
    else:
        _report(done)
    for account_id, why in done.skipped.items():
        fail(f"{account_id} was left to the next run: {why}")
    if done.skipped:
        raise typer.Exit(1 if done.is_any_broken else 3)


def _report(done: Retained) -> None:
    would = "would be " if done.is_dry_run else ""
    for name, amount in done.amounts.items():
        days = done.days[name]
        kept = "kept for ever" if days is None else f"older than {days} days"
        if days is None:
            say(f"{_NAMES[name]}: {kept}")
            continue
        messages = f"{done.mail:,} messages, " if name == "deleted_mail" else ""
        held = f"; {amount.held:,} held" if amount.held else ""
        say(f"{_NAMES[name]} {kept}: {messages}{amount.rows:,} rows, {amount.bytes:,} bytes {would}deleted{held}")
    archive = done.archive
    say(
        f"raw archive: {archive.packs_removed:,} packs {would}deleted, {archive.packs_written:,} {would}written in their place; "
        f"{archive.bytes:,} bytes less"
        + (f"; {archive.packs_unreadable:,} packs cannot be read" if archive.packs_unreadable else "")
    )
    if done.file:
        say(f"warehouse: {done.file}")
    if done.is_dry_run:
        say("nothing was done")
