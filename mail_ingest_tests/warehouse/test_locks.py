"""Locks: exclusive between processes, freed by death, told apart by name; in files, and in a Postgres database."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mail_ingest.errors import BusyError, WarehouseError
from mail_ingest.settings import load_settings
from mail_ingest.warehouse.factory import make_warehouse
from mail_ingest.warehouse.locks import Locks
from mail_ingest_tests.postgres import execute

pytestmark = pytest.mark.warehouses("duckdb", "postgres")

_HOLD = """
import os, sys
from mail_ingest.settings import load_settings
from mail_ingest.warehouse.factory import make_warehouse
settings = load_settings({"MAIL_INGEST_HOME": sys.argv[1], "MAIL_INGEST_WAREHOUSE": sys.argv[2]})
with make_warehouse(settings, 1.0, None)[1].hold(sys.argv[3]):
    print("held", flush=True)
    sys.stdin.read()
"""

MakeLocks = Callable[..., Locks]


@pytest.fixture
def make_locks(tmp_path: Path, warehouse_url: str) -> Iterator[MakeLocks]:
    made = []

    def make(wait_s: float = 0.2, env: str = "local") -> Locks:
        variables = {
            "MAIL_INGEST_HOME": str(tmp_path),
            "MAIL_INGEST_WAREHOUSE": warehouse_url,
            "MAIL_INGEST_ENV": env,
        }
        warehouse, locks = make_warehouse(load_settings(variables), wait_s, lambda connection, dialect: None)
        made.append(warehouse)
        return locks

    yield make
    for warehouse in made:
        warehouse.close()


@pytest.fixture
def holder(tmp_path: Path, warehouse_url: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path), warehouse_url, "account:ada@example.com"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_lock_held_by_another_process_is_busy(holder: subprocess.Popen[bytes], make_locks: MakeLocks) -> None:
    with pytest.raises(BusyError, match=r"account:ada@example\.com"):
        with make_locks().hold("account:ada@example.com"):
            pytest.fail("two processes hold one lock")


def test_another_name_is_another_lock(holder: subprocess.Popen[bytes], make_locks: MakeLocks) -> None:
    with make_locks().hold("account:ada+example.com"):
        pass


def test_a_killed_process_frees_its_locks(holder: subprocess.Popen[bytes], make_locks: MakeLocks) -> None:
    holder.kill()
    holder.wait()

    with make_locks(wait_s=5).hold("account:ada@example.com"):
        pass


def test_a_lock_that_is_waited_for_is_had_when_it_is_let_go(
    holder: subprocess.Popen[bytes], make_locks: MakeLocks
) -> None:
    assert holder.stdin is not None
    holder.stdin.close()
    holder.stdin = None

    with make_locks(wait_s=10).hold("account:ada@example.com"):
        assert holder.wait(10) == 0


def test_a_lock_is_not_had_twice_within_one_process(make_locks: MakeLocks) -> None:
    locks = make_locks()

    with locks.hold("content:ada@example.com"):
        with pytest.raises(BusyError):
            with locks.hold("content:ada@example.com"):
                pytest.fail("one lock is held twice")
    with locks.hold("content:ada@example.com"):
        pass


@pytest.mark.warehouses("postgres")
def test_a_deployments_locks_are_its_own(holder: subprocess.Popen[bytes], make_locks: MakeLocks) -> None:
    with make_locks(env="staging").hold("account:ada@example.com"):
        pass


@pytest.mark.warehouses("postgres")
def test_a_lost_lock_is_noticed_before_the_next_write(make_locks: MakeLocks, warehouse_url: str) -> None:
    locks = make_locks()

    with locks.hold("account:ada@example.com"):
        locks.check()
        end_sessions(warehouse_url, "select pid from pg_locks where locktype = 'advisory'")
        with pytest.raises(WarehouseError, match=r"account:ada@example\.com was lost"):
            locks.check()
    locks.check()


@pytest.mark.warehouses("postgres")
def test_a_pipelines_lock_guards_this_machines_working_folder_as_well(make_locks: MakeLocks, tmp_path: Path) -> None:
    with make_locks().hold("pipeline:state_0"):
        with pytest.raises(BusyError):
            with Locks(tmp_path / "locks", wait_s=0.2).hold("pipeline:state_0"):
                pytest.fail("two deployments share one working folder")


def end_sessions(url: str, pids: str) -> None:
    """Ends the server's sessions that a query names, and waits until they are gone."""
    named = f"select pid from pg_stat_activity where datname = current_database() and pid in ({pids})"
    ended = execute(url, f"select pg_terminate_backend(pid) from ({named}) as found where pid <> pg_backend_pid()")
    assert ended, "there was no session to end"
    deadline = time.monotonic() + 10
    while execute(url, f"{named} and pid <> pg_backend_pid()") and time.monotonic() < deadline:
        time.sleep(0.02)
