"""Whether an account's raw bytes are archived."""

import sqlalchemy as sa
from alembic import op

from mail_ingest.accounts.migrations import downgrade as downgrade

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("accounts", sa.Column("raw_archive", sa.Boolean, nullable=False, server_default=sa.true()))
