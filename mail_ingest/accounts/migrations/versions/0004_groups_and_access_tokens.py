"""Groups of accounts, and access tokens that processes share."""

import sqlalchemy as sa
from alembic import op

from mail_ingest.accounts.migrations import downgrade as downgrade
from mail_ingest.accounts.tables import UtcDateTime

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("accounts", sa.Column("account_group", sa.String(80)))
    op.create_index("ix_accounts_account_group", "accounts", ["account_group"])
    op.create_table(
        "access_tokens",
        sa.Column("account_id", sa.String(320), primary_key=True),
        sa.Column("sealed", sa.Text, nullable=False, server_default=""),
        sa.Column("fetched_by", sa.String(40)),
        sa.Column("fetched_until", UtcDateTime),
    )
