"""`account connect`, with a person at a browser: real processes, real HTTP, Google's own library."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.browser import browse
from mail_ingest_tests.cli.conftest import AT_DEBUG_LEVEL, Run
from mail_ingest_tests.conftest import ADDRESS

BOB = "bob@example.com"
SCOPE = "https://www.googleapis.com/auth/gmail.readonly"
MODIFY = "https://www.googleapis.com/auth/gmail.modify"
METADATA = "https://www.googleapis.com/auth/gmail.metadata"


@dataclass
class Attempt:
    """A running `account connect`: the address it shows, and what it has said so far on standard error."""

    process: subprocess.Popen[str]
    said: list[str] = field(default_factory=list)
    shown: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            found = re.fullmatch(r"\s+(http://\S+)\s*", line)
            if found:
                self.url = found[1]
                self.shown.set()
        self.shown.set()

    def end(self) -> subprocess.CompletedProcess[str]:
        assert self.process.stdout is not None
        printed = self.process.stdout.read()
        code = self.process.wait(timeout=60)
        self.listener.join(timeout=10)
        return subprocess.CompletedProcess(self.process.args, code, printed, "".join(self.said))

    def __post_init__(self) -> None:
        self.listener = threading.Thread(target=self.listen, daemon=True)
        self.listener.start()

    @property
    def params(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.url).query).items()}


@pytest.fixture
def client_file(gmail: Simulator, tmp_path: Path) -> Path:
    path = tmp_path / "client.json"
    path.write_text(json.dumps(gmail.oauth_client()))
    return path


@pytest.fixture
def attempt(variables: dict[str, str], client_file: Path, tmp_path: Path) -> Iterator[Callable[..., Attempt]]:
    """Starts `account connect --no-browser`, and waits until it shows an address or has ended."""
    started: list[Attempt] = []

    def start(*arguments: str, address: str = ADDRESS, debug: bool = False) -> Attempt:
        command = ("-c", AT_DEBUG_LEVEL) if debug else ("-m", "mail_ingest.cli")
        process = subprocess.Popen(
            [
                sys.executable,
                *command,
                "account",
                "connect",
                address,
                "--client",
                str(client_file),
                "--no-browser",
                *arguments,
            ],
            env=variables,
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(Attempt(process))
        assert started[-1].shown.wait(timeout=60)
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait()
        for stream in (each.process.stdin, each.process.stdout, each.process.stderr):
            if stream is not None:
                stream.close()


def accounts(run: Run) -> dict[str, dict[str, Any]]:
    listed = json.loads(run("account", "list", "--json").stdout)["accounts"]
    return {account["account_id"]: account for account in listed}


def consents(gmail: Simulator, address: str) -> int:
    """How many refresh tokens of an address still work; asked of the server itself."""
    grants = gmail.world.grants._refresh.values()
    return len([grant for grant in grants if grant.address == address and not grant.is_revoked])


def test_a_person_consents_and_the_mailbox_is_synced(
    attempt: Callable[..., Attempt], run: Run, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(5, seed=1)

    trying = attempt("--content-since", "2020-01-01")
    page = browse(trying.url, ADDRESS)
    done = trying.end()

    assert done.returncode == 0, done.stderr
    assert "connected ada@example.com" in done.stdout
    assert "answer has arrived" in page.text
    assert (gmail.calls("getProfile"), gmail.calls()) == (1, 1)
    assert accounts(run)[ADDRESS]["content_since"] == "2020-01-01"
    synced = run("sync", "--json")
    assert json.loads(synced.stdout)["runs"][0]["contents_stored"] == 5, synced.stderr


def test_what_is_asked_for_is_reading_with_pkce_and_a_state(attempt: Callable[..., Attempt]) -> None:
    params = attempt().params

    assert params["scope"] == SCOPE
    assert (params["access_type"], params["prompt"], params["response_type"]) == ("offline", "consent", "code")
    assert (params["code_challenge_method"], len(params["code_challenge"])) == ("S256", 43)
    assert params["login_hint"] == ADDRESS
    assert len(params["state"]) >= 20
    assert params["redirect_uri"].startswith("http://127.0.0.1:")
    assert "include_granted_scopes" not in params


def test_a_browser_is_opened_and_one_that_stays_in_the_foreground_is_answered(
    run: Run, client_file: Path, gmail: Simulator
) -> None:
    browser = f"{sys.executable} -m mail_ingest_tests.browser %s"

    done = run("account", "connect", ADDRESS, "--client", str(client_file), BROWSER=browser, CONSENT_AS=ADDRESS)

    assert done.returncode == 0, done.stderr
    assert list(accounts(run)) == [ADDRESS]


def test_the_address_of_a_page_that_could_not_be_reached_can_be_pasted(
    attempt: Callable[..., Attempt], run: Run
) -> None:
    trying = attempt()
    sent_to = requests.get(f"{trying.url}&consent_as={ADDRESS}", allow_redirects=False, timeout=20).headers["location"]
    assert trying.process.stdin is not None

    trying.process.stdin.write(f"what is this\n\n{sent_to.replace('state=', 'state=x')}\n{sent_to}\n")
    trying.process.stdin.flush()
    done = trying.end()

    assert done.returncode == 0, done.stderr
    assert done.stderr.count("not the address that this attempt ends at") == 2
    assert f"ssh -L {urlsplit(trying.params['redirect_uri']).port}:127.0.0.1" in done.stderr
    assert list(accounts(run)) == [ADDRESS]


def test_another_mailbox_that_consents_is_told_and_its_consent_is_revoked(
    attempt: Callable[..., Attempt], run: Run, gmail: Simulator
) -> None:
    gmail.add_account(BOB)

    trying = attempt()
    browse(trying.url, BOB)
    done = trying.end()

    assert done.returncode == 1
    assert "bob@example.com consented, and ada@example.com was asked" in done.stderr
    assert "the consent was revoked" in done.stderr
    assert accounts(run) == {}
    assert consents(gmail, BOB) == 0


def test_a_mailbox_of_ours_that_consents_in_anothers_place_stays_connected(
    attempt: Callable[..., Attempt], run: Run, gmail: Simulator, tmp_path: Path
) -> None:
    """Google ends all consents of a person to one client together."""
    (tmp_path / "bob.json").write_text(json.dumps(gmail.add_account(BOB).authorized_user()))
    run("account", "add", BOB, "--authorized-user", "bob.json")

    trying = attempt()
    browse(trying.url, BOB)
    done = trying.end()

    assert done.returncode == 1
    assert "forgotten, not revoked" in done.stderr
    assert list(accounts(run)) == [BOB]
    assert run("sync", BOB).returncode == 0


@pytest.mark.parametrize(
    ("error", "says"),
    [
        ("access_denied", "access_denied; the person refused"),
        ("admin_policy_enforced", "admin_policy_enforced; an administrator of the domain"),
        ("<script>", "refused; Google refused"),
    ],
)
def test_a_refusal_is_told_and_nothing_is_stored(
    attempt: Callable[..., Attempt], run: Run, error: str, says: str
) -> None:
    trying = attempt()
    browse(trying.url, error=error)
    done = trying.end()

    assert done.returncode == 1
    assert f"no consent for ada@example.com: {says}" in done.stderr
    assert "Nothing was stored" in done.stderr
    assert "Traceback" not in done.stderr
    assert accounts(run) == {}


@pytest.mark.parametrize(
    ("scopes", "says"),
    [
        ([METADATA], "insufficient_scope; https://www.googleapis.com/auth/gmail.readonly was not granted"),
        ([SCOPE, MODIFY], "excessive_scope; more was granted than reading mail"),
    ],
)
def test_fewer_or_more_scopes_than_reading_are_no_consent(
    attempt: Callable[..., Attempt], run: Run, scopes: Sequence[str], says: str
) -> None:
    trying = attempt()
    browse(trying.url, ADDRESS, scopes=scopes)
    done = trying.end()

    assert done.returncode == 1
    assert says in done.stderr
    assert accounts(run) == {}


def test_an_answer_with_another_state_is_refused_and_the_right_one_still_taken(
    attempt: Callable[..., Attempt], run: Run
) -> None:
    trying = attempt()
    back = trying.params["redirect_uri"]

    forged = requests.get(back, params={"state": "forged", "code": "4/0stolen"}, timeout=20)
    stateless = requests.get(back, params={"code": "4/0stolen"}, timeout=20)
    favicon = requests.get(f"{back}favicon.ico", timeout=20)
    assert trying.process.poll() is None
    browse(trying.url, ADDRESS)
    done = trying.end()

    assert (forged.status_code, stateless.status_code, favicon.status_code) == (400, 400, 404)
    assert "another attempt" in forged.text
    assert done.returncode == 0, done.stderr
    assert list(accounts(run)) == [ADDRESS]


def test_a_code_that_was_made_for_another_verifier_opens_nothing(attempt: Callable[..., Attempt], run: Run) -> None:
    trying = attempt()
    browse(trying.url.replace(trying.params["code_challenge"], "x" * 43), ADDRESS)
    done = trying.end()

    assert done.returncode == 1
    assert "invalid_grant; the code was refused" in done.stderr
    assert accounts(run) == {}


def test_nobody_answers(attempt: Callable[..., Attempt], run: Run) -> None:
    done = attempt("--timeout", "1").end()

    assert done.returncode == 1
    assert "timeout; nobody answered within 1 seconds" in done.stderr
    assert accounts(run) == {}


def test_a_browser_that_connects_ahead_of_time_and_says_nothing_is_in_nobodys_way(
    attempt: Callable[..., Attempt],
) -> None:
    import socket

    trying = attempt()
    place = urlsplit(trying.params["redirect_uri"])
    with socket.create_connection((place.hostname, place.port)):
        browse(trying.url, ADDRESS)
        done = trying.end()

    assert done.returncode == 0, done.stderr


def test_the_token_server_fails_and_a_second_attempt_goes_well(
    attempt: Callable[..., Attempt], run: Run, gmail: Simulator
) -> None:
    gmail.fail_next(kind="html503", method="token")
    first = attempt()
    browse(first.url, ADDRESS)
    failed = first.end()
    second = attempt()
    browse(second.url, ADDRESS)

    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr
    assert second.end().returncode == 0


def test_connecting_again_brings_a_dead_account_back_and_keeps_its_cursor(
    attempt: Callable[..., Attempt], run: Run, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(10, seed=1)
    first = attempt("--content-since", "2019-01-01", "--group", "sales")
    browse(first.url, ADDRESS)
    assert first.end().returncode == 0
    assert run("sync").returncode == 0
    box.revoke()
    assert run("sync").returncode == 1
    dead = accounts(run)[ADDRESS]
    assert dead["state"] == "needs_reauth"
    assert dead["what_to_do"].startswith(f"mail-ingest account connect {ADDRESS}")
    before = json.loads(run("status", "--json").stdout)["accounts"][0]["cursor"]

    second = attempt()
    browse(second.url, ADDRESS)
    done = second.end()

    assert "connected again ada@example.com" in done.stdout
    after = accounts(run)[ADDRESS]
    assert (after["state"], after["state_reason"], after["content_since"]) == ("active", "", "2019-01-01")
    assert after["account_group"] == "sales"
    assert json.loads(run("status", "--json").stdout)["accounts"][0]["cursor"] == before
    gmail.reset_ledger()
    assert run("sync").returncode == 0
    assert (gmail.calls("messages.list"), gmail.calls("messages.get")) == (0, 0)


def test_a_consent_may_come_with_a_privacy_which_connecting_again_keeps(
    attempt: Callable[..., Attempt], run: Run, box: Mailbox
) -> None:
    def privacy() -> tuple[object, ...]:
        names = ("privacy", "privacy_is_default", "attachments", "exclude_labels", "include_chats")
        return tuple(accounts(run)[ADDRESS][name] for name in names)

    first = attempt("--privacy", "redacted", "--no-attachments", "--exclude-label", "SPAM", "--no-chats")
    browse(first.url, ADDRESS)
    assert first.end().returncode == 0
    assert privacy() == ("redacted", False, False, ["SPAM"], False)

    refused = attempt("--privacy", "full").end()

    assert (refused.returncode, "keeps its privacy; `mail-ingest account set`" in refused.stderr) == (2, True)
    second = attempt()
    browse(second.url, ADDRESS)
    assert "connected again" in second.end().stdout
    assert privacy() == ("redacted", False, False, ["SPAM"], False)


def test_connecting_again_with_another_horizon_ends_what_somebody_agreed_to_buy_again(
    attempt: Callable[..., Attempt], run: Run, box: Mailbox
) -> None:
    box.generate(2, seed=1)
    first = attempt("--privacy", "headers", "--content-since", "2020-01-01")
    browse(first.url, ADDRESS)
    assert first.end().returncode == 0
    assert run("sync").returncode == 0
    assert run("account", "set", ADDRESS, "--privacy", "full", "--yes").returncode == 0

    for horizon, is_agreed in (("2020-01-01", True), ("all", False)):
        again = attempt("--content-since", horizon)
        browse(again.url, ADDRESS)
        assert again.end().returncode == 0
        assert accounts(run)[ADDRESS]["buys_again"] is is_agreed, horizon


def test_no_token_code_or_secret_is_in_any_output_at_debug_level(
    attempt: Callable[..., Attempt], gmail: Simulator, run: Run
) -> None:
    issued: list[str] = []
    with _watching(gmail, issued):
        for error in ("", "access_denied"):
            trying = attempt(debug=True)
            page = browse(trying.url, ADDRESS, error=error)
            issued.extend(parse_qs(urlsplit(page.url).query).get("code", []))
            done = trying.end()
            assert error or "DEBUG:" in done.stderr, "nothing was logged, so nothing is shown"
            printed = done.stdout + done.stderr

            secrets = [*issued, gmail.oauth_client()["installed"]["client_secret"]]
            assert len(issued) == 3
            assert not [secret for secret in secrets if secret in printed or secret.replace("/", "%2F") in printed]


@contextmanager
def _watching(gmail: Simulator, issued: list[str]) -> Iterator[None]:
    """Notes the tokens that the server gives out meanwhile."""
    exchange = gmail.world.grants.exchange

    def noting(form: Any) -> dict[str, Any]:
        answer = exchange(form)
        issued.extend(answer[name] for name in ("access_token", "refresh_token"))
        return answer

    patched = pytest.MonkeyPatch()
    patched.setattr(type(gmail.world.grants), "exchange", lambda _, form: noting(form))
    try:
        yield
    finally:
        patched.undo()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read"),
        ("{", "is not JSON"),
        ('{"web": {"client_id": "x", "client_secret": "hidden"}}', "no client of type desktop app"),
        ('{"installed": {"client_id": "x"}}', "lacks the field client_secret"),
        ('{"installed": {"client_id": "x", "client_secret": "hidden", "auth_uri": "http://a.example"}}', "auth_uri"),
        ('{"installed": {"client_id": "x", "client_secret": "hidden", "token_uri": "http://a.example"}}', "token_uri"),
    ],
)
def test_a_file_that_is_no_desktop_client_is_wrong_usage(
    run: Run, tmp_path: Path, content: str | None, says: str
) -> None:
    if content is not None:
        (tmp_path / "wrong.json").write_text(content)

    done = run("account", "connect", ADDRESS, "--client", "wrong.json")

    assert done.returncode == 2
    assert says in done.stderr
    assert "hidden" not in done.stderr


def test_a_port_that_is_taken_is_wrong_usage(attempt: Callable[..., Attempt], run: Run, client_file: Path) -> None:
    port = urlsplit(attempt().params["redirect_uri"]).port

    done = run("account", "connect", ADDRESS, "--client", str(client_file), "--port", str(port))

    assert done.returncode == 2
    assert f"port {port} of 127.0.0.1 cannot be listened on" in done.stderr
