"""Syncs accounts: takes their locks, wires client, sources and pipelines, and says what happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mail_ingest.heap import share_one_heap

share_one_heap()  # before Arrow and pandas are imported below, whose threads would get heaps of their own

from mail_ingest.ingest.run import Progress, SyncOptions, SyncRun  # noqa: E402

if TYPE_CHECKING:
    from mail_ingest.ingest.engine import Engine

__all__ = ["Engine", "Progress", "SyncOptions", "SyncRun"]


def __getattr__(name: str) -> Any:
    # the engine brings dlt along, which takes a second to import: `mail-ingest --help` should not wait for it
    if name == "Engine":
        from mail_ingest.ingest.engine import Engine

        return Engine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
