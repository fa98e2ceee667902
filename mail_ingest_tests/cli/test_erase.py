"""`mail-ingest erase`, as people and scripts use it; and the commands of its page."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

from mail_ingest.simulator import Mailbox
from mail_ingest.warehouse.locks import Locks
from mail_ingest_tests.cli.conftest import Run
from mail_ingest_tests.conftest import ADDRESS

JANE = "jane@corr.example"
PAGE = (Path(__file__).parents[2] / "docs" / "erasure.md").read_text()


def fill(run: Run, box: Mailbox) -> None:
    box.generate(3, seed=1)
    box.add(subject="Greenhouse", sender=JANE, to=ADDRESS, body="The keys hang behind the third pot.\r\n")
    assert run("account", "add", ADDRESS, "--token-env", "ADA_TOKEN").returncode == 0
    assert run("sync").returncode == 0


def test_the_commands_of_the_page_run_in_its_order(run: Run, box: Mailbox) -> None:
    fill(run, box)
    [block] = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    commands = [shlex.split(line)[1:] for line in block.replace("you@example.com", ADDRESS).splitlines()]

    counted, erased, mailbox, listed = [run(*command) for command in commands]

    assert [done.returncode for done in (counted, erased, mailbox, listed)] == [0, 0, 0, 0], (
        erased.stderr + mailbox.stderr
    )
    assert "1 messages would be removed" in counted.stdout
    assert "none found" in erased.stdout
    assert "\n  not reached: backups" in erased.stdout, "a receipt has lines"
    assert [line.split("-")[0] for line in listed.stdout.splitlines()[1:]] == ["account", "contact"]
    assert JANE not in erased.stdout + listed.stdout
    assert run("erase", "--finish").stdout == "nothing was left unfinished\n"


def test_json_is_one_document_and_what_is_left_exits_with_1(
    run: Run, box: Mailbox, environment: dict[str, str]
) -> None:
    fill(run, box)
    left = Path(environment["MAIL_INGEST_HOME"]) / "notes.txt"
    left.write_text(f"call {JANE}")

    done = run("erase", "--contact", JANE, "--yes", "--json")

    [receipt] = json.loads(done.stdout)["receipts"]
    assert (done.returncode, receipt["found"], receipt["messages_removed"]) == (1, {"file under home": 1}, 1)
    assert f"found in {left}" in done.stderr
    assert "run the same command again" in done.stderr
    left.unlink()
    again = run("erase", "--contact", JANE, "--yes")
    assert again.returncode == 0, again.stderr
    assert run("erase", "--contact", JANE, "--forget").returncode == 0
    assert run("erase", "--contact", JANE, "--forget").returncode == 2


def test_the_address_may_come_from_standard_input(run: Run, box: Mailbox) -> None:
    """Where neither a list of processes nor a shell's history shows it."""
    fill(run, box)

    done, empty = (run("erase", "--contact", "-", "--yes", "--json", stdin=text) for text in (f"{JANE}\n", "\n"))

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["receipts"][0]["messages_removed"] == 1
    assert (empty.returncode, "there was none" in empty.stderr) == (2, True)


def test_nothing_is_erased_without_a_yes(run: Run, variables: dict[str, str], box: Mailbox, tmp_path: Path) -> None:
    fill(run, box)

    silent = run("erase", "--contact", JANE)
    answers = [_asked(variables, tmp_path, answer) for answer in ("jane", JANE)]

    assert (silent.returncode, "say --yes" in silent.stderr) == (2, True)
    assert answers == [2, 0]


def test_wrong_usage_is_told_before_anything_is_done(run: Run) -> None:
    for arguments, why in (
        ((), "exactly one of"),
        (("--account", ADDRESS, "--contact", JANE), "exactly one of"),
        (("--account", ADDRESS, "--forget"), "belong to --contact"),
        (("--account", "nobody@example.com", "--yes"), "not registered"),
        (("--contact", "jane", "--yes"), "takes one address"),
    ):
        done = run("erase", *arguments)
        assert (done.returncode, why in done.stderr) == (2, True), done.stderr


def _asked(variables: dict[str, str], folder: Path, answer: str) -> int:
    """The exit code of a command to which somebody answers on a terminal."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "mail_ingest.cli", "erase", "--contact", JANE]
    with subprocess.Popen(command, env=variables, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        os.write(ours, f"{answer}\n".encode())
        code = process.wait(120)
    os.close(ours)
    return code


def test_a_wait_that_somebody_gives_holds_for_content_that_is_being_bought_too(
    run: Run, box: Mailbox, environment: dict[str, str]
) -> None:
    fill(run, box)
    began = time.monotonic()
    with Locks(Path(environment["MAIL_INGEST_HOME"]) / "locks").hold(f"content:{ADDRESS}"):
        done = [
            run(*command, "--wait", "0.3")
            for command in (
                ("erase", "--contact", JANE, "--yes"),
                ("account", "set", ADDRESS, "--privacy", "headers", "--yes"),
                ("account", "remove", ADDRESS, "--erase"),
            )
        ]

    assert [each.returncode for each in done] == [3, 3, 3]
    assert ["--wait" in each.stderr for each in done] == [True] * 3
    assert time.monotonic() - began < 60, "the turn of a drain is waited for up to 10 minutes"
    finished = run("erase", "--finish")
    assert (finished.returncode, finished.stdout.count("none found")) == (0, 2), finished.stderr
