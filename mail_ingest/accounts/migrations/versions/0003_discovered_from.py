"""Where a discovery found an account."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("accounts", sa.Column("discovered_from", sa.String(320), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("accounts", "discovered_from")
