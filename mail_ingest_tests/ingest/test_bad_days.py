"""What goes wrong around a sync: a full disk, an API that does not answer, a folder that cannot be written."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mail_ingest.accounts import token_env
from mail_ingest.ingest import Engine, SyncOptions
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.truth import assert_true_to_gmail, sync


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 24 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("filesystems cannot be mounted here, so no disk can be filled")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("full", ["all", "archive", "warehouse"])
def test_a_full_disk_loses_nothing_and_the_next_sync_goes_on(
    new_engine: Callable[..., Engine],
    box: Mailbox,
    gmail: Simulator,
    small_disk: Path,
    tmp_path: Path,
    environment: dict[str, str],
    full: str,
) -> None:
    box.generate(900, seed=41, mean_size_bytes=40_000)
    home = tmp_path / "home"
    places = {
        "all": {"MAIL_INGEST_HOME": str(small_disk / "home")},
        "archive": {"MAIL_INGEST_HOME": str(home), "MAIL_INGEST_RAW": str(small_disk / "raw")},
        "warehouse": {"MAIL_INGEST_HOME": str(home), "MAIL_INGEST_WAREHOUSE": f"duckdb:///{small_disk}/w.duckdb"},
    }[full]
    variables = {**os.environ, **environment, **places, "ADA_TOKEN": box.token}
    command = [sys.executable, "-m", "mail_ingest.cli"]
    subprocess.run([*command, "account", "add", ADDRESS, "--token-env", "ADA_TOKEN"], env=variables, check=True)
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 18_000_000)

    done = subprocess.run([*command, "sync"], env=variables, capture_output=True, text=True, check=False)

    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert ADDRESS in done.stderr or "Pipeline" in done.stderr or "warehouse" in done.stderr
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    again = subprocess.run([*command, "sync"], env=variables, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    os.environ["ADA_TOKEN"] = box.token
    assert_true_to_gmail(new_engine(**places), box)


def test_an_api_that_does_not_answer_fails_the_account_with_its_address(
    engine: Engine, new_engine: Callable[..., Engine]
) -> None:
    dead = new_engine(MAIL_INGEST_GMAIL_URL="http://127.0.0.1:9")

    run = dead.sync(dead.accounts(), SyncOptions())[0]

    assert (run.outcome, run.error_class) == ("failed", "ServerError")
    assert "127.0.0.1:9" in run.error or ADDRESS in run.error
    assert sync(engine).outcome == "success"


def test_a_home_that_cannot_be_written_is_a_clear_error(environment: dict[str, str], box: Mailbox) -> None:
    variables = {
        **os.environ,
        **environment,
        "MAIL_INGEST_HOME": "/proc/sys/kernel/ostype/home",
        "ADA_TOKEN": box.token,
    }

    done = subprocess.run(
        [sys.executable, "-m", "mail_ingest.cli", "account", "add", ADDRESS, "--token-env", "ADA_TOKEN"],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr


def test_one_broken_account_never_stops_the_others(
    engine: Engine, gmail: Simulator, box: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.generate(5, seed=1)
    other = gmail.add_account("aaa@example.com")
    monkeypatch.setenv("OTHER_TOKEN", other.token)
    engine.registry.add("aaa@example.com", token_env("OTHER_TOKEN"))
    other.disable_mail()

    runs = {run.account_id: run for run in engine.sync(engine.accounts(), SyncOptions())}

    assert runs["aaa@example.com"].error_class == "AccountError"
    assert runs[ADDRESS].outcome == "success"
    assert engine.registry.get("aaa@example.com").state == "parked"
    assert [account.account_id for account in engine.accounts()] == [ADDRESS]
    with engine.warehouse.open() as connection:
        failed = connection.execute(
            "select account_id, outcome, error_class from gmail.sync_runs where outcome = 'failed'"
        )
        assert failed.fetchall() == [("aaa@example.com", "failed", "AccountError")]
