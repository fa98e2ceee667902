"""`mail-ingest account discover`: the people of a Workspace become accounts."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mail_ingest.accounts import Credential, Findings, Plan, Registry, discover, from_reference, service_account
from mail_ingest.accounts.references import check_reference
from mail_ingest.cli.output import fail, print_json, say
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
from mail_ingest.errors import ConfigError
from mail_ingest.settings import load_settings

_PATTERN = "a glob on the address, or on the organizational unit where it begins with /; may be repeated."


def discover_accounts(
    service_account_file: Annotated[
        Path | None,
        typer.Option("--service-account", help="A service account that is delegated the directory and gmail.readonly."),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            "--credentials",
            help="Where its document is kept and stays: env://NAME, file:///path or "
            "gcp-secret://projects/P/secrets/S/versions/V; MAIL_INGEST_DISCOVERY_CREDENTIALS without it.",
        ),
    ] = None,
    admin: Annotated[
        str | None,
        typer.Option(help="The administrator in whose name people are listed; MAIL_INGEST_DISCOVERY_ADMIN without it."),
    ] = None,
    domain: Annotated[
        str | None,
        typer.Option(help="One domain; MAIL_INGEST_DISCOVERY_DOMAIN without it, or all of the Workspace."),
    ] = None,
    include: Annotated[list[str] | None, typer.Option(help=f"Whom to take: {_PATTERN}")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help=f"Whom to leave out: {_PATTERN}")] = None,
    content_since: Annotated[
        str, typer.Option(help="Content horizon of new accounts: all, days such as 30d, or a date.")
    ] = "all",
    group: Annotated[str, typer.Option(help="The team, customer or person that new accounts belong to.")] = "",
    privacy: Privacy = None,
    include_labels: IncludeLabels = None,
    exclude_labels: ExcludeLabels = None,
    attachments: Attachments = None,
    sign_in_mail: SignInMail = None,
    chats: Chats = None,
    drafts: Drafts = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Registers the mailboxes of a Workspace that are new, and pauses those whose people left or are suspended."""
    from mail_ingest.ingest.scope import parse_since

    parse_since(content_since)
    settings = load_settings()
    given = admin or settings.discovery_admin
    if not given:
        raise ConfigError("account discover needs --admin: the administrator in whose name people are listed")
    plan = Plan(
        _credential(
            service_account_file, reference or ("" if service_account_file else settings.discovery_credentials)
        ),
        given,
        settings.discovery_domain if domain is None else domain,
        include or settings.discovery_include,
        exclude or settings.discovery_exclude,
        content_since,
        group,
        privacy_of(privacy, include_labels, exclude_labels, attachments, sign_in_mail, chats, drafts),
    )
    found = discover(Registry(settings), plan, settings, is_dry_run=dry_run)
    if as_json:
        print_json({**asdict(found), "dry_run": dry_run, "changed": found.changed_anything})
    else:
        _report(found, is_dry_run=dry_run)


def _credential(file: Path | None, reference: str) -> Credential:
    if (file is None) == (not reference):
        raise ConfigError("account discover takes either --service-account or --credentials")
    return from_reference(check_reference(reference)) if file is None else service_account(file)


def _report(found: Findings, *, is_dry_run: bool) -> None:
    would = "would be " if is_dry_run else ""
    for account_id in found.added:
        say(f"{account_id}: {would}registered")
    for account_id, why in found.paused.items():
        say(f"{account_id}: {would}paused, {why}")
    for account_id in found.resumed:
        say(f"{account_id}: {would}resumed, in the directory again")
    for why in found.refused.values():
        fail(why)
    left_out = "".join(f", {count} {why}" for why, count in sorted(found.left_out.items()))
    said = (
        f"{len(found.added)} new, {len(found.paused)} paused, {len(found.resumed)} resumed, {found.unchanged} unchanged"
    )
    say(
        f"{found.source}: {said if found.changed_anything else f'nothing changed, {found.unchanged} unchanged'}{left_out}"
    )
