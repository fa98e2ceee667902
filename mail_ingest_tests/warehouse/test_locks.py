"""Locks: exclusive between processes, freed by death, told apart by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mail_ingest.errors import BusyError
from mail_ingest.warehouse.locks import Locks

_HOLD = """
import sys
from pathlib import Path
from mail_ingest.warehouse.locks import Locks
with Locks(Path(sys.argv[1])).hold(sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path), "account:ada@example.com"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    yield process  # type: ignore[misc]
    process.kill()
    process.communicate()


def test_a_lock_held_by_another_process_is_busy(holder: subprocess.Popen[bytes], tmp_path: Path) -> None:
    with pytest.raises(BusyError, match=r"account:ada@example\.com"):
        with Locks(tmp_path, wait_s=0.2).hold("account:ada@example.com"):
            pytest.fail("two processes hold one lock")


def test_another_name_is_another_lock(holder: subprocess.Popen[bytes], tmp_path: Path) -> None:
    with Locks(tmp_path, wait_s=0.2).hold("account:ada+example.com"):
        pass


def test_a_killed_process_frees_its_locks(holder: subprocess.Popen[bytes], tmp_path: Path) -> None:
    holder.kill()
    holder.wait()

    with Locks(tmp_path, wait_s=5).hold("account:ada@example.com"):
        pass
