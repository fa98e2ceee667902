"""Watches of accounts: which are published to a Pub/Sub topic, until when, and what their notifications have told."""

import sqlalchemy as sa
from alembic import op

from mail_ingest.accounts.migrations import downgrade as downgrade
from mail_ingest.accounts.tables import UtcDateTime

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("accounts", sa.Column("push", sa.Boolean))
    op.add_column("accounts", sa.Column("watch_topic", sa.String(300)))
    op.add_column("accounts", sa.Column("watch_expires_at", UtcDateTime))
    op.add_column("accounts", sa.Column("watch_renewed_at", UtcDateTime))
    op.add_column("accounts", sa.Column("watch_tried_at", UtcDateTime))
    op.add_column("accounts", sa.Column("watch_error", sa.Text, nullable=False, server_default=""))
    op.add_column("accounts", sa.Column("push_history_id", sa.BigInteger))
