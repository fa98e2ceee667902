"""Requests become runs: none is lost, none is doubled, and each says how it ended."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import dagster as dg
import pytest

from mail_ingest import requests as public
from mail_ingest.accounts import Request, make_wish, token_env
from mail_ingest.ingest.engine import Engine
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.defs.conftest import Dagster
from mail_ingest_tests.truth import assert_true_to_gmail


@pytest.fixture
def ask(engine: Engine) -> Callable[..., Request]:
    def file(address: str = ADDRESS, requested_by: str = "person", **wish: object) -> Request:
        return engine.registry.requests.file(address, make_wish(datetime.now(UTC), **wish), requested_by)  # type: ignore[arg-type]

    return file


def tick(dagster: Dagster, name: str = "sync_requests", cursor: str | None = None) -> list[dg.RunRequest]:
    """What a sensor asks for."""
    context = dg.build_sensor_context(instance=dagster.instance, cursor=cursor)
    return list(dagster.definitions.resolve_sensor_def(name).evaluate_tick(context).run_requests or [])


def run(dagster: Dagster, request: dg.RunRequest, **tags: str) -> dg.ExecuteInProcessResult:
    """The run that was asked for."""
    job = "adaptive_sync" if "sync_due" in request.run_config["ops"] else "requested_sync"
    key = {"dagster/run_key": request.run_key} if request.run_key else {}
    return dagster.definitions.resolve_job_def(job).execute_in_process(
        instance=dagster.instance,
        run_config=request.run_config,
        tags={**request.tags, **key, **tags},
        raise_on_error=False,
    )


def test_a_request_becomes_one_run_that_syncs_its_account(
    ask: Callable[..., Request], engine: Engine, box: Mailbox, other_box: Mailbox, gmail: Simulator, dagster: Dagster
) -> None:
    box.generate(5, seed=1)
    filed = ask()

    [request] = tick(dagster)
    result = run(dagster, request)

    assert result.success
    assert request.tags["dagster/priority"] == "2"
    assert "mail_ingest/turn" not in request.tags
    assert public.get(filed.request_id).state == "done"
    assert public.get(filed.request_id).run_id == result.run_id
    assert tick(dagster) == []
    assert gmail.calls(account=other_box.address) == 0
    assert_true_to_gmail(engine, box)
    with engine.warehouse.open() as connection:
        assert connection.execute("select triggered_by from gmail.sync_runs").fetchall() == [("person",)]


def test_a_request_is_asked_for_under_one_key_until_its_run_is_queued(
    ask: Callable[..., Request], dagster: Dagster
) -> None:
    filed = ask()

    [first] = tick(dagster)
    [again] = tick(dagster)
    assert (again.run_key, again.run_config) == (first.run_key, first.run_config)

    job, tags = dagster.definitions.resolve_job_def("requested_sync"), {"dagster/run_key": str(first.run_key)}
    made = dagster.instance.create_run_for_job(job, run_config=first.run_config, tags=tags)
    [again] = tick(dagster)
    assert again.run_key == first.run_key, "a run that was never queued was taken for one that will come"
    assert public.get(filed.request_id).state == "claimed"

    dagster.instance.report_dagster_event(dg.DagsterEvent("PIPELINE_STARTING", job_name=job.name), run_id=made.run_id)
    assert tick(dagster) == []
    assert (public.get(filed.request_id).state, public.get(filed.request_id).run_id) == ("started", made.run_id)


def test_requests_of_one_kind_share_a_run_and_those_that_are_less_urgent_take_turns(
    ask: Callable[..., Request], other_box: Mailbox, dagster: Dagster
) -> None:
    ask(priority=2)
    ask(other_box.address, priority=2)

    [request] = tick(dagster)

    assert request.run_config["ops"]["sync_requested"]["config"]["accounts"] == sorted((ADDRESS, other_box.address))
    assert (request.tags["dagster/priority"], request.tags["mail_ingest/turn"]) == ("0", "requests")


def test_months_are_bought_and_the_rest_of_the_backlog_is_not(
    ask: Callable[..., Request], engine: Engine, box: Mailbox, dagster: Dagster
) -> None:
    for month in ("2026-02", "2026-03"):
        date = datetime.fromisoformat(f"{month}-10T12:00:00").replace(tzinfo=UTC)
        box.add(subject=month, sender="a@b.example", body="x", internal_date=date)
    filed = ask(months=["2026-02"], requested_by="push")

    [request] = tick(dagster)
    assert run(dagster, request).success

    with engine.warehouse.open() as connection:
        assert connection.execute("select subject from gmail.messages").fetchall() == [("2026-02",)]
        assert connection.execute("select triggered_by from gmail.sync_runs").fetchall() == [("push",)]
    assert public.get(filed.request_id).state == "done"
    assert engine.registry.get(ADDRESS).last_push_at is not None


def test_an_account_that_fails_fails_its_request_and_no_other(
    ask: Callable[..., Request], box: Mailbox, other_box: Mailbox, dagster: Dagster
) -> None:
    box.revoke()
    failed, done = ask(), ask(other_box.address)

    [request] = tick(dagster)
    result = run(dagster, request)

    assert not result.success
    assert (public.get(failed.request_id).state, public.get(done.request_id).state) == ("failed", "done")
    assert "mail-ingest account connect" in public.get(failed.request_id).reason or public.get(failed.request_id).reason


def test_an_account_that_is_erased_meanwhile_is_left_out_and_the_others_are_done(
    ask: Callable[..., Request],
    engine: Engine,
    box: Mailbox,
    other_box: Mailbox,
    gmail: Simulator,
    dagster: Dagster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    third = gmail.add_account("cleo@example.com")
    monkeypatch.setenv("CLEO_TOKEN", third.token)
    engine.registry.add(third.address, token_env("CLEO_TOKEN"))
    first, _, last = ask(), ask(other_box.address), ask(third.address)
    [request] = tick(dagster)

    def erase() -> None:
        engine.registry.remove(other_box.address)
        engine.registry.forget(other_box.address)

    gmail.before(None, erase, account=box.address, times=1)

    assert run(dagster, request).success

    assert (public.get(first.request_id).state, public.get(last.request_id).state) == ("done", "done")
    assert gmail.calls(account=other_box.address) == 0


def test_a_second_try_of_a_run_repeats_nothing(
    ask: Callable[..., Request], other_box: Mailbox, gmail: Simulator, dagster: Dagster
) -> None:
    cancelled, done = ask(), ask(other_box.address)
    [request] = tick(dagster)
    public.cancel(cancelled.request_id)
    run(dagster, request)
    calls = gmail.calls()
    assert gmail.calls(account=ADDRESS) == 0

    assert run(dagster, request).success

    assert gmail.calls() == calls
    assert (public.get(cancelled.request_id).state, public.get(done.request_id).state) == ("cancelled", "done")


@pytest.mark.parametrize(
    ("event", "tags", "state"),
    [
        ("PIPELINE_CANCELED", {}, "cancelled"),
        ("PIPELINE_FAILURE", {}, "failed"),
        ("PIPELINE_FAILURE", {"dagster/will_retry": "true"}, "started"),
    ],
)
def test_a_run_that_ends_without_a_word_ends_its_requests(
    event: str, tags: dict[str, str], state: str, ask: Callable[..., Request], dagster: Dagster
) -> None:
    filed = ask()
    [request] = tick(dagster)
    job = dagster.definitions.resolve_job_def("requested_sync")
    made = dagster.instance.create_run_for_job(
        job, run_config=request.run_config, tags={**tags, "dagster/run_key": str(request.run_key)}
    )
    for name in ("PIPELINE_STARTING", "PIPELINE_START", event):
        dagster.instance.report_dagster_event(dg.DagsterEvent(name, job_name=job.name), run_id=made.run_id)

    assert tick(dagster) == []

    assert public.get(filed.request_id).state == state


def test_cancelling_a_request_stops_its_sync(
    ask: Callable[..., Request],
    engine: Engine,
    box: Mailbox,
    gmail: Simulator,
    dagster: Dagster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mail_ingest.ingest import stopping

    monkeypatch.setattr(stopping, "ASK_EVERY_S", 0.0)
    box.generate(40, seed=2, mean_size_bytes=2_000)
    filed = ask()
    [request] = tick(dagster)
    gmail.before("messages.get", lambda: public.cancel(filed.request_id), after=10, times=1)

    assert run(dagster, request).success, "cancelled is not failed"

    with engine.warehouse.open() as connection:
        [stored] = connection.execute("select count(*) from gmail.messages").fetchone()
        assert connection.execute("select outcome from gmail.sync_runs").fetchall() == [("cancelled",)]
    assert 10 <= stored == gmail.calls("messages.get") < 40
    assert public.get(filed.request_id).state == "cancelled"


def test_a_run_that_dagster_ends_stops_at_a_safe_point(
    ask: Callable[..., Request], engine: Engine, box: Mailbox, gmail: Simulator, dagster: Dagster
) -> None:
    """Dagster sends SIGINT to the process of the run, whose step is not tried again as its retry policy would have it."""
    import os
    import signal

    box.generate(40, seed=3, mean_size_bytes=2_000)
    ask()
    [request] = tick(dagster)
    gmail.before("messages.get", lambda: os.kill(os.getpid(), signal.SIGINT), after=10, times=1)

    result = run(dagster, request)

    assert not result.success
    assert not result.filter_events(lambda event: event.is_step_up_for_retry)
    [failure] = result.filter_events(lambda event: event.is_step_failure)
    assert "The run was ended (SIGINT)" in str(failure.step_failure_data.user_failure_data)
    with engine.warehouse.open() as connection:
        [stored] = connection.execute("select count(*) from gmail.messages").fetchone()
        assert connection.execute("select outcome from gmail.sync_runs").fetchall() == [("cancelled",)]
    assert 10 <= stored == gmail.calls("messages.get") < 40
    for name in (f"account:{ADDRESS}", f"content:{ADDRESS}", "warehouse"):
        with engine.locks.hold(name, wait_s=0):
            pass
