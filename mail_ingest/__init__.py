"""Copies Gmail mailboxes into a warehouse and keeps them true.

Gmail is read through `mail_ingest.gmail`, turned into rows by `mail_ingest.sources`, landed by dlt through
`mail_ingest.warehouse` and orchestrated by Dagster in `mail_ingest.defs`. README.md has the whole picture.
"""

import os

__version__ = "0.1.0"

# Both read their switches when they are imported, so they are set before anything of ours can import them. Whoever wants
# telemetry, or dlt's own log with the database errors that quote what people wrote, sets the variables themselves.
os.environ.setdefault("RUNTIME__DLTHUB_TELEMETRY", "false")
os.environ.setdefault("RUNTIME__LOG_LEVEL", "CRITICAL")
os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "yes")
