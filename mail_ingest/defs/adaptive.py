"""Accounts that are synced as their activity asks for: the sensor that decides, and the job that syncs those that are due."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from pydantic import Field

from mail_ingest.accounts import ADAPTIVE, Account, Registry
from mail_ingest.accounts.schedules import priority_of
from mail_ingest.defs.outcomes import SyncLog, raise_for_failures
from mail_ingest.defs.queue import SCHEDULED, UNFINISHED, queue_tags
from mail_ingest.defs.requests import OP as REQUESTED_OP
from mail_ingest.defs.resources import MailIngest
from mail_ingest.defs.starting import sensor_status
from mail_ingest.defs.syncing import stoppable, sync_events
from mail_ingest.ingest import SyncOptions
from mail_ingest.settings import Settings, load_settings

OP = "sync_due"
#: Accounts that one run takes.
BATCH_ACCOUNTS = 100
_EVERY_S = 60
_MAX_RUNTIME_S = 2 * 3600


class DueConfig(dg.Config):
    """What a run of the job takes; the sensor writes it."""

    accounts: list[str] = Field(description="Addresses to take, those left out that are not active any more.")


def adaptive_job(retry_policy: dg.RetryPolicy) -> dg.JobDefinition:
    """Syncs the accounts that the sensor found due."""

    @dg.op(
        name=OP,
        description="Syncs these accounts, but for those that were paused or wait after failures meanwhile.",
        out=dg.Out(dg.Nothing),
        retry_policy=retry_policy,
    )
    def sync_due(
        context: dg.OpExecutionContext, config: DueConfig, mail_ingest: MailIngest
    ) -> Iterator[dg.AssetMaterialization | dg.Output[None]]:
        wanted = set(config.accounts)
        with mail_ingest.engine() as engine:
            accounts = [account for account in engine.registry.due() if account.account_id in wanted]
            log = SyncLog(context.log, len(accounts))
            with stoppable(engine):
                runs = engine.sync(
                    accounts, SyncOptions(triggered_by="schedule"), on_progress=log.on_progress, on_done=log.on_done
                )
            yield from sync_events(engine, runs, context.instance)
        raise_for_failures(runs)

    @dg.job(
        name="adaptive_sync",
        description="Syncs accounts as their activity asks for. Started by the sensor `adaptive_schedule`.",
        executor_def=dg.in_process_executor,
        tags=queue_tags(SCHEDULED, turn="adaptive", max_runtime_s=_MAX_RUNTIME_S),
    )
    def job() -> None:
        sync_due()

    return job


def adaptive_sensor(settings: Settings, job: dg.JobDefinition) -> dg.SensorDefinition:
    """Asks for syncs of the accounts that are due by their schedule and their activity.

    A look costs one query of the control database and one of Dagster's runs, whatever the number of accounts.
    """

    @dg.sensor(
        name="adaptive_schedule",
        job=job,
        minimum_interval_seconds=_EVERY_S,
        default_status=sensor_status(settings),
        description=(
            "Syncs accounts with the schedules aggressive, balanced and conservative (`mail-ingest account set --schedule`) "
            "as often as their activity asks for."
        ),
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        registry = Registry(load_settings())
        try:
            due = due_accounts(registry.due(schedules=ADAPTIVE), datetime.now(UTC))
        finally:
            registry.close()
        if due:
            under_way = _UnderWay(context.instance)
            due = [(account, priority) for account, priority in due if not under_way.holds(account)]
        asked = [
            dg.RunRequest(
                run_config=dg.RunConfig(ops={OP: DueConfig(accounts=[account.account_id for account in batch])}),
                tags=queue_tags(priority, turn="adaptive"),
            )
            for priority, batch in _batches(due)
        ]
        return dg.SensorResult(run_requests=asked) if asked else dg.SkipReason("No account is due.")

    return sensor


def due_accounts(accounts: Sequence[Account], now: datetime) -> list[tuple[Account, int]]:
    """The accounts whose interval is over, each with its priority; those that wait longest are first."""
    due = []
    for account in accounts:
        due_at = account.due_at(now)
        if due_at is None or due_at <= now:
            due.append((account, priority_of(account.activity, now)))
    return sorted(due, key=lambda one: (one[1], one[0].last_tried_at or one[0].created_at))


class _UnderWay:
    """Accounts of runs that are queued or running, and have not had their turn there yet."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._since: dict[str, datetime] = {}
        self._all_since: datetime | None = None
        for record in instance.get_run_records(dg.RunsFilter(statuses=UNFINISHED)):
            run, since = record.dagster_run, record.create_timestamp
            if run.job_name not in ("sync", "adaptive_sync", "requested_sync"):
                continue
            accounts, is_everybody = _accounts_of(run.run_config)
            for account_id in accounts:
                self._since[account_id] = max(since, self._since.get(account_id, since))
            if is_everybody:
                self._all_since = max(since, self._all_since or since)

    def holds(self, account: Account) -> bool:
        """Whether a run has yet to come to the account: no sync of it has ended since that run was asked for."""
        known = [since for since in (self._since.get(account.account_id), self._all_since) if since is not None]
        if not known:
            return False
        ends = [end for end in (account.last_checked_at, account.last_sync_finished_at) if end is not None]
        return not ends or max(ends) < max(known)


def _accounts_of(run_config: Any) -> tuple[list[str], bool]:
    """The accounts that a run names, and whether it takes all of them because it names neither accounts, groups nor schedules."""
    ops = dict(run_config or {}).get("ops") or {}
    configs = [(ops.get(op) or {}).get("config") or {} for op in ("sync_accounts", REQUESTED_OP, OP)]
    accounts = [account_id.strip().lower() for config in configs for account_id in config.get("accounts") or ()]
    names_some = any(
        config.get(name) for config in configs for name in ("accounts", "groups", "schedules", "shards", "requests")
    )
    return accounts, not names_some


def _batches(due: Sequence[tuple[Account, int]]) -> Iterator[tuple[int, list[Account]]]:
    """By priority, `BATCH_ACCOUNTS` in each."""
    for priority in sorted({priority for _, priority in due}):
        of_priority = [account for account, its in due if its == priority]
        for first in range(0, len(of_priority), BATCH_ACCOUNTS):
            yield priority, of_priority[first : first + BATCH_ACCOUNTS]
