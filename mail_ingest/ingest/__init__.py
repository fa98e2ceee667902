"""Syncs accounts: takes their locks, wires client, sources and pipelines, and says what happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mail_ingest.ingest.run import Progress, SyncOptions, SyncRun

if TYPE_CHECKING:
    from mail_ingest.ingest.engine import Engine

__all__ = ["Engine", "Progress", "SyncOptions", "SyncRun"]


def __getattr__(name: str) -> Any:
    # the engine brings dlt along, which takes a second to import: `mail-ingest --help` should not wait for it
    if name == "Engine":
        from mail_ingest.ingest.engine import Engine

        return Engine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
