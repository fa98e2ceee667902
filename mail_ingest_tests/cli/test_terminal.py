"""What strangers wrote reaches a terminal, a log and a spreadsheet as text, and does nothing there."""

from __future__ import annotations

import csv
import io
import json
import logging
import sys
from collections.abc import Callable

import pytest

from mail_ingest.cli import main
from mail_ingest.cli.output import configure_logging, logger, say
from mail_ingest.ingest import Engine
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.truth import sync

#: Clears the screen, opens a link, sets the window's title, turns the direction round, ends the line by other means.
ESCAPES = (
    "\x1b[2J \x1b]8;;http://evil.example\x07here \x9d0;title\x9c \u202emoc.live \u2066x\u2069 a\x85b\u2028c\x08\x7f"
)
MARKUP = "[link=http://evil.example]click[/link] [bold]x[/bold] :warning: [/nothing]"
FORMULAS = ("=cmd|' /C calc'!A0", "+1+1", "-2+3", "@sum(1)", "\t=1", "\r=1", "\uff1d1+1")

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Command:
    """Runs `mail-ingest` in this process: its exit code, standard output and standard error."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mail-ingest", *arguments])
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        told = capfdbinary.readouterr()
        return int(ended.value.code or 0), told.out.decode(), told.err.decode()

    return call


@pytest.fixture(autouse=True)
def _logging_as_before() -> object:
    handlers, level, propagate = logger.handlers, logger.level, logger.propagate
    yield
    logger.handlers, logger.level, logger.propagate = handlers, level, propagate


def assert_prints(text: str) -> None:
    assert [line for line in text.split("\n") if not line.isprintable()] == []


def test_status_and_account_list_show_what_gmail_said_as_text(
    engine: Engine, gmail: Simulator, command: Command
) -> None:
    gmail.fail_next(status=403, reason="domainPolicy", message=f"{MARKUP} {ESCAPES}\nERROR all is lost", times=-1)

    code, out, err = command("sync")
    assert code == 1
    assert_prints(out + err)
    for arguments in (["status"], ["account", "list"], ["account", "list", "--json"]):
        code, out, err = command(*arguments)
        assert (code, err) == (0, "")
        assert_prints(out)
        assert "[link=http://evil.example]click[/link]" in " ".join(out.split())
        assert ":warning:" in out
        assert "\nERROR" not in out


def test_status_shows_a_reason_that_somebody_gave_as_text(engine: Engine, command: Command) -> None:
    assert command("account", "pause", ADDRESS, "--reason", f"{MARKUP}{ESCAPES}")[0] == 0

    for arguments in (["status"], ["account", "list"], ["sync"]):
        _, out, err = command(*arguments)
        assert_prints(out + err)
        assert "[bold]x[/bold]" in out


@pytest.mark.parametrize(
    "address", ["a\x1bb@example.com", "a\u202eb@example.com", "a\x00b@example.com", "a\x85b@example.com"]
)
def test_an_address_that_does_not_print_is_refused_and_told_as_text(command: Command, address: str) -> None:
    code, out, err = command("account", "add", address, "--token-env", "TOKEN")

    assert (code, out) == (2, "")
    assert "is no mail address" in err
    assert_prints(err)


def test_a_table_shows_mail_as_text_in_cells_and_names(engine: Engine, box: Mailbox, command: Command) -> None:
    box.add(raw=f"Subject: {MARKUP} {ESCAPES}\r\n\r\nx".encode())
    sync(engine)
    engine.close()

    code, out, _ = command("query", f'select subject, 1 as "{ESCAPES.replace(chr(8), "")}" from mail.messages')

    assert code == 0
    assert_prints(out)
    assert MARKUP in out


@pytest.mark.warehouses("duckdb", "postgres")
def test_csv_is_exact_and_says_so_or_runs_in_no_spreadsheet(engine: Engine, box: Mailbox, command: Command) -> None:
    for formula in (*FORMULAS, "plain = text", "'quoted"):
        box.add(attachments=[("x.txt", "text/plain", b"x")], subject="placeholder", body=f"{formula.strip()} body")
    sync(engine)
    engine.close()
    values = ", ".join(
        "(" + " || ".join(f"chr({ord(c)})" for c in formula) + ")" for formula in (*FORMULAS, "plain = x")
    )
    sql = f'select text as "=text", -5 as number from (values {values}) as given (text)'

    code, exact, told = command("query", sql, "--format", "csv")
    assert code == 0
    rows = list(csv.reader(io.StringIO(exact, newline="")))
    assert [row[0] for row in rows] == ["=text", *FORMULAS, "plain = x"]
    assert "8 texts begin like formulas" in told
    assert "--spreadsheet" in told
    code, disarmed, told = command("query", sql, "--format", "csv", "--spreadsheet")
    assert (code, told) == (0, "")
    rows = list(csv.reader(io.StringIO(disarmed, newline="")))
    assert [row[0] for row in rows] == ["'=text", *[f"'{formula}" for formula in FORMULAS], "plain = x"]
    assert {row[1] for row in rows[1:]} == {"-5"}
    code, _, told = command("query", "select body_text from mail.messages order by body_text", "--format", "csv")
    assert code == 0
    assert "7 texts begin like formulas" in told
    assert "body" not in told
    assert command("query", sql, "--spreadsheet")[0] == 2


@pytest.mark.parametrize("style", ["text", "json"])
def test_nothing_that_is_logged_passes_for_a_line_of_its_own(style: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(style)

    logging.getLogger("mail_ingest.gmail").warning("label %s of %s", f"x\n2026-01-01 ERROR forged {ESCAPES}", ADDRESS)

    lines = capsys.readouterr().err.splitlines()
    assert_prints("\n".join(lines))
    if style == "json":
        [line] = lines
        assert line.isascii()
        assert json.loads(line)["message"].endswith(f"{ESCAPES} of {ADDRESS}")
    else:
        assert len(lines) == 2
        assert lines[1].startswith("    2026-01-01 ERROR forged")


def test_a_sentence_on_standard_output_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"one{ESCAPES}\ntwo")

    out = capsys.readouterr().out
    assert_prints(out)
    assert out.count("\n") == 1
