"""`mail-ingest` as a process of its own, in a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from mail_ingest.simulator import Mailbox

Run = Callable[..., subprocess.CompletedProcess[str]]
#: The command line with everything logged that any library logs.
AT_DEBUG_LEVEL = (
    "-c",
    """
import logging, sys
from mail_ingest.cli import main
logging.basicConfig(level=logging.DEBUG)
sys.argv[0] = "mail-ingest"
main()
""",
)


@pytest.fixture
def variables(environment: dict[str, str], box: Mailbox) -> dict[str, str]:
    """The environment of the commands."""
    return {**os.environ, "ADA_TOKEN": box.token, "COLUMNS": "200", **environment}


@pytest.fixture
def run(variables: dict[str, str], tmp_path: Path) -> Run:
    """Runs a command without a terminal."""
    return runner(("-m", "mail_ingest.cli"), variables, tmp_path)


def runner(program: Sequence[str], variables: Mapping[str, str], folder: Path) -> Run:
    """Runs Python with a program such as `AT_DEBUG_LEVEL`, and the arguments and variables of each call."""

    def call(*arguments: str, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *program, *arguments],
            env={**variables, **more},
            cwd=folder,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return call
