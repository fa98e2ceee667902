"""`mail-ingest`: the same jobs as under Dagster, in one process and without a daemon."""

from mail_ingest.cli.app import main

__all__ = ["main"]
