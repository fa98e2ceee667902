"""The Dagster resource that hands out an engine, built from the environment of the process that runs."""

import dagster as dg

from mail_ingest.ingest import Engine
from mail_ingest.settings import load_settings


class MailIngest(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Settings come from `MAIL_INGEST_*`; `wait_s` is how long to wait for another process's locks."""

    wait_s: float = 60.0

    def engine(self) -> Engine:
        """A new engine. It opens nothing until used."""
        return Engine(load_settings(), wait_s=self.wait_s)
