"""The accounts: which mailboxes are read, in what state they are, and the tokens that open them."""

from mail_ingest.accounts.account import Account, AccountState, Look, account_id_of
from mail_ingest.accounts.credentials import (
    Credential,
    application_default,
    authorized_user,
    from_reference,
    service_account,
    token_env,
)
from mail_ingest.accounts.discovery import Findings, Plan, discover, plan_of
from mail_ingest.accounts.registry import Registry
from mail_ingest.accounts.sealing import new_key
from mail_ingest.accounts.tokens import TokenSource

__all__ = [
    "Account",
    "AccountState",
    "Credential",
    "Findings",
    "Look",
    "Plan",
    "Registry",
    "TokenSource",
    "account_id_of",
    "application_default",
    "authorized_user",
    "discover",
    "from_reference",
    "new_key",
    "plan_of",
    "service_account",
    "token_env",
]
