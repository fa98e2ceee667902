"""`mail-ingest request` and `cancel`, and what a signal does to `sync`."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mail_ingest import requests
from mail_ingest.accounts import token_env
from mail_ingest.ingest import SyncOptions
from mail_ingest.ingest.engine import Engine
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.cli.conftest import Run
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.crashes.processes import Gate
from mail_ingest_tests.truth import assert_true_to_gmail


def test_requests_are_filed_joined_listed_and_taken_back(engine: Engine, run: Run) -> None:
    first = run("request", ADDRESS, "--at", "2099-01-01T00:00", "--months", "2026-01..2026-03", "--priority", "3")
    assert first.returncode == 0, first.stderr
    assert "filed the request" in first.stdout
    assert "3 months from 2026-01 to 2026-03" in first.stdout
    filed = json.loads(run("request", ADDRESS, "--mode", "full", "--json").stdout)["request"]
    assert (filed["filed_count"], filed["mode"], filed["priority"]) == (2, "full", 0)

    [listed] = json.loads(run("request", "--list", "--json").stdout)["requests"]
    assert listed == filed
    taken_back = run("cancel", filed["request_id"])

    assert f"cancelled the request {filed['request_id']} for {ADDRESS}" in taken_back.stdout
    assert "no request waits" in run("request", "--list").stdout
    assert "cancelled by a person" in run("request", "--list", "--all").stdout


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("request",), "request takes the ADDRESS of a mailbox, --group, or --list"),
        (("request", "nobody@example.com"), "not registered"),
        (("request", ADDRESS, "--months", "May"), "no month"),
        (("request", ADDRESS, "--priority", "9"), "the priority is 9"),
        (("cancel",), "cancel takes the ADDRESS of a mailbox, the ID of a request, or --group"),
        (("cancel", "0123456789ab"), "does not exist"),
        (("cancel", "nobody@example.com"), "not registered"),
        (("account", "set", ADDRESS, "--schedule", "weekly"), "the schedule is 'weekly'"),
    ],
)
def test_what_makes_no_sense_is_told_and_nothing_is_done(
    arguments: tuple[str, ...], why: str, engine: Engine, run: Run
) -> None:
    done = run(*arguments)

    assert (done.returncode, why in done.stderr) == (2, True), done.stderr
    assert engine.registry.requests.find(only_open=False) == []


def test_a_group_is_asked_for_and_taken_back_as_one(engine: Engine, run: Run) -> None:
    engine.registry.change(ADDRESS, account_group="sales")
    for address, group in (("bob@example.com", "sales"), ("cy@example.com", "sales"), ("dee@example.com", "board")):
        engine.registry.add(address, token_env("T"), account_group=group)
    engine.registry.pause("cy@example.com")
    run("request", "dee@example.com")

    filed = run("request", "--group", "sales", "--at", "2099-01-01T00:00")
    again = json.loads(run("request", "--group", "sales", "--mode", "full", "--json").stdout)["requests"]

    assert [line.split(",")[0].split(" for ")[-1] for line in filed.stdout.splitlines()] == [
        "cy@example.com: no request",
        ADDRESS,
        "bob@example.com",
    ]
    assert [(each["account_id"], each["filed_count"], each["mode"]) for each in again] == [
        (ADDRESS, 2, "full"),
        ("bob@example.com", 2, "full"),
    ]
    assert json.loads(run("request", "--list", "--group", "sales", "--json").stdout)["requests"] == again
    taken_back = run("cancel", "--group", "sales")
    assert [
        line.endswith("were cancelled: 1. The next sync goes on from there") for line in taken_back.stdout.splitlines()
    ] == [
        True,
        True,
        False,
    ]
    left = engine.registry.requests.find()
    assert [each.account_id for each in left] == ["dee@example.com"]


def test_a_request_for_a_paused_account_says_that_it_waits(engine: Engine, run: Run) -> None:
    engine.registry.pause(ADDRESS)

    assert (
        f"{ADDRESS} is paused: the request waits until `mail-ingest account resume {ADDRESS}`"
        in run("request", ADDRESS).stdout
    )


def test_programs_ask_for_syncs_as_people_do(
    engine: Engine, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    at = datetime(2099, 1, 1, tzinfo=UTC)

    filed = requests.request_sync(ADDRESS, months=["2026-01"], priority=2, at=at, requested_by="report")

    assert requests.open_requests(ADDRESS) == [filed]
    assert (filed.requested_by, filed.not_before, filed.wish.months) == ("report", at, ("2026-01",))
    assert requests.cancel_sync(ADDRESS) == 1
    assert requests.get(filed.request_id).state == "cancelled"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_sync_at_a_safe_point(
    number: signal.Signals,
    code: int,
    engine: Engine,
    box: Mailbox,
    gmail: Simulator,
    variables: dict[str, str],
    tmp_path: Path,
) -> None:
    box.generate(40, seed=1, mean_size_bytes=2_000)
    gate = Gate(gmail, "messages.get", ADDRESS, after=10)
    # a shell that starts the tests in the background makes them ignore interrupts
    restore = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); sys.argv[0] = 'mail-ingest'; "
    )
    process = subprocess.Popen(
        [sys.executable, "-c", restore + "from mail_ingest.cli import main; main()", "sync"],
        # one request at a time, or the others would fetch the rest while one is kept waiting
        env={**variables, "MAIL_INGEST_MAX_IN_FLIGHT": "1"},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    gate.wait_until_reached(process)

    process.send_signal(number)
    assert process.stderr is not None
    while "stopping at the next safe point" not in process.stderr.readline():
        assert process.poll() is None
    gate.open()
    # not `communicate`, which would leave out what the lines read so far have read ahead
    assert process.stdout is not None
    err, out = process.stderr.read(), process.stdout.read()

    assert process.wait(timeout=120) == code, err
    assert f"was stopped ({number.name})" in err
    assert f"{ADDRESS}: cancelled" in out
    with engine.warehouse.open() as connection:
        [stored] = connection.execute("select count(*) from gmail.messages").fetchone()
    assert 10 <= stored == gmail.calls("messages.get") < 40
    engine.sync(engine.accounts(), SyncOptions())
    assert gmail.calls("messages.get") == 40
    assert_true_to_gmail(engine, box)
