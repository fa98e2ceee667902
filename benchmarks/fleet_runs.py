"""A deployment with thousands of accounts: registers them, and runs cycles of Dagster's job over their shards."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from benchmarks.local import Gmail, inherited, run_worker
from benchmarks.server import cpu_s, database_bytes
from mail_ingest.accounts import Account, Registry, token_env
from mail_ingest.settings import Settings, load_settings

_ROOT = Path(__file__).parent.parent
#: Limits that are kept and never reached: in compressed time hours follow each other at once.
_QUOTA = "user=1000000000,project=1000000000,day=none"


@dataclass(frozen=True, slots=True)
class Cycle:
    """What one cycle took. `postgres_cpu_s` is None where the warehouse is no server of this machine."""

    runs: int
    runs_failed: int
    mailboxes_synced: int
    wall_s: float
    cpu_s: float
    starts_cpu_s: float
    gmail_cpu_s: float
    postgres_cpu_s: float | None
    peak_bytes: int
    requests: int
    refused: int
    units: int
    units_by_method: Mapping[str, int]
    dearest_units: int
    events: int
    event_bytes: int
    warehouse_bytes: int


class Fleet:
    """The accounts of one local Gmail server, with the home, the warehouse and the Dagster instance that they are synced by.

    `databases` are the URLs of three empty ones, for the warehouse, the control database and Dagster's storage; without them
    everything lies under `folder`.
    """

    def __init__(
        self, gmail: Gmail, folder: Path, shard_size: int, workers: int, databases: tuple[str, str, str] | None = None
    ) -> None:
        self.gmail = gmail
        self.folder = folder
        self.postgres, control, self._dagster_postgres = databases or ("", "", "")
        self.cycles = 0
        self._workers = workers
        self._dagster_home = folder / "dagster"
        self._variables = {
            "MAIL_INGEST_HOME": str(folder / "home"),
            "MAIL_INGEST_GMAIL_URL": gmail.url,
            "MAIL_INGEST_QUOTA": _QUOTA,
            "MAIL_INGEST_SHARD_SIZE": str(shard_size),
            "DAGSTER_HOME": str(self._dagster_home),
            **({"MAIL_INGEST_WAREHOUSE": self.postgres, "MAIL_INGEST_CONTROL": control} if databases else {}),
        }
        self._write_dagster_yaml()
        with self._instance():
            pass  # its storage exists from now on, so that a cycle is not charged with it

    @property
    def settings(self) -> Settings:
        return load_settings(self._variables)

    @property
    def content_since(self) -> datetime:
        """The horizon of all accounts: the mail that is there when they are registered is older."""
        return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)

    def register(self, *, buys_all: bool = False) -> None:
        """Adds all accounts, each with its own token; `buys_all`: their content is bought however old it is."""
        registry = Registry(self.settings)
        try:
            for number, address in enumerate(self.gmail.tokens):
                registry.add(
                    address,
                    token_env(_token_variable(number)),
                    content_since="all" if buys_all else f"{self.content_since:%Y-%m-%d}",
                )
        finally:
            registry.close()

    def accounts(self) -> list[Account]:
        registry = Registry(self.settings)
        try:
            return registry.list()
        finally:
            registry.close()

    def run_cycle(self) -> Cycle:
        """A run for every shard, as many side by side as there are workers."""
        shards: dict[int, list[str]] = defaultdict(list)
        for account in self.accounts():
            shards[account.shard].append(account.account_id)
        self.cycles += 1
        self.gmail.forget_requests()
        bytes_before, gmail_cpu_s, postgres_cpu_s = self._storage_bytes(), self.gmail.cpu_s(), self._postgres_cpu_s()
        started_at, began = datetime.now(UTC), time.perf_counter()
        with ThreadPoolExecutor(self._workers) as pool:
            done = list(pool.map(lambda shard: self._run(shard, shards[shard]), sorted(shards)))
        wall_s = time.perf_counter() - began
        after_cpu_s = self._postgres_cpu_s()
        served = self.gmail.requests()
        return Cycle(
            runs=len(done),
            runs_failed=sum(not run["succeeded"] for run in done),
            mailboxes_synced=sum(_was_synced(account, started_at) for account in self.accounts()),
            wall_s=wall_s,
            cpu_s=sum(run["process_cpu_s"] for run in done),
            starts_cpu_s=sum(run["imports_cpu_s"] for run in done),
            gmail_cpu_s=self.gmail.cpu_s() - gmail_cpu_s,
            postgres_cpu_s=None if after_cpu_s is None or postgres_cpu_s is None else after_cpu_s - postgres_cpu_s,
            peak_bytes=max(run["peak_bytes"] for run in done),
            requests=served["calls"],
            refused=served["calls"] - served["by_status"].get("200", 0),
            units=served["units"],
            units_by_method=served["units_by_method"],
            dearest_units=max(served["units_by_account"].values()),
            events=self._count_events([run["run_id"] for run in done]),
            event_bytes=self._storage_bytes() - bytes_before,
            warehouse_bytes=self._warehouse_bytes(),
        )

    def _run(self, shard: int, addresses: list[str]) -> dict[str, Any]:
        numbers = {address: number for number, address in enumerate(self.gmail.tokens)}
        tokens = {_token_variable(numbers[address]): self.gmail.tokens[address] for address in addresses}
        log = self.folder / f"run-{self.cycles}-{shard}.log"
        env = {**inherited(), **self._variables, **tokens}
        return run_worker("dagster_run", env, pinned=False, log=log, config={"shards": [shard]})

    def _write_dagster_yaml(self) -> None:
        """The project's own, with Dagster's storage where the warehouse is, and as many places in a pool as there are workers."""
        written = yaml.safe_load((_ROOT / "dagster.yaml").read_text())
        written["concurrency"]["pools"]["default_limit"] = self._workers
        if self._dagster_postgres:
            url = self._dagster_postgres.replace("postgresql://", "postgresql+psycopg2://", 1)
            written["storage"] = {"postgres": {"postgres_url": url}}
        self._dagster_home.mkdir(parents=True)
        (self._dagster_home / "dagster.yaml").write_text(yaml.safe_dump(written))

    def _instance(self) -> dg.DagsterInstance:
        return dg.DagsterInstance.from_config(str(self._dagster_home))

    def _count_events(self, run_ids: list[str]) -> int:
        with self._instance() as instance:
            return sum(len(instance.all_logs(run_id)) for run_id in run_ids)

    def _storage_bytes(self) -> int:
        """Everything that Dagster keeps: files, and its database if it has one."""
        return _folder_bytes(self._dagster_home) + (
            database_bytes(self._dagster_postgres) if self._dagster_postgres else 0
        )

    def _warehouse_bytes(self) -> int:
        return database_bytes(self.postgres) if self.postgres else self.settings.duckdb_path.stat().st_size

    def _postgres_cpu_s(self) -> float | None:
        return cpu_s(self.postgres) if self.postgres else None


def _token_variable(number: int) -> str:
    return f"FLEET_TOKEN_{number}"


def _was_synced(account: Account, since: datetime) -> bool:
    """Whether Gmail has answered for it since then, with something new or without."""
    return account.last_checked_at is not None and account.last_checked_at >= since and not account.consecutive_failures


def _folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
