"""Which schedules and sensors are on before anybody has touched them: all of them in production, none elsewhere."""

from __future__ import annotations

import dagster as dg

from mail_ingest.settings import Settings


def schedule_status(settings: Settings) -> dg.DefaultScheduleStatus:
    """Of a schedule: on by itself in the deployment called production only."""
    return dg.DefaultScheduleStatus.RUNNING if _is_production(settings) else dg.DefaultScheduleStatus.STOPPED


def sensor_status(settings: Settings) -> dg.DefaultSensorStatus:
    """Of a sensor, in the same way."""
    return dg.DefaultSensorStatus.RUNNING if _is_production(settings) else dg.DefaultSensorStatus.STOPPED


def _is_production(settings: Settings) -> bool:
    return settings.env == "production"
