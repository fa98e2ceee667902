"""Two processes want one account: one at a time, a clear word for the other, and true tables. Other accounts go on."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from mail_ingest.accounts import token_env
from mail_ingest.errors import BusyError
from mail_ingest.ingest.engine import Engine
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.crashes.processes import Gate, Processes, ended, wait_for
from mail_ingest_tests.truth import assert_true_to_gmail

_READER = """
import sys, duckdb
with duckdb.connect(sys.argv[1], read_only=True) as connection:
    print(connection.sql("select (select count(*) from gmail.message_states), (select count(*) from gmail.messages)").fetchone())
"""
_HOLDS_AND_FORKS = """
import os, sys, time
from pathlib import Path
from mail_ingest.warehouse.locks import Locks
with Locks(Path(sys.argv[1])).hold("account:" + sys.argv[2]):
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    print(child, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def processes(
    engine: Engine, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Processes]:
    """Processes over the engine's home, in which the mailbox is registered."""
    started = Processes(environment, tmp_path)
    yield started
    started.end()


@pytest.fixture
def other_box(gmail: Simulator, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Mailbox:
    """A second mailbox, of the same shard."""
    box = gmail.add_account("grace@example.com")
    monkeypatch.setenv("GRACE_TOKEN", box.token)
    engine.registry.add(box.address, token_env("GRACE_TOKEN"))
    assert {account.shard for account in engine.registry.list()} == {0}
    return box


@pytest.mark.warehouses("duckdb", "postgres")
def test_a_second_shell_leaves_with_three_while_state_is_read(
    processes: Processes, engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(20, seed=61, mean_size_bytes=2_000)
    gate = Gate(gmail, "labels.get", ADDRESS)
    first = processes.cli("sync")
    gate.wait_until_reached(first)
    calls = gmail.calls()

    code, said = ended(processes.cli("sync", "--wait", "0.5"))

    assert code == 3
    assert f"Another process holds account:{ADDRESS} and did not let go within 0.5 s" in said
    assert "--wait" in said
    assert gmail.calls() == calls, "the second one asked Gmail"
    gate.open()
    assert ended(first)[0] == 0
    assert_true_to_gmail(engine, box)
    assert gmail.calls("messages.get") == 20


def test_a_second_shell_waits_its_turn_and_finds_nothing_left_to_do(
    processes: Processes, engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(20, seed=62, mean_size_bytes=2_000)
    gate = Gate(gmail, "messages.list", ADDRESS)
    first = processes.cli("sync", "--json")
    gate.wait_until_reached(first)
    started_at = engine.registry.get(ADDRESS).last_sync_started_at

    second = processes.cli("sync", "--json", "--wait", "60")
    wait_for(lambda: engine.registry.get(ADDRESS).last_sync_started_at != started_at)
    gate.open()

    runs = []
    for process in (first, second):
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        runs.append(json.loads(out)["runs"][0])
    # which of the two bought the content is theirs to settle; both together bought it once
    assert sum(run["contents_stored"] for run in runs) == 20 == gmail.calls("messages.get")
    assert [run["messages_added"] for run in runs] == [20, 0]
    assert_true_to_gmail(engine, box)


def test_state_lands_though_content_is_held_elsewhere(
    processes: Processes, engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(30, seed=63, mean_size_bytes=2_000)
    gate = Gate(gmail, "messages.get", ADDRESS, after=5)
    first = processes.cli("sync")
    gate.wait_until_reached(first)
    new = box.add(subject="new", sender="a@b.example", body="x")

    code, said = ended(processes.cli("sync", "--wait", "0.5"))

    assert code == 3
    assert f"Another process holds content:{ADDRESS}" in said
    assert new in engine.queries.lookup_states(ADDRESS, [new]), "the state of the second did not land"
    gate.open()
    assert ended(first)[0] == 0
    assert ended(processes.cli("sync"))[0] == 0
    assert gmail.calls("messages.get") == 31
    assert_true_to_gmail(engine, box)


@pytest.mark.warehouses("duckdb", "postgres")
def test_a_killed_holder_frees_its_locks_at_once(
    processes: Processes, engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(30, seed=64, mean_size_bytes=2_000)
    gate = Gate(gmail, "messages.get", ADDRESS, after=5)
    first = processes.cli("sync")
    gate.wait_until_reached(first)
    assert ended(processes.cli("sync", "--wait", "0"))[0] == 3

    first.send_signal(signal.SIGKILL)
    first.wait()
    code, said = ended(processes.cli("sync", "--wait", "0"))

    assert code == 0, said
    gate.open()
    assert_true_to_gmail(engine, box)


def test_children_do_not_inherit_locks(processes: Processes, engine: Engine) -> None:
    holder = processes.python(_HOLDS_AND_FORKS, str(engine.settings.home / "locks"), ADDRESS)
    assert holder.stdout is not None
    child = int(holder.stdout.readline())
    try:
        with pytest.raises(BusyError), engine.locks.hold(f"account:{ADDRESS}", wait_s=0):
            pytest.fail("the holder does not hold it")
        holder.kill()
        holder.wait()

        with engine.locks.hold(f"account:{ADDRESS}", wait_s=5):
            assert Path(f"/proc/{child}").exists(), "the child had gone before"
    finally:
        os.kill(child, signal.SIGKILL)


def test_another_account_and_a_reader_get_in_while_a_long_fetch_is_under_way(
    processes: Processes, engine: Engine, box: Mailbox, other_box: Mailbox, gmail: Simulator
) -> None:
    box.generate(30, seed=65, mean_size_bytes=2_000)
    other_box.generate(10, seed=66, mean_size_bytes=2_000)
    warehouse = str(engine.settings.duckdb_path)
    sweeping = Gate(gmail, "labels.get", ADDRESS)
    fetching = Gate(gmail, "messages.get", ADDRESS, after=5)
    first = processes.cli("sync", ADDRESS)
    sweeping.wait_until_reached(first)

    code, said = ended(processes.cli("sync", other_box.address, "--wait", "5"))

    assert code == 0, said
    assert "10 contents stored" in said
    code, said = ended(processes.python(_READER, warehouse))
    assert (code, said.strip()) == (0, "(10, 10)"), "the sweep keeps readers out"
    sweeping.open()
    fetching.wait_until_reached(first)
    code, said = ended(processes.python(_READER, warehouse))
    assert (code, said.strip()) == (0, "(40, 10)"), "the fetch keeps readers out"
    assert ended(processes.cli("sync", other_box.address, "--wait", "5"))[0] == 0
    assert first.poll() is None, "the long fetch was over before"
    fetching.open()
    assert ended(first)[0] == 0
    with duckdb.connect(warehouse, read_only=True) as connection:
        counts = dict(connection.sql("select account_id, count(*) from gmail.messages group by 1").fetchall())
    assert counts == {ADDRESS: 30, other_box.address: 10}


def test_a_run_that_dagster_believes_dead_keeps_its_locks_while_it_lives(
    processes: Processes, engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(30, seed=67, mean_size_bytes=2_000)
    gate = Gate(gmail, "messages.get", ADDRESS, after=5)
    run = processes.tool("dagster", "job", "execute", "-m", "mail_ingest.definitions", "-j", "sync")
    gate.wait_until_reached(run)
    with dg.DagsterInstance.from_config(str(processes.dagster_home)) as instance:
        (believed,) = instance.get_runs()
        instance.report_run_failed(believed, "the worker did not answer")
        assert instance.get_run_by_id(believed.run_id).status is dg.DagsterRunStatus.FAILURE  # type: ignore[union-attr]

    code, said = ended(processes.cli("sync", "--wait", "0.5"))

    assert code == 3
    assert f"Another process holds content:{ADDRESS}" in said
    gate.open()
    ended(run)
    assert ended(processes.cli("sync", "--wait", "0"))[0] == 0
    assert gmail.calls("messages.get") == 30
    assert_true_to_gmail(engine, box)


_DEFINITIONS = ("-m", "mail_ingest.definitions")
_STATE = "gmail/accounts,gmail/labels,gmail/message_states,gmail/label_events,gmail/sync_runs"
_IMPATIENT = {"resources": {"mail_ingest": {"config": {"wait_s": 0.5}}}}


@pytest.mark.long
@pytest.mark.parametrize("command", ["dagster asset materialize", "dg launch"])
def test_a_run_of_dagster_waits_for_a_shell_and_then_does_its_work(
    processes: Processes, engine: Engine, box: Mailbox, gmail: Simulator, command: str
) -> None:
    box.generate(20, seed=68, mean_size_bytes=2_000)
    gate = Gate(gmail, "labels.get", ADDRESS)
    shell = processes.cli("sync")
    gate.wait_until_reached(shell)
    started_at = engine.registry.get(ADDRESS).last_sync_started_at

    if command == "dg launch":
        run = processes.tool("dg", "launch", "--assets", _STATE)
    else:
        run = processes.tool("dagster", "asset", "materialize", *_DEFINITIONS, "--select", _STATE)
    wait_for(lambda: engine.registry.get(ADDRESS).last_sync_started_at != started_at or run.poll() is not None)
    assert run.poll() is None, run.communicate()
    gate.open()

    assert ended(shell)[0] == 0
    code, said = ended(run)
    assert code == 0, said
    assert gmail.calls("messages.get") == 20
    assert gmail.calls("getProfile") == 2
    assert_true_to_gmail(engine, box)


@pytest.mark.long
@pytest.mark.parametrize("command", ["dagster asset materialize", "dagster job execute"])
def test_a_run_of_dagster_that_does_not_get_its_turn_says_so(
    processes: Processes, engine: Engine, box: Mailbox, gmail: Simulator, tmp_path: Path, command: str
) -> None:
    box.generate(20, seed=69, mean_size_bytes=2_000)
    gate = Gate(gmail, "labels.get", ADDRESS)
    shell = processes.cli("sync")
    gate.wait_until_reached(shell)
    calls = gmail.calls()

    if command == "dagster job execute":
        config = tmp_path / "impatient.yaml"
        config.write_text(json.dumps(_IMPATIENT))
        run = processes.tool("dagster", "job", "execute", *_DEFINITIONS, "-j", "sync", "-c", str(config))
    else:
        impatient = json.dumps(_IMPATIENT)
        run = processes.tool(
            "dagster", "asset", "materialize", *_DEFINITIONS, "--select", _STATE, "--config-json", impatient
        )
    words = f"Another process holds account:{ADDRESS} and did not let go within 0.5 s"
    with dg.DagsterInstance.from_config(str(processes.dagster_home)) as instance:
        # it would be tried again after a minute, and after two more
        wait_for(lambda: run.poll() is not None or _retried(instance) is not None)
        assert words in (_retried(instance) or "")

    assert gmail.calls() == calls, "the run asked Gmail"
    run.kill()
    gate.open()
    assert ended(shell)[0] == 0
    assert_true_to_gmail(engine, box)


@pytest.mark.long
def test_the_queue_lets_one_sync_start_and_a_shell_meets_its_lock(
    processes: Processes, engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(20, seed=70, mean_size_bytes=2_000)
    gate = Gate(gmail, "labels.get", ADDRESS)
    with dg.DagsterInstance.from_config(str(processes.dagster_home)) as instance:
        # makes Dagster's databases, which two of its processes that start at once do not manage
        assert (instance.get_runs(), instance.all_instigator_state()) == ([], [])
    processes.tool("dagster-daemon", "run", *_DEFINITIONS)
    for _ in range(2):
        code, said = ended(processes.tool("dagster", "job", "launch", *_DEFINITIONS, "-j", "sync"))
        assert code == 0, said
    wait_for(gate.is_reached)

    code, said = ended(processes.cli("sync", "--wait", "0.5"))

    assert code == 3
    assert f"Another process holds account:{ADDRESS}" in said
    with dg.DagsterInstance.from_config(str(processes.dagster_home)) as instance:
        statuses = sorted(run.status.value for run in instance.get_runs())
        assert statuses == ["QUEUED", "STARTED"]
        gate.open()
        wait_for(lambda: {run.status.value for run in instance.get_runs()} == {"SUCCESS"})
    assert gmail.calls("messages.get") == 20
    assert gmail.calls("getProfile") == 2
    assert_true_to_gmail(engine, box)


def _retried(instance: dg.DagsterInstance) -> str | None:
    """Why the first step that is tried again failed, None before that."""
    for run in instance.get_runs():
        for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_UP_FOR_RETRY):
            return str(entry.dagster_event.event_specific_data) if entry.dagster_event else ""
    return None
