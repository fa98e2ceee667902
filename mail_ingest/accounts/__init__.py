"""The accounts: which mailboxes are read, in what state they are, and the tokens that open them."""

from mail_ingest.accounts.credentials import Credential, authorized_user, service_account, token_env
from mail_ingest.accounts.registry import Account, AccountState, Registry, account_id_of
from mail_ingest.accounts.tokens import TokenSource

__all__ = [
    "Account",
    "AccountState",
    "Credential",
    "Registry",
    "TokenSource",
    "account_id_of",
    "authorized_user",
    "service_account",
    "token_env",
]
