"""The job that keeps the accounts of a Workspace in step with its directory, and its daily schedule."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
from pydantic import Field

from mail_ingest.accounts import Findings, discover, plan_of
from mail_ingest.defs.outcomes import markdown_table
from mail_ingest.defs.queue import MAINTENANCE, queue_tags
from mail_ingest.defs.resources import MailIngest
from mail_ingest.defs.starting import schedule_status
from mail_ingest.settings import Settings

#: Listing a hundred thousand people takes minutes.
_MAX_RUNTIME_S = 3600


class DiscoveryConfig(dg.Config):
    """What a run of the discovery takes; the rest is in `MAIL_INGEST_DISCOVERY_...`."""

    dry_run: bool = Field(default=False, description="Say what would be done, and do nothing.")


def discovery_job(retry_policy: dg.RetryPolicy) -> dg.JobDefinition:
    """Registers who is new in the directory, and pauses who left or is suspended."""

    @dg.op(
        description="Lists the directory that MAIL_INGEST_DISCOVERY_... names, and brings the accounts up to it.",
        out=dg.Out(dg.Nothing),
        retry_policy=retry_policy,
    )
    def discover_workspace(
        context: dg.OpExecutionContext, config: DiscoveryConfig, mail_ingest: MailIngest
    ) -> Iterator[dg.Output[None]]:
        with mail_ingest.engine() as engine:
            plan = plan_of(engine.settings)
            found = discover(engine.registry, plan, engine.settings, is_dry_run=config.dry_run)
        for why in found.refused.values():
            context.log.warning(why)
        yield dg.Output(None, metadata=_metadata(found))

    @dg.job(
        name="discover_accounts",
        description="Registers who is new in the Workspace's directory, and pauses who left or is suspended. Costs no quota.",
        executor_def=dg.in_process_executor,
        tags=queue_tags(MAINTENANCE, turn="maintenance", max_runtime_s=_MAX_RUNTIME_S),
    )
    def job() -> None:
        discover_workspace()

    return job


def daily_discovery(settings: Settings, job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """Runs the discovery every day, where one is set up."""

    @dg.schedule(
        name="daily_discovery",
        target=job,
        cron_schedule="47 2 * * *",
        execution_timezone="UTC",
        description="Brings the accounts up to the Workspace's directory every day, if MAIL_INGEST_DISCOVERY_... names one.",
        default_status=schedule_status(settings),
    )
    def daily() -> dg.RunRequest | dg.SkipReason:
        if not settings.discovery_credentials or not settings.discovery_admin:
            return dg.SkipReason("MAIL_INGEST_DISCOVERY_CREDENTIALS and MAIL_INGEST_DISCOVERY_ADMIN name no directory.")
        return dg.RunRequest()

    return daily


def _metadata(found: Findings) -> dict[str, dg.MetadataValue[Any]]:
    changes = [(f"`{account_id}`", "registered", "") for account_id in found.added]
    changes += [(f"`{account_id}`", "paused", why) for account_id, why in found.paused.items()]
    changes += [(f"`{account_id}`", "resumed", "in the directory again") for account_id in found.resumed]
    shown = markdown_table(("account", "change", "reason"), changes) if changes else "nothing changed"
    return {
        "directory": dg.MetadataValue.text(found.source),
        "added": dg.MetadataValue.int(len(found.added)),
        "paused": dg.MetadataValue.int(len(found.paused)),
        "resumed": dg.MetadataValue.int(len(found.resumed)),
        "unchanged": dg.MetadataValue.int(found.unchanged),
        "refused": dg.MetadataValue.int(len(found.refused)),
        "left_out": dg.MetadataValue.json(found.left_out),
        "by_account": dg.MetadataValue.md(shown),
    }
