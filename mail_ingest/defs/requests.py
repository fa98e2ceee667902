"""Requests of the control database become runs: the sensor that hands them over, and the job that fulfils them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Literal

import dagster as dg
from pydantic import Field

from mail_ingest.accounts import LONG_DRAIN, Account, Batch, Registry, Request, Requests
from mail_ingest.accounts.requests import Claimer
from mail_ingest.defs.outcomes import SyncLog, raise_for_failures
from mail_ingest.defs.queue import ASKED, UNFINISHED, queue_tags
from mail_ingest.defs.resources import MailIngest
from mail_ingest.defs.starting import sensor_status
from mail_ingest.defs.syncing import stoppable, sync_events
from mail_ingest.errors import ConfigError
from mail_ingest.ingest import SyncOptions, SyncRun
from mail_ingest.ingest.engine import Engine
from mail_ingest.settings import Settings, load_settings

OP = "sync_requested"
#: By who asked; all others are persons.
_TRIGGERED_BY = {"push": "push", LONG_DRAIN: "schedule"}
#: As long as a scheduled sync: a first sync takes hours, and goes on with the next one.
_MAX_RUNTIME_S = 6 * 3600
_EVERY_S = 10
#: Dagster tries a run that died again within this time, or never.
_RETRIED_WITHIN = timedelta(minutes=15)
#: For so long a run that pushes asked for has those that come meanwhile wait for it.
_PUSHES_WAIT = timedelta(minutes=5)
_LONGEST_REASON = 500
BY_TAG = "mail_ingest/requested_by"


class RequestedConfig(dg.Config):
    """What a run of the job takes; the sensor writes it."""

    requests: list[str] = Field(description="Ids of the requests to fulfil.")
    accounts: list[str] = Field(default=[], description="Their accounts, for people to read.")
    mode: Literal["auto", "partial", "full"] = Field(default="auto", description="As of the job `sync`.")
    new_mail: bool = Field(default=True, description="Buy the content of what is new, as any sync does.")
    months: list[str] = Field(default=[], description="Months whose content is bought as well, or instead.")
    triggered_by: str = Field(
        default="person", description="What `sync_runs` says of who asked: person, push or schedule."
    )
    priority: int = Field(
        default=ASKED, description="0 may spend the quota that is kept for what people ask for; others leave it."
    )


def requested_job(retry_policy: dg.RetryPolicy) -> dg.JobDefinition:
    """Fulfils requests, account by account. Those that were done or cancelled are left out, so a second try repeats nothing."""

    @dg.op(
        name=OP,
        description="Syncs the accounts of requests, whatever state they are in but paused.",
        out=dg.Out(dg.Nothing),
        retry_policy=retry_policy,
    )
    def sync_requested(
        context: dg.OpExecutionContext, config: RequestedConfig, mail_ingest: MailIngest
    ) -> Iterator[dg.AssetMaterialization | dg.Output[None]]:
        with mail_ingest.engine() as engine:
            requests = engine.registry.requests.start(config.requests, context.run_id)
            context.log.info("%d of %d requests are to be fulfilled", len(requests), len(config.requests))
            runs = _fulfil(engine, requests, config, SyncLog(context.log))
            yield from sync_events(engine, runs, context.instance)
        raise_for_failures(runs)

    @dg.job(
        name="requested_sync",
        description="Syncs accounts that somebody asked for (`mail-ingest request`). Started by the sensor `sync_requests`.",
        executor_def=dg.in_process_executor,
        tags=queue_tags(ASKED, max_runtime_s=_MAX_RUNTIME_S),
    )
    def job() -> None:
        sync_requested()

    return job


def _fulfil(engine: Engine, requests: Sequence[Request], config: RequestedConfig, log: SyncLog) -> list[SyncRun]:
    """Syncs the accounts, first what is new and then the months; a request is done when its account's last sync is."""
    ledger = engine.registry.requests
    open_requests = {request.account_id: request for request in requests}
    is_push = config.triggered_by == "push"
    # the mailboxes of a push are many and have little that is new: one with more gets a run of its own
    asked = SyncOptions(triggered_by=config.triggered_by, priority=config.priority, leaves_long_drains=is_push)
    passes = [replace(asked, mode=config.mode)] if config.new_mail else []
    if config.months:
        mode: Literal["auto", "full"] = "full" if config.mode == "full" and not passes else "auto"
        passes.append(replace(asked, mode=mode, partitions=tuple(config.months)))
    runs: list[SyncRun] = []
    for number, options in enumerate(passes, start=1):
        is_last = number == len(passes)

        def on_done(run: SyncRun, is_last: bool = is_last) -> None:
            log.on_done(run)
            if run.outcome in ("failed", "busy"):
                ledger.finish(open_requests.pop(run.account_id).request_id, "failed", run.error[:_LONGEST_REASON])
            elif run.outcome == "cancelled":
                ledger.finish(open_requests.pop(run.account_id).request_id, "cancelled", run.error[:_LONGEST_REASON])
            elif is_last:
                ledger.finish(open_requests[run.account_id].request_id, "done")

        def is_cancelled(account_id: str) -> bool:
            return ledger.is_cancelled(open_requests[account_id].request_id)

        with stoppable(engine):
            accounts = _accounts(engine, open_requests)
            runs += engine.sync(
                list(accounts) if is_push else accounts,
                options,
                on_progress=log.on_progress,
                on_done=on_done,
                is_cancelled=is_cancelled,
            )
    return runs


def _accounts(engine: Engine, wanted: dict[str, Request]) -> Iterator[Account]:
    """The accounts, each as it is when its turn comes; those that were removed or cancelled meanwhile are left out."""
    ledger = engine.registry.requests
    for account_id, request in list(wanted.items()):
        if ledger.is_cancelled(request.request_id):
            continue
        try:
            account = engine.registry.get(account_id)
        except ConfigError as error:  # erased since the line above: the others must have their turn
            ledger.finish(request.request_id, "failed", str(error)[:_LONGEST_REASON])
            continue
        yield account


def request_sensor(settings: Settings, job: dg.JobDefinition) -> dg.SensorDefinition:
    """Hands requests over to runs, and acknowledges each once its run exists.

    A claim is kept before the run is asked for, and the run is found by its key: wherever a process dies in between, the next
    look asks for the same run again, and Dagster starts no second one of one key.
    """

    @dg.sensor(
        name="sync_requests",
        job=job,
        minimum_interval_seconds=_EVERY_S,
        default_status=sensor_status(settings),
        description="Starts a run for the requests that wait, most urgent first, accounts of one kind together.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        registry = Registry(load_settings())
        try:
            requests = registry.requests
            asked = hand_over(context.instance, requests, "requests")
            _settle(context.instance, requests)
            requests.forget_ended()
        finally:
            registry.close()
        return dg.SensorResult(run_requests=asked) if asked else dg.SkipReason("No request waits for a run.")

    return sensor


def hand_over(instance: dg.DagsterInstance, requests: Requests, claimer: Claimer) -> list[dg.RunRequest]:
    """Acknowledges the batches whose run exists, and asks for the runs of the others.

    While a run that pushes asked for is under way, what is pushed meanwhile waits, and is one run after it: a run costs seconds
    of CPU, and ten thousand mailboxes change all the time. A run that takes long holds up nobody.
    """
    batches = requests.claim(claimer, pushes=not _push_is_under_way(instance))
    keys = [batch.run_key for batch in batches]
    runs = instance.get_runs(dg.RunsFilter(tags={"dagster/run_key": keys})) if keys else []
    # a run that was made and not queued yet might never be: asked for again, Dagster queues it
    by_key = {run.tags["dagster/run_key"]: run for run in runs if run.status is not dg.DagsterRunStatus.NOT_STARTED}
    asked = []
    for batch in batches:
        if batch.run_key in by_key:
            requests.acknowledge(batch.run_key, by_key[batch.run_key].run_id)
        else:
            asked.append(_run_request(batch))
    return asked


def _push_is_under_way(instance: dg.DagsterInstance) -> bool:
    lately = datetime.now(UTC) - _PUSHES_WAIT
    filters = dg.RunsFilter(tags={BY_TAG: "push"}, statuses=UNFINISHED, created_after=lately)
    return bool(instance.get_run_records(filters, limit=1))


def _run_request(batch: Batch) -> dg.RunRequest:
    first = batch.first
    config = RequestedConfig(
        requests=[request.request_id for request in batch.requests],
        accounts=[request.account_id for request in batch.requests],
        mode=first.mode,  # type: ignore[arg-type]  # one of three, as it was checked when it was filed
        new_mail=first.new_mail,
        months=list(first.wish.months),
        triggered_by=_TRIGGERED_BY.get(first.requested_by, "person"),
        priority=first.priority,
    )
    # what is not urgent takes turns, and leaves slots for what is
    turn = "" if first.priority == ASKED else "drains" if first.requested_by == LONG_DRAIN else "requests"
    return dg.RunRequest(
        run_key=batch.run_key,
        run_config=dg.RunConfig(ops={OP: config}),
        tags={
            **queue_tags(first.priority, turn=turn),
            "mail_ingest/requests": str(len(batch.requests)),
            BY_TAG: _TRIGGERED_BY.get(first.requested_by, "person"),
        },
    )


def _settle(instance: dg.DagsterInstance, requests: Requests) -> None:
    """Ends the requests of runs that ended without saying how: killed, terminated, or deleted."""
    started = [request for request in requests.find() if request.state == "started" and request.run_id]
    run_ids = sorted({request.run_id for request in started if request.run_id})
    records = {
        record.dagster_run.run_id: record
        for first in range(0, len(run_ids), 100)
        for record in instance.get_run_records(dg.RunsFilter(run_ids=run_ids[first : first + 100]))
    }
    now = datetime.now(UTC)
    for request in started:
        record = records.get(request.run_id or "")
        if record is None:
            requests.finish(request.request_id, "failed", "Dagster does not know its run any more")
            continue
        run = record.dagster_run
        ended_at = datetime.fromtimestamp(record.end_time or now.timestamp(), UTC)
        is_tried_again = run.tags.get("dagster/will_retry") == "true" and now - ended_at < _RETRIED_WITHIN
        if run.status is dg.DagsterRunStatus.CANCELED:
            requests.finish(request.request_id, "cancelled", "its run was ended in Dagster")
        elif run.is_finished and not is_tried_again:
            requests.finish(request.request_id, "failed", f"its run ended before its turn came ({run.status.value})")
