"""`mail-ingest account ...`: which mailboxes are read."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from mail_ingest.accounts import (
    SCHEDULES,
    STATES,
    Account,
    AccountState,
    Credential,
    Registry,
    application_default,
    authorized_user,
    check_groups,
    from_reference,
    schedule_of,
    service_account,
    token_env,
    what_to_do,
)
from mail_ingest.accounts.references import check_reference
from mail_ingest.accounts.watches import described, is_pushed, is_watched
from mail_ingest.cli.connecting import connect
from mail_ingest.cli.discovering import discover_accounts
from mail_ingest.cli.output import print_json, print_table, say
from mail_ingest.cli.privacy import (
    Attachments,
    Chats,
    Drafts,
    ExcludeLabels,
    IncludeLabels,
    Privacy,
    SignInMail,
    Yes,
    agree,
    privacy_of,
    report_rewriting,
    shown,
)
from mail_ingest.cli.privacy import as_json as as_json_of_privacy
from mail_ingest.cli.syncing import Groups, WaitForTurn, open_engine, open_rewriting_engine
from mail_ingest.errors import ConfigError
from mail_ingest.privacy import Policy
from mail_ingest.settings import load_settings

app = typer.Typer(help="Registers mailboxes and shows the state they are in.", no_args_is_help=True)

app.command("connect")(connect)
app.command("discover")(discover_accounts)

Address = Annotated[str, typer.Argument(help="Address of the mailbox.")]


@app.command("add")
def add(
    address: Address,
    authorized_user_file: Annotated[
        Path | None, typer.Option("--authorized-user", help="A person's consent, as google-auth's to_json() writes it.")
    ] = None,
    service_account_file: Annotated[
        Path | None, typer.Option("--service-account", help="A service account with domain-wide delegation.")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            "--credentials",
            help="Where either document is kept and stays: env://NAME, file:///path or "
            "gcp-secret://projects/P/secrets/S/versions/V.",
        ),
    ] = None,
    use_application_default: Annotated[
        bool, typer.Option("--application-default", help="Google's application-default credentials of each process.")
    ] = False,
    token_variable: Annotated[
        str | None, typer.Option("--token-env", help="Name of a variable that holds a bearer token at run time.")
    ] = None,
    subject: Annotated[
        str, typer.Option(help="Whom a service account acts for, where that is not the mailbox's own address.")
    ] = "",
    content_since: Annotated[
        str, typer.Option(help="Content horizon: all, days such as 30d, or a date such as 2026-01-31.")
    ] = "all",
    raw_archive: Annotated[
        bool | None,
        typer.Option(
            "--raw-archive/--no-raw-archive",
            help="Keep every message's bytes in the raw archive; the tier full alone ever does.",
        ),
    ] = None,
    group: Annotated[str, typer.Option(help="The team, customer or person that the mailbox belongs to.")] = "",
    privacy: Privacy = None,
    include_labels: IncludeLabels = None,
    exclude_labels: ExcludeLabels = None,
    attachments: Attachments = None,
    sign_in_mail: SignInMail = None,
    chats: Chats = None,
    drafts: Drafts = None,
) -> None:
    """Registers a mailbox, without calling Gmail. Exactly one kind of credentials is needed."""
    given = (authorized_user_file, service_account_file, reference, use_application_default or None, token_variable)
    if len([value for value in given if value is not None]) != 1:
        raise ConfigError(
            "account add takes exactly one of --authorized-user, --service-account, --credentials, --application-default "
            "and --token-env"
        )
    if subject and (authorized_user_file is not None or token_variable is not None):
        raise ConfigError("--subject is for service accounts: a person's consent and a token act for nobody else")
    from mail_ingest.ingest.scope import parse_since

    parse_since(content_since)
    credential: Credential
    if authorized_user_file is not None:
        credential = authorized_user(authorized_user_file)
    elif service_account_file is not None:
        credential = service_account(service_account_file, subject)
    elif reference is not None:
        credential = from_reference(check_reference(reference), subject)
    elif use_application_default:
        credential = application_default(subject)
    else:
        credential = token_env(token_variable or "")
    wanted = privacy_of(privacy, include_labels, exclude_labels, attachments, sign_in_mail, chats, drafts)
    settings = load_settings()
    if raw_archive:
        from mail_ingest.ingest.privacy_change import check_archive

        tier = settings.privacy if wanted.tier is None or wanted.tier == "default" else wanted.tier
        check_archive(Policy(tier=tier, attachments=attachments is not False), asked_for=raw_archive)
    account = Registry(settings).add(
        address,
        credential,
        content_since=content_since,
        raw_archive=raw_archive is not False,
        account_group=group,
        privacy=wanted,
    )
    say(f"registered {account.account_id}; `mail-ingest sync {account.account_id}` reads it")


@app.command("set")
def change(
    address: Address,
    content_since: Annotated[
        str | None, typer.Option(help="Content horizon: all, days such as 30d, or a date such as 2026-01-31.")
    ] = None,
    raw_archive: Annotated[
        bool | None,
        typer.Option("--raw-archive/--no-raw-archive", help="Keep bytes of messages that are bought from now on."),
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="The group it belongs to from now on; an empty text takes it out of its group.")
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            help=f"How often Dagster syncs it: {', '.join(SCHEDULES)}. off: when somebody asks for it and never else."
        ),
    ] = None,
    push: Annotated[
        bool | None,
        typer.Option(
            "--push/--no-push",
            help="Have Gmail publish its changes to MAIL_INGEST_PUSH_TOPIC (100 units a day), or end that.",
        ),
    ] = None,
    shard: Annotated[
        int | None,
        typer.Option(help="The shard whose accounts it is synced with from now on; its position is kept.", min=0),
    ] = None,
    privacy: Privacy = None,
    include_labels: IncludeLabels = None,
    exclude_labels: ExcludeLabels = None,
    attachments: Attachments = None,
    sign_in_mail: SignInMail = None,
    chats: Chats = None,
    drafts: Drafts = None,
    yes: Yes = False,
    wait: WaitForTurn = None,
) -> None:
    """Changes a mailbox's group, schedule, push or shard, or what is bought and kept of it from now on.

    What is stored stays, but where a stricter privacy does not allow it: that is rewritten or erased at once. What a wider
    one asks for is bought again.
    """
    wanted = privacy_of(privacy, include_labels, exclude_labels, attachments, sign_in_mail, chats, drafts)
    others = (content_since, raw_archive, group, schedule, push)
    if all(other is None for other in (*others, shard)) and not wanted.changes_anything:
        raise ConfigError(
            "account set takes --content-since, --raw-archive, --no-raw-archive, --group, --schedule, --push, --no-push, "
            "--shard, --privacy, --include-label, --exclude-label, --attachments, --sign-in-mail, --chats or --drafts, the "
            "last four with their opposites as well"
        )
    from mail_ingest.ingest.scope import parse_since

    if content_since is not None:
        parse_since(content_since)
    settings = load_settings()
    if push and not settings.push_topic:
        raise ConfigError("--push needs MAIL_INGEST_PUSH_TOPIC to name the Pub/Sub topic that Gmail is to publish to")
    registry = Registry(settings)
    new_schedule = schedule_of(schedule) if schedule is not None else None
    account = registry.get(address)
    # an earlier horizon brings more of what somebody agreed to buy again
    if wanted.changes_anything or (content_since is not None and account.buys_again):
        from mail_ingest.ingest.privacy_change import change_privacy, consequences

        engine = open_rewriting_engine(wait)
        found = consequences(engine, account, wanted, raw_archive=raw_archive, content_since=content_since)
        agree(account.account_id, found, yes=yes)
        erasure = change_privacy(engine, account, wanted, found, content_since=content_since)
        engine.close()
        if erasure is not None:
            report_rewriting(erasure)
    elif raw_archive:
        from mail_ingest.ingest.privacy_change import check_archive

        check_archive(registry.policy(replace(account, raw_archive=True), needs_key=False), asked_for=True)
    if shard is not None:
        from mail_ingest.ingest.moving import move_account

        engine = open_rewriting_engine(wait)
        move_account(engine, account, shard)
        engine.close()
    if any(other is not None for other in others):
        registry.change(
            address,
            content_since=content_since,
            raw_archive=raw_archive,
            account_group=group,
            schedule=new_schedule,
            push=push,
        )
    if push is not None:
        _keep_watch(account.account_id, push=push)
    say(f"changed {address.strip().lower()}")


@app.command("list")
def list_accounts(
    groups: Groups = None,
    states: Annotated[
        list[str] | None,
        typer.Option("--state", help=f"Only accounts in this state ({', '.join(STATES)}); may be given several times."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Lists the registered mailboxes: the state each is in, since when and why, and what to do about it.

    Removed ones are listed by --state removed alone.
    """
    for state in states or ():
        if state not in STATES:
            raise ConfigError(f"--state is {state!r}; it takes one of {', '.join(STATES)}")
    settings, now = load_settings(), datetime.now(UTC)
    registry = Registry(settings)
    check_groups(registry, groups or ())
    accounts = registry.list(*cast("list[AccountState]", states or []), groups=groups or ())
    if as_json:
        print_json(
            {
                "accounts": [
                    {
                        **asdict(account),
                        **as_json_of_privacy(account, registry.policy(account, needs_key=False)),
                        "what_to_do": what_to_do(account),
                        "is_pushed": is_pushed(account.push, settings.push_topic),
                    }
                    for account in accounts
                ]
            }
        )
        return
    if not accounts:
        say(
            "no such account; `mail-ingest account list` shows all"
            if groups or states
            else "no accounts yet; `mail-ingest account connect ADDRESS --client FILE` registers one"
        )
        return
    print_table(
        [
            "account",
            "group",
            "schedule",
            "push",
            "state",
            "since",
            "reason",
            "what to do",
            "last sync",
            "outcome",
            "content since",
            "privacy",
        ],
        [
            [
                account.account_id,
                account.account_group or "",
                account.schedule,
                described(account, settings.push_topic, now),
                account.state,
                f"{account.state_since:%Y-%m-%d %H:%M}",
                account.state_reason,
                what_to_do(account),
                f"{account.last_sync_finished_at:%Y-%m-%d %H:%M}" if account.last_sync_finished_at else "never",
                account.last_outcome or "",
                account.content_since,
                shown(account, registry.policy(account, needs_key=False)),
            ]
            for account in accounts
        ],
    )


@app.command("remove")
def remove(
    address: Address,
    keep_data: Annotated[bool, typer.Option("--keep-data", help="What is stored of its mail stays.")] = False,
    erase: Annotated[
        bool, typer.Option("--erase", help="What is stored of its mail is erased for good: warehouse, archive, cursor.")
    ] = False,
    wait: WaitForTurn = None,
) -> None:
    """Forgets a mailbox's credentials, stops reading it, and keeps or erases what is stored of its mail.

    Without --keep-data or --erase it asks, on a terminal. Data that were kept can be erased later by the same command.
    """
    if keep_data and erase:
        raise ConfigError("account remove takes --keep-data or --erase, not both")
    registry = Registry(load_settings())
    account = registry.find(address) if erase else registry.get(address)
    fate = "keep" if keep_data else "erase" if erase else _ask_about_data(account.account_id)
    if fate == "keep":
        _end_watch(account)
        registry.remove(account.account_id, "its data were kept")
        say(f"removed {account.account_id}; its data stay in the warehouse and in the archive")
        return
    engine = open_rewriting_engine(wait)
    erased = engine.erase_account(account.account_id)
    say(f"removed {account.account_id} and erased {erased.messages} messages, {erased.packs} packs of the archive")


def _keep_watch(account_id: str, *, push: bool) -> None:
    """Begins or ends a watch at once, and says so; what fails is tried again by Dagster."""
    from mail_ingest.ingest.watches import end_watch, renew_watch

    engine = open_engine(0.0)
    account = engine.registry.get(account_id)
    if not push:
        failed = end_watch(engine, account)
        if failed:
            say(f"its watch could not be ended, and lapses by itself within a week: {failed}")
    elif account.last_checked_at is None:
        say("its watch begins after its first sync")
    else:
        say(f"Gmail publishes its changes until {renew_watch(engine, account, 'asked'):%Y-%m-%d %H:%M} UTC")
    engine.close()


def _end_watch(account: Account) -> None:
    """Before its credentials are forgotten."""
    if is_watched(account, datetime.now(UTC)):
        _keep_watch(account.account_id, push=False)


def _ask_about_data(account_id: str) -> Literal["keep", "erase"]:
    """What a person answers. Raises ConfigError where nobody can be asked, or where the answer is neither."""
    if not sys.stdin.isatty():
        raise ConfigError(
            f"nothing was done: say with --keep-data or --erase what is to become of the mail of {account_id} that is stored"
        )
    answer = typer.prompt(f"The mail of {account_id} that is stored: keep it, or erase it for good? [keep/erase]")
    if answer not in ("keep", "erase"):
        raise ConfigError("nothing was done: the answer is keep or erase")
    return cast('Literal["keep", "erase"]', answer)


@app.command("pause")
def pause(
    address: Address, reason: Annotated[str, typer.Option(help="Why, for people who look.")] = "paused by a person"
) -> None:
    """Leaves a mailbox out of syncs until `account resume`; a sync that is under way goes on (`mail-ingest cancel`)."""
    Registry(load_settings()).pause(address, reason)
    say(f"paused {address.strip().lower()}")


@app.command("resume")
def resume(address: Address) -> None:
    """Makes a mailbox active again, whatever stopped it."""
    Registry(load_settings()).resume(address)
    say(f"resumed {address.strip().lower()}")
