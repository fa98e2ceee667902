"""Beyond one machine: everything that deploy/celery/start.py starts, on loopback, with homes as if on machines of their own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import pytest

from mail_ingest.accounts import Registry, service_account
from mail_ingest.defs.queue import UNFINISHED
from mail_ingest.settings import load_settings
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.crashes.conftest import doubled_rows
from mail_ingest_tests.crashes.processes import Gate, wait_for
from mail_ingest_tests.defs.serving import PROJECT, ask, free_port
from mail_ingest_tests.postgres import embedded_server, psql
from mail_ingest_tests.truth import assert_exact

pytestmark = [
    pytest.mark.celery,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(
        shutil.which("redis-server") is None, reason="Redis is not installed (Debian: apt-get install redis-server)"
    ),
]

GROUPS = 3
MAILBOXES = 12
LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}
"""
TERMINATE = """
mutation Terminate($run: String!) {
  terminateRun(runId: $run) {
    __typename
    ... on TerminateRunFailure { message }
    ... on PythonError { message }
  }
}
"""


@dataclass
class Deployment:
    """What start.py started."""

    folder: Path
    url: str
    env: dict[str, str] = field(repr=False)
    instance: dg.DagsterInstance

    def sync(self, group: str) -> str:
        """Asks for a run of the job `sync`, as the UI does; gives its id."""
        selector = {"repositoryLocationName": "mail_ingest", "repositoryName": "__repository__", "jobName": "sync"}
        config = {"ops": {"sync_accounts": {"config": {"groups": [group]}}}}
        launched = ask(self.url, LAUNCH, params={"selector": selector, "runConfigData": config})["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def status(self, run_id: str) -> str:
        run = self.instance.get_run_by_id(run_id)
        return run.status.value if run else ""

    def process_of(self, run_id: str) -> int:
        """The process that executes a run."""
        [told] = [
            match
            for entry in self.instance.all_logs(run_id)
            if (match := re.match(r"Started process for run \(pid: (\d+)\)", entry.message))
        ]
        return int(told[1])

    def pids(self) -> dict[str, int]:
        ids: dict[str, int] = json.loads((self.folder / "processes.json").read_text())
        return ids


@pytest.fixture
def deployment(gmail: Simulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    # a short path that Postgres may enter as its own user
    folder = Path(tempfile.mkdtemp(prefix="mi-celery-", dir="/tmp"))
    port = free_port()
    command = [sys.executable, PROJECT / "deploy" / "celery" / "start.py", "--folder", folder, "--port", port]
    command += ["--workers", 2, "--concurrency", 2]
    variables = {name: value for name, value in os.environ.items() if not name.startswith("MAIL_INGEST_")}
    variables |= {"MAIL_INGEST_GMAIL_URL": gmail.url, "MAIL_INGEST_QUOTA": "off"}
    with ExitStack() as stack:
        if not list(Path("/usr/lib/postgresql").glob("*/bin/postgres")):
            variables["DEPLOY_POSTGRES_URL"] = stack.enter_context(embedded_server())
            variables["PATH"] = os.pathsep.join([str(Path(psql()).parent), os.environ["PATH"]])
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        process = subprocess.Popen(
            [str(part) for part in command], env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("Dagster is at "), line + process.stdout.read()
            env = dict(line.replace("'", "").split("=", 1) for line in (folder / "env").read_text().splitlines())
            for name, value in env.items():
                monkeypatch.setenv(name, value)
            with dg.DagsterInstance.from_config(str(folder / "central" / "dagster")) as instance:
                yield Deployment(folder, f"http://127.0.0.1:{port}", {**variables, **env}, instance)
            running = Deployment.pids(Deployment(folder, "", {}, instance))
        finally:
            process.send_signal(signal.SIGTERM)
            said, _ = process.communicate(timeout=240)
    assert process.returncode == 0, said
    assert not [name for name, pid in running.items() if Path(f"/proc/{pid}").exists()]


def test_a_fleet_over_two_workers_of_which_one_is_killed_ends_equal_to_its_mailboxes(
    deployment: Deployment, gmail: Simulator, tmp_path: Path
) -> None:
    boxes = _register(gmail, deployment.env, tmp_path)
    gate = Gate(gmail, "messages.get", next(iter(boxes)), after=20)

    first = [deployment.sync(f"team-{number}") for number in range(GROUPS)]
    wait_for(gate.is_reached)
    worker = os.getpgid(deployment.process_of(first[0]))
    [name] = [name for name, pid in deployment.pids().items() if pid == worker]
    assert name.startswith("worker-")
    os.killpg(worker, signal.SIGKILL)
    gate.open()

    # the mailboxes do not wait for anybody
    for number, box in enumerate(boxes.values()):
        _change(box, number)
    second = [deployment.sync(f"team-{number}") for number in range(GROUPS)]
    wait_for(lambda: {deployment.status(run) for run in second} == {"SUCCESS"}, within_s=600)
    wait_for(lambda: deployment.status(first[0]) == "FAILURE", within_s=600)
    wait_for(lambda: not _unfinished(deployment.instance), within_s=600)

    # nobody has done anything about the dead worker
    retried = [run for run in deployment.instance.get_runs() if run.parent_run_id == first[0]]
    assert [run.status.value for run in retried] == ["SUCCESS"]
    assert deployment.pids()[name] != worker, "the worker was not started again"
    for address, box in boxes.items():
        assert_exact(deployment.env["MAIL_INGEST_WAREHOUSE"], address, box, saw_all=False)
    assert doubled_rows(deployment.env["MAIL_INGEST_WAREHOUSE"]) == 0
    verified = subprocess.run(
        [str(Path(sys.executable).with_name("mail-ingest")), "verify", "--json"],
        env=deployment.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "drift" in verified.stdout

    # a run that a person ends is canceled, and keeps what it has
    boxes["person-01@example.com"].generate(40, seed=200, mean_size_bytes=3_000)
    gate = Gate(gmail, "messages.get", "person-01@example.com", after=10)
    ended = deployment.sync("team-1")
    wait_for(gate.is_reached)
    terminated = ask(deployment.url, TERMINATE, run=ended)["terminateRun"]
    assert terminated["__typename"] == "TerminateRunSuccess", terminated
    gate.open()
    wait_for(lambda: deployment.status(ended) not in ("STARTED", "CANCELING"), within_s=600)
    assert deployment.status(ended) == "CANCELED"
    assert not [run for run in deployment.instance.get_runs() if run.parent_run_id == ended]


def _register(gmail: Simulator, env: dict[str, str], folder: Path) -> dict[str, Mailbox]:
    """Twelve mailboxes in three groups, opened by one service account whose key lies encrypted in the control database."""
    (folder / "robot.json").write_text(json.dumps(gmail.service_account()))
    registry = Registry(load_settings(env))
    boxes = {}
    for number in range(MAILBOXES):
        box = gmail.add_account(f"person-{number:02}@example.com")
        box.generate(60, seed=number, user_labels=4, mean_size_bytes=3_000)
        registry.add(box.address, service_account(folder / "robot.json"), account_group=f"team-{number % GROUPS}")
        # what runs is what is asked for
        registry.change(box.address, schedule="off")
        boxes[box.address] = box
    registry.close()
    return boxes


def _change(box: Mailbox, number: int) -> None:
    ids = sorted(box.messages())
    box.relabel_many(ids[:20], add=[box.create_label("Later")])
    box.delete_many(ids[-3:])
    for new in range(10):
        box.add(subject=f"{number} {new}")


def _unfinished(instance: dg.DagsterInstance) -> list[str]:
    return [run.run_id for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))]
