"""Google projects of accounts, and the budgets that processes share."""

import sqlalchemy as sa
from alembic import op

from mail_ingest.accounts.migrations import downgrade as downgrade
from mail_ingest.accounts.tables import UtcDateTime

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("accounts", sa.Column("project", sa.String(80), nullable=False, server_default="default"))
    op.create_table(
        "project_budgets",
        sa.Column("project", sa.String(80), primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("changed_at", UtcDateTime, nullable=False),
    )
