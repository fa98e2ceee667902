"""Whole runs, with everything logged that any library logs and everything failing that can fail: their output, their processes
and what Dagster keeps of them hold no mail and no secret.

What is planted stands in every place that a stranger, a mailbox's owner or an administrator fills in. What is searched is all
that was printed, the command lines of all processes, and every byte in Dagster's home.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest
from typer.main import get_command

from mail_ingest.cli.app import app
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.postgres import execute, with_user
from mail_ingest_tests.truth import opened
from mail_ingest_tests.warehouse.conftest import made_roles

ROOT = Path(__file__).parent.parent
EVE, BOB = "eve@example.com", "bob@example.com"

SUBJECT, BODY, NAME = "planted-subject", "planted-body", "Planted Person"
PERSON, FILE, LABEL = "planted.person@correspondent.example", "planted-file.pdf", "planted-label"
BREAKS = "planted-breaks-the-parser"
MAIL = (SUBJECT, BODY, NAME, PERSON, "planted.person", FILE, LABEL, BREAKS)
PASSWORD, ROLE = "planted-password", "planted_reader"
#: A signed assertion, a bearer header and a private key, whatever their values.
SHAPES = (r"eyJ[A-Za-z0-9_-]{20,}\.eyJ", r"(?i)bearer [A-Za-z0-9._-]{10,}", "BEGIN (RSA )?PRIVATE KEY", r"ya29\.sim-")

#: Before anything of the product runs: every logger's records go to standard error, one message breaks the parser, and
#: nobody sleeps for long.
LOUD = f"""
import logging, time
_sleep = time.sleep
time.sleep = lambda seconds: _sleep(min(seconds, 0.01))
logging.basicConfig(level=logging.DEBUG)
_set_level = logging.Logger.setLevel
_loud = ("root", "mail_ingest", "dlt", "dagster", "urllib3", "google", "requests", "alembic")
def _louder(self, level):
    _set_level(self, logging.DEBUG if self.name in _loud else level)
logging.Logger.setLevel = _louder
for _name in _loud[1:]:
    logging.getLogger(_name).setLevel(logging.DEBUG)
from mail_ingest import mime
_parse = mime.parse
def _breaking(raw):
    if {BREAKS.encode()!r} in raw:
        raise RuntimeError("cannot read " + raw.decode("latin-1"))
    return _parse(raw)
mime.parse = _breaking
"""
#: Runs command lines in one process: each is a line of JSON on standard input, with what the command reads there, and is
#: answered by its exit code.
SHELL = (
    LOUD
    + """
import io, json, os, sys
from mail_ingest.cli import main
answers = int(sys.argv[1])
for line in sys.stdin.buffer:
    arguments, given = json.loads(line)
    sys.argv, sys.stdin = ["mail-ingest", *arguments], io.StringIO(given)
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code or 0
    sys.stdout.flush()
    os.write(answers, f"{code}\\n".encode())
"""
)


#: The definitions, whose failed syncs are not repeated after a minute.
IMPATIENT = """
import dagster as dg
from mail_ingest.definitions import build_definitions
defs = build_definitions(retry_policy=dg.RetryPolicy(max_retries=0))
"""


class Shell:
    """The command line in one process, with all that it prints in a file."""

    def __init__(self, variables: dict[str, str], folder: Path) -> None:
        self._output = folder / "printed.txt"
        reading, writing = os.pipe()
        self._answers = os.fdopen(reading)
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-c", SHELL, str(writing)],
                env={**os.environ, **variables},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[writing],
                text=True,
            )
        os.close(writing)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._answers.close()

    def run(self, *arguments: str, stdin: str = "") -> int:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([arguments, stdin]) + "\n")
        self._process.stdin.flush()
        return int(self._answers.readline())

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def printed(self) -> str:
        return self._output.read_text()


class CommandLines:
    """What `ps` shows of a process and all that it and its threads have started, orphans included, looked at again and again."""

    def __init__(self, pid: int) -> None:
        self._pids = {pid}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.seen: set[str] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            for pid in [*self._pids]:
                try:
                    self.seen.add(Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " "))
                    for children in Path(f"/proc/{pid}/task").glob("*/children"):
                        self._pids.update(map(int, children.read_text().split()))
                except OSError:
                    # it has ended, and its number may be another's soon
                    self._pids.discard(pid)


@pytest.fixture
def secrets(environment: dict[str, str], box: Mailbox, gmail: Simulator, tmp_path: Path) -> Iterator[list[str]]:
    """Credentials of each kind, and mail in every place; the secrets among them."""
    eve, bob = gmail.add_account(EVE), gmail.add_account(BOB)
    consent, key = eve.authorized_user(), gmail.service_account()
    (tmp_path / "consent.json").write_text(json.dumps(consent))
    (tmp_path / "key.json").write_text(json.dumps(key))
    environment["ADA_TOKEN"] = box.token
    if "MAIL_INGEST_WAREHOUSE" in environment:
        url = environment["MAIL_INGEST_WAREHOUSE"]
        execute(url, f"create role planted login superuser password '{PASSWORD}'")
        environment["MAIL_INGEST_WAREHOUSE"] = with_user(url, "planted", PASSWORD)
    environment["MAIL_INGEST_KEY"] = "planted-passphrase-of-a-person"
    eve.add(subject=SUBJECT, sender=PERSON, body=BODY)
    bob.add(subject=SUBJECT, sender=PERSON, body=BODY)
    _plant(box, gmail)
    lines = key["private_key"].splitlines()
    yield [
        consent["refresh_token"],
        consent["client_secret"],
        lines[1],
        box.token,
        environment["MAIL_INGEST_KEY"],
        PASSWORD,
    ]
    if "MAIL_INGEST_WAREHOUSE" in environment:
        execute(url, "reassign owned by planted to current_user", "drop owned by planted", "drop role planted")


def _plant(box: Mailbox, gmail: Simulator) -> None:
    label = box.create_label(LABEL)
    told = {"subject": SUBJECT, "sender": f"{NAME} <{PERSON}>", "to": box.address, "body": f"{BODY}\n"}
    box.add(**told, cc=PERSON, attachments=[(FILE, "application/pdf", BODY.encode())], labels=("INBOX", label))
    box.add(**{**told, "subject": BREAKS})
    refused, failing = box.add(**told), box.add(**told)
    gmail.fail_next(status=404, reason="notFound", message=SUBJECT, method="messages.get", message_id=refused, times=-1)
    gmail.fail_next(
        status=400, reason=PERSON, message=f"Invalid '{SUBJECT}' from {PERSON}", method="messages.get", message_id=failing,
        times=-1,
    )  # fmt: skip
    for kind in ("drop", "truncate"):
        gmail.fail_next(kind=kind, method="messages.get", account=box.address)  # type: ignore[arg-type]
    _change_answers(gmail, box.add(**told))


def _change_answers(gmail: Simulator, unreadable: str) -> None:
    """Mail in fields that nobody knows, in their names, and where something else was expected."""
    planted = {PERSON: [BODY], "text": SUBJECT}
    for path in ("getProfile", "labels.list.labels", "labels.get", "messages.list.messages", "messages.get"):
        gmail.change_answers(f"{path}.novelty", "add", planted)
        gmail.change_answers(f"{path}.{NAME}", "add", SUBJECT)
    gmail.change_answers("labels.list.labels.color", "replace", [SUBJECT])
    gmail.change_answers("messages.get.snippet", "replace", planted, message_id=unreadable)
    gmail.change_answers("messages.get.internalDate", "replace", SUBJECT, message_id=unreadable)


@contextmanager
def _warehouse_refuses(url: str) -> Iterator[None]:
    """The database refuses what is loaded, and quotes it."""
    if url.startswith("duckdb:"):
        break_it = ["alter table gmail.message_recipients alter name type integer using null"]
        mend_it = ["alter table gmail.message_recipients alter name type varchar"]
    else:
        break_it = [f"alter table gmail.messages add constraint refuses check (subject <> '{SUBJECT}') not valid"]
        mend_it = ["alter table gmail.messages drop constraint refuses"]
    for statements in (break_it, mend_it):
        with opened(url) as connection:
            for statement in statements:
                connection.execute(statement)
        if statements is break_it:
            yield


def leaks(text: str, secrets: list[str]) -> list[str]:
    found = [secret for secret in (*MAIL, *secrets) if secret in text]
    return found + [shape for shape in SHAPES if re.search(shape, text)]


def _do_the_rest(shell: Shell, environment: dict[str, str], warehouse_url: str, folder: Path) -> None:
    """Everything else that the command line does with accounts, privacy and mail."""
    month = ("--from", "2026-01", "--to", "2026-01")
    for arguments, stdin in (
        (["backfill", *month, ADDRESS, "--estimate", "--list"], ""),
        (["backfill", *month, ADDRESS], ""),
        (["request", ADDRESS, "--months", "2026-01", "--requested-by", "somebody"], ""),
        (["request", "--list"], ""),
        (["cancel", ADDRESS], ""),
        (["export", "--output", str(folder / "copy.duckdb"), "--account", ADDRESS], ""),
        (["export", "--output", str(folder / "copy"), "--format", "parquet"], ""),
        (["query", "select subject from mail.messages", "--output", str(folder / "rows.csv"), "--format", "csv"], ""),
        (["account", "set", BOB, "--privacy", "redacted", "--yes"], ""),
        (["account", "set", BOB, "--privacy", "hashed", "--no-sign-in-mail", "--yes"], ""),
        (["erase", "--contact", "-", "--dry-run"], PERSON),
        (["erase", "--contact", "-", "--in-account", BOB, "--yes", "--json"], f"{PERSON}\n"),
        (["erase", "--contact", "-", "--yes"], f"{PERSON}\n"),
        (["erase", "--list"], ""),
        (["key", "rotate"], ""),
        (["account", "remove", EVE, "--erase"], ""),
        (["erase", "--account", BOB, "--yes"], ""),
    ):
        # 1: something is found, in the other mailbox, or in what dlt keeps of the load that was refused
        assert shell.run(*arguments, stdin=stdin) in ((0, 1) if "--contact" in arguments else (0,)), arguments
    # what is wrong is told without what it is about
    for arguments, stdin in (
        (["erase", "--contact", "-", "--yes"], f"{NAME} <{PERSON}>\n"),
        (["export", "--output", str(folder / "copy.duckdb"), "--group", "nobody"], ""),
    ):
        assert shell.run(*arguments, stdin=stdin) == 2, arguments
    if warehouse_url.startswith("duckdb:"):
        return
    with made_roles(warehouse_url, warehouse_url):
        execute(warehouse_url, f"create role {ROLE} login password '{PASSWORD}' in role mail_ingest_restricted_reader")
        for command in (["grant", ROLE, "--account", ADDRESS], ["list"], ["revoke", ROLE, "--all"]):
            assert shell.run("role", *command) == 0, command
        execute(warehouse_url, f"drop owned by {ROLE}", f"drop role {ROLE}")


def _seen_of_processes_of_their_own(environment: dict[str, str], folder: Path) -> set[str]:
    """The command lines of commands that nobody has started in another process, and of what they start."""
    seen: set[str] = set()
    with (folder / "own.txt").open("wb") as output:
        for arguments, stdin in ((["erase", "--contact", "-", "--yes"], f"{PERSON}\n"), (["sync", ADDRESS], "")):
            process = subprocess.Popen(
                [sys.executable, "-m", "mail_ingest.cli", *arguments], env={**os.environ, **environment},
                stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip
            with CommandLines(process.pid) as command_lines:
                process.communicate(stdin, timeout=120)
            assert process.returncode in (0, 1), arguments
            seen |= command_lines.seen
    return seen


@pytest.mark.early
@pytest.mark.timeout(600)
@pytest.mark.warehouses("duckdb", "postgres")
def test_a_whole_run_of_the_command_line_at_debug_level_prints_no_mail_and_no_secret(
    environment: dict[str, str], secrets: list[str], box: Mailbox, gmail: Simulator, warehouse_url: str, tmp_path: Path
) -> None:
    consent, key = str(tmp_path / "consent.json"), str(tmp_path / "key.json")
    with Shell(environment, tmp_path) as shell, CommandLines(shell.pid) as command_lines:
        assert shell.run("account", "add", ADDRESS, "--token-env", "ADA_TOKEN") == 0
        assert shell.run("account", "add", EVE, "--authorized-user", consent) == 0
        assert shell.run("account", "add", BOB, "--service-account", key) == 0
        assert shell.run("sync") == 0
        assert shell.run("query", "select cast(subject as integer) from mail.messages") == 2
        box.add(subject=SUBJECT, sender=f"{NAME} <{PERSON}>", body=BODY)
        with _warehouse_refuses(warehouse_url):
            assert shell.run("sync", ADDRESS) == 1
        gmail.account(EVE).revoke()
        gmail.account(BOB).expire_token()
        gmail.fail_next(method="token", status=400, reason="invalid_grant", message=f"{SUBJECT} of {PERSON}")
        assert shell.run("sync", EVE, BOB, "--json") == 1
        gmail.fail_next(status=403, reason="domainPolicy", message=f"{PERSON} may not", account=ADDRESS)
        assert shell.run("sync", ADDRESS) == 1
        assert shell.run("account", "resume", ADDRESS) == 0
        assert shell.run("sync", ADDRESS, "--mode", "full", "--json") == 0
        for arguments in (
            ["status"], ["status", "--json"], ["account", "list"], ["account", "list", "--json"], ["verify", ADDRESS],
            ["retry", ADDRESS], ["reparse"], ["key", "status"],
        ):  # fmt: skip
            shell.run(*arguments)
        _do_the_rest(shell, environment, warehouse_url, tmp_path)
    seen = command_lines.seen | _seen_of_processes_of_their_own(environment, tmp_path)

    printed = shell.printed + (tmp_path / "own.txt").read_text()
    assert leaks(printed, secrets) == []
    assert leaks("\n".join(seen).replace(BREAKS, ""), secrets) == []
    assert any("mail_ingest.cli erase --contact -" in line for line in seen), "no command line was looked at"
    # what was to happen did happen, and was told
    for expected in (
        "DEBUG:", "messages.get.novelty: unknown object", "messages.get.internalDate: other string instead of digit string",
        "getProfile.(hidden name): unknown string", "could not be parsed (RuntimeError)", "could not load its package",
        "invalid_grant", "domainPolicy <address> may not", "left out",
        "messages would be removed", "stored messages say more than is allowed then", "erased 1 messages", "none found",
        "encrypted the credentials of", "filed the request", "relations,", "to buy",
    ):  # fmt: skip
        assert expected in printed, expected


@pytest.mark.early
@pytest.mark.timeout(600)
def test_dagster_at_debug_level_prints_and_keeps_no_mail_and_no_secret(
    environment: dict[str, str], secrets: list[str], box: Mailbox, gmail: Simulator, tmp_path: Path
) -> None:
    home, output = tmp_path / "dagster", tmp_path / "dagster.txt"
    home.mkdir()
    settings = (ROOT / "dagster.yaml").read_text()
    louder = settings.replace("    - mail_ingest\n", "    - root\n").replace(
        "python_log_level: INFO", "python_log_level: DEBUG"
    )
    assert louder.count("DEBUG") == 1
    (home / "dagster.yaml").write_text(louder)
    (tmp_path / "loud.py").write_text(LOUD + IMPATIENT)
    variables = {**os.environ, **environment, "DAGSTER_HOME": str(home), "PYTHONPATH": str(ROOT)}
    with Shell(environment, tmp_path) as shell:
        assert shell.run("account", "add", ADDRESS, "--token-env", "ADA_TOKEN") == 0
        assert shell.run("account", "add", EVE, "--authorized-user", str(tmp_path / "consent.json")) == 0
        assert shell.run("account", "add", BOB, "--service-account", str(tmp_path / "key.json")) == 0
    gmail.account(EVE).revoke()
    gmail.fail_next(status=403, reason="domainPolicy", message=f"{PERSON} may not", account=BOB)

    seen: set[str] = set()
    with output.open("wb") as told:
        for job in ("sync", "analyst_tables"):
            process = subprocess.Popen(
                [sys.executable, "-m", "dagster", "job", "execute", "-f", "loud.py", "-j", job],
                cwd=tmp_path, env=variables, stdout=told, stderr=subprocess.STDOUT,
            )  # fmt: skip
            with CommandLines(process.pid) as command_lines:
                process.wait(240)
            seen |= command_lines.seen

    printed = output.read_text()
    kept = b"".join(path.read_bytes() for path in sorted(home.rglob("*")) if path.is_file()).decode("latin-1")
    assert leaks(printed, secrets) == []
    assert leaks(kept, secrets) == []
    assert leaks("\n".join(seen), secrets) == []
    for text in (printed, kept):
        assert "messages.get.novelty: unknown object" in text
        assert "could not be parsed (RuntimeError)" in text
        assert "invalid_grant" in text
        assert ADDRESS in text
    assert list(home.rglob("*.err")), "no compute log was searched"


def test_no_option_takes_a_secret() -> None:
    """Arguments are seen by everybody on the machine, and stay in the shell's history."""
    found = []

    def walk(command: object, path: str) -> None:
        for parameter in command.params:  # type: ignore[attr-defined]
            secret = [name for name in parameter.opts if re.search("password|secret|token|key|credential", name)]
            found.extend(f"{path} {name}" for name in secret if path)
        for name, inner in getattr(command, "commands", {}).items():
            walk(inner, f"{path} {name}".strip())

    walk(get_command(app), "")
    # the name of a variable, and references to where a document is kept
    assert sorted(found) == ["account add --credentials", "account add --token-env", "account discover --credentials"]
