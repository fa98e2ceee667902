"""The tier that held when a person agreed to buy again what was stored in a stricter form."""

import sqlalchemy as sa
from alembic import op

from mail_ingest.accounts.migrations import downgrade as downgrade

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("accounts", sa.Column("agreed_privacy", sa.String(20)))
