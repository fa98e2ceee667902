"""Copies Gmail mailboxes into a warehouse and keeps them true.

Gmail is read through `mail_ingest.gmail`, turned into rows by `mail_ingest.sources`, landed by dlt through
`mail_ingest.warehouse` and orchestrated by Dagster in `mail_ingest.defs`. README.md has the whole picture.
"""

__version__ = "0.1.0"
