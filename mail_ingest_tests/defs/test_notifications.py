"""Gmail publishes, Pub/Sub delivers as it likes, and the warehouse has what the mailbox has: over the real client's protocol."""

from __future__ import annotations

import json
from collections.abc import Iterator

import dagster as dg
import pytest

from mail_ingest.ingest import SyncOptions
from mail_ingest.ingest.engine import Engine
from mail_ingest.ingest.watches import keep_watches
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest.simulator.pubsub import Publisher, PubSub
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.defs.conftest import Dagster
from mail_ingest_tests.defs.test_requests import run, tick
from mail_ingest_tests.pubsub import SUBSCRIPTION, TOPIC, publish
from mail_ingest_tests.truth import assert_true_to_gmail


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    return {
        **environment,
        "MAIL_INGEST_PUSH_TOPIC": TOPIC,
        "MAIL_INGEST_PUSH_SUBSCRIPTION": SUBSCRIPTION,
    }


@pytest.fixture
def pubsub(gmail: Simulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[PubSub]:
    """A topic that the local Gmail server publishes to, and its subscription."""
    with PubSub() as server:
        server.create(TOPIC, SUBSCRIPTION)
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", server.host)
        gmail.publish_to(Publisher(server.host))
        yield server
        gmail.publish_to(None)


@pytest.fixture
def pushed(engine: Engine, pubsub: PubSub, gmail: Simulator, dagster: Dagster) -> Sensor:
    """A synced mailbox with a watch, and the sensor that hears of it; what the watch published at once is dealt with."""
    engine.sync(engine.accounts(), SyncOptions())
    keep_watches(engine)
    sensor = Sensor(dagster)
    sensor.deal()
    later(gmail)
    return sensor


def later(gmail: Simulator) -> None:
    """Gmail publishes once a second for each mailbox at most."""
    gmail.advance(2)


class Sensor:
    """The sensor `push_notifications` with its cursor, and the runs that it asks for."""

    def __init__(self, dagster: Dagster) -> None:
        self.dagster = dagster
        self.cursor: str | None = None
        self.told = ""

    def tick(self) -> list[dg.RunRequest]:
        context = dg.build_sensor_context(instance=self.dagster.instance, cursor=self.cursor)
        data = self.dagster.definitions.resolve_sensor_def("push_notifications").evaluate_tick(context)
        self.cursor, self.told = data.cursor, data.skip_message or ""
        return list(data.run_requests or [])

    def deal(self) -> int:
        """Ticks, and executes what it asks for; how many runs that were."""
        requests = self.tick()
        for request in requests:
            assert run(self.dagster, request).success
        return len(requests)

    @property
    def totals(self) -> dict[str, int]:
        return dict(json.loads(self.cursor or "{}"))


@pytest.mark.warehouses("duckdb", "postgres")
def test_a_change_is_in_the_warehouse_after_one_tick_and_one_run(
    pushed: Sensor, engine: Engine, box: Mailbox, gmail: Simulator, pubsub: PubSub, dagster: Dagster
) -> None:
    box.add(subject="new")
    gmail.reset_ledger()

    [request] = pushed.tick()
    assert pubsub.waiting(SUBSCRIPTION) == 0, "acknowledged once the request was stored"
    result = run(dagster, request)

    assert result.success
    assert request.tags["dagster/priority"] == "2"
    assert request.run_config["ops"]["sync_requested"]["config"]["triggered_by"] == "push"
    assert tick(dagster) == [], "the other sensor asks for nothing that this one has claimed"
    assert pushed.tick() == []
    assert engine.registry.requests.find() == []
    assert_true_to_gmail(engine, box)
    assert gmail.units() == 2 + 20 + 2
    assert engine.registry.get(ADDRESS).last_push_at is not None


def test_changes_under_any_kind_of_delivery_end_in_the_warehouse(
    pushed: Sensor, engine: Engine, box: Mailbox, gmail: Simulator, pubsub: PubSub
) -> None:
    """The first change is never told of; the next one's notification comes twice, late and in the wrong order."""
    pubsub.drop_next = 1
    box.add(subject="dropped")
    assert pushed.deal() == 0
    later(gmail)

    pubsub.hold()
    pubsub.repeat_next = 2
    for number in range(3):
        box.add(subject=f"late {number}")
        later(gmail)
    assert pushed.deal() == 0
    pubsub.release(in_reverse=True)
    assert pushed.deal() == 1

    assert_true_to_gmail(engine, box)
    assert pushed.totals["known"] == 4
    pubsub.expire_leases()
    assert pushed.deal() == 0
    assert pubsub.waiting(SUBSCRIPTION) == 0


def test_what_is_never_told_of_is_found_by_polling(
    pushed: Sensor, engine: Engine, box: Mailbox, pubsub: PubSub
) -> None:
    pubsub.drop_next = 100
    box.add(subject="dropped")
    assert pushed.deal() == 0

    engine.sync(engine.registry.due(), SyncOptions(triggered_by="schedule"))

    assert_true_to_gmail(engine, box)


def test_a_notification_that_was_not_stored_is_not_acknowledged(
    pushed: Sensor, engine: Engine, box: Mailbox, pubsub: PubSub, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.add(subject="new")
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("MAIL_INGEST_ENV", "another")  # whose the control database is not
        with pytest.raises(Exception, match="belongs to the deployment"):
            _told_by_user_code(pushed)
    assert pubsub.waiting(SUBSCRIPTION) == 1
    pubsub.expire_leases()

    assert pushed.deal() == 1

    assert_true_to_gmail(engine, box)
    assert pubsub.waiting(SUBSCRIPTION) == 0


def _told_by_user_code(sensor: Sensor) -> None:
    try:
        sensor.tick()
    except dg.DagsterError as error:
        raise error.__cause__ or error from None


def test_a_request_that_was_stored_and_not_acknowledged_is_not_made_twice(
    pushed: Sensor, engine: Engine, box: Mailbox, pubsub: PubSub, dagster: Dagster
) -> None:
    """As where a process dies between the two, and Pub/Sub delivers again."""
    pubsub.repeat_next = 1
    box.add(subject="new")

    requests = pushed.tick()
    pubsub.expire_leases()
    again = pushed.tick()

    assert len(requests) == 1
    assert [request.run_key for request in again] == [requests[0].run_key], "the run does not exist yet"
    assert run(dagster, requests[0]).success
    assert pushed.deal() == 0
    assert_true_to_gmail(engine, box)


def test_unknown_addresses_and_nonsense_are_counted_and_never_come_again(
    pushed: Sensor, box: Mailbox, pubsub: PubSub, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = json.dumps({"emailAddress": "stranger@elsewhere.example", "historyId": 7}).encode()
    before = pushed.totals
    publish(pubsub.host, stranger, stranger, b"\xff", b"{}")

    assert pushed.deal() == 0

    assert pushed.told == "Notifications: 2 unknown, 2 unreadable."
    assert pushed.totals == {**before, "unknown": 2, "unreadable": 2}
    assert pubsub.waiting(SUBSCRIPTION) == 0
    assert "2 notifications told of no account that is registered" in caplog.text
    assert "stranger" not in caplog.text


def test_pushes_while_a_pushed_run_is_under_way_are_one_run_after_it(
    pushed: Sensor, engine: Engine, box: Mailbox, other_box: Mailbox, gmail: Simulator, dagster: Dagster
) -> None:
    engine.sync(engine.accounts(), SyncOptions())
    keep_watches(engine)
    box.add(subject="first")
    [request] = pushed.tick()
    job = dagster.definitions.resolve_job_def("requested_sync")
    under_way = dagster.instance.create_run_for_job(
        job,
        run_config=request.run_config,
        tags={**request.tags, "dagster/run_key": str(request.run_key)},
        status=dg.DagsterRunStatus.STARTED,
    )
    later(gmail)
    for changed in (box, other_box):
        changed.add(subject="second")

    assert pushed.tick() == tick(dagster) == []
    dagster.instance.report_run_canceled(under_way)
    [after] = pushed.tick()

    assert run(dagster, after).success
    assert after.run_config["ops"]["sync_requested"]["config"]["accounts"] == sorted((ADDRESS, other_box.address))
    for changed in (box, other_box):
        assert_true_to_gmail(engine, changed)


def test_a_subscription_that_cannot_be_pulled_keeps_no_request_waiting(
    pushed: Sensor, engine: Engine, box: Mailbox, gmail: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    gmail.publish_to(None)
    box.add(subject="new")
    engine.registry.requests.file_push(ADDRESS, box.history_id)
    monkeypatch.setenv("MAIL_INGEST_PUSH_SUBSCRIPTION", "projects/p/subscriptions/other")

    assert pushed.deal() == 1
    assert pushed.deal() == 0

    assert "there is no such subscription" in pushed.told
    assert_true_to_gmail(engine, box)


def test_without_a_subscription_nobody_is_asked(dagster: Dagster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MAIL_INGEST_PUSH_SUBSCRIPTION")
    sensor = Sensor(dagster)

    assert sensor.deal() == 0

    assert sensor.told == "MAIL_INGEST_PUSH_SUBSCRIPTION names no subscription."
