"""Dagster's daemon, code server and workers are killed together: requests are neither lost nor doubled, and runs are ended."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from mail_ingest.accounts import make_wish, token_env
from mail_ingest.defs.reaper import ALIVE_TAG
from mail_ingest.ingest.engine import Engine
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.crashes.processes import Gate, Processes, ended, wait_for
from mail_ingest_tests.truth import assert_true_to_gmail

_DEFINITIONS = ("-m", "mail_ingest.definitions")


@pytest.fixture
def processes(
    engine: Engine, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Processes]:
    started = Processes(environment, tmp_path)
    yield started
    started.end()


@pytest.fixture
def instance(processes: Processes) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(processes.dagster_home)) as instance:
        # makes Dagster's databases, which two of its processes that start at once do not manage
        assert (instance.get_runs(), instance.all_instigator_state()) == ([], [])
        # off by themselves outside of production
        for sensor in ("sync_requests", "dead_runs"):
            assert processes.tool("dagster", "sensor", "start", sensor, *_DEFINITIONS).wait(timeout=120) == 0
        yield instance


def _start(processes: Processes) -> subprocess.Popen[str]:
    return processes.tool("dagster-daemon", "run", *_DEFINITIONS)


def _kill(daemon: subprocess.Popen[str]) -> None:
    """The daemon, its code server and all workers, at once."""
    os.killpg(daemon.pid, signal.SIGKILL)
    daemon.wait()


def _requested_by(instance: dg.DagsterInstance) -> Counter[str]:
    """How many runs were made for each request; those that Dagster tries again are the same run."""
    runs = [run for run in instance.get_runs() if run.job_name == "requested_sync" and run.parent_run_id is None]
    return Counter(
        request_id for run in runs for request_id in run.run_config["ops"]["sync_requested"]["config"]["requests"]
    )


def test_a_daemon_that_dies_between_a_claim_and_its_run_loses_and_doubles_no_request(
    processes: Processes, instance: dg.DagsterInstance, engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(10, seed=71, mean_size_bytes=2_000)
    requests = engine.registry.requests
    first = requests.file(ADDRESS, make_wish(datetime.now(UTC)), "person")
    daemon = _start(processes)
    wait_for(lambda: requests.get(first.request_id).state != "waiting" or daemon.poll() is not None)

    _kill(daemon)

    later = requests.file(ADDRESS, make_wish(datetime.now(UTC), mode="full"), "person")
    assert later.request_id != first.request_id
    _start(processes)
    wait_for(lambda: {request.state for request in requests.find(only_open=False)} == {"done"}, within_s=240)
    assert _requested_by(instance) == {first.request_id: 1, later.request_id: 1}
    assert gmail.calls("messages.get") == 10
    assert_true_to_gmail(engine, box)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_many_requests_through_many_deaths_are_each_fulfilled_once(
    processes: Processes,
    instance: dg.DagsterInstance,
    engine: Engine,
    box: Mailbox,
    gmail: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    draw = random.Random(7)
    requests = engine.registry.requests
    addresses = [ADDRESS]
    for number in range(3):
        other = gmail.add_account(f"user{number}@example.com")
        # a token that the processes inherit by the name of the first one's variable would open another mailbox
        monkeypatch.setenv(f"TOKEN_{number}", other.token)
        engine.registry.add(other.address, token_env(f"TOKEN_{number}"))
        other.generate(3, seed=number, mean_size_bytes=1_000)
        addresses.append(other.address)
    for _ in range(5):
        daemon = _start(processes)
        wait_for(lambda: any(request.state != "waiting" for request in requests.find()) or not requests.find())
        for _ in range(draw.randrange(2, 8)):
            requests.file(draw.choice(addresses), make_wish(datetime.now(UTC)), "person")
            time.sleep(draw.random() * 3)
        _kill(daemon)
    _start(processes)

    wait_for(lambda: requests.find() == [], within_s=900)

    every = requests.find(only_open=False)
    assert {request.state for request in every} <= {"done", "failed"}
    assert _requested_by(instance) == {request.request_id: 1 for request in every}
    # a run that died thrice is given up by Dagster, and says so
    assert all("run ended" in request.reason for request in every if request.state == "failed")


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_run_whose_worker_died_with_the_code_server_is_ended_and_its_account_goes_on(
    processes: Processes, instance: dg.DagsterInstance, engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(30, seed=72, mean_size_bytes=2_000)
    gate = Gate(gmail, "messages.get", ADDRESS, after=5)
    daemon = _start(processes)
    code, said = ended(processes.tool("dagster", "job", "launch", *_DEFINITIONS, "-j", "sync"))
    assert code == 0, said
    wait_for(gate.is_reached)
    [run] = instance.get_runs()
    assert run.tags[ALIVE_TAG] == run.run_id

    _kill(daemon)

    gate.open()
    assert instance.get_run_by_id(run.run_id).status is dg.DagsterRunStatus.STARTED  # type: ignore[union-attr]
    assert ended(processes.cli("sync", "--wait", "0"))[0] == 0, "its locks were not free at once"
    _start(processes)
    wait_for(lambda: _status(instance, run.run_id) == "FAILURE", within_s=300)
    wait_for(
        lambda: {_status(instance, made.run_id) for made in instance.get_runs()} == {"FAILURE", "SUCCESS"}, within_s=300
    )
    assert gmail.calls("messages.get") < 2 * 30, "more was bought again than the pack that was open"
    assert_true_to_gmail(engine, box)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("by", ["Terminate", "cancel"])
def test_a_run_that_a_person_ends_keeps_what_it_fetched(
    by: str, processes: Processes, instance: dg.DagsterInstance, engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(200, seed=73, mean_size_bytes=2_000)
    may_go_on, has_come = threading.Event(), threading.Event()

    def hold_back() -> None:
        has_come.set()
        may_go_on.wait(120)

    gmail.before("messages.get", hold_back, after=50)
    _start(processes)
    code, said = ended(processes.tool("dagster", "job", "launch", *_DEFINITIONS, "-j", "sync"))
    assert code == 0, said
    wait_for(has_come.is_set)
    [run] = instance.get_runs()

    if by == "Terminate":
        assert instance.run_launcher.terminate(run.run_id)
    else:
        engine.registry.requests.cancel_account(ADDRESS, "a test")
    time.sleep(2)
    may_go_on.set()
    wait_for(lambda: _status(instance, run.run_id) in ("CANCELED", "SUCCESS", "FAILURE"))

    assert _status(instance, run.run_id) == {"Terminate": "CANCELED", "cancel": "SUCCESS"}[by]
    with engine.warehouse.open() as connection:
        [stored] = connection.execute("select count(*) from gmail.messages").fetchone()
        assert connection.execute("select outcome from gmail.sync_runs").fetchall() == [("cancelled",)]
    assert 50 <= stored == gmail.calls("messages.get") < 200
    assert ended(processes.cli("sync", "--wait", "0"))[0] == 0
    assert gmail.calls("messages.get") == 200
    assert_true_to_gmail(engine, box)


def _status(instance: dg.DagsterInstance, run_id: str) -> str:
    run = instance.get_run_by_id(run_id)
    return run.status.value if run is not None else ""
