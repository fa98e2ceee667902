"""`mail-ingest request` and `cancel`: syncs that Dagster runs as soon as it can, or ends."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from mail_ingest.accounts import Registry, Request, Wish, check_groups, make_wish, parse_time
from mail_ingest.cli.output import print_json, print_table, say
from mail_ingest.cli.syncing import AsJson, Groups
from mail_ingest.errors import ConfigError
from mail_ingest.ingest.run import why_skipped
from mail_ingest.settings import load_settings

_CANCELLED = "cancelled by a person"


def request(
    address: Annotated[str | None, typer.Argument(help="Address of the mailbox.", metavar="ADDRESS")] = None,
    groups: Groups = None,
    mode: Annotated[str, typer.Option(help="auto, partial (history only) or full (sweep).")] = "auto",
    months: Annotated[
        list[str] | None,
        typer.Option(
            help="Buy the content of this month instead of what is new: 2026-05, or 2026-01..2026-05; may be repeated."
        ),
    ] = None,
    priority: Annotated[
        int,
        typer.Option(help="From 0 (first) to 4 (last): a person, an active owner, scheduled, backfill, maintenance."),
    ] = 0,
    at: Annotated[
        str | None, typer.Option(help="Not before this time, such as 2026-11-28T07:30 (UTC) or 2026-11-28T07:30+01:00.")
    ] = None,
    requested_by: Annotated[str, typer.Option(help="Who asks, for people who look.")] = "person",
    listing: Annotated[
        bool, typer.Option("--list", help="List the requests that wait or are being fulfilled.")
    ] = False,
    all_of_them: Annotated[
        bool, typer.Option("--all", help="With --list: those that have ended and are kept as well.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Asks Dagster for a sync of a mailbox, or of each active one of a group: at once, or at a time. Requests that wait for one
    mailbox become one.

    A run starts within seconds where Dagster's daemon runs with the sensor `sync_requests`. `mail-ingest cancel` takes a
    request back.
    """
    settings = load_settings()
    registry = Registry(settings)
    if address and groups:
        raise ConfigError("request takes a mailbox or groups, not both")
    check_groups(registry, groups or ())
    if listing or all_of_them:
        found = registry.requests.find(address, only_open=not all_of_them)
        members = {account.account_id for account in registry.list(groups=groups or ())}
        _print([each for each in found if not groups or each.account_id in members], as_json=as_json)
        return
    if address is None and not groups:
        raise ConfigError("request takes the ADDRESS of a mailbox, --group, or --list")
    wish = make_wish(
        datetime.now(UTC),
        mode=mode,
        months=months or (),
        priority=priority,
        at=parse_time(at) if at else None,
        content_start=settings.content_start,
    )
    if address is None:
        _file_for_groups(registry, groups or [], wish, requested_by, as_json=as_json)
        return
    filed = registry.requests.file(address, wish, requested_by)
    if as_json:
        print_json({"request": asdict(filed)})
        return
    _say_filed(filed)
    account = registry.get(filed.account_id)
    if account.state == "paused":
        say(
            f"{account.account_id} is paused: the request waits until `mail-ingest account resume {account.account_id}`"
        )


def _file_for_groups(registry: Registry, groups: list[str], wish: Wish, requested_by: str, *, as_json: bool) -> None:
    """Asks for each account that a sync of the groups would take; those that it leaves alone are told."""
    filed = []
    for account in registry.list(groups=groups):
        if account.state in ("active", "cooling_down"):
            filed.append(registry.requests.file(account.account_id, wish, requested_by))
        elif not as_json:
            say(f"{account.account_id}: no request, {why_skipped(account)}")
    if as_json:
        print_json({"requests": [asdict(each) for each in filed]})
        return
    for each in filed:
        _say_filed(each)


def _say_filed(filed: Request) -> None:
    joined = "joined the request" if filed.filed_count > 1 else "filed the request"
    say(
        f"{joined} {filed.request_id} for {filed.account_id}, {_what(filed)}, not before {filed.not_before:%Y-%m-%d %H:%M:%S} UTC"
    )


def cancel(
    target: Annotated[
        str | None, typer.Argument(help="Address of a mailbox, or the id of a request.", metavar="ADDRESS|ID")
    ] = None,
    groups: Groups = None,
) -> None:
    """Ends the sync of a mailbox that is under way, wherever it runs, and takes back its requests; those of a group's mailboxes;
    or one request alone.

    The sync stops within seconds: what was fetched is loaded, its locks are let go, and its outcome is `cancelled`. The next
    sync goes on from there; `mail-ingest account pause` keeps it from coming.
    """
    if (target is None) == (not groups):
        raise ConfigError("cancel takes the ADDRESS of a mailbox, the ID of a request, or --group")
    registry = Registry(load_settings())
    if target is None:
        check_groups(registry, groups or ())
        for account in registry.list(groups=groups or ()):
            _cancel_account(registry, account.account_id)
        return
    if "@" not in target:
        was = registry.requests.cancel(target, _CANCELLED)
        also = "; its sync stops within seconds, if it is under way" if was.state == "started" else ""
        say(f"cancelled the request {was.request_id} for {was.account_id}{also}")
        return
    _cancel_account(registry, target)


def _cancel_account(registry: Registry, address: str) -> None:
    count = registry.requests.cancel_account(address, _CANCELLED)
    say(
        f"a sync of {address.strip().lower()} that is under way stops within seconds; open requests that were cancelled: {count}"
        ". The next sync goes on from there"
    )


def _what(request: Request) -> str:
    wish = request.wish
    parts = [f"mode {wish.mode}"]
    if wish.months:
        parts.append(f"{len(wish.months)} months from {wish.months[0]} to {wish.months[-1]}")
    if wish.months and wish.new_mail:
        parts.append("and what is new")
    return f"{' '.join(parts)}, priority {wish.priority}"


def _print(requests: list[Request], *, as_json: bool) -> None:
    if as_json:
        print_json({"requests": [asdict(request) for request in requests]})
        return
    if not requests:
        say("no request waits; `mail-ingest request ADDRESS` files one")
        return
    rows: list[list[str]] = [
        [
            request.request_id,
            request.account_id,
            request.state,
            _what(request),
            f"{request.not_before:%Y-%m-%d %H:%M:%S}",
            request.requested_by,
            str(request.filed_count),
            request.run_id or "",
            request.reason,
        ]
        for request in requests
    ]
    head = ["request", "account", "state", "what", "not before", "asked by", "times", "run", "reason"]
    print_table(head, rows)
