"""Months of internal date, in UTC: the partitions of content. Outliers belong to the first and the running month."""

from __future__ import annotations

import dagster as dg

from mail_ingest.settings import Settings


def month_partitions(settings: Settings) -> dg.TimeWindowPartitionsDefinition:
    """Months from the configured first one to the running one, which Dagster leaves out unless told otherwise."""
    return dg.MonthlyPartitionsDefinition(start_date=settings.content_start, fmt="%Y-%m", end_offset=1, timezone="UTC")
