"""`make dev`: the UI on a local Gmail server."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mail_ingest_tests.defs.serving import PROJECT, ask, free_port, wait_until_served
from mail_ingest_tests.defs.test_definitions import GROUPS


@pytest.mark.early
def test_the_demo_opens_the_ui_and_ends_it_when_it_is_told_to(tmp_path: Path) -> None:
    port, log = free_port(), tmp_path / "demo.log"
    variables = {name: value for name, value in os.environ.items() if not name.startswith("MAIL_INGEST_")}
    with log.open("wb") as output:
        demo = subprocess.Popen(
            [sys.executable, "-m", "mail_ingest.demo", "--ui", "--port", str(port), "--messages", "20"],
            cwd=tmp_path,
            env={**variables, "PYTHONPATH": str(PROJECT)},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_served(demo, url, log)
        query = "{assetNodes{assetKey{path} groupName} repositoriesOrError{... on RepositoryConnection{nodes{location{name}}}}}"
        answer = ask(url, query)
    finally:
        demo.terminate()
        assert demo.wait(60) == 0, log.read_text()

    assert {(node["groupName"], "/".join(node["assetKey"]["path"])) for node in answer["assetNodes"]} == {
        (group, key) for group, keys in GROUPS.items() for key in keys
    }
    assert answer["repositoriesOrError"]["nodes"] == [{"location": {"name": "mail_ingest"}}]
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0, "the UI outlived the demo"
