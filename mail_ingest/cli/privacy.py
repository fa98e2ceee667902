"""Options of `mail-ingest account ...` that say what of a mailbox is stored, and what people are asked before that changes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mail_ingest.accounts import Account, PrivacySettings
from mail_ingest.cli.output import fail, say
from mail_ingest.errors import ConfigError
from mail_ingest.privacy import TIERS, Policy, Tier, tier_of

if TYPE_CHECKING:
    from mail_ingest.ingest.erasing.receipts import Erasure
    from mail_ingest.ingest.privacy_change import Consequences

Privacy = Annotated[
    str | None,
    typer.Option(
        "--privacy",
        help=f"What is stored of its mail: {', '.join(TIERS)}; or default, which is what MAIL_INGEST_PRIVACY says.",
    ),
]
IncludeLabels = Annotated[
    list[str] | None,
    typer.Option("--include-label", help="Buy content of messages with this label (name or id) only; may be repeated."),
]
ExcludeLabels = Annotated[
    list[str] | None,
    typer.Option("--exclude-label", help="Buy no content of messages with this label (name or id); may be repeated."),
]
Attachments = Annotated[
    bool | None,
    typer.Option("--attachments/--no-attachments", help="Store what is told of attachments, and their bytes."),
]
SignInMail = Annotated[
    bool | None,
    typer.Option("--sign-in-mail/--no-sign-in-mail", help="Store mail with sign-in codes and password resets."),
]
Chats = Annotated[bool | None, typer.Option("--chats/--no-chats", help="Buy content of chats (label CHAT).")]
Drafts = Annotated[bool | None, typer.Option("--drafts/--no-drafts", help="Buy content of drafts (label DRAFT).")]
Yes = Annotated[
    bool, typer.Option("--yes", help="Agree to what is rewritten for good, and to the price of what is bought again.")
]


def privacy_of(
    privacy: str | None = None,
    include_labels: list[str] | None = None,
    exclude_labels: list[str] | None = None,
    attachments: bool | None = None,
    sign_in_mail: bool | None = None,
    chats: bool | None = None,
    drafts: bool | None = None,
) -> PrivacySettings:
    """What the options ask for. Raises ConfigError for a tier that there is not."""
    tier: Tier | Literal["default"] | None
    try:
        tier = None if privacy is None else "default" if privacy.strip().lower() == "default" else tier_of(privacy)
    except ValueError as error:
        raise ConfigError(f"--privacy: {error}; default takes back what the account was given") from None
    return PrivacySettings(tier, attachments, sign_in_mail, include_labels, exclude_labels, chats, drafts)


def agree(account_id: str, found: Consequences, *, yes: bool) -> None:
    """Says what a change does to what is stored, and has a person agree. Raises ConfigError where nobody does."""
    told = list(_told(found))
    for line in told:
        say(f"{account_id}: {line}")
    if not found.needs_consent or yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError(f"nothing was changed: say with --yes that this is meant ({'; '.join(told)})")
    if not typer.confirm("Go on?"):
        raise ConfigError("nothing was changed")


def _told(found: Consequences) -> list[str]:
    lines = []
    if found.rewritten:
        lines.append(f"{found.rewritten} stored messages say more than is allowed then, and are rewritten for good")
    if found.searched:
        lines.append(f"{found.searched} stored messages are searched for sign-in mail, which is erased")
    if found.erases_bytes:
        lines.append("the raw archive keeps nothing of it any more, what is archived is erased")
    if found.bought_again:
        lines.append(
            f"{found.bought_again} messages are stored in a stricter form, or left out, and are bought again: "
            f"{found.units} units"
        )
    if found.comes_in:
        lines.append(f"{found.comes_in} messages come into its scope, and the next syncs buy them")
    if found.goes_out:
        lines.append(f"{found.goes_out} messages leave its scope; what is stored of messages stays")
    return lines


def report_rewriting(erasure: Erasure) -> None:
    """What was rewritten, and the proof of it. Exits with 1 where something that had to go was found."""
    from mail_ingest.ingest.erasing.receipts import lines

    for line in lines(erasure):
        say(line)
    if not erasure.is_proven:
        fail("something that had to go was found, see above; run the same command again")
        raise typer.Exit(1)


def shown(account: Account, policy: Policy) -> str:
    """An account's privacy and scope in a few words."""
    parts = [policy.tier if account.privacy else f"{policy.tier} (default)"]
    parts += [
        word
        for word, is_off in (
            ("no attachments", not policy.attachments),
            ("no sign-in mail", not policy.sign_in_mail),
            ("no chats", not account.include_chats),
            ("no drafts", not account.include_drafts),
        )
        if is_off
    ]
    parts += [f"+{label}" for label in policy.include_labels] + [f"-{label}" for label in policy.exclude_labels]
    return ", ".join(parts)


def as_json(account: Account, policy: Policy) -> dict[str, object]:
    """The same for scripts; `raw_archive` is what is in effect."""
    return {
        "privacy": policy.tier,
        "privacy_is_default": account.privacy is None,
        "attachments": policy.attachments,
        "sign_in_mail": policy.sign_in_mail,
        "include_labels": list(policy.include_labels),
        "exclude_labels": list(policy.exclude_labels),
        "include_chats": account.include_chats,
        "include_drafts": account.include_drafts,
        "raw_archive": policy.keeps_bytes,
        "content_since": account.content_since,
    }
