"""`mail-ingest` as a process of its own, in a folder of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from mail_ingest.simulator import Mailbox
from mail_ingest_tests.forking import MAIL_INGEST, Forks

Run = Callable[..., subprocess.CompletedProcess[str]]
#: The command line with everything logged that any library logs.
AT_DEBUG_LEVEL = """
import logging, sys
from mail_ingest.cli import main
logging.basicConfig(level=logging.DEBUG)
sys.argv[0] = "mail-ingest"
main()
"""


@pytest.fixture
def variables(environment: dict[str, str], box: Mailbox) -> dict[str, str]:
    """The environment of the commands."""
    return {**os.environ, "ADA_TOKEN": box.token, "COLUMNS": "200", **environment}


@pytest.fixture
def run(forks: Forks, variables: dict[str, str], tmp_path: Path) -> Run:
    """Runs a command without a terminal."""
    return runner(forks, MAIL_INGEST, variables, tmp_path)


def runner(forks: Forks, program: str, variables: Mapping[str, str], folder: Path) -> Run:
    """Runs a program such as `MAIL_INGEST` with the arguments and variables of each call."""

    def call(*arguments: str, stdin: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        return forks.run(program, arguments, env={**variables, **more}, cwd=folder, stdin=stdin)

    return call
