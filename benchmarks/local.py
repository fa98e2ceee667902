"""Processes of a benchmark: the local Gmail server on one core, the measured process on another, where the OS allows."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

ADDRESS = "ada@example.com"
TOKEN_VARIABLE = "BENCHMARK_TOKEN"
_ROOT = Path(__file__).parent.parent


class Gmail:
    """The server's control endpoints. `tokens` are those of its accounts, by address."""

    def __init__(self, announced: dict[str, Any]) -> None:
        self.url: str = announced["url"]
        self.accounts: list[dict[str, Any]] = announced["accounts"]
        self.tokens: dict[str, str] = {account["address"]: account["token"] for account in announced["accounts"]}

    @property
    def token(self) -> str:
        """The first account's."""
        return next(iter(self.tokens.values()))

    def control(self, path: str, body: object = None, method: str | None = None) -> Any:
        """One control request; `body` makes it a POST."""
        with self._open(path, body, method) as answer:
            return json.load(answer)

    def lines(self, path: str) -> Iterator[Any]:
        """A control answer that is a stream of JSON lines."""
        with self._open(path, None, None) as answer:
            for line in answer:
                yield json.loads(line)

    def download(self, path: str, file: Path) -> None:
        """Writes a control answer to a file."""
        with self._open(path, None, None) as answer, file.open("wb") as written:
            shutil.copyfileobj(answer, written)

    def verb(self, name: str, **arguments: object) -> Any:
        """Changes the mailbox."""
        return self.control(f"accounts/{ADDRESS}/{name}", arguments)["result"]

    def cpu_s(self) -> float:
        return float(self.control("cpu")["cpu_s"])

    def peak_bytes(self) -> int:
        """The most memory that the server ever held."""
        return int(self.control("cpu")["peak_rss_bytes"])

    def forget_requests(self) -> None:
        self.control("requests", method="DELETE")

    def requests(self) -> dict[str, Any]:
        counted: dict[str, Any] = self.control("requests")
        return counted

    def _open(self, path: str, body: object, method: str | None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        return urlopen(Request(f"{self.url}/simulator/{path}", data, method=method), timeout=600)


@contextmanager
def serve(messages: int, *, quota: str = "off", pinned: bool = True, **options: object) -> Iterator[Gmail]:
    """A server in a process of its own, with one generated mailbox or those that `mailboxes` asks for. `options` are those of
    its command line."""
    command = [sys.executable, "-m", "mail_ingest.simulator", "--json", "--port", "0"]
    given = {} if "mailboxes" in options else {"account": ADDRESS}
    for name, value in {**given, "messages": messages, "quota": quota, **options}.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=_ROOT, preexec_fn=_pinned(0) if pinned else None
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("the local Gmail server did not start")
        yield Gmail(json.loads(line))
    finally:
        process.terminate()
        process.wait()


@contextmanager
def home() -> Iterator[Path]:
    """A folder for everything that one measured process keeps."""
    with tempfile.TemporaryDirectory(prefix="mail-ingest-benchmark-") as folder:
        yield Path(folder)


def environment(gmail: Gmail, folder: Path, **variables: str) -> dict[str, str]:
    """`MAIL_INGEST_*` for a product under measurement; nothing of the caller's own settings gets in."""
    return {
        **inherited(),
        "MAIL_INGEST_HOME": str(folder),
        "MAIL_INGEST_GMAIL_URL": gmail.url,
        "MAIL_INGEST_QUOTA": "off",
        TOKEN_VARIABLE: gmail.token,
        **variables,
    }


def inherited() -> dict[str, str]:
    """The environment without the caller's own settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("MAIL_INGEST_")}


def run_worker(
    verb: str, env: dict[str, str], *, pinned: bool = True, log: Path | None = None, **arguments: object
) -> dict[str, Any]:
    """Runs a verb of `benchmarks.worker` in a process of its own and returns what it measured, with `process_cpu_s`: the
    process from its start to its end, and all its children. What it says on its way goes to `log`."""
    command = [sys.executable, "-m", "benchmarks.worker", verb, json.dumps(arguments)]
    with ExitStack() as stack:
        said = stack.enter_context(log.open("wb")) if log else None
        process = subprocess.Popen(
            command, env=env, cwd=_ROOT, stdout=subprocess.PIPE, stderr=said, preexec_fn=_pinned(1) if pinned else None
        )
        assert process.stdout is not None
        told = stack.enter_context(process.stdout).read()
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"the measured process {verb!r} ended with {process.returncode}{_last_words(log)}")
    measured: dict[str, Any] = json.loads(told.splitlines()[-1])
    return {**measured, "process_cpu_s": usage.ru_utime + usage.ru_stime}


def _last_words(log: Path | None) -> str:
    return "" if log is None else ":\n" + "\n".join(log.read_text(errors="replace").splitlines()[-20:])


def run_command(env: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs `mail-ingest` as a person would, on the measured core."""
    command = [sys.executable, "-m", "mail_ingest.cli", *arguments]
    return subprocess.run(command, env=env, cwd=_ROOT, capture_output=True, text=True, preexec_fn=_pinned(1))


def _pinned(core: int) -> Callable[[], None] | None:
    """Keeps a child process on one core: the server on the first of ours, the client on the second."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    cores = sorted(os.sched_getaffinity(0))
    return lambda: os.sched_setaffinity(0, {cores[core % len(cores)]})
