"""`mail-ingest account` and `key`: states, groups, removal and keys, as people and scripts use them."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from mail_ingest.accounts import Registry, new_key
from mail_ingest.settings import load_settings
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.cli.conftest import Run
from mail_ingest_tests.conftest import ADDRESS

BOB = "bob@example.com"


@pytest.fixture
def registry(environment: dict[str, str]) -> Registry:
    return Registry(load_settings(environment))


def listed(run: Run, *arguments: str) -> list[dict[str, object]]:
    done = run("account", "list", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    accounts: list[dict[str, object]] = json.loads(done.stdout)["accounts"]
    return accounts


def test_the_list_shows_state_since_reason_and_what_to_do(run: Run, registry: Registry) -> None:
    run("account", "add", ADDRESS, "--token-env", "ADA_TOKEN")
    run("account", "add", BOB, "--token-env", "ADA_TOKEN", "--group", "sales")
    registry.set_state(BOB, "needs_reauth", "invalid_grant: told by Google")

    table = run("account", "list").stdout
    [ada, bob] = listed(run)

    [line] = [line for line in table.splitlines() if line.startswith(BOB)]
    assert f"{registry.get(BOB).state_since:%Y-%m-%d %H:%M}" in line
    for shown in ("sales", "needs_reauth", "invalid_grant: told by Google", f"mail-ingest account resume {BOB}"):
        assert shown in line
    assert (ada["state"], ada["what_to_do"], ada["account_group"]) == ("active", "", None)
    assert (bob["state"], bob["account_group"]) == ("needs_reauth", "sales")
    assert str(bob["what_to_do"]).endswith(f"mail-ingest account resume {BOB}"), "there is no consent to ask for"
    assert bob["state_since"]
    # the last column is of pushes
    status = {line.split()[0]: line.split()[-2] for line in run("status").stdout.splitlines()}
    assert (status[ADDRESS], status[BOB]) == ("hourly", "0"), "nobody syncs an account that waits for a person"


def test_the_list_is_narrowed_by_state_and_group(run: Run, registry: Registry) -> None:
    run("account", "add", ADDRESS, "--token-env", "ADA_TOKEN")
    run("account", "add", BOB, "--token-env", "ADA_TOKEN", "--group", "sales")
    run("account", "pause", ADDRESS, "--reason", "on leave")

    assert [account["account_id"] for account in listed(run, "--group", "sales")] == [BOB]
    assert [account["state_reason"] for account in listed(run, "--state", "paused")] == ["on leave"]
    assert listed(run, "--state", "paused", "--group", "sales") == []
    assert run("account", "set", BOB, "--group", "").returncode == 0
    assert registry.get(BOB).account_group is None
    for wrong, why in (
        (("--state", "gone"), "takes one of active, paused"),
        (("--group", "nobody"), "no account is in"),
    ):
        done = run("account", "list", *wrong)
        assert (done.returncode, why in done.stderr) == (2, True)


def test_a_group_is_synced_and_shown_alone(run: Run, box: Mailbox, gmail: Simulator) -> None:
    other = gmail.add_account(BOB)
    other.generate(3, seed=1)
    run("account", "add", ADDRESS, "--token-env", "ADA_TOKEN")
    run("account", "add", BOB, "--token-env", "BOB_TOKEN", "--group", "sales")

    done = run("sync", "--group", "sales", "--json", BOB_TOKEN=other.token)

    assert done.returncode == 0, done.stderr
    assert [each["account_id"] for each in json.loads(done.stdout)["runs"]] == [BOB]
    [shown] = json.loads(run("status", "--group", "sales", "--json").stdout)["accounts"]
    assert (shown["account_id"], shown["account_group"], shown["what_to_do"]) == (BOB, "sales", "")
    for command in ("sync", "status", "verify", "retry", "reparse", "request", "cancel"):
        for arguments, why in (
            (("--group", "nobody"), "no account is in the group 'nobody'"),
            ((BOB, "--group", "sales"), ""),
        ):
            done = run(command, *arguments)
            assert (done.returncode, why in done.stderr) == (2, True), (command, done.stderr)


def test_a_group_is_audited_retried_and_made_again_alone(run: Run, box: Mailbox, gmail: Simulator) -> None:
    other = gmail.add_account(BOB)
    for number, mailbox in enumerate((box, other)):
        mailbox.generate(2, seed=number)
        refused = mailbox.add(subject="not yet")
        gmail.fail_next(status=404, reason="notFound", method="messages.get", message_id=refused, times=9)
    run("account", "add", ADDRESS, "--token-env", "ADA_TOKEN")
    run("account", "add", BOB, "--token-env", "BOB_TOKEN", "--group", "sales")
    run("sync", BOB_TOKEN=other.token)
    gmail.clear_faults()

    audited = run("verify", "--group", "sales", "--json", BOB_TOKEN=other.token)
    retried = run("retry", "--group", "sales", "--json", BOB_TOKEN=other.token)
    made = run("reparse", "--group", "sales", "--json", BOB_TOKEN=other.token)

    assert [each["account_id"] for each in json.loads(audited.stdout)["accounts"]] == [BOB]
    [retry] = json.loads(retried.stdout)["runs"]
    assert (retry["account_id"], retry["account_group"], retry["contents_stored"]) == (BOB, "sales", 1)
    assert [each["account_id"] for each in json.loads(made.stdout)["accounts"]] == [BOB]


def test_removing_without_saying_what_becomes_of_the_data_does_nothing(run: Run) -> None:
    run("account", "add", ADDRESS, "--token-env", "ADA_TOKEN")

    silent = run("account", "remove", ADDRESS)
    both = run("account", "remove", ADDRESS, "--keep-data", "--erase")

    assert (silent.returncode, both.returncode) == (2, 2)
    assert "--keep-data or --erase" in silent.stderr
    assert [account["account_id"] for account in listed(run)] == [ADDRESS]


def test_kept_data_are_told_of_and_erased_later(run: Run, box: Mailbox, environment: dict[str, str]) -> None:
    box.generate(4, seed=1)
    run("account", "add", ADDRESS, "--token-env", "ADA_TOKEN")
    assert run("sync").returncode == 0

    assert run("account", "remove", ADDRESS, "--keep-data").returncode == 0
    [removed] = listed(run, "--state", "removed")
    assert (listed(run), removed["state_reason"]) == ([], "its data were kept")
    count = ("query", "select count(*) as n from mail.messages", "--format", "csv")
    assert run(*count).stdout.split() == ['"n"', "4"]

    erased = run("account", "remove", ADDRESS, "--erase")
    assert erased.returncode == 0, erased.stderr
    assert "erased 4 messages" in erased.stdout
    assert run(*count).stdout.split() == ['"n"', "0"]
    assert listed(run, "--state", "removed") == []
    assert list((Path(environment["MAIL_INGEST_HOME"]) / "raw").rglob("*.parquet")) == []
    assert run("account", "remove", ADDRESS, "--erase").returncode == 2


@pytest.mark.parametrize(
    ("answer", "code", "left"),
    [("keep", 0, "removed"), ("erase", 0, None), ("perhaps", 2, "active")],
)
def test_on_a_terminal_a_person_is_asked(
    run: Run, registry: Registry, variables: dict[str, str], tmp_path: Path, answer: str, code: int, left: str | None
) -> None:
    run("account", "add", ADDRESS, "--token-env", "ADA_TOKEN")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "mail_ingest.cli", "account", "remove", ADDRESS],
        env=variables,
        cwd=tmp_path,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    asked = b""
    while b"[keep/erase]" not in asked:
        asked += os.read(ours, 1_000)
    os.write(ours, f"{answer}\n".encode())

    ended = process.wait(60)
    os.close(ours)

    assert ended == code
    state = registry.states().get(ADDRESS, (None, None))[0]
    assert state == left


def test_keys_are_made_counted_and_changed(run: Run, box: Mailbox) -> None:
    run("account", "add", ADDRESS, "--token-env", "ADA_TOKEN")
    [before] = json.loads(run("key", "status", "--json").stdout)["keys"]

    done = run("key", "rotate", "--json")

    rotated = json.loads(done.stdout)
    assert (done.returncode, rotated["resealed"], rotated["in_use"]) == (0, 1, {rotated["key_id"]: 1})
    assert rotated["retired"] == [before["key_id"]]
    assert rotated["key_id"] in run("key", "status").stdout
    assert run("sync").returncode == 0
    key = run("key", "new").stdout.strip()
    assert len(key) == 44
    assert key != run("key", "new").stdout.strip()


def test_credentials_that_no_key_opens_are_named_and_end_with_one(run: Run) -> None:
    old, new = new_key(), new_key()
    run("account", "add", ADDRESS, "--token-env", "ADA_TOKEN", MAIL_INGEST_KEY=old)

    lost = run("key", "rotate", MAIL_INGEST_KEY=new)
    back = run("key", "rotate", MAIL_INGEST_KEY=f"{new},{old}")

    assert lost.returncode == 1
    assert f"the credentials of {ADDRESS}" in lost.stderr
    assert back.returncode == 0
    for shown in (lost.stdout, lost.stderr, back.stdout):
        assert old not in shown
        assert new not in shown
    assert run("sync", MAIL_INGEST_KEY=new).returncode == 0


def test_push_is_switched_on_shown_and_ended_with_the_account(
    run: Run, registry: Registry, gmail: Simulator, box: Mailbox
) -> None:
    topic = {"MAIL_INGEST_PUSH_TOPIC": "projects/p/topics/gmail"}
    run("account", "add", ADDRESS, "--token-env", "ADA_TOKEN")

    without = run("account", "set", ADDRESS, "--push")
    early = run("account", "set", ADDRESS, "--push", **topic)
    assert run("sync", **topic).returncode == 0
    on = run("account", "set", ADDRESS, "--push", **topic)
    until = f"until {registry.get(ADDRESS).watch_expires_at:%Y-%m-%d %H:%M}"

    assert (without.returncode, "--push needs MAIL_INGEST_PUSH_TOPIC" in without.stderr) == (2, True)
    assert early.stdout.startswith("its watch begins after its first sync")
    assert f"Gmail publishes its changes {until} UTC" in on.stdout
    assert until in run("account", "list", **topic).stdout
    assert until in run("status", **topic).stdout
    assert run("account", "remove", ADDRESS, "--keep-data", **topic).returncode == 0
    assert gmail.calls("stop") == 1
    gmail.advance(2)
    published = len(gmail.notifications)
    box.add()
    assert len(gmail.notifications) == published
