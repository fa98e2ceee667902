"""Gmail over HTTP, read only: the client, its values, and the quota it spends."""

from mail_ingest.gmail.budget import OWN_DAY_LIMIT, Budgets, DayUse
from mail_ingest.gmail.calls import Patience
from mail_ingest.gmail.client import GmailClient
from mail_ingest.gmail.findings import Findings
from mail_ingest.gmail.governor import DEFAULT_PROJECT, QuotaGovernor
from mail_ingest.gmail.leasing import Purpose, Shares
from mail_ingest.gmail.ledger import Ledger, Snapshot, Usage
from mail_ingest.gmail.models import (
    HistoryChange,
    HistoryPage,
    HistoryRecord,
    IdPage,
    Label,
    MessageRef,
    MessageState,
    Profile,
    RawMessage,
    Watch,
)
from mail_ingest.gmail.quota import PROFILES, QuotaProfile, parse_quota
from mail_ingest.gmail.transport import TokenSource, Transport

__all__ = [
    "DEFAULT_PROJECT",
    "OWN_DAY_LIMIT",
    "PROFILES",
    "Budgets",
    "DayUse",
    "Findings",
    "GmailClient",
    "HistoryChange",
    "HistoryPage",
    "HistoryRecord",
    "IdPage",
    "Label",
    "Ledger",
    "MessageRef",
    "MessageState",
    "Patience",
    "Profile",
    "Purpose",
    "QuotaGovernor",
    "QuotaProfile",
    "RawMessage",
    "Shares",
    "Snapshot",
    "TokenSource",
    "Transport",
    "Usage",
    "Watch",
    "parse_quota",
]
