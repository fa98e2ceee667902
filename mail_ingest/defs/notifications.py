"""The sensor that pulls what Gmail publishes, and has the mailboxes synced that it tells of."""

import json
import logging
import time
from collections import Counter

import dagster as dg

from mail_ingest.accounts import Registry
from mail_ingest.accounts.notifications import Outcome, take_in
from mail_ingest.accounts.subscription import MOST_AT_ONCE, Subscription
from mail_ingest.defs.requests import hand_over
from mail_ingest.defs.starting import sensor_status
from mail_ingest.errors import ConfigError, ServerError
from mail_ingest.settings import Settings, load_settings

logger = logging.getLogger(__name__)

_EVERY_S = 5
#: A tick goes on pulling while pulls come back full, for so long: Dagster gives it a minute.
_LONGEST_S = 20.0


def notification_sensor(settings: Settings, job: dg.JobDefinition) -> dg.SensorDefinition:
    """Pulls notifications, stores a request for each account that they tell of, and acknowledges them then; and hands requests
    by pushes over to runs, so that a change waits for one sensor and not for two.

    A process that dies before it acknowledges has them come again, which changes nothing. Memory: one pull, 500 messages.
    """
    held: dict[str, Subscription] = {}

    @dg.sensor(
        name="push_notifications",
        job=job,
        minimum_interval_seconds=_EVERY_S,
        default_status=sensor_status(settings),
        description=(
            "Syncs mailboxes of which Gmail publishes a change, if MAIL_INGEST_PUSH_SUBSCRIPTION is set. Its cursor counts what "
            "the notifications came to."
        ),
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        name = load_settings().push_subscription
        totals: Counter[str] = Counter(json.loads(context.cursor or "{}"))
        registry = Registry(load_settings())
        try:
            if not name:
                told = "MAIL_INGEST_PUSH_SUBSCRIPTION names no subscription."
            else:
                told = _pull_all(registry, held.setdefault(name, Subscription(name)), totals)
            asked = hand_over(context.instance, registry.requests, "pushes")
        finally:
            registry.close()
        cursor = json.dumps(totals, sort_keys=True) if totals else None
        if asked:
            return dg.SensorResult(run_requests=asked, cursor=cursor)
        return dg.SensorResult(skip_reason=told, cursor=cursor)

    return sensor


def _pull_all(registry: Registry, subscription: Subscription, totals: Counter[str]) -> str:
    """Takes in what waits; what came of it, in words. What fails is said, and keeps no request from being handed over."""
    counted: Counter[Outcome] = Counter()
    began_at = time.monotonic()
    try:
        while True:
            received = subscription.pull()
            counted += take_in(registry.requests, [message.data for message in received])
            subscription.acknowledge(received)
            if len(received) < MOST_AT_ONCE or time.monotonic() - began_at > _LONGEST_S:
                break
    except (ConfigError, ServerError) as error:
        logger.warning("%s", error)
        return str(error)
    finally:
        totals.update(counted)
    if counted["unknown"] or counted["unreadable"]:
        logger.warning(
            "%d notifications told of no account that is registered, and %d could not be read; they were acknowledged",
            counted["unknown"],
            counted["unreadable"],
        )
    if not counted:
        return "No notification waits."
    return "Notifications: " + ", ".join(f"{count} {outcome}" for outcome, count in sorted(counted.items())) + "."
