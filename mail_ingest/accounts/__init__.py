"""The accounts: which mailboxes are read, in what state they are, and the tokens that open them."""

from mail_ingest.accounts.account import Account, AccountState, account_id_of
from mail_ingest.accounts.credentials import Credential, authorized_user, service_account, token_env
from mail_ingest.accounts.keys import new_key
from mail_ingest.accounts.registry import Registry, check_groups
from mail_ingest.accounts.rotation import Rotation
from mail_ingest.accounts.states import STATES, what_to_do
from mail_ingest.accounts.tokens import TokenSource

__all__ = [
    "STATES",
    "Account",
    "AccountState",
    "Credential",
    "Registry",
    "Rotation",
    "TokenSource",
    "account_id_of",
    "authorized_user",
    "check_groups",
    "new_key",
    "service_account",
    "token_env",
    "what_to_do",
]
