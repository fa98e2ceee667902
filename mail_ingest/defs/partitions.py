"""Months or days of internal date, in UTC: the partitions of content. Outliers belong to the first and the running one."""

from __future__ import annotations

import dagster as dg

from mail_ingest.settings import Settings


def content_partitions(settings: Settings) -> dg.TimeWindowPartitionsDefinition:
    """From the configured first month to the running month or day, which Dagster leaves out unless told otherwise."""
    if settings.partitions == "day":
        start = f"{settings.content_start}-01"
        return dg.DailyPartitionsDefinition(start_date=start, fmt="%Y-%m-%d", end_offset=1, timezone="UTC")
    return dg.MonthlyPartitionsDefinition(start_date=settings.content_start, fmt="%Y-%m", end_offset=1, timezone="UTC")
