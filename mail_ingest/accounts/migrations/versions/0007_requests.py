"""Requests for syncs, schedules of accounts by their activity, and cancelled syncs."""

import sqlalchemy as sa
from alembic import op

from mail_ingest.accounts.migrations import downgrade as downgrade
from mail_ingest.accounts.tables import UtcDateTime

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("accounts", sa.Column("schedule", sa.String(20), nullable=False, server_default="hourly"))
    op.add_column("accounts", sa.Column("owner_active_at", UtcDateTime))
    op.add_column("accounts", sa.Column("messages_last_day", sa.Integer))
    op.add_column("accounts", sa.Column("messages_last_week", sa.Integer))
    op.add_column("accounts", sa.Column("last_push_at", UtcDateTime))
    op.add_column("accounts", sa.Column("cancel_count", sa.Integer, nullable=False, server_default="0"))
    op.create_index("ix_accounts_schedule", "accounts", ["schedule"])
    op.create_table(
        "sync_requests",
        sa.Column("request_id", sa.String(40), primary_key=True),
        sa.Column("account_id", sa.String(320), nullable=False, index=True),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("mode", sa.String(20), nullable=False),
        sa.Column("new_mail", sa.Boolean, nullable=False),
        sa.Column("months", sa.Text, nullable=False, server_default=""),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("not_before", UtcDateTime, nullable=False),
        sa.Column("requested_by", sa.String(80), nullable=False),
        sa.Column("requested_at", UtcDateTime, nullable=False),
        sa.Column("filed_count", sa.Integer, nullable=False, server_default="1"),
        sa.Column("run_key", sa.String(80)),
        sa.Column("run_id", sa.String(80)),
        sa.Column("started_at", UtcDateTime),
        sa.Column("ended_at", UtcDateTime),
        sa.Column("reason", sa.Text, nullable=False, server_default=""),
    )
    op.create_index("ix_sync_requests_state", "sync_requests", ["state", "not_before"])
    waiting = sa.text("state = 'waiting'")
    op.create_index(
        "uq_sync_requests_waiting",
        "sync_requests",
        ["account_id"],
        unique=True,
        sqlite_where=waiting,
        postgresql_where=waiting,
    )
    op.create_table(
        "request_filings",
        sa.Column("filing_id", sa.String(40), primary_key=True),
        sa.Column("account_id", sa.String(320), nullable=False, index=True),
        sa.Column("filed_at", UtcDateTime, nullable=False),
    )
