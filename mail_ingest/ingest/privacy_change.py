"""Changing an account's privacy: what that does to what is stored, and doing it.

A stricter policy holds at once: it is written down first, then what says more is rewritten. Whoever holds the account's
content lock meanwhile ends a package by the old policy, which is rewritten after it, and asks for the new one before the next.
A process that dies meanwhile is made up for by the next sync, or by the same command. A wider policy holds for what is bought
from now on; what is stored in a stricter form is bought again only where a person agreed to the price.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mail_ingest.accounts import Account, PrivacySettings
from mail_ingest.errors import ConfigError
from mail_ingest.ingest.erasing.receipts import Erasure
from mail_ingest.ingest.erasing.resuming import rewrite_account
from mail_ingest.ingest.privacy import UnknownLabelError, in_scope
from mail_ingest.ingest.scope import account_horizon
from mail_ingest.privacy import Policy, holds_too_much
from mail_ingest.warehouse.queries import Scope

if TYPE_CHECKING:
    from mail_ingest.ingest.engine import Engine

logger = logging.getLogger(__name__)


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
    engine: Engine,
    account: Account,
    privacy: PrivacySettings,
    *,
    raw_archive: bool | None = None,
    content_since: str | None = None,
) -> Consequences:
    """What it would do to give an account these settings, and perhaps another horizon. Asks the warehouse and nobody else.

    Raises ConfigError for a label that the mailbox does not have, and where `--raw-archive` does not go with the rest.
    """
    before = engine.registry.policy(account)
    after = engine.registry.policy(account, privacy=privacy)
    check_archive(after, asked_for=bool(raw_archive))
    if not engine.warehouse.exists:
        return Consequences(after)
    now = datetime.now(UTC)
    known = bool(engine.queries.labels(account.account_id))
    changed = replace(privacy.applied_to(account), content_since=content_since or account.content_since)
    horizon = Scope(since=account_horizon(changed, now))
    # whoever agreed before is asked about all of it, once more
    unasked, agreed = replace(changed, buys_again=False), replace(changed, buys_again=True, agreed_privacy=after.tier)
    try:
        plain = in_scope(engine, unasked, horizon, after, knows_labels=known)
    except UnknownLabelError as error:
        raise ConfigError(
            f"nothing was changed: {account.account_id} has no label of the name or id {error.label!r}; mail.labels lists those "
            "it has"
        ) from None
    again = in_scope(engine, agreed, horizon, after, knows_labels=known)
    earlier = in_scope(engine, account, Scope(since=account_horizon(account, now)), before, knows_labels=False)
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
        erases_bytes=not after.allows_bytes and bool(engine.archive.packs(account.account_id)),
        comes_in=max(total[plain] - total[earlier], 0) if _scope_differs(before, after, account, changed) else 0,
        goes_out=max(total[earlier] - total[plain], 0) if _scope_differs(before, after, account, changed) else 0,
    )


def change_privacy(
    engine: Engine,
    account: Account,
    privacy: PrivacySettings,
    agreed: Consequences,
    *,
    content_since: str | None = None,
) -> Erasure | None:
    """Gives an account these settings, and rewrites what says more than they allow: the proof of that, if there was anything.

    Raises BusyError where a sync holds the account, or a reader the warehouse: the settings hold by then, and the next sync, or
    the same command, does what is left.
    """
    account_id = account.account_id
    must_rewrite = bool(agreed.rewritten or agreed.searched or agreed.erases_bytes)
    must_rewrite |= engine.warehouse.exists and _must_look(engine, account, privacy)
    # should this process die then, the next sync rewrites by the settings that it finds
    engine.registry.change(
        account_id,
        privacy=privacy,
        content_since=content_since,
        buys_again=agreed.bought_again > 0,
        agreed_privacy=agreed.policy.tier,
        rewrites=must_rewrite,
    )
    engine.keep_analyst_tables()
    return _rewrite(engine, engine.registry.get(account_id)) if must_rewrite else None


def _must_look(engine: Engine, account: Account, privacy: PrivacySettings) -> bool:
    """Whether something may be stored that counts do not tell: labels with addresses, what a sync is about to land, and what an
    earlier change has left undone. No sync looks for these by itself."""
    before, after = engine.registry.policy(account), engine.registry.policy(account, privacy=privacy)
    return (
        (before.sign_in_mail and not after.sign_in_mail)
        or (before.tier != "hashed" and after.tier == "hashed")
        or any(left.kind == "privacy" for left in engine.registry.erasures.unfinished(account.account_id))
    )


def narrow_if_needed(engine: Engine, account: Account) -> None:
    """Rewrites what is stored of an account where it says more than the account's privacy allows; two queries where it does
    not. Sign-in mail is not looked for: whoever turns it off rewrites at once."""
    if not engine.warehouse.exists:
        return
    policy = engine.registry.policy(account)
    if policy.allows_bytes:
        return
    if says_too_much(engine, account, policy, engine.queries.forms(account.account_id)):
        logger.warning("what is stored of %s says more than its privacy allows; it is rewritten", account.account_id)
        # what is taken away now is not what somebody agreed to buy again
        engine.registry.end_agreement(account)
        _rewrite(engine, account)


def says_too_much(engine: Engine, account: Account, policy: Policy, forms: Collection[tuple[str, bool]]) -> bool:
    """Whether what is stored of an account in these forms, with or without attachments, says more than its policy allows."""
    if policy.allows_bytes:
        return False
    too_much = any(holds_too_much(form, policy, has_attachments=has_attachments) for form, has_attachments in forms)
    return too_much or (not policy.allows_bytes and bool(engine.archive.packs(account.account_id)))


def end_agreement_if_used(engine: Engine, account_id: str) -> None:
    """Ends an agreement to buy again once all is bought that it was about: the next default that becomes wider is not meant by
    it."""
    account = engine.registry.get(account_id)
    if account.buys_again and not engine.queries.has_to_buy_again(account_id, engine.content_scope(account)):
        engine.registry.end_agreement(account)


def _rewrite(engine: Engine, account: Account) -> Erasure:
    return rewrite_account(engine, account.account_id, engine.privacy_instructions(account))


def _scope_differs(before: Policy, after: Policy, account: Account, changed: Account) -> bool:
    labels = (before.include_labels, before.exclude_labels) != (after.include_labels, after.exclude_labels)
    return labels or any(
        getattr(account, name) != getattr(changed, name)
        for name in ("include_chats", "include_drafts", "content_since")
    )
