"""The job that renews what Gmail publishes to Pub/Sub, its daily schedule, and the sensor for what cannot wait for it."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
from pydantic import Field

from mail_ingest.accounts import Registry
from mail_ingest.defs.outcomes import markdown_table
from mail_ingest.defs.queue import SCHEDULED, UNFINISHED, queue_tags
from mail_ingest.defs.resources import MailIngest
from mail_ingest.defs.starting import schedule_status, sensor_status
from mail_ingest.defs.syncing import stoppable
from mail_ingest.ingest.watches import keep_watches
from mail_ingest.settings import Settings, load_settings

OP = "keep_watches"
_EVERY_S = 300
#: Ten thousand accounts take ten minutes, where Gmail answers.
_MAX_RUNTIME_S = 3600
_SHOWN = 20


class WatchConfig(dg.Config):
    """What a run takes."""

    only_due: bool = Field(
        default=False, description="Only watches that are new, lapsed or about to lapse, and those to be ended."
    )


def watch_job() -> dg.JobDefinition:
    """Renews the watches of all accounts that want one."""

    @dg.op(
        name=OP,
        description="Asks Gmail to publish changes (100 quota units an account), and ends what is not wanted (50 units).",
        out=dg.Out(dg.Nothing),
    )
    def keep(config: WatchConfig, mail_ingest: MailIngest) -> Iterator[dg.Output[None]]:
        with mail_ingest.engine() as engine:
            with stoppable(engine):
                kept = keep_watches(engine, only_due=config.only_due)
            engine.keep_account_states()
            units = engine.governor.ledger.snapshot().total().units
        failed = [one for one in kept if one.outcome == "failed"]
        metadata: dict[str, dg.MetadataValue[Any]] = {
            "renewed": dg.MetadataValue.int(sum(one.outcome == "renewed" for one in kept)),
            "stopped": dg.MetadataValue.int(sum(one.outcome == "stopped" for one in kept)),
            "accounts_failed": dg.MetadataValue.int(len(failed)),
            "quota_units": dg.MetadataValue.int(units),
        }
        if failed:
            rows = [(f"`{one.account_id}`", one.error) for one in failed[:_SHOWN]]
            metadata["failures"] = dg.MetadataValue.md(markdown_table(("account", "why"), rows))
        yield dg.Output(None, metadata=metadata)
        if failed and len(failed) == len(kept):
            raise dg.Failure(description="No watch could be kept; see failures.", allow_retries=False)

    @dg.job(
        name="renew_watches",
        description="Has Gmail publish the changes of accounts to MAIL_INGEST_PUSH_TOPIC. Costs 100 quota units an account.",
        executor_def=dg.in_process_executor,
        # without a turn: it takes minutes, and a watch that is about to lapse cannot wait for an audit
        tags=queue_tags(SCHEDULED, max_runtime_s=_MAX_RUNTIME_S),
    )
    def job() -> None:
        keep()

    return job


def daily_watches(settings: Settings, job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """Renews all watches every day, as Google recommends; a watch lives for seven."""

    @dg.schedule(
        name="daily_watches",
        target=job,
        cron_schedule="37 0 * * *",
        execution_timezone="UTC",
        description="Renews what Gmail publishes of every account that wants it, every day, if MAIL_INGEST_PUSH_TOPIC is set.",
        default_status=schedule_status(settings),
    )
    def daily() -> dg.RunRequest | dg.SkipReason:
        if not load_settings().push_topic:
            return dg.SkipReason("MAIL_INGEST_PUSH_TOPIC names no topic.")
        return dg.RunRequest()

    return daily


def watch_sensor(settings: Settings, job: dg.JobDefinition) -> dg.SensorDefinition:
    """Asks for a run where a watch cannot wait for the next day. A look costs two queries, whatever the number of accounts."""

    @dg.sensor(
        name="lapsing_watches",
        job=job,
        minimum_interval_seconds=_EVERY_S,
        default_status=sensor_status(settings),
        description=(
            "Renews watches that have less than an hour left because days were missed, makes those of new accounts, and ends "
            "those that nobody wants any more."
        ),
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        present = load_settings()
        registry = Registry(present)
        try:
            watches = registry.watches
            count = len(watches.due(present.push_topic)) + len(watches.to_stop(present.push_topic))
        finally:
            registry.close()
        if not count:
            return dg.SkipReason("No watch is about to lapse.")
        if context.instance.get_runs(dg.RunsFilter(job_name=job.name, statuses=UNFINISHED), limit=1):
            return dg.SkipReason(f"{count} watches are due, and a run that renews them is under way.")
        return dg.RunRequest(run_config=dg.RunConfig(ops={OP: WatchConfig(only_due=True)}))

    return sensor
