"""What people wrote, and what opens their mail, stays out of events and reprs, and no other host hears of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mail_ingest.ingest import Engine
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.conftest import ADDRESS

ROOT = Path(__file__).parent.parent
SECRETS = ("planted-subject", "planted-body", "planted.person@correspondent.example", "Planted Person")

_WATCHED = """
import os, sys

def watch(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        os.write(1, f"HOST {arguments[1][0]}\\n".encode())
    elif event == "socket.getaddrinfo":
        os.write(1, f"HOST {arguments[0]}\\n".encode())

sys.addaudithook(watch)
"""
_SYNC = _WATCHED + "from mail_ingest.cli import main; sys.argv[1:] = ['sync']; main()"
_DAGSTER = (
    _WATCHED
    + """
import dagster as dg
from mail_ingest.definitions import build_definitions
with dg.DagsterInstance.get() as instance:
    assert build_definitions().get_repository_def().get_job("sync").execute_in_process(instance=instance).success
"""
)


def _plant(box: Mailbox, gmail: Simulator) -> str:
    mid = box.add(
        subject=SECRETS[0],
        sender=f"{SECRETS[3]} <{SECRETS[2]}>",
        to=ADDRESS,
        body=f"{SECRETS[1]}\r\n",
        labels=("INBOX",),
    )
    broken = box.add(subject=SECRETS[0], sender=SECRETS[2], to=ADDRESS, body=SECRETS[1], labels=("INBOX",))
    gmail.fail_next(status=404, reason="notFound", method="messages.get", message_id=broken, times=100)
    _change_answers(gmail, box.add(subject=SECRETS[0], sender=SECRETS[2], to=ADDRESS, body=SECRETS[1]))
    return mid


def _change_answers(gmail: Simulator, unreadable: str) -> None:
    """Mail in fields that nobody knows, in their names, and where something else was expected."""
    planted = {SECRETS[2]: [SECRETS[1]], "text": SECRETS[0]}
    for path in ("getProfile", "labels.list.labels", "labels.get", "messages.list.messages", "messages.get"):
        gmail.change_answers(f"{path}.novelty", "add", planted)
        gmail.change_answers(f"{path}.{SECRETS[3]}", "add", SECRETS[0])
    gmail.change_answers("labels.list.labels.color", "replace", [SECRETS[0]])
    gmail.change_answers("messages.get.snippet", "replace", planted, message_id=unreadable)
    gmail.change_answers("messages.get.internalDate", "replace", SECRETS[0], message_id=unreadable)


def test_dagster_events_hold_no_mail(
    environment: dict[str, str], box: Mailbox, gmail: Simulator, monkeypatch: pytest.MonkeyPatch, engine: Engine
) -> None:
    import dagster as dg

    from mail_ingest.definitions import build_definitions

    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    _plant(box, gmail)
    repository = build_definitions().get_repository_def()
    with dg.DagsterInstance.ephemeral() as instance:
        result = repository.get_job("sync").execute_in_process(instance=instance)
        checked = repository.get_job("analyst_tables").execute_in_process(instance=instance)
        printed = "".join(str(event) for event in [*result.all_events, *checked.all_events])

    assert ADDRESS in printed
    assert "messages.get.novelty: unknown object" in printed
    assert [secret for secret in (*SECRETS, box.token) if secret in printed] == []


@pytest.mark.parametrize("code", [_SYNC, _DAGSTER], ids=["command line", "Dagster"])
def test_no_host_but_the_configured_one_is_contacted(
    engine: Engine, box: Mailbox, environment: dict[str, str], tmp_path: Path, code: str
) -> None:
    box.generate(10, seed=1)
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())

    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment, "DAGSTER_HOME": str(tmp_path / "dagster")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert {line for line in done.stdout.splitlines() if line.startswith("HOST")} == {"HOST 127.0.0.1"}


def test_objects_do_not_show_mail_or_secrets_in_their_repr(engine: Engine, box: Mailbox, gmail: Simulator) -> None:
    mid = _plant(box, gmail)
    client = engine.client(engine.accounts()[0])
    message = client.get_raw_message(mid)

    shown = " ".join(
        repr(value)
        for value in (message, client, engine.settings, engine.registry, engine.accounts()[0], client.list_labels())
    )

    assert [secret for secret in (*SECRETS, box.token) if secret in shown] == []
