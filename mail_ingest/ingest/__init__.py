"""Syncs accounts: takes their locks, wires client, sources and pipelines, and says what happened."""

from mail_ingest.ingest.engine import Engine
from mail_ingest.ingest.run import Progress, SyncOptions, SyncRun

__all__ = ["Engine", "Progress", "SyncOptions", "SyncRun"]
