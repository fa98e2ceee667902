"""The warehouse that the settings name, and the locks that go with it."""

from __future__ import annotations

from mail_ingest.settings import Settings
from mail_ingest.warehouse.connection import Prepare, Warehouse
from mail_ingest.warehouse.locks import Locks


def make_warehouse(settings: Settings, wait_s: float, prepare: Prepare) -> tuple[Warehouse, Locks]:
    """Opens nothing. `wait_s`: how long to wait for locks that others hold."""
    folder = settings.home / "locks"
    if settings.is_duckdb:
        from mail_ingest.warehouse.embedded import DuckDBWarehouse

        locks = Locks(folder, wait_s)
        return DuckDBWarehouse(settings, locks, prepare), locks
    from mail_ingest.warehouse.advisory import AdvisoryLocks
    from mail_ingest.warehouse.postgres import PostgresWarehouse
    from mail_ingest.warehouse.server import Server

    server = Server(settings.warehouse)
    advisory = AdvisoryLocks(folder, wait_s, server, settings.env)
    return PostgresWarehouse(settings, server, advisory, prepare), advisory
