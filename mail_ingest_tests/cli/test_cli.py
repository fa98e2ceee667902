"""The command line as people and scripts use it: real processes, exit codes, one JSON document."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest

from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest.warehouse.locks import Locks
from mail_ingest_tests.cli.conftest import Run
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.truth import opened


@pytest.fixture
def registered(run: Run) -> Run:
    done = run("account", "add", ADDRESS, "--token-env", "ADA_TOKEN")
    assert done.returncode == 0, done.stderr
    return run


def test_unexpected_fields_are_told_by_sync_and_status_in_one_line(
    registered: Run, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(5, seed=31)
    assert "not all as this version knows them" not in registered("sync").stdout + registered("status").stdout
    gmail.change_answers("getProfile.novelty", "add", "planted-value")
    gmail.change_answers("getProfile.historyId", "number")
    lines = ["getProfile.historyId: number instead of digit string", "getProfile.novelty: unknown string"]
    told = f"{ADDRESS}: Gmail's answers are not all as this version knows them: {', '.join(lines)}"

    synced, quiet, status = registered("sync"), registered("sync", "--json"), registered("status")

    assert (synced.returncode, quiet.returncode, status.returncode) == (0, 0, 0)
    assert told in synced.stdout.splitlines()
    assert told in status.stdout.splitlines()
    assert json.loads(quiet.stdout)["runs"][0]["unexpected_fields"] == lines
    assert json.loads(registered("status", "--json").stdout)["accounts"][0]["unexpected_fields"] == lines
    assert synced.stderr.count("Gmail's answers differ from what this version knows") == 2
    assert "planted-value" not in synced.stdout + synced.stderr + quiet.stdout + quiet.stderr + status.stdout


@pytest.mark.warehouses("duckdb", "postgres")
def test_the_usual_day(registered: Run, box: Mailbox, gmail: Simulator) -> None:
    box.generate(40, seed=31)

    listed = json.loads(registered("account", "list", "--json").stdout)
    assert [account["account_id"] for account in listed["accounts"]] == [ADDRESS]

    first = registered("sync", "--json")
    assert first.returncode == 0, first.stderr
    report = json.loads(first.stdout)
    assert report["runs"][0]["contents_stored"] == 40
    assert report["units"] == gmail.units()

    second = registered("sync")
    assert second.returncode == 0
    assert "2 units in 2 calls" in second.stdout

    status = json.loads(registered("status", "--json").stdout)["accounts"][0]
    assert (status["state"], status["backlog"], status["failures"]) == ("active", 0, 0)
    assert status["cursor"] == str(box.history_id)
    assert status["units_24h"] == report["units"]

    verified = registered("verify", "--json")
    assert verified.returncode == 0
    assert json.loads(verified.stdout)["drift"] == 0

    box.delete(next(iter(box.messages())))
    changed = registered("verify", "--json")
    assert changed.returncode == 0, "what changed after the last sync is no drift"
    assert (json.loads(changed.stdout)["drift"], json.loads(changed.stdout)["accounts"][0]["pending"]) == (0, 1)

    assert registered("account", "remove", ADDRESS, "--keep-data").returncode == 0
    assert json.loads(registered("account", "list", "--json").stdout) == {"accounts": []}


def test_a_limit_ends_well_with_outcome_partial(registered: Run, box: Mailbox) -> None:
    box.generate(10, seed=31)

    done = registered("sync", ADDRESS, "--max-messages", "4", "--json")

    assert done.returncode == 0
    assert json.loads(done.stdout)["runs"][0]["outcome"] == "partial"


def test_an_unknown_account_is_wrong_usage(registered: Run, gmail: Simulator) -> None:
    done = registered("sync", "nobody@example.com", ADDRESS)

    assert done.returncode == 2
    assert "nobody@example.com is not registered" in done.stderr
    assert gmail.calls() == 0, "an account was started"


def test_no_account_at_all_is_wrong_usage(run: Run) -> None:
    done = run("sync")

    assert done.returncode == 2
    assert "account add" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["account", "add", "not an address", "--token-env", "X"], "is no mail address"),
        (["account", "add", "bob@example.com"], "exactly one of"),
        (["account", "add", "bob@example.com", "--authorized-user", "missing.json"], "missing.json cannot be read"),
        (["account", "add", "bob@example.com", "--token-env", "X", "--content-since", "soon"], "is no date"),
        (["sync", "--mode", "sideways"], "takes auto, partial or full"),
        (["backfill"], "--from"),
        (["backfill", "--from", "2024-06", "--to", "2024-05"], "--from 2024-06 is after --to 2024-05"),
        (["backfill", "--from", "last year"], "is neither month nor day"),
        (["backfill", "--from", "2024-06", "--list"], "--list goes with --estimate"),
        (["no-such-command"], "No such command"),
    ],
)
def test_wrong_usage_exits_with_two_and_one_sentence(run: Run, arguments: list[str], says: str) -> None:
    done = run(*arguments)

    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAIL_INGEST_GMAIL_URL", "ftp://example.com"),
        ("MAIL_INGEST_GMAIL_URL", "http://gmail.example.com"),
        ("MAIL_INGEST_QUOTA", "plenty"),
        ("MAIL_INGEST_WAREHOUSE", "mysql://u:s3cret-word@h/db"),
        ("MAIL_INGEST_LOG", "xml"),
        ("MAIL_INGEST_CONTENT_START", "April"),
        ("MAIL_INGEST_PARTITIONS", "week"),
        ("MAIL_INGEST_BACKFILL_SHARE", "2"),
    ],
)
def test_a_wrong_setting_names_its_variable_and_no_secret(registered: Run, name: str, value: str) -> None:
    done = registered("sync", **{name: value})

    assert done.returncode == 2
    assert name in done.stderr
    assert "s3cret-word" not in done.stderr
    assert "Traceback" not in done.stderr


def test_quota_cannot_be_switched_off_for_gmail_itself(registered: Run) -> None:
    done = registered("sync", MAIL_INGEST_GMAIL_URL="https://gmail.example.com", MAIL_INGEST_QUOTA="off")

    assert done.returncode == 2
    assert "loopback" in done.stderr


def test_a_warehouse_that_is_no_warehouse_stops_before_any_account(
    registered: Run, tmp_path: Path, gmail: Simulator
) -> None:
    broken = tmp_path / "broken.duckdb"
    broken.write_bytes(b"this is no database" * 1_000)

    done = registered("sync", MAIL_INGEST_WAREHOUSE=f"duckdb:///{broken}")

    assert done.returncode == 2
    assert "broken.duckdb cannot be opened" in done.stderr
    assert gmail.calls() == 0


@pytest.fixture
def duckdb_shell(environment: dict[str, str]) -> Iterator[Callable[[], None]]:
    """Another program that has the warehouse open, as a DuckDB shell would."""
    processes: list[subprocess.Popen[bytes]] = []

    def open_file() -> None:
        path = Path(environment["MAIL_INGEST_HOME"]) / "warehouse.duckdb"
        code = f"import duckdb, sys; kept = duckdb.connect({str(path)!r}); print('open', flush=True); sys.stdin.read()"
        process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"

    yield open_file
    for process in processes:
        process.kill()
        process.communicate()


def test_a_warehouse_held_by_another_program_exits_with_three(
    registered: Run, duckdb_shell: Callable[[], None]
) -> None:
    assert registered("sync").returncode == 0
    duckdb_shell()

    done = registered("sync", "--wait", "1")

    assert done.returncode == 3
    assert "has the warehouse" in done.stderr


def test_an_account_held_by_another_process_exits_with_three(
    registered: Run, environment: dict[str, str], box: Mailbox
) -> None:
    box.generate(3, seed=1)
    locks = Locks(Path(environment["MAIL_INGEST_HOME"]) / "locks")

    with locks.hold(f"account:{ADDRESS}"):
        done = registered("sync", "--wait", "0.5")
    assert done.returncode == 3
    assert f"account:{ADDRESS}" in done.stderr

    assert registered("sync").returncode == 0


def test_state_lands_although_content_is_held_elsewhere(
    registered: Run, environment: dict[str, str], box: Mailbox
) -> None:
    box.generate(3, seed=1)
    locks = Locks(Path(environment["MAIL_INGEST_HOME"]) / "locks")

    with locks.hold(f"content:{ADDRESS}"):
        done = registered("sync", "--wait", "0.5", "--json")

    assert done.returncode == 3
    assert json.loads(done.stdout)["runs"][0]["states_changed"] == 3


def test_a_failed_account_outranks_a_busy_one_and_never_stops_the_others(
    registered: Run, gmail: Simulator, environment: dict[str, str], box: Mailbox
) -> None:
    box.generate(3, seed=1)
    broken, held = gmail.add_account("bob@example.com"), gmail.add_account("cyd@example.com")
    registered("account", "add", "bob@example.com", "--token-env", "BOB_TOKEN")
    registered("account", "add", "cyd@example.com", "--token-env", "CYD_TOKEN")
    broken.disable_mail()
    locks = Locks(Path(environment["MAIL_INGEST_HOME"]) / "locks")

    with locks.hold("account:cyd@example.com"):
        done = registered("sync", "--wait", "0.5", "--json", BOB_TOKEN=broken.token, CYD_TOKEN=held.token)

    assert done.returncode == 1
    outcomes = {run["account_id"]: run["outcome"] for run in json.loads(done.stdout)["runs"]}
    assert outcomes == {ADDRESS: "success", "bob@example.com": "failed", "cyd@example.com": "busy"}


def test_a_mailbox_without_gmail_is_parked_with_a_reason(registered: Run, box: Mailbox) -> None:
    box.disable_mail()

    done = registered("sync")

    assert done.returncode == 1
    assert "Mail service not enabled" in done.stderr
    account = json.loads(registered("account", "list", "--json").stdout)["accounts"][0]
    assert account["state"] == "parked"
    skipped = registered("sync")
    assert skipped.returncode == 0
    assert "skipped, parked" in skipped.stdout


def test_a_token_of_another_mailbox_reads_and_writes_nothing(registered: Run, box: Mailbox, gmail: Simulator) -> None:
    box.generate(5, seed=1)
    box.answer_as("mallory@example.com")

    done = registered("sync", "--json")

    assert done.returncode == 1
    run = json.loads(done.stdout)["runs"][0]
    assert run["error_class"] == "WrongMailboxError"
    assert "mallory@example.com" in run["error"]
    assert gmail.calls() == gmail.calls("getProfile") == 1


def test_a_missing_token_and_a_wrong_key_fail_that_account_alone(registered: Run, box: Mailbox) -> None:
    box.generate(2, seed=1)

    done = registered("sync", ADA_TOKEN="")
    assert done.returncode == 1
    assert "ADA_TOKEN is not set" in done.stderr

    done = registered("sync", MAIL_INGEST_KEY="A" * 43 + "=")
    assert done.returncode == 1
    assert ADDRESS in done.stderr

    assert registered("sync").returncode == 0


def test_revoked_credentials_need_a_person_and_work_again_after(registered: Run, box: Mailbox) -> None:
    box.generate(2, seed=1)

    done = registered("sync", ADA_TOKEN="no-token-at-all")
    assert done.returncode == 1
    assert "no-token-at-all" not in done.stderr
    assert json.loads(registered("status", "--json").stdout)["accounts"][0]["state"] == "needs_reauth"

    assert registered("sync", ADDRESS).returncode == 0
    assert json.loads(registered("status", "--json").stdout)["accounts"][0]["state"] == "active"


@pytest.mark.warehouses("duckdb", "postgres")
def test_another_deployment_may_not_write(registered: Run) -> None:
    assert registered("sync").returncode == 0

    done = registered("sync", MAIL_INGEST_ENV="staging")

    assert done.returncode == 2
    assert "'local'" in done.stderr
    assert "'staging'" in done.stderr


def test_logs_can_be_json_lines(registered: Run, box: Mailbox) -> None:
    box.generate(3, seed=1)
    assert registered("sync").returncode == 0
    box.expire_history()
    box.add(subject="s", sender="a@b.example", to=ADDRESS, body="x")
    box.expire_history()

    done = registered("sync", MAIL_INGEST_LOG="json")

    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert any("has expired" in line["message"] for line in lines)


@pytest.mark.warehouses("duckdb", "postgres")
def test_dead_letters_are_shown_and_retried_and_fail_nothing(registered: Run, box: Mailbox, gmail: Simulator) -> None:
    box.generate(4, seed=1)
    broken = sorted(box.messages())[1]
    gmail.fail_next(status=404, reason="notFound", method="messages.get", message_id=broken, times=5)
    assert registered("sync").returncode == 0
    for _ in range(3):
        assert registered("retry").returncode == 0
    parked = json.loads(registered("retry", ADDRESS, "--message-id", broken, "--json").stdout)
    assert [(run["outcome"], run["dead_letters"]) for run in parked["runs"]] == [("partial", 1)]

    quiet = registered("sync", "--json")
    assert quiet.returncode == 0
    assert json.loads(quiet.stdout)["runs"][0]["outcome"] == "partial"
    [account] = json.loads(registered("status", "--json").stdout)["accounts"]
    assert (account["dead_letters"], account["failures"], account["backlog"]) == (1, 1, 1)
    [letter] = account["dead_letter_messages"]
    assert (letter["message_id"], letter["attempts"], letter["reason"]) == (broken, 5, "notFound")
    assert "dead letters" in registered("status").stdout

    done = registered("retry", "--message-id", broken, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["runs"][0]["contents_stored"] == 1
    assert "no message was waiting" in registered("retry").stdout


@pytest.mark.parametrize("arguments", [["retry", "--message-id", "18a0000000000000"], ["retry", "nobody@example.com"]])
def test_a_retry_of_what_did_not_fail_is_wrong_usage(
    registered: Run, box: Mailbox, gmail: Simulator, arguments: list[str]
) -> None:
    box.generate(2, seed=1)
    assert registered("sync").returncode == 0
    gmail.reset_ledger()

    done = registered(*arguments)

    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert gmail.calls() == 0


def test_a_retry_that_another_process_stops_exits_with_three(
    registered: Run, environment: dict[str, str], box: Mailbox
) -> None:
    box.generate(2, seed=1)

    with Locks(Path(environment["MAIL_INGEST_HOME"]) / "locks").hold(f"content:{ADDRESS}"):
        done = registered("retry", "--wait", "0.5", "--json")

    assert done.returncode == 3


def test_a_reparse_says_what_it_did_and_what_it_could_not(
    registered: Run, box: Mailbox, gmail: Simulator, environment: dict[str, str]
) -> None:
    box.generate(3, seed=1)
    assert registered("sync", "--max-messages", "1", MAIL_INGEST_RAW="off").returncode == 0
    assert registered("sync").returncode == 0
    with duckdb.connect(str(Path(environment["MAIL_INGEST_HOME"]) / "warehouse.duckdb")) as connection:
        connection.execute("update gmail.messages set parser_version = 0")
    gmail.reset_ledger()

    held = Locks(Path(environment["MAIL_INGEST_HOME"]) / "locks")
    with held.hold(f"content:{ADDRESS}"):
        assert registered("reparse", "--wait", "0.2").returncode == 3
    done = registered("reparse", "--json")
    assert done.returncode == 0, done.stderr
    [account] = json.loads(done.stdout)["accounts"]
    assert (account["parsed"], account["without_bytes"], account["unreadable"]) == (2, 1, 0)
    assert "buys again" in registered("reparse", ADDRESS).stdout
    assert registered("reparse", "nobody@example.com").returncode == 2
    assert gmail.calls() == 0

    with duckdb.connect(str(Path(environment["MAIL_INGEST_HOME"]) / "warehouse.duckdb")) as connection:
        connection.execute("update gmail.messages set parser_version = 0, raw_pack = raw_pack || '.lost'")
    assert registered("reparse").returncode == 1


@pytest.mark.warehouses("duckdb", "postgres")
def test_an_audit_keeps_to_its_budget_and_drift_exits_with_one(
    registered: Run, box: Mailbox, gmail: Simulator, warehouse_url: str
) -> None:
    box.generate(10, seed=1)
    assert registered("sync").returncode == 0
    gmail.reset_ledger()

    small = registered("verify", ADDRESS, "--sample", "2", "--max-units", "30")
    assert small.returncode == 0, small.stderr
    assert gmail.units() <= 30
    assert "not reached: label" in small.stdout

    with opened(warehouse_url) as connection:
        connection.execute("update gmail.messages set subject = 'altered'")
    altered = registered("verify", "--json")
    assert altered.returncode == 1
    assert json.loads(altered.stdout)["drift"] == 10

    box.relabel(min(box.messages()), add=("STARRED",), remove=("UNREAD",))
    box.expire_history()
    assert registered("verify", "--json").returncode == 1


def test_help_names_every_command_and_every_option(run: Run) -> None:
    assert all(
        name in run("--help").stdout
        for name in ("account", "sync", "status", "verify", "retry", "reparse", "simulator")
    )
    options = run("verify", "--help").stdout
    assert all(name in options for name in ("--sample", "--max-units", "--wait", "--json"))
    options = run("retry", "--help").stdout
    assert all(name in options for name in ("--message-id", "--wait", "--json"))
    options = run("sync", "--help").stdout
    assert all(name in options for name in ("--mode", "--max-messages", "--since", "--label", "--wait", "--json"))
