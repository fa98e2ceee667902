"""Changing an account's privacy: what that does to what is stored, and doing it.

A stricter policy holds at once: it is written down first, then what says more is rewritten, under the content lock, so that
nothing wider lands in between. A process that dies meanwhile is made up for by the next sync, or by the same command. A
wider policy holds for what is bought from now on; what is stored in a stricter form is bought again only where a person
agreed to the price.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mail_ingest.accounts import Account, PrivacySettings
from mail_ingest.errors import ConfigError
from mail_ingest.ingest.privacy import in_scope
from mail_ingest.ingest.scope import account_horizon
from mail_ingest.privacy import Policy, holds_too_much
from mail_ingest.warehouse.queries import Scope

if TYPE_CHECKING:
    from mail_ingest.ingest.engine import Engine


@dataclass(frozen=True, slots=True)
class Consequences:
    """What a change does to messages that are known: `rewritten` say more than is allowed, `searched` have to be looked
    through for sign-in mail, `bought_again` lack what is wanted, for `units` of Gmail's quota, `comes_in` and `goes_out` of
    the scope of content."""

    policy: Policy
    rewritten: int = 0
    searched: int = 0
    bought_again: int = 0
    units: int = 0
    erases_bytes: bool = False
    comes_in: int = 0
    goes_out: int = 0

    @property
    def needs_consent(self) -> bool:
        """Whether anything is lost for good, or costs something that was paid for once."""
        return bool(self.rewritten or self.searched or self.bought_again or self.erases_bytes)


def check_archive(policy: Policy, *, asked_for: bool) -> None:
    """Raises ConfigError where bytes are asked for that the policy never keeps."""
    if asked_for and not policy.keeps_bytes:
        why = f"the tier {policy.tier}" if policy.tier != "full" else "--no-attachments"
        raise ConfigError(f"--raw-archive does not go with {why}: raw bytes hold everything that is to be left out")


def consequences(
    engine: Engine, account: Account, privacy: PrivacySettings, *, raw_archive: bool | None = None
) -> Consequences:
    """What it would do to give an account these settings. Asks the warehouse and nobody else.

    Raises ConfigError for a label that the mailbox does not have, and where `--raw-archive` does not go with the rest.
    """
    before = engine.registry.policy(account)
    after = engine.registry.policy(account, privacy=privacy)
    check_archive(after, asked_for=bool(raw_archive))
    if not engine.warehouse.exists:
        return Consequences(after)
    now = datetime.now(UTC)
    known = bool(engine.queries.labels(account.account_id))
    horizon = Scope(since=account_horizon(account))
    changed = privacy.applied_to(account)
    plain = in_scope(engine, privacy.applied_to(account, buys_again=False), horizon, after, knows_labels=known)
    again = in_scope(engine, privacy.applied_to(account, buys_again=True), horizon, after, knows_labels=known)
    earlier = in_scope(engine, account, horizon, before, knows_labels=False)
    inside = {scope: engine.queries.count_backlog(account.account_id, scope, now) for scope in (plain, again, earlier)}
    total = {scope: backlog.due + backlog.waiting for scope, backlog in inside.items()}
    forms = engine.queries.forms(account.account_id)
    bought_again = total[again] - total[plain]
    return Consequences(
        policy=after,
        rewritten=sum(
            count
            for (form, has_attachments), count in forms.items()
            if holds_too_much(form, after, has_attachments=has_attachments)
        ),
        searched=sum(forms.values()) if before.sign_in_mail and not after.sign_in_mail else 0,
        bought_again=bought_again,
        units=bought_again * engine.governor.profile.costs["messages.get"],
        erases_bytes=before.keeps_bytes and not after.keeps_bytes and changed.raw_archive and bool(forms),
        comes_in=max(total[plain] - total[earlier], 0) if _labels_differ(before, after, account, changed) else 0,
        goes_out=max(total[earlier] - total[plain], 0) if _labels_differ(before, after, account, changed) else 0,
    )


def change_privacy(engine: Engine, account: Account, privacy: PrivacySettings, agreed: Consequences) -> None:
    """Gives an account these settings, and rewrites what says more than they allow.

    Raises BusyError where a sync holds the account's content; then nothing was done.
    """
    with engine.locks.hold(f"content:{account.account_id}"):
        engine.registry.change(account.account_id, privacy=privacy, buys_again=agreed.bought_again > 0)
        engine.narrow(engine.registry.get(account.account_id), searches_sign_in_mail=agreed.searched > 0)


def _labels_differ(before: Policy, after: Policy, account: Account, changed: Account) -> bool:
    return (before.include_labels, before.exclude_labels, account.include_chats, account.include_drafts) != (
        after.include_labels,
        after.exclude_labels,
        changed.include_chats,
        changed.include_drafts,
    )
