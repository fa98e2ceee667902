"""`mail-ingest sync` and `status`."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mail_ingest.accounts import check_groups, what_to_do
from mail_ingest.accounts.watches import described
from mail_ingest.cli.output import ProgressReport, configure_logging, fail, print_json, print_table, say
from mail_ingest.cli.privacy import as_json as as_json_of_privacy
from mail_ingest.errors import ConfigError
from mail_ingest.ingest import SyncOptions, SyncRun
from mail_ingest.ingest.privacy import insufficient_forms
from mail_ingest.ingest.run import Mode, why_skipped
from mail_ingest.ingest.scope import parse_since
from mail_ingest.settings import load_settings

if TYPE_CHECKING:
    from mail_ingest.accounts import Account
    from mail_ingest.ingest import Engine

Addresses = Annotated[
    list[str] | None, typer.Argument(help="Mailboxes; all active ones without any.", metavar="ADDRESS")
]
Groups = Annotated[
    list[str] | None, typer.Option("--group", help="Only accounts of this group; may be given several times.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output, and nothing else.")]
Wait = Annotated[float, typer.Option("--wait", help="Seconds to wait for another process.", min=0)]
WaitForTurn = Annotated[
    float | None,
    typer.Option(
        "--wait",
        help="Seconds to wait for another process. Without it 60, and 10 minutes for one that buys content of the mailbox: it "
        "lets go after its package.",
        min=0,
    ),
]

#: Seconds to wait for another process where nobody says how long.
DEFAULT_WAIT_S = 60.0
#: Dead letters of an account that `status --json` names.
_LISTED_DEAD_LETTERS = 100
#: Days for which `status` tells of fields in Gmail's answers that were not expected, as the check in Dagster does.
_UNEXPECTED_DAYS = 7
_MODES: dict[str, Mode] = {"auto": "auto", "partial": "partial", "full": "full"}


def sync(
    addresses: Addresses = None,
    groups: Groups = None,
    shards: Annotated[
        list[int] | None, typer.Option("--shard", help="Only accounts on this shard; may be given several times.")
    ] = None,
    mode: Annotated[
        str, typer.Option(help="auto, partial (history only, once a first sync was done) or full (sweep).")
    ] = "auto",
    max_messages: Annotated[int | None, typer.Option(help="Buy the content of at most N messages.", min=0)] = None,
    since: Annotated[
        str | None, typer.Option(help="Buy content that arrived since: 2026-01-31 or 30d. State is complete anyway.")
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="Buy content of messages with this label (name or id) only.")
    ] = None,
    accept_shrink: Annotated[
        bool,
        typer.Option(
            "--accept-shrink", help="Believe a sweep that shows far fewer messages than the mailbox claims to hold."
        ),
    ] = False,
    wait: Wait = 60.0,
    as_json: AsJson = False,
) -> None:
    """Syncs mailboxes in this process: state first, then content until the backlog or the limit is done."""
    engine = open_engine(wait)
    if mode not in _MODES:
        raise ConfigError(f"--mode is {mode!r}; it takes auto, partial or full")
    options = SyncOptions(
        mode=_MODES[mode],
        max_messages=max_messages,
        since=parse_since(since) if since else None,
        label=label,
        accept_shrink=accept_shrink,
    )
    if accept_shrink and not addresses:
        raise ConfigError("--accept-shrink is for mailboxes that somebody has looked at: name them")
    accounts, skipped = choose_accounts(engine, addresses, groups, shards, as_json=as_json)
    runs = run_and_report(engine, accounts, options, as_json=as_json)
    if as_json:
        print_json(runs_as_json(runs, skipped))
    raise typer.Exit(exit_code(runs, engine.stop_sign.stopped_by))


def choose_accounts(
    engine: Engine,
    addresses: list[str] | None,
    groups: list[str] | None,
    shards: list[int] | None = None,
    *,
    as_json: bool,
) -> tuple[list[Account], list[Account]]:
    """The accounts to sync now, and those that are left alone, which are told unless JSON is wanted."""
    accounts, skipped = engine.due(addresses or [], groups or [], shards=shards or [])
    if not accounts and not skipped:
        raise ConfigError("there is no account to sync; `mail-ingest account add` registers one")
    if not as_json:
        for account in skipped:
            say(f"{account.account_id}: skipped, {why_skipped(account)}")
    return accounts, skipped


def run_and_report(
    engine: Engine, accounts: Sequence[Account], options: SyncOptions, *, as_json: bool
) -> list[SyncRun]:
    """Syncs accounts, with progress and a line for each unless JSON is wanted.

    The first SIGINT or SIGTERM stops at the next safe point, a second at once.
    """
    from mail_ingest.ingest.stopping import stop_on_signals

    engine.check_warehouse()
    with (
        ProgressReport(live=False if as_json else None) as progress,
        stop_on_signals(engine.stop_sign, tell=_tell_of_signal),
    ):
        runs = engine.sync(
            accounts, options, on_progress=progress, on_done=lambda run: None if as_json else report(run)
        )
    if engine.stop_sign.stopped_by and len(runs) < len(accounts) and not as_json:
        say(f"{len(accounts) - len(runs)} mailboxes were not begun")
    return runs


def runs_as_json(runs: list[SyncRun], skipped: list[Account]) -> dict[str, object]:
    """What a sync tells scripts: its runs, the accounts that were left alone, and the units spent."""
    return {
        "runs": [run.as_json() for run in runs],
        "skipped": [
            {
                "account_id": account.account_id,
                "state": account.state,
                "reason": account.state_reason,
                "next_due_at": account.next_due_at,
            }
            for account in skipped
        ],
        "units": sum(run.spent.total().units for run in runs),
    }


def _tell_of_signal(name: str) -> None:
    # not through sys.stderr: a handler may run in the middle of a line that is being written
    os.write(2, f"mail-ingest: {name}: stopping at the next safe point; once more stops at once\n".encode())


def open_engine(wait_s: float, turn_s: float | None = None) -> Engine:
    """The engine, imported here because dlt takes a second to import."""
    from mail_ingest.ingest.engine import Engine

    settings = load_settings()
    configure_logging(settings.log)
    return Engine(settings, wait_s=wait_s, turn_s=turn_s)


def open_rewriting_engine(wait_s: float | None) -> Engine:
    """An engine for what rewrites stored mail: what a person said of waiting holds for the turn of others as well."""
    return open_engine(DEFAULT_WAIT_S if wait_s is None else wait_s, wait_s)


def report(run: SyncRun) -> None:
    """One line about a run that has ended, and its error, if any, on standard error."""
    if run.error:
        fail(run.error)
    total = run.spent.total()
    parts = [f"{run.account_id}: {run.outcome}"]
    if run.kind != "none":
        parts.append(
            f"{run.kind} sync, {run.messages_added} new, {run.messages_deleted} deleted, {run.label_changes} label changes"
        )
    if run.contents_stored or run.contents_adopted:
        parts.append(f"{run.contents_stored + run.contents_adopted} contents stored")
    if run.contents_failed:
        parts.append(f"{run.contents_failed} failed and will be tried again")
    if run.dead_letters:
        parts.append(f"{run.dead_letters} dead letters")
    parts.append(f"backlog {run.backlog}, {total.units} units in {total.calls} calls, {run.duration_s:.1f} s")
    if run.resume_at is not None:
        parts.append(f"goes on after {run.resume_at:%Y-%m-%d %H:%M:%S} UTC")
    say("; ".join(parts))
    _say_unexpected(run.account_id, run.unexpected_fields)


def _say_unexpected(account_id: str, fields: Sequence[str]) -> None:
    if fields:
        say(f"{account_id}: Gmail's answers are not all as this version knows them: {', '.join(fields)}")


def exit_code(runs: list[SyncRun], stopped_by: str = "") -> int:
    """1 where an account failed, else 3 where another process held one, else 130 (143 by SIGTERM) where one was cancelled
    or the process was told to stop, else 0."""
    outcomes = {run.outcome for run in runs}
    if "failed" in outcomes:
        return 1
    if "busy" in outcomes:
        return 3
    if stopped_by:
        return 128 + signal.Signals[stopped_by]
    return 128 + signal.SIGINT if "cancelled" in outcomes else 0


def status(
    address: Annotated[str | None, typer.Argument(help="One mailbox; all without it.")] = None,
    groups: Groups = None,
    as_json: AsJson = False,
    wait: Wait = 60.0,
) -> None:
    """Shows each mailbox: cursor, last sync, backlog, failures and dead letters, units spent, unexpected fields."""
    engine = open_engine(wait)
    if address and groups:
        raise ConfigError("status takes a mailbox or groups, not both")
    check_groups(engine.registry, groups or ())
    accounts = [engine.registry.get(address)] if address else engine.registry.list(groups=groups or ())
    rows = [_status(engine, account) for account in accounts]
    projects = engine.projects_today(accounts)
    if as_json:
        print_json({"accounts": rows, "projects": [asdict(project) for project in projects]})
        return
    if not rows:
        say("no accounts yet; `mail-ingest account connect ADDRESS --client FILE` registers one")
        return
    print_table(
        [
            "account",
            "state",
            "cursor",
            "last sync",
            "outcome",
            "backlog",
            "failures",
            "dead letters",
            "units today",
            "next due",
            "push",
        ],
        [
            [
                str(row["account_id"]),
                f"{row['state']} {row['state_reason']}".strip(),
                str(row["cursor"] or "none"),
                _short(row["last_synced_at"]) or "never",
                str(row["last_outcome"] or ""),
                _backlog(row),
                str(row["failures"]),
                str(row["dead_letters"]),
                str(row["units_24h"]),
                _short(row["next_due_at"] or row["resume_at"]) or _schedule(row),
                str(row["push"]),
            ]
            for row in rows
        ],
    )
    for project in projects:
        if project.left is not None:
            say(
                f"project {project.project}: {project.units:,} units today, {project.left:,} left, {project.left_scheduled:,} of "
                f"them for scheduled work, until {project.ends_at:%Y-%m-%d %H:%M} UTC"
            )
    for row in rows:
        _say_unexpected(row["account_id"], row["unexpected_fields"])


def _status(engine: Engine, account: Account) -> dict[str, Any]:
    now = datetime.now(UTC)
    row: dict[str, Any] = {
        "account_id": account.account_id,
        "account_group": account.account_group,
        "project": account.project,
        "state": account.state,
        "state_reason": account.state_reason,
        "state_since": account.state_since,
        "what_to_do": what_to_do(account),
        "cursor": None,
        "cursor_observed_at": None,
        "last_full_sync_at": None,
        "last_checked_at": account.last_checked_at,
        "last_synced_at": account.last_sync_finished_at or account.last_checked_at,
        "last_outcome": account.last_outcome,
        "last_error_class": account.last_error_class,
        "consecutive_failures": account.consecutive_failures,
        "resume_at": account.resume_at,
        "schedule": account.schedule,
        "next_due_at": account.due_at(now),
        "push": described(account, engine.settings.push_topic, now),
        "watch_expires_at": account.watch_expires_at,
        "last_notified_at": account.last_push_at,
        **as_json_of_privacy(account, engine.registry.policy(account, needs_key=False)),
        "left_out": 0,
        "stored_in_stricter_form": 0,
        "backlog": 0,
        "backlog_waiting": 0,
        "out_of_scope": 0,
        "failures": 0,
        "dead_letters": 0,
        "dead_letter_messages": [],
        "units_24h": 0,
        "units_total": 0,
        "unexpected_fields": [],
    }
    if engine.warehouse.exists:
        cursor = engine.cursor(account)
        if cursor is not None:
            row["cursor"] = str(cursor.history_id)
            row["cursor_observed_at"] = cursor.observed_at
            row["last_full_sync_at"] = cursor.full_sync_at
        backlog = engine.queries.count_backlog(account.account_id, engine.content_scope(account), now)
        row["backlog"] = backlog.due + backlog.waiting
        row["backlog_waiting"] = backlog.waiting
        row["out_of_scope"] = backlog.out_of_scope
        row["left_out"] = engine.queries.count_left_out(account.account_id)
        row["stored_in_stricter_form"] = _stricter(engine, account)
        row["failures"] = engine.queries.unresolved_failures(account.account_id)
        row["dead_letters"] = engine.queries.count_dead_letters(account.account_id)
        row["dead_letter_messages"] = [
            asdict(letter) for letter in engine.queries.dead_letters(account.account_id, _LISTED_DEAD_LETTERS)
        ]
        row["unexpected_fields"] = sorted(
            engine.queries.unexpected_fields(account.account_id, now - timedelta(days=_UNEXPECTED_DAYS))
        )
        row["units_24h"], row["units_total"], _ = engine.queries.spending(account.account_id, now - timedelta(days=1))
    return row


def _backlog(row: dict[str, Any]) -> str:
    beside = ((row["out_of_scope"], "out of scope"), (row["left_out"], "left out"))
    told = [f"+{count} {what}" for count, what in beside if count]
    return f"{row['backlog']}" + (f" ({', '.join(told)})" if told else "")


def _schedule(row: dict[str, Any]) -> str:
    """When an account is synced of which no moment is known."""
    if row["state"] not in ("active", "cooling_down"):
        return ""
    return "on demand" if row["schedule"] == "off" else str(row["schedule"])


def _stricter(engine: Engine, account: Account) -> int:
    """Stored messages that lack something which the account's privacy allows now: bought again by `account set` alone."""
    forms = insufficient_forms(engine.registry.policy(account, needs_key=False))
    return sum(count for (form, _), count in engine.queries.forms(account.account_id).items() if form in forms)


def _short(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else ""
