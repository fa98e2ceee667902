"""What may be stored of an account, and the secret under which addresses are hashed."""

import sqlalchemy as sa
from alembic import op

from mail_ingest.accounts.migrations import downgrade as downgrade

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("accounts", sa.Column("privacy", sa.String(20)))
    for name in ("attachments", "sign_in_mail"):
        op.add_column("accounts", sa.Column(name, sa.Boolean, nullable=False, server_default=sa.true()))
    for name in ("include_labels", "exclude_labels"):
        op.add_column("accounts", sa.Column(name, sa.Text, nullable=False, server_default=""))
    op.add_column("accounts", sa.Column("buys_again", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_table(
        "hash_secrets",
        sa.Column("account_id", sa.String(320), primary_key=True),
        sa.Column("sealed", sa.Text, nullable=False, server_default=""),
    )
