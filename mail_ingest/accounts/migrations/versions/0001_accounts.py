"""The registry of accounts, and the name of the deployment that owns it."""

import sqlalchemy as sa
from alembic import op

from mail_ingest.accounts.migrations import downgrade as downgrade
from mail_ingest.accounts.tables import UtcDateTime

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("account_id", sa.String(320), primary_key=True),
        sa.Column("address", sa.String(320), nullable=False),
        sa.Column("shard", sa.Integer, nullable=False),
        sa.Column("state", sa.String(20), nullable=False, index=True),
        sa.Column("state_reason", sa.Text, nullable=False, server_default=""),
        sa.Column("state_since", UtcDateTime, nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("last_checked_at", UtcDateTime),
        sa.Column("last_sync_started_at", UtcDateTime),
        sa.Column("last_sync_finished_at", UtcDateTime),
        sa.Column("last_outcome", sa.String(20)),
        sa.Column("last_error_class", sa.String(80)),
        sa.Column("consecutive_failures", sa.Integer, nullable=False, server_default="0"),
        sa.Column("next_due_at", UtcDateTime, index=True),
        sa.Column("resume_at", UtcDateTime),
        sa.Column("sync_mode", sa.String(20), nullable=False, server_default="auto"),
        sa.Column("content_since", sa.String(40), nullable=False, server_default="all"),
        sa.Column("include_chats", sa.Boolean, nullable=False),
        sa.Column("include_drafts", sa.Boolean, nullable=False),
        sa.Column("credential_kind", sa.String(20), nullable=False),
        sa.Column("credential", sa.Text, nullable=False),
    )
    op.create_table(
        "deployment",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", sa.String(80), nullable=False),
        sa.Column("named_at", UtcDateTime, nullable=False),
    )
