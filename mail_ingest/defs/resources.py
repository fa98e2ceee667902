"""The Dagster resource that hands out an engine, built from the environment of the process that runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
from pydantic import Field

from mail_ingest.defs.outcomes import failure_of
from mail_ingest.defs.reaper import marked_alive
from mail_ingest.errors import MailIngestError
from mail_ingest.ingest.engine import Engine
from mail_ingest.settings import load_settings


class MailIngest(dg.ConfigurableResource[Any]):
    """Engines, by the settings in `MAIL_INGEST_*`."""

    wait_s: float = Field(
        default=600.0,
        description="Seconds to wait for what another process holds; a load package in the making takes up to 300.",
    )

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["MailIngest"]:
        """The resource for the length of a run, which is known to live meanwhile; see `reaper`."""
        with marked_alive(context.run, context.instance):
            yield self

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        """An engine for the length of the block.

        Raises Failure for wrong settings, unknown accounts and a warehouse that cannot be opened, here or in the block.
        """
        try:
            engine = self.build()
            try:
                yield engine
            finally:
                engine.close()
        except MailIngestError as error:
            raise failure_of(error) from None

    def build(self) -> Engine:
        """An engine of its own; building it opens nothing. Raises ConfigError for wrong settings."""
        return Engine(load_settings(), wait_s=self.wait_s)
