"""Measures what one run of the job `sync` costs on Postgres: a first sync with all content, a busy hour, a quiet one.

The runs are executed in this process on a Dagster instance whose storage is Postgres as well; the Gmail server is a process of
its own. A quiet run of one mailbox tells what a run costs whatever it does.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2

from benchmarks.local import Gmail, environment, home, serve
from benchmarks.server import database, server
from benchmarks.sizing.figures import Figures

MEAN_SIZE_BYTES = 20_000
#: Of a busy hour, in each mailbox.
NEW, RELABELED, DELETED = 10, 5, 1
_WORDS = [f"word{number:04}" for number in range(2_000)]
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run cost."""

    cpu_s: float
    postgres_cpu_s: float
    units: int
    events: int
    event_bytes: int


def measure(mailboxes: int, messages: int, postgres: str | None = None) -> Figures:
    """Figures of so many mailboxes with so many messages each."""
    with ExitStack() as stack:
        enter = stack.enter_context
        gmail = enter(serve(messages, mailboxes=mailboxes, mean_size_bytes=MEAN_SIZE_BYTES))
        folder, url = enter(home()), enter(server(postgres))
        warehouse, storage = enter(database(url)), enter(database(url))
        fleet = enter(_fleet(gmail, folder, warehouse, storage))

        # one mailbox before the others: for imports, the calendar, and what else comes once
        fleet.run(fleet.addresses[:1])
        before_bytes, stored = fleet.size_of(warehouse), (mailboxes - 1) * messages
        first = fleet.run(fleet.addresses[1:])
        peak_mb = _peak_mb()
        database_bytes = (fleet.size_of(warehouse) - before_bytes) / stored
        packs = [path.stat().st_size for path in (folder / "raw").rglob("*") if path.is_file()]
        archive_bytes = sum(packs) / (mailboxes * messages)
        fleet.change()
        busy = fleet.run()
        quiet = fleet.run()
        alone = fleet.run(fleet.addresses[:1])

    quiet_s = max(quiet.cpu_s - alone.cpu_s, 0.0) / (mailboxes - 1)
    run_s = alone.cpu_s - quiet_s
    return Figures(
        measured_mailboxes=mailboxes,
        measured_messages=messages,
        mean_message_bytes=MEAN_SIZE_BYTES,
        run_cpu_s=round(run_s, 2),
        quiet_cpu_ms=round(quiet_s * 1e3, 1),
        busy_cpu_ms=round((busy.cpu_s - run_s) / mailboxes * 1e3, 1),
        content_cpu_ms=round((first.cpu_s - run_s) / stored * 1e3, 2),
        postgres_busy_cpu_ms=round(busy.postgres_cpu_s / mailboxes * 1e3, 1),
        postgres_content_cpu_ms=round(first.postgres_cpu_s / stored * 1e3, 2),
        quiet_units=quiet.units / mailboxes,
        busy_units=busy.units / mailboxes,
        busy_messages=NEW,
        content_units=round(first.units / stored, 2),
        run_peak_mb=round(peak_mb),
        database_bytes=round(database_bytes),
        archive_bytes=round(archive_bytes),
        run_events=busy.events,
        run_event_bytes=busy.event_bytes,
    )


class _Fleet:
    """The mailboxes, and runs of the job `sync` over them."""

    def __init__(self, gmail: Gmail, accounts: Sequence[dict[str, Any]], instance: Any, storage: str) -> None:
        from mail_ingest.definitions import build_definitions

        self.addresses = [str(account["address"]) for account in accounts]
        self._gmail, self._instance, self._storage = gmail, instance, storage
        self._job = build_definitions().resolve_job_def("sync")

    def run(self, addresses: Sequence[str] = ()) -> Cost:
        """Runs the job, and says what it cost; raises RuntimeError where it failed."""
        self._gmail.forget_requests()
        events, event_bytes = self._events(), self.size_of(self._storage)
        server_s, own_s = self._postgres_cpu_s(), time.process_time()
        config = {"ops": {"sync_accounts": {"config": {"accounts": list(addresses)}}}}
        result = self._job.execute_in_process(instance=self._instance, run_config=config, raise_on_error=False)
        cpu_s, postgres_s = time.process_time() - own_s, self._postgres_cpu_s() - server_s
        if not result.success:
            raise RuntimeError("the measured run failed; its figures would mean nothing")
        units = int(self._gmail.requests()["units"])
        return Cost(cpu_s, postgres_s, units, self._events() - events, self.size_of(self._storage) - event_bytes)

    def change(self) -> None:
        """A busy hour in every mailbox."""
        draw = random.Random(1)
        for number, address in enumerate(self.addresses):
            ids = [line["id"] for line in self._gmail.lines(f"accounts/{address}/messages")]
            control = f"accounts/{address}/"
            for message_id in ids[:RELABELED]:
                self._gmail.control(control + "relabel", {"message_id": message_id, "add": ["STARRED"]})
            for message_id in ids[RELABELED : RELABELED + DELETED]:
                self._gmail.control(control + "delete", {"message_id": message_id})
            for new in range(NEW):
                # generated mail would come without history
                words = " ".join(draw.choices(_WORDS, k=MEAN_SIZE_BYTES // 9))
                self._gmail.control(
                    control + "add", {"subject": f"{number} {new}", "body": words, "labels": ["INBOX", "UNREAD"]}
                )

    def size_of(self, url: str) -> int:
        return int(_asked(url, "select pg_database_size(current_database())"))

    def _events(self) -> int:
        return int(_asked(self._storage, "select count(*) from event_logs"))

    def _postgres_cpu_s(self) -> float:
        """Of the server with all processes that it has had; 0 where it runs elsewhere."""
        parent = _stat(int(_asked(self._storage, "select pg_backend_pid()")))
        if parent is None:
            return 0.0
        postmaster = int(parent[1])
        total = 0.0
        for entry in Path("/proc").iterdir():
            found = _stat(int(entry.name)) if entry.name.isdigit() else None
            if found and (int(entry.name) == postmaster or int(found[1]) == postmaster):
                # utime, stime, and those of children that have ended
                total += sum(map(int, found[11:15] if int(entry.name) == postmaster else found[11:13])) / _TICKS
        return total


@contextmanager
def _fleet(gmail: Gmail, folder: Path, warehouse: str, storage: str) -> Iterator[_Fleet]:
    """The mailboxes registered, in this process's environment."""
    import dagster as dg

    from mail_ingest.accounts import Registry, token_env
    from mail_ingest.settings import load_settings

    before = dict(os.environ)
    os.environ.update(environment(gmail, folder, MAIL_INGEST_WAREHOUSE=warehouse, MAIL_INGEST_RAW=str(folder / "raw")))
    url = storage.replace("postgresql:", "postgresql+psycopg2:")
    settings = f"telemetry: {{enabled: false}}\nstorage:\n  postgres:\n    postgres_url: {url}\n"
    (folder / "dagster.yaml").write_text(settings)
    try:
        accounts = [account for account in gmail.accounts if account["address"].startswith("user")]
        with closing(Registry(load_settings())) as registry:
            for number, account in enumerate(accounts):
                os.environ[f"BENCHMARK_TOKEN_{number}"] = account["token"]
                registry.add(account["address"], token_env(f"BENCHMARK_TOKEN_{number}"))
        with dg.DagsterInstance.from_config(str(folder)) as instance:
            yield _Fleet(gmail, accounts, instance, storage)
    finally:
        os.environ.clear()
        os.environ.update(before)


def _asked(url: str, question: str) -> Any:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(question)
        return cursor.fetchone()[0]


def _stat(pid: int) -> list[str] | None:
    """What /proc knows of a process, from its state on; None where it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return None


def _peak_mb() -> float:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024
