"""The job that counts labels anew, and its weekly schedule."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
from pydantic import Field

from mail_ingest.defs.outcomes import markdown_table
from mail_ingest.defs.queue import MAINTENANCE, queue_tags
from mail_ingest.defs.resources import MailIngest
from mail_ingest.defs.starting import schedule_status
from mail_ingest.errors import MailIngestError
from mail_ingest.ingest.label_refresh import refresh_labels
from mail_ingest.settings import Settings

#: Labels of one account at most, 1 unit each: Gmail allows 10,000.
_MAX_UNITS = 1_000
_MAX_RUNTIME_S = 6 * 3600


class LabelRefreshConfig(dg.Config):
    """What a refresh takes."""

    accounts: list[str] = Field(default=[], description="Addresses to take; all active accounts if there are none.")
    max_units: int = Field(default=_MAX_UNITS, ge=0, description="Quota units for each account, one for each label.")


def label_job() -> dg.JobDefinition:
    """Counts the labels of every account anew."""

    @dg.op(description="Reads the counts of every label: 1 quota unit each.", out=dg.Out(dg.Nothing))
    def count_labels(
        context: dg.OpExecutionContext, config: LabelRefreshConfig, mail_ingest: MailIngest
    ) -> Iterator[dg.Output[None]]:
        failed: dict[str, str] = {}
        labels = left_out = units = 0
        with mail_ingest.engine() as engine:
            accounts = engine.accounts(config.accounts)
            for account in accounts:
                try:
                    done = refresh_labels(engine, account, config.max_units)
                except MailIngestError as error:
                    # the others must have their turn; what is wrong with the account is its next sync's to note
                    failed[account.account_id] = str(error)
                    context.log.warning("the labels of %s were not counted: %s", account.account_id, error)
                    continue
                labels, left_out, units = labels + done.labels, left_out + done.left_out, units + done.units
            engine.keep_analyst_tables()
        metadata: dict[str, dg.MetadataValue[Any]] = {
            "labels": dg.MetadataValue.int(labels),
            "left_out": dg.MetadataValue.int(left_out),
            "quota_units": dg.MetadataValue.int(units),
            "accounts_failed": dg.MetadataValue.int(len(failed)),
        }
        if failed:
            rows = [(f"`{account_id}`", why) for account_id, why in failed.items()]
            metadata["failures"] = dg.MetadataValue.md(markdown_table(("account", "why"), rows))
        yield dg.Output(None, metadata=metadata)
        if failed and len(failed) == len(accounts):
            raise dg.Failure(description="No account's labels could be counted; see failures.", allow_retries=False)

    @dg.job(
        name="refresh_labels",
        description="Counts the messages of every label anew. Costs 1 quota unit a label, within a budget an account.",
        executor_def=dg.in_process_executor,
        tags=queue_tags(MAINTENANCE, turn="maintenance", max_runtime_s=_MAX_RUNTIME_S),
    )
    def job() -> None:
        count_labels()

    return job


def weekly_labels(settings: Settings, job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """Runs the refresh every Sunday night."""
    return dg.ScheduleDefinition(
        name="weekly_labels",
        job=job,
        cron_schedule="17 5 * * 0",
        execution_timezone="UTC",
        description="Counts the messages of every label anew, every week.",
        default_status=schedule_status(settings),
    )
