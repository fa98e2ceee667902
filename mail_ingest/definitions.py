"""Dagster's entry point: which assets, checks, jobs, schedules, sensors and resources there are. No logic."""

from __future__ import annotations

import dagster as dg

from mail_ingest.defs.adaptive import adaptive_job, adaptive_sensor
from mail_ingest.defs.analyst import analyst_assets
from mail_ingest.defs.checks import audit_check, warehouse_checks
from mail_ingest.defs.discovery import daily_discovery, discovery_job
from mail_ingest.defs.estimating import estimate_job
from mail_ingest.defs.jobs import analyst_job, audit_job, hourly_sync, nightly_audit, nightly_checks, sync_job
from mail_ingest.defs.label_refresh import label_job, weekly_labels
from mail_ingest.defs.landing import landing_assets
from mail_ingest.defs.notifications import notification_sensor
from mail_ingest.defs.reaper import reaper
from mail_ingest.defs.requests import request_sensor, requested_job
from mail_ingest.defs.resources import MailIngest
from mail_ingest.defs.retention import nightly_retention, retention_job
from mail_ingest.defs.syncing import RETRY
from mail_ingest.defs.watches import daily_watches, watch_job, watch_sensor
from mail_ingest.settings import load_settings


def build_definitions(mail_ingest: MailIngest | None = None, retry_policy: dg.RetryPolicy = RETRY) -> dg.Definitions:
    """Everything Dagster knows of mail_ingest. Building it opens nothing and needs no variable to be set."""
    settings = load_settings()
    checks, auditing = warehouse_checks(), audit_check()
    sync, analyst_tables, audit = sync_job(retry_policy), analyst_job(checks), audit_job(auditing)
    discovery, labels, retention, watches = discovery_job(retry_policy), label_job(), retention_job(), watch_job()
    requested, adaptive = requested_job(retry_policy), adaptive_job(retry_policy)
    return dg.Definitions(
        assets=[*landing_assets(settings, retry_policy), *analyst_assets()],
        asset_checks=[*checks, auditing],
        jobs=[
            sync,
            requested,
            adaptive,
            analyst_tables,
            audit,
            discovery,
            labels,
            retention,
            watches,
            estimate_job(settings),
        ],
        schedules=[
            hourly_sync(settings, sync),
            nightly_checks(settings, analyst_tables),
            nightly_audit(settings, audit),
            daily_discovery(settings, discovery),
            weekly_labels(settings, labels),
            nightly_retention(settings, retention),
            daily_watches(settings, watches),
        ],
        sensors=[
            request_sensor(settings, requested),
            notification_sensor(settings, requested),
            adaptive_sensor(settings, adaptive),
            watch_sensor(settings, watches),
            reaper(settings),
        ],
        resources={"mail_ingest": mail_ingest or MailIngest()},
        # one process per run: DuckDB has one writer anyway, and a process per step costs twice the CPU
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What `dagster dev`, `dg` and the workspace load."""
    return build_definitions()
