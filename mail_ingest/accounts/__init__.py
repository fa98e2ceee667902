"""The accounts: which mailboxes are read, in what state they are, and the tokens that open them."""

from mail_ingest.accounts.account import Account, AccountState, Look, PrivacySettings, Standing, account_id_of
from mail_ingest.accounts.credentials import (
    Credential,
    application_default,
    authorized_user,
    from_reference,
    service_account,
    token_env,
)
from mail_ingest.accounts.discovery import Findings, Plan, discover, plan_of
from mail_ingest.accounts.keys import new_key
from mail_ingest.accounts.registry import Registry, check_groups
from mail_ingest.accounts.requests import LONG_DRAIN, Batch, Request, Requests
from mail_ingest.accounts.rotation import Rotation
from mail_ingest.accounts.schedules import ADAPTIVE, SCHEDULES, Schedule, schedule_of
from mail_ingest.accounts.states import STATES, what_to_do
from mail_ingest.accounts.tokens import TokenSource
from mail_ingest.accounts.wishes import BACKFILL, Wish, make_wish, parse_time

__all__ = [
    "ADAPTIVE",
    "BACKFILL",
    "LONG_DRAIN",
    "SCHEDULES",
    "STATES",
    "Account",
    "AccountState",
    "Batch",
    "Credential",
    "Findings",
    "Look",
    "Plan",
    "PrivacySettings",
    "Registry",
    "Request",
    "Requests",
    "Rotation",
    "Schedule",
    "Standing",
    "TokenSource",
    "Wish",
    "account_id_of",
    "application_default",
    "authorized_user",
    "check_groups",
    "discover",
    "from_reference",
    "make_wish",
    "new_key",
    "parse_time",
    "plan_of",
    "schedule_of",
    "service_account",
    "token_env",
    "what_to_do",
]
