"""One registered mailbox, and what may be its address."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, NamedTuple

from mail_ingest.accounts.credentials import CredentialKind
from mail_ingest.accounts.schedules import ADAPTIVE, Activity, Schedule, interval
from mail_ingest.errors import ConfigError
from mail_ingest.privacy import Tier

AccountState = Literal["active", "paused", "needs_reauth", "parked", "cooling_down", "removed"]
"""active: synced when due · paused: by a person · needs_reauth: by dead credentials · parked: there is no Gmail, or a
policy forbids it · cooling_down: its syncs keep failing, so it is left alone until `resume_at` · removed: only the name
is kept, and its shard."""

_LONGEST_ADDRESS = 254
_LONGEST_GROUP = 80
_ADDRESS = re.compile(r"[^\s@<>\",;:\\()\[\]]+@[^\s@<>\",;:\\()\[\].]+(\.[^\s@<>\",;:\\()\[\].]+)+")


@dataclass(frozen=True, slots=True)
class Account:
    """`account_id` is the address in lower case, `address` as it was typed; times are UTC; those of a `shard` are synced
    together.

    `privacy` is the tier that the account was given, None where it has the default; `include_labels` and `exclude_labels` are
    names or ids, one a line. `buys_again`: a person agreed that what is stored in a stricter form is bought again, and
    `agreed_privacy` is the tier that held then: a default that becomes wider meanwhile is not what they agreed to. None is the
    tier that holds now, as agreements of earlier versions have it.
    `account_group`: the team, customer or person it belongs to; None without one. `discovered_from` names the directory that
    a discovery found it in, and is empty where a person registered it. `schedule` and what it goes by: see `schedules`.
    `project`: the Google project whose quota it spends, `default` where its credentials name none. `push` is what a person
    said, None where the deployment decides; the rest of it: see `watches`.
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
    privacy: Tier | None
    attachments: bool
    sign_in_mail: bool
    include_labels: str
    exclude_labels: str
    buys_again: bool
    agreed_privacy: Tier | None
    credential_kind: CredentialKind
    discovered_from: str
    schedule: Schedule
    owner_active_at: datetime | None
    messages_last_day: int | None
    messages_last_week: int | None
    last_push_at: datetime | None
    project: str
    push: bool | None
    watch_topic: str | None
    watch_expires_at: datetime | None
    watch_renewed_at: datetime | None
    watch_tried_at: datetime | None
    watch_error: str

    @property
    def activity(self) -> Activity:
        """As of its last sync."""
        return Activity(self.owner_active_at, self.messages_last_day, self.messages_last_week, self.last_push_at)

    @property
    def last_tried_at(self) -> datetime | None:
        """When a sync last ended, however it did, or began."""
        tried = (self.last_checked_at, self.last_sync_finished_at, self.last_sync_started_at)
        return max((moment for moment in tried if moment is not None), default=None)

    def due_at(self, now: datetime) -> datetime | None:
        """When its next sync is due by its waits or its adaptive schedule; None where neither says so."""
        if self.schedule not in ADAPTIVE or self.state not in ("active", "cooling_down"):
            return self.next_due_at
        tried_at = self.last_tried_at
        by_schedule = now if tried_at is None else tried_at + interval(self.schedule, self.activity, now)
        return max(by_schedule, self.next_due_at or by_schedule)


@dataclass(frozen=True, slots=True)
class Look:
    """When Gmail last answered for an account, whether it had anything new or not; None before the first time."""

    account_id: str
    state: AccountState
    looked_at: datetime | None
    registered_at: datetime


class Standing(NamedTuple):
    """What people who ask the warehouse are told of an account. `is_pushed`: whether Gmail is to publish its changes."""

    status: AccountState
    account_group: str | None
    privacy: Tier
    is_pushed: bool
    watch_expires_at: datetime | None
    last_notified_at: datetime | None


@dataclass(frozen=True, slots=True)
class PrivacySettings:
    """What a person set of an account's privacy and scope; None leaves each as it is, or as it is by default. The tier `default`
    takes back one that the account was given."""

    tier: Tier | Literal["default"] | None = None
    attachments: bool | None = None
    sign_in_mail: bool | None = None
    include_labels: Sequence[str] | None = None
    exclude_labels: Sequence[str] | None = None
    include_chats: bool | None = None
    include_drafts: bool | None = None

    @property
    def changes_anything(self) -> bool:
        return bool(self.values())

    def applied_to(self, account: Account) -> Account:
        """The account as it would be with these settings."""
        return replace(account, **self.values())

    def values(self) -> dict[str, Any]:
        """The columns that were set."""
        given = {
            "privacy": self.tier,
            "attachments": self.attachments,
            "sign_in_mail": self.sign_in_mail,
            "include_labels": _lines(self.include_labels),
            "exclude_labels": _lines(self.exclude_labels),
            "include_chats": self.include_chats,
            "include_drafts": self.include_drafts,
        }
        values = {name: value for name, value in given.items() if value is not None}
        return values | ({"privacy": None} if self.tier == "default" else {})


def _lines(labels: Sequence[str] | None) -> str | None:
    """Labels as they are stored, one a line; an empty one stands for none at all."""
    return None if labels is None else "\n".join(dict.fromkeys(label.strip() for label in labels if label.strip()))


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
