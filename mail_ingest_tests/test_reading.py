"""The page about reading is true: its commands, cells and clients are run as they stand."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from mail_ingest.ingest import Engine
from mail_ingest.simulator import Mailbox
from mail_ingest_tests.in_step import Steps
from mail_ingest_tests.postgres import psql

PAGE = (Path(__file__).parent.parent / "docs" / "reading.md").read_text()
Run = Callable[..., subprocess.CompletedProcess[str]]


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def _synced(box: Mailbox, sync: Callable[[], object]) -> None:
    box.generate(60, seed=95, mean_size_bytes=2_000)
    sync()


@pytest.fixture
def synced(in_step: Callable[[Steps], Engine]) -> Engine:
    engine = in_step(_synced)
    engine.close()
    return engine


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path) -> Run:
    """Runs a program in a folder of its own, with the warehouse in its environment."""

    def call(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            env={**os.environ, **environment, **variables},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return call


@pytest.mark.warehouses("duckdb", "postgres")
def test_its_commands_run(synced: Engine, run: Run, tmp_path: Path) -> None:
    commands = [line for block in _blocks("sh") for line in block.splitlines()]
    assert len(commands) == 7

    for command in commands:
        done = run(sys.executable, "-m", "mail_ingest.cli", *shlex.split(command)[1:])
        # a machine that is slow has the file open for long, which is told
        told = [line for line in done.stderr.splitlines() if "had the warehouse open" not in line]
        assert (done.returncode, told) == (0, []), command

    assert len((tmp_path / "threads.csv").read_text().splitlines()) > 10
    with duckdb.connect() as connection:
        for parquet in ("messages.parquet", "ada/messages.parquet"):
            counted = connection.execute("select count(*) from read_parquet(?)", [str(tmp_path / parquet)])
            assert counted.fetchall() == [(60,)]
    for copy in ("everything.duckdb", "counts.duckdb"):
        with duckdb.connect(str(tmp_path / copy), read_only=True) as connection:
            assert connection.execute("select count(*) from mail.messages").fetchall() == [(60,)]


@pytest.mark.warehouses("duckdb", "postgres")
def test_its_cells_run_one_after_the_other(synced: Engine, run: Run) -> None:
    cells = [block for block in _blocks("python") if "duckdb" not in block]
    assert len(cells) == 3
    program = "\n".join([*cells, "print(len(daily), daily.received_count.sum() > 0, sender.received_count[0] > 0)"])

    done = run(sys.executable, "-c", program)

    assert done.returncode == 0, done.stderr
    days, *counts = done.stdout.split()
    assert int(days) > 1
    assert counts == ["True", "True"]


@pytest.mark.warehouses("duckdb")
def test_duckdb_reads_the_file_as_the_page_says(synced: Engine, run: Run, tmp_path: Path) -> None:
    [program] = [block for block in _blocks("python") if "duckdb" in block]
    (tmp_path / "home").rename(tmp_path / ".mail_ingest")

    done = run(sys.executable, "-c", program)

    assert done.returncode == 0, done.stderr
    assert "INBOX" in done.stdout


@pytest.mark.warehouses("postgres")
def test_psql_reads_the_database_as_the_page_says(synced: Engine, run: Run) -> None:
    [command] = [shlex.split(block) for block in _blocks("text") if block.startswith("psql ")]

    done = run(psql(), synced.settings.warehouse, *command[2:])

    assert done.returncode == 0, done.stderr
    assert "INBOX" in done.stdout


@pytest.mark.warehouses("duckdb")
def test_a_sync_waits_for_an_open_shell_and_then_says_so_and_loses_nothing(
    synced: Engine, run: Run, box: Mailbox
) -> None:
    box.add(subject="new", sender="a@b.example", body="x")
    command = [sys.executable, "-m", "mail_ingest.cli", "sync", "--wait", "0.5"]
    with duckdb.connect(str(synced.settings.duckdb_path), read_only=True):
        waited = run(*command, ADA_TOKEN=box.token)
    afterwards = run(*command, ADA_TOKEN=box.token)

    assert waited.returncode == 3
    assert "Another program has the warehouse" in waited.stderr
    assert afterwards.returncode == 0, afterwards.stderr
    with duckdb.connect(str(synced.settings.duckdb_path), read_only=True) as connection:
        assert connection.sql("select count(*) from gmail.messages").fetchall() == [(61,)]


def test_the_shell_of_the_page_opens_the_file_read_only(synced: Engine) -> None:
    shell = shutil.which("duckdb", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert shell is not None
    [block] = [shlex.split(block) for block in _blocks("text") if block.startswith("duckdb ")]
    done = subprocess.run(
        [shell, *block[1:-1], str(synced.settings.duckdb_path), "-c", "select name from mail.labels"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "INBOX" in done.stdout


def test_links_between_the_pages_lead_somewhere() -> None:
    docs = Path(__file__).parent.parent / "docs"
    for name in ("reading.md", "questions.md"):
        links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (docs / name).read_text())
        assert links
        assert [link for link in links if not (docs / link).exists()] == []
