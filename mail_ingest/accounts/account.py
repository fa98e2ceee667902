"""One registered mailbox, and what may be its address."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from mail_ingest.accounts.credentials import CredentialKind
from mail_ingest.errors import ConfigError

AccountState = Literal["active", "paused", "needs_reauth", "parked", "cooling_down", "removed"]
"""active: synced when due · paused: by a person · needs_reauth: by dead credentials · parked: there is no Gmail, or a
policy forbids it · cooling_down: its syncs keep failing, so it is left alone until `resume_at` · removed: only the name
is kept, and its shard."""

_LONGEST_ADDRESS = 254
_LONGEST_GROUP = 80
_ADDRESS = re.compile(r"[^\s@<>\",;:\\()\[\]]+@[^\s@<>\",;:\\()\[\].]+(\.[^\s@<>\",;:\\()\[\].]+)+")


@dataclass(frozen=True, slots=True)
class Account:
    """`account_id` is the address in lower case, `address` as it was typed; times are UTC; `shard` never changes.

    `account_group`: the team, customer or person it belongs to; None without one. `discovered_from` names the directory that
    a discovery found it in, and is empty where a person registered it.
    """

    account_id: str
    address: str
    shard: int
    state: AccountState
    state_reason: str
    state_since: datetime
    created_at: datetime
    last_checked_at: datetime | None
    last_sync_started_at: datetime | None
    last_sync_finished_at: datetime | None
    last_outcome: str | None
    last_error_class: str | None
    consecutive_failures: int
    next_due_at: datetime | None
    resume_at: datetime | None
    sync_mode: str
    content_since: str
    include_chats: bool
    include_drafts: bool
    raw_archive: bool
    account_group: str | None
    credential_kind: CredentialKind
    discovered_from: str


@dataclass(frozen=True, slots=True)
class Look:
    """When Gmail last answered for an account, whether it had anything new or not; None before the first time."""

    account_id: str
    state: AccountState
    looked_at: datetime | None
    registered_at: datetime


def account_id_of(address: str) -> str:
    """The key of an address: trimmed, in lower case. Raises ConfigError where it is no address."""
    account_id = address.strip().lower()
    # an address stands in logs and terminals, and what does not print may change what else they show
    if not _ADDRESS.fullmatch(account_id) or not account_id.isprintable() or len(account_id) > _LONGEST_ADDRESS:
        raise ConfigError(
            f"{address!r} is no mail address; an account is named by its address, such as ada@example.com"
        )
    return account_id


def group_of(name: str) -> str | None:
    """A group's name, trimmed; None for an empty one. Raises ConfigError where it cannot be a name."""
    group = name.strip()
    if len(group) > _LONGEST_GROUP or not group.isprintable():
        raise ConfigError(f"a group has a name of {_LONGEST_GROUP} printable characters at most, such as sales")
    return group or None
