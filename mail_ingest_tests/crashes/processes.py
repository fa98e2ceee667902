"""Processes that want one account: the command line and Dagster's, held back at the wire, and how they ended."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mail_ingest.simulator import Simulator

PROJECT = Path(__file__).parents[2]


class Gate:
    """Keeps one request of Gmail waiting: `reached` when it has come, until `open` is called (or a minute is over)."""

    def __init__(self, gmail: Simulator, method: str, account: str, *, after: int = 0) -> None:
        self._reached, self._open = threading.Event(), threading.Event()
        gmail.before(method, self._wait, account=account, after=after, times=1)

    def _wait(self) -> None:
        self._reached.set()
        self._open.wait(60)

    def wait_until_reached(self, process: subprocess.Popen[str]) -> None:
        wait_for(lambda: self.is_reached() or process.poll() is not None)
        assert self._reached.is_set(), process.communicate()

    def is_reached(self) -> bool:
        return self._reached.is_set()

    def open(self) -> None:
        self._open.set()


class Processes:
    """Starts processes over one home and one DAGSTER_HOME; ends at the end those that are left."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self.dagster_home = folder / "dagster"
        self.dagster_home.mkdir()
        shutil.copy(PROJECT / "dagster.yaml", self.dagster_home)
        self._environment = {
            **environment,
            "DAGSTER_HOME": str(self.dagster_home),
            "PYTHONPATH": str(PROJECT),
            "COLUMNS": "200",
        }
        self._started: list[subprocess.Popen[str]] = []

    def cli(self, *arguments: str) -> subprocess.Popen[str]:
        """`mail-ingest` with these arguments."""
        return self._start([sys.executable, "-m", "mail_ingest.cli", *arguments])

    def tool(self, name: str, *arguments: str) -> subprocess.Popen[str]:
        """A command of Dagster: `dagster`, `dg`, `dagster-daemon`."""
        return self._start([str(Path(sys.executable).with_name(name)), *arguments])

    def python(self, code: str, *arguments: str) -> subprocess.Popen[str]:
        return self._start([sys.executable, "-c", code, *arguments])

    def _start(self, command: list[str]) -> subprocess.Popen[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MAIL_INGEST_")}
        variables = {**inherited, **self._environment}
        process = subprocess.Popen(
            command,
            cwd=PROJECT,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def end(self) -> None:
        for process in self._started:
            # Dagster's daemon and commands have children of their own, which outlive them
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def ended(process: subprocess.Popen[str], *, within_s: float = 120) -> tuple[int, str]:
    """The exit code and all that a process said."""
    out, err = process.communicate(timeout=within_s)
    return process.returncode, out + err


def wait_for(condition: Callable[[], bool], *, within_s: float = 120) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.05)
