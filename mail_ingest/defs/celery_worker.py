"""The app of a Celery worker, which executes runs of the instance in DAGSTER_HOME.

`celery -A mail_ingest.defs.celery_worker worker` starts one. All settings are those of the launcher in its dagster.yaml, so what
sends runs and what executes them cannot differ. Dagster's own command for workers reads a second file, writes the broker's
password into a third, and hands no signal on.
"""

from __future__ import annotations

from functools import cache

import dagster as dg
from celery import Celery
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tasks import create_execute_job_task

from mail_ingest.errors import ConfigError


@cache
def make_app() -> Celery:
    """The app. Connects to Dagster's storage for a moment.

    Raises ConfigError where dagster.yaml names no launcher of Celery's.
    """
    with dg.DagsterInstance.get() as instance:
        launcher = instance.run_launcher
    if not isinstance(launcher, CeleryRunLauncher):
        raise ConfigError(
            f"A Celery worker cannot start: the dagster.yaml in DAGSTER_HOME launches runs by {type(launcher).__name__}. "
            "Put deploy/celery/dagster.yaml there."
        )
    create_execute_job_task(launcher.celery)
    return launcher.celery


def __getattr__(name: str) -> Celery:
    """`app`, which Celery looks for, is made when it is asked for: importing this module connects to nothing."""
    if name == "app":
        return make_app()
    raise AttributeError(name)
