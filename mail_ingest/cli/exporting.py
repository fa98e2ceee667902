"""`mail-ingest export`: a copy of the analyst tables with some accounts, for people who may see no more."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mail_ingest.cli.output import fail, say
from mail_ingest.cli.querying import tell_of_holding
from mail_ingest.cli.syncing import Wait
from mail_ingest.settings import load_settings


def export(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The DuckDB file, or the folder of Parquet files, to write.")
    ],
    form: Annotated[
        str, typer.Option("--format", help="duckdb (one file) or parquet (a file per relation).")
    ] = "duckdb",
    accounts: Annotated[
        list[str] | None, typer.Option("--account", help="Only this mailbox; may be given several times.")
    ] = None,
    groups: Annotated[
        list[str] | None, typer.Option("--group", help="Only accounts of this group; may be given several times.")
    ] = None,
    role: Annotated[
        str | None, typer.Option(help="On Postgres: only what this role of the database may see, asked as the loader.")
    ] = None,
    without_text: Annotated[
        bool,
        typer.Option("--without-text", help="Leave out subjects, texts, snippets and names of people and files."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier copy.")] = False,
    wait: Wait = 60.0,
) -> None:
    """Writes a copy of the schema mail, with the rows of some accounts or of all, and nothing else.

    One state of all tables, while syncs run; no sync loads into a DuckDB warehouse meanwhile. The copy is put in place
    once it is whole. Exit code 2 for accounts, groups and outputs that cannot be, 3 where the warehouse was not to be had
    within --wait, 1 where the copy could not be written.
    """
    from mail_ingest.warehouse.exporting import Selection
    from mail_ingest.warehouse.exporting import export as write

    settings = load_settings()
    selection = Selection(tuple(accounts or ()), tuple(groups or ()), role, without_text)
    done = write(settings, output, form, selection, is_forced=force, wait_s=wait)
    tell_of_holding(settings, done.held_s, "export")
    if not done.accounts:
        fail("the warehouse has no accounts yet, so the copy has no rows")
    messages = done.rows.get("mail.messages", 0)
    say(f"wrote {output}: {len(done.rows)} relations, {messages:,} messages of {len(done.accounts):,} accounts")
