"""The control database's versions, oldest first. Each one only adds; none takes anything back."""

from __future__ import annotations

from mail_ingest.errors import ConfigError


def downgrade() -> None:
    """What every version says to `alembic downgrade`. Raises ConfigError."""
    raise ConfigError(
        "the control database cannot go back to an earlier version; put back a backup of it, with the keys of its time"
    )
