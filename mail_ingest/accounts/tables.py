"""The control database's tables, as SQLAlchemy sees them. How they came about is in `migrations`."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    false,
    text,
    true,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

metadata = MetaData()


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time, also on SQLite, which keeps no zone. Naive times are refused."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without zone")
        return value.astimezone(UTC).replace(tzinfo=None if dialect.name == "sqlite" else UTC)

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


accounts = Table(
    "accounts",
    metadata,
    Column("account_id", String(320), primary_key=True),
    Column("address", String(320), nullable=False),
    Column("shard", Integer, nullable=False),
    Column("state", String(20), nullable=False, index=True),
    Column("state_reason", Text, nullable=False, server_default=""),
    Column("state_since", UtcDateTime, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("last_checked_at", UtcDateTime),
    Column("last_sync_started_at", UtcDateTime),
    Column("last_sync_finished_at", UtcDateTime),
    Column("last_outcome", String(20)),
    Column("last_error_class", String(80)),
    Column("consecutive_failures", Integer, nullable=False, server_default="0"),
    Column("next_due_at", UtcDateTime, index=True),
    Column("resume_at", UtcDateTime),
    Column("sync_mode", String(20), nullable=False, server_default="auto"),
    Column("content_since", String(40), nullable=False, server_default="all"),
    Column("include_chats", Boolean, nullable=False),
    Column("include_drafts", Boolean, nullable=False),
    Column("raw_archive", Boolean, nullable=False, server_default=true()),
    Column("account_group", String(80), index=True),
    Column("privacy", String(20)),
    Column("attachments", Boolean, nullable=False, server_default=true()),
    Column("sign_in_mail", Boolean, nullable=False, server_default=true()),
    Column("include_labels", Text, nullable=False, server_default=""),
    Column("exclude_labels", Text, nullable=False, server_default=""),
    Column("buys_again", Boolean, nullable=False, server_default=false()),
    Column("agreed_privacy", String(20)),
    Column("credential_kind", String(20), nullable=False),
    Column("credential", Text, nullable=False),
    Column("discovered_from", String(320), nullable=False, server_default=""),
    Column("schedule", String(20), nullable=False, server_default="hourly", index=True),
    Column("owner_active_at", UtcDateTime),
    Column("messages_last_day", Integer),
    Column("messages_last_week", Integer),
    Column("last_push_at", UtcDateTime),
    Column("cancel_count", Integer, nullable=False, server_default="0"),
    Column("project", String(80), nullable=False, server_default="default"),
    Column("push", Boolean),
    Column("watch_topic", String(300)),
    Column("watch_expires_at", UtcDateTime),
    Column("watch_renewed_at", UtcDateTime),
    Column("watch_tried_at", UtcDateTime),
    Column("watch_error", Text, nullable=False, server_default=""),
    Column("push_history_id", BigInteger),
)

access_tokens = Table(
    "access_tokens",
    metadata,
    Column("account_id", String(320), primary_key=True),
    Column("sealed", Text, nullable=False, server_default=""),
    Column("fetched_by", String(40)),
    Column("fetched_until", UtcDateTime),
)
"""The last access token of an account, encrypted, and which process is fetching the next one, for how long at most."""

sync_requests = Table(
    "sync_requests",
    metadata,
    Column("request_id", String(40), primary_key=True),
    Column("account_id", String(320), nullable=False, index=True),
    Column("state", String(20), nullable=False),
    Column("mode", String(20), nullable=False),
    Column("new_mail", Boolean, nullable=False),
    Column("months", Text, nullable=False, server_default=""),
    Column("priority", Integer, nullable=False),
    Column("not_before", UtcDateTime, nullable=False),
    Column("requested_by", String(80), nullable=False),
    Column("requested_at", UtcDateTime, nullable=False),
    Column("filed_count", Integer, nullable=False, server_default="1"),
    Column("run_key", String(80)),
    Column("run_id", String(80)),
    Column("started_at", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Column("reason", Text, nullable=False, server_default=""),
)
"""Syncs that somebody asked for; see `requests`. Of an account one at most is waiting, which an index makes certain."""
Index("ix_sync_requests_state", sync_requests.c.state, sync_requests.c.not_before)
_IS_WAITING = text("state = 'waiting'")
Index(
    "uq_sync_requests_waiting",
    sync_requests.c.account_id,
    unique=True,
    sqlite_where=_IS_WAITING,
    postgresql_where=_IS_WAITING,
)

request_filings = Table(
    "request_filings",
    metadata,
    Column("filing_id", String(40), primary_key=True),
    Column("account_id", String(320), nullable=False, index=True),
    Column("filed_at", UtcDateTime, nullable=False),
)
"""The requests of the last minute, by which those that come too often are noticed."""

project_budgets = Table(
    "project_budgets",
    metadata,
    Column("project", String(80), primary_key=True),
    Column("state", Text, nullable=False),
    Column("changed_at", UtcDateTime, nullable=False),
)
"""What processes have leased of each Google project's units; see `budgets`. Beside an SQLite file it has a file of its own."""

hash_secrets = Table(
    "hash_secrets",
    metadata,
    Column("account_id", String(320), primary_key=True),
    Column("sealed", Text, nullable=False, server_default=""),
)
"""One row, of no account: the secret under which addresses are hashed, encrypted."""

deployment = Table(
    "deployment",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", String(80), nullable=False),
    Column("named_at", UtcDateTime, nullable=False),
)
"""One row, written by the first process that writes anything: the name of the deployment that owns the database."""

erasure_secrets = Table(
    "erasure_secrets",
    metadata,
    Column("account_id", String(320), primary_key=True),
    Column("sealed", Text, nullable=False, server_default=""),
)
"""One row, of no account: the secret under which erased addresses are hashed, encrypted."""

erased_contacts = Table(
    "erased_contacts",
    metadata,
    Column("contact_hash", String(64), primary_key=True),
    Column("account_id", String(320), primary_key=True),
    Column("erased_at", UtcDateTime, nullable=False),
)
"""Whose mail is kept out, by a keyed hash of the address: of one account, or of all where `account_id` is empty."""

rewritings = Table(
    "rewritings",
    metadata,
    Column("rewriting_id", String(40), primary_key=True),
    Column("account_id", String(320), primary_key=True),
    Column("kind", String(20), nullable=False),
    Column("contact_hash", String(64), nullable=False, server_default=""),
    Column("begun_at", UtcDateTime, nullable=False),
    Column("rows_done_at", UtcDateTime),
)
"""What is being rewritten, a row for each account: `rows_done_at` once nothing but files is left to be written anew."""

erasure_receipts = Table(
    "erasure_receipts",
    metadata,
    Column("receipt_id", String(40), primary_key=True),
    Column("kind", String(20), nullable=False),
    Column("made_at", UtcDateTime, nullable=False),
    Column("document", Text, nullable=False),
)
"""What an erasure or a rewriting did, without personal data."""
