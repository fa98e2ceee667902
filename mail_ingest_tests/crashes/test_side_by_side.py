"""Several processes load different accounts into one Postgres database at the same time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from mail_ingest.accounts import Registry, token_env
from mail_ingest.ingest import Engine
from mail_ingest.settings import load_settings
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.crashes.conftest import doubled_rows
from mail_ingest_tests.postgres import execute
from mail_ingest_tests.truth import assert_analyst_tables_are_built, assert_exact

pytestmark = pytest.mark.warehouses("postgres")

#: One process of those that are started: it is ready, waits for the others, and syncs one account several times.
_SYNC = """
import json, sys
from mail_ingest.ingest import Engine, SyncOptions, content
from mail_ingest.settings import load_settings
import dlt.pipeline.pipeline, mail_ingest.warehouse.postgres
content.PACKAGE_MESSAGES = 40
engine = Engine(load_settings(), wait_s=120.0)
print("ready", flush=True)
for line in sys.stdin:
    [run] = engine.sync(engine.accounts([line.strip()]), SyncOptions())
    print(json.dumps([run.outcome, run.error]), flush=True)
    print("ready", flush=True)
"""
_MESSAGES = 100


def test_six_processes_load_six_accounts_at_once_and_every_row_is_exact(
    gmail: Simulator,
    environment: dict[str, str],
    new_engine: Callable[..., Engine],
    tmp_path: Path,
    warehouse_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two accounts share each shard, so that processes meet at its pipelines, here from two machines."""
    homes = [tmp_path / f"machine-{number}" for number in range(2)]
    shared = {
        "MAIL_INGEST_CONTROL": f"sqlite:///{tmp_path / 'control.sqlite'}",
        "MAIL_INGEST_KEY": Fernet.generate_key().decode(),
    }
    variables = {**environment, **shared}
    registry = Registry(load_settings(variables))
    boxes: dict[str, Mailbox] = {}
    for number in range(6):
        box = gmail.add_account(f"person-{number}@example.com")
        box.generate(_MESSAGES, seed=100 + number, user_labels=4, mean_size_bytes=3_000)
        monkeypatch.setenv(f"TOKEN_{number}", box.token)
        registry.add(box.address, token_env(f"TOKEN_{number}"), shard=number % 3)
        boxes[box.address] = box
    registry.close()
    deadlocks = "select deadlocks from pg_stat_database where datname = current_database()"

    processes = {
        address: _start({**variables, "MAIL_INGEST_HOME": str(homes[number % 2])})
        for number, address in enumerate(boxes)
    }
    try:
        first = _sync_all(processes)
        for number, box in enumerate(boxes.values()):
            ids = sorted(box.messages())
            label = box.create_label(f"Second/{number}")
            box.relabel_many(ids[: 60 + number], add=[label])
            for message_id in ids[-(3 + number) :]:
                box.delete(message_id)
            box.generate(20 + number, seed=200 + number)
        second = _sync_all(processes)
    finally:
        for process in processes.values():
            process.kill()
            process.communicate()

    assert first == second == dict.fromkeys(boxes, ("success", ""))
    assert execute(warehouse_url, "select pg_stat_force_next_flush()", deadlocks) == [(0,)]
    assert doubled_rows(warehouse_url) == 0
    staged = execute(
        warehouse_url,
        "select distinct table_schema from information_schema.tables where table_schema like 'gmail_staging%' order by 1",
    )
    assert [row[0] for row in staged] == [
        f"gmail_staging_{kind}_{shard}" for kind in ("content", "state") for shard in range(3)
    ]
    for address, box in boxes.items():
        assert_exact(warehouse_url, address, box)
    # each process built them beside the others, by the loads that it saw
    assert_analyst_tables_are_built(new_engine(**shared))


def _start(variables: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _SYNC],
        env={**os.environ, **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _sync_all(processes: dict[str, subprocess.Popen[str]]) -> dict[str, tuple[str, str]]:
    """Lets every process sync its account, all at once."""
    for process in processes.values():
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for address, process in processes.items():
        assert process.stdin is not None
        process.stdin.write(f"{address}\n")
        process.stdin.flush()
    answers = {address: json.loads(process.stdout.readline()) for address, process in processes.items()}  # type: ignore[union-attr]
    return {address: tuple(answer) for address, answer in answers.items()}
