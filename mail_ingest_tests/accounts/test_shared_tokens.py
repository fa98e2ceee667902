"""One access token for all threads and processes of a deployment: who fetches it, and who may use it how long."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from mail_ingest.accounts import Credential, Registry, application_default, authorized_user, from_reference
from mail_ingest.errors import AuthError, ServerError
from mail_ingest.settings import Settings
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.gmail.stage import Answer, Seen, Wire, json_answer

ADA = "ada@example.com"

Open = Callable[[Settings], Registry]


class TokenServer:
    """Gives tokens `token-1`, `token-2`, ... after a while, or what it is told to answer."""

    def __init__(self) -> None:
        self.takes_s = 0.3
        self.answers: list[Answer] = []
        self.given = 0
        self.life_s = 3_599
        self.wire = Wire(self._answer)

    @property
    def asked(self) -> int:
        return len(self.wire.seen)

    def _answer(self, _: Seen) -> Answer:
        time.sleep(self.takes_s)
        if self.answers:
            return self.answers.pop(0)
        self.given += 1
        return json_answer({"access_token": f"token-{self.given}", "expires_in": self.life_s, "token_type": "Bearer"})


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    if request.param == "sqlite":
        return settings
    return dataclasses.replace(settings, control=request.getfixturevalue("control_database"))


@pytest.fixture
def server() -> Iterator[TokenServer]:
    server = TokenServer()
    with server.wire:
        yield server


@pytest.fixture
def person(tmp_path: Path, server: TokenServer) -> Credential:
    path = tmp_path / "credentials.json"
    path.write_text(
        json.dumps(
            {"client_id": "id", "client_secret": "GOCSPX-s", "refresh_token": "1//r", "token_uri": server.wire.url}
        )
    )
    return authorized_user(path)


@pytest.fixture
def registry(settings: Settings, open_registry: Open, person: Credential) -> Registry:
    registry = open_registry(settings)
    registry.add(ADA, person)
    return registry


THREADS = """
import sys
from concurrent.futures import ThreadPoolExecutor
from mail_ingest.accounts import Registry
from mail_ingest.settings import load_settings
registry = Registry(load_settings({"MAIL_INGEST_HOME": sys.argv[1], "MAIL_INGEST_CONTROL": sys.argv[2]}))
source = registry.token_source("ada@example.com")
print("ready", flush=True)
for line in sys.stdin:
    refused = line.strip() == "refused"
    # as the client does it: another token only where nobody got one since
    old = source.token() if refused else ""
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: source.token(force_refresh=refused and source.token() == old), range(8)))
    print(" ".join(sorted(found)), flush=True)
"""


class Process:
    """Eight threads in a process of their own, which get a token when they are told to."""

    def __init__(self, settings: Settings) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", THREADS, str(settings.home), settings.control],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._read() == "ready"

    def ask(self, word: str = "get") -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()

    def answer(self) -> str:
        return self._read()

    def kill(self) -> None:
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.communicate()

    def close(self) -> None:
        self._process.communicate()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@pytest.fixture
def processes(settings: Settings, registry: Registry) -> Iterator[list[Process]]:
    started = [Process(settings) for _ in range(4)]
    yield started
    for process in started:
        process.close()


def test_eight_threads_in_each_of_four_processes_cause_one_request(
    processes: list[Process], server: TokenServer
) -> None:
    for process in processes:
        process.ask()
    tokens = {process.answer() for process in processes}

    assert tokens == {"token-1"}
    assert server.asked == 1


def test_processes_that_were_refused_together_cause_one_request_and_do_not_get_that_token_again(
    processes: list[Process], server: TokenServer
) -> None:
    for process in processes:
        process.ask()
    assert {process.answer() for process in processes} == {"token-1"}

    for process in processes:
        process.ask("refused")
    tokens = {process.answer() for process in processes}

    assert tokens == {"token-2"}
    assert server.asked == 2


def test_process_that_dies_while_it_fetches_keeps_the_others_waiting_for_seconds_only(
    processes: list[Process], server: TokenServer
) -> None:
    dying, *others = processes
    server.takes_s = 3.0
    dying.ask()
    while not server.asked:
        time.sleep(0.01)
    dying.kill()
    server.takes_s = 0.1
    began = time.monotonic()

    for process in others:
        process.ask()
    tokens = {process.answer() for process in others}

    assert len(tokens) == 1
    assert server.asked == 2, "the others did not wait for each other"
    assert time.monotonic() - began < 15


def test_later_process_uses_the_token_as_long_as_it_is_good(
    settings: Settings, registry: Registry, open_registry: Open, server: TokenServer
) -> None:
    first = registry.token_source(ADA).token()

    assert open_registry(settings).token_source(ADA).token() == first
    assert server.asked == 1


def test_token_that_is_about_to_expire_is_not_taken_from_the_store(
    settings: Settings, registry: Registry, open_registry: Open, server: TokenServer
) -> None:
    server.life_s = 1
    registry.token_source(ADA).token()
    time.sleep(0.7)  # more than half of its life

    assert open_registry(settings).token_source(ADA).token() == "token-2"


def test_refused_token_is_not_taken_from_the_store_again(
    settings: Settings, registry: Registry, open_registry: Open, server: TokenServer
) -> None:
    source, other = registry.token_source(ADA), open_registry(settings).token_source(ADA)
    assert source.token() == other.token() == "token-1"
    server.answers = [Answer(503, b"")]
    with pytest.raises(ServerError):
        source.token(force_refresh=True)

    assert open_registry(settings).token_source(ADA).token() == "token-2"
    assert source.token(force_refresh=True) == other.token(force_refresh=True) == "token-2"
    assert server.asked == 3


def test_other_credentials_do_not_get_the_token_of_the_old_ones(
    settings: Settings, registry: Registry, open_registry: Open, person: Credential, server: TokenServer
) -> None:
    registry.token_source(ADA).token()

    registry.reconnect(ADA, Credential(person.kind, {**person.content, "refresh_token": "1//other"}))

    assert registry.token_source(ADA).token() == "token-2"
    assert open_registry(settings).token_source(ADA).token() == "token-2"


def test_token_of_a_document_that_changed_behind_its_reference_is_not_used(
    settings: Settings, registry: Registry, open_registry: Open, person: Credential, server: TokenServer, tmp_path: Path
) -> None:
    path = tmp_path / "kept elsewhere.json"
    document = {"type": "authorized_user", **{name: text for name, text in person.content.items() if name != "scope"}}
    path.write_text(json.dumps(document))
    registry.add("bob@example.com", from_reference(path.as_uri()))
    first = registry.token_source("bob@example.com").token()
    assert open_registry(settings).token_source("bob@example.com").token() == first
    assert server.asked == 1

    path.write_text(json.dumps({**document, "refresh_token": "1//other"}))

    other = open_registry(settings).token_source("bob@example.com").token()
    assert other != first
    assert open_registry(settings).token_source("bob@example.com").token() == other
    assert server.asked == 2


def test_token_of_other_application_default_credentials_is_not_used(
    gmail: Simulator,
    box: Mailbox,
    settings: Settings,
    open_registry: Open,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    open_registry(settings).add(ADA, application_default())
    tokens = []
    for _ in range(2):
        path = tmp_path / "default.json"
        path.write_text(json.dumps(gmail.service_account(["gmail.readonly"])))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
        tokens.append([open_registry(settings).token_source(ADA).token() for _ in range(2)])

    assert [len(set(of_one)) for of_one in tokens] == [1, 1], "processes with the same credentials did not share"
    assert tokens[0] != tokens[1]


def test_credentials_that_are_refused_are_refused_for_every_process(
    settings: Settings, registry: Registry, open_registry: Open, server: TokenServer
) -> None:
    server.answers = [
        Answer(400, b'{"error": "invalid_grant"}', {"content-type": "application/json"}) for _ in range(2)
    ]

    for source in (registry.token_source(ADA), open_registry(settings).token_source(ADA)):
        with pytest.raises(AuthError):
            source.token()

    assert server.asked == 2


def test_token_outlives_a_change_of_keys(
    settings: Settings, registry: Registry, open_registry: Open, server: TokenServer
) -> None:
    registry.token_source(ADA).token()

    registry.rotate_keys()

    assert open_registry(settings).token_source(ADA).token() == "token-1"
    assert server.asked == 1


def test_stored_token_is_never_written_in_clear(settings: Settings, registry: Registry) -> None:
    token = registry.token_source(ADA).token()
    registry.close()

    engine = create_engine(settings.control.replace("postgresql://", "postgresql+psycopg2://"))
    with engine.connect() as connection:
        [row] = connection.execute(text("select * from access_tokens")).all()
    engine.dispose()
    written = b"".join(path.read_bytes() for path in settings.home.rglob("*") if path.is_file())

    assert row.sealed.startswith("v1.")
    assert token not in repr(row)
    assert token.encode() not in written


def test_removal_forgets_the_token(settings: Settings, registry: Registry) -> None:
    registry.token_source(ADA).token()
    registry.remove(ADA)

    engine = create_engine(settings.control.replace("postgresql://", "postgresql+psycopg2://"))
    with engine.connect() as connection:
        assert connection.execute(text("select count(*) from access_tokens")).scalar() == 0
    engine.dispose()


def test_control_database_that_goes_away_does_not_keep_tokens_from_being_fetched(
    registry: Registry, settings: Settings, server: TokenServer
) -> None:
    source = registry.token_source(ADA)
    engine = create_engine(settings.control.replace("postgresql://", "postgresql+psycopg2://"))
    with engine.begin() as connection:
        connection.execute(text("drop table access_tokens"))
    engine.dispose()

    assert source.token() == "token-1"


def test_real_gmail_takes_the_shared_token(
    gmail: Simulator, box: Mailbox, tmp_path: Path, settings: Settings, open_registry: Open
) -> None:
    path = tmp_path / "user.json"
    path.write_text(json.dumps(box.authorized_user()))
    open_registry(settings).add(ADA, authorized_user(path))

    def get(_: Any) -> str:
        return open_registry(settings).token_source(ADA).token()

    with ThreadPoolExecutor(4) as pool:
        [token] = set(pool.map(get, range(4)))

    assert gmail.world.grants.check(token) is not None
    assert len(gmail.world.grants._access) == 2, "the mailbox's own token and one more"
