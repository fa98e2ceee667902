"""Erased people, rewritings that are under way, and receipts."""

import sqlalchemy as sa
from alembic import op

from mail_ingest.accounts.migrations import downgrade as downgrade
from mail_ingest.accounts.tables import UtcDateTime

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "erasure_secrets",
        sa.Column("account_id", sa.String(320), primary_key=True),
        sa.Column("sealed", sa.Text, nullable=False, server_default=""),
    )
    op.create_table(
        "erased_contacts",
        sa.Column("contact_hash", sa.String(64), primary_key=True),
        sa.Column("account_id", sa.String(320), primary_key=True),
        sa.Column("erased_at", UtcDateTime, nullable=False),
    )
    op.create_table(
        "rewritings",
        sa.Column("rewriting_id", sa.String(40), primary_key=True),
        sa.Column("account_id", sa.String(320), primary_key=True),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("contact_hash", sa.String(64), nullable=False, server_default=""),
        sa.Column("begun_at", UtcDateTime, nullable=False),
        sa.Column("rows_done_at", UtcDateTime),
    )
    op.create_table(
        "erasure_receipts",
        sa.Column("receipt_id", sa.String(40), primary_key=True),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("made_at", UtcDateTime, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
