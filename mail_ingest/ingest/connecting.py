"""A person's consent becomes an account: asked for, checked to be the right mailbox's, then stored."""

from __future__ import annotations

from dataclasses import dataclass

from mail_ingest.accounts import Account, PrivacySettings
from mail_ingest.accounts.consent import Grant
from mail_ingest.errors import AccountError, WrongMailboxError
from mail_ingest.gmail import GmailClient
from mail_ingest.ingest.engine import Engine


@dataclass(frozen=True, slots=True)
class _GrantedToken:
    """The token of a consent that is not stored yet; there is no other."""

    grant: Grant

    def token(self, force_refresh: bool = False) -> str:  # noqa: ARG002  an hour is enough for one call
        return self.grant.access_token


def store_consent(
    engine: Engine,
    account_id: str,
    grant: Grant,
    content_since: str | None = None,
    group: str | None = None,
    privacy: PrivacySettings = PrivacySettings(),  # noqa: B008  frozen
) -> tuple[Account, bool]:
    """Registers the account, or gives a registered one these credentials and makes it active; its cursor is kept, and so are
    its horizon and its group where none is given; another horizon ends what it agreed to buy again. `privacy` is for one that is
    new.

    Asks Gmail for the profile (1 unit). Returns the account, and whether it is new. Raises WrongMailboxError where another
    mailbox consented, and what the client raises; then nothing is stored, and a consent that is of no use is given back.
    """
    registered = {account.account_id for account in engine.registry.list()}
    try:
        mailbox = _mailbox(engine, account_id, grant)
    except AccountError:
        _give_back(grant, account_id, registered)
        raise
    if mailbox != account_id:
        given_back = _give_back(grant, mailbox, registered)
        raise WrongMailboxError(
            f"{mailbox} consented, and {account_id} was asked: nothing was stored, {given_back}. Connect again, and choose "
            f"{account_id} on Google's page.",
            account_id=account_id,
        )
    if account_id not in registered:
        account = engine.registry.add(
            account_id,
            grant.credential,
            content_since=content_since or "all",
            account_group=group or "",
            privacy=privacy,
        )
        return account, True
    engine.registry.reconnect(account_id, grant.credential)
    if content_since is not None or group is not None:
        # whoever agreed to buy again did so for another horizon
        ends = content_since not in (None, engine.registry.get(account_id).content_since)
        engine.registry.change(
            account_id, content_since=content_since, account_group=group, buys_again=False if ends else None
        )
    return engine.registry.get(account_id), False


def _mailbox(engine: Engine, account_id: str, grant: Grant) -> str:
    """The address of the mailbox that was consented to."""
    client = GmailClient(
        account_id,
        token=_GrantedToken(grant),
        governor=engine.governor,
        transport=engine.transport,
        url=engine.settings.gmail_url,
    )
    return client.get_profile().email_address.lower()


def _give_back(grant: Grant, mailbox: str, registered: set[str]) -> str:
    """Ends the consent, and says what became of it. Google ends all consents of a person to one OAuth client together: that
    of a mailbox which we sync must stay."""
    if mailbox in registered:
        return f"and the consent was forgotten, not revoked, because {mailbox} is an account of its own here"
    if grant.revoke():
        return "and the consent was revoked"
    return "but the consent could not be revoked: its owner can at https://myaccount.google.com/connections"
