"""Access tokens from a token server: when they are fetched, by how many, and what a refusal means."""

import http.client
import json
import logging
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from mail_ingest.accounts import Credential, Registry, authorized_user, service_account, token_env
from mail_ingest.accounts.tokens import token_source
from mail_ingest.errors import AuthError, ConfigError, GmailError, ServerError
from mail_ingest.settings import Settings
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.gmail.contacts import watched
from mail_ingest_tests.gmail.stage import Answer, Clock, Seen, Wire, json_answer

ADA, BOB = "ada@example.com", "bob@example.com"
READONLY = "https://www.googleapis.com/auth/gmail.readonly"


@pytest.fixture
def gmail() -> Iterator[Simulator]:
    with Simulator(quota="off") as simulator:
        yield simulator


@pytest.fixture
def box(gmail: Simulator) -> Mailbox:
    return gmail.add_account(ADA)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    def write(doc: dict[str, Any]) -> Path:
        path = tmp_path / "credentials.json"
        path.write_text(json.dumps(doc))
        return path

    return write


@pytest.fixture
def token_server(gmail: Simulator) -> Iterator[Wire]:
    """Passes on to the simulator what the token server is asked, and keeps it in `seen`."""

    def script(seen: Seen) -> Answer | None:
        connection = http.client.HTTPConnection(urlsplit(gmail.url).netloc)
        try:
            connection.request("POST", "/token", seen.body, {"content-type": seen.headers["content-type"]})
            response = connection.getresponse()
            return Answer(response.status, response.read(), {"content-type": response.headers["content-type"]})
        except http.client.HTTPException:
            return None
        finally:
            connection.close()

    with Wire(script) as wire:
        yield wire


@pytest.fixture
def person(token_server: Wire, box: Mailbox, write: Callable[[dict[str, Any]], Path]) -> Credential:
    return authorized_user(write({**box.authorized_user(), "token_uri": token_server.url}))


@pytest.fixture
def robot(gmail: Simulator, box: Mailbox, write: Callable[[dict[str, Any]], Path]) -> Credential:
    return service_account(write(gmail.service_account()))


def is_good(gmail: Simulator, token: str) -> bool:
    """Whether Gmail knows the token; asked of the server itself."""
    return gmail.world.grants.check(token) is not None


def test_token_is_fetched_at_first_use_and_kept(gmail: Simulator, token_server: Wire, person: Credential) -> None:
    source = token_source(ADA, person)
    before = len(token_server.seen)

    tokens = {source.token() for _ in range(5)}

    assert before == 0
    assert len(token_server.seen) == 1
    assert len(tokens) == 1
    assert is_good(gmail, tokens.pop())


def test_service_account_acts_for_the_address_of_the_account(gmail: Simulator, robot: Credential) -> None:
    gmail.add_account(BOB)

    ada, bob = token_source(ADA, robot).token(), token_source(BOB, robot).token()

    assert gmail.world.grants.check(ada).address == ADA  # type: ignore[union-attr]
    assert gmail.world.grants.check(bob).address == BOB  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["person", "robot"])
def test_only_reading_is_asked_for(gmail: Simulator, request: pytest.FixtureRequest, kind: str) -> None:
    token = token_source(ADA, request.getfixturevalue(kind)).token()

    grant = gmail.world.grants.check(token)
    assert grant is not None
    assert grant.scopes == {READONLY}


def test_token_is_replaced_before_it_expires(gmail: Simulator, token_server: Wire, person: Credential) -> None:
    clock = Clock()
    clock.now = gmail.world.clock()
    source = token_source(ADA, person, clock)
    first = source.token()

    clock.now += 3_300
    still = source.token()
    clock.now += 200
    second = source.token()

    assert still == first
    assert second != first
    assert len(token_server.seen) == 2


def test_forced_refresh_brings_another_token(gmail: Simulator, person: Credential) -> None:
    source = token_source(ADA, person)
    first = source.token()

    second = source.token(force_refresh=True)

    assert first != second
    assert source.token() == second


def test_many_threads_cause_one_request(token_server: Wire, person: Credential) -> None:
    source = token_source(ADA, person)
    together = threading.Barrier(10, timeout=5)

    def get(_: int) -> str:
        together.wait()
        return source.token()

    with ThreadPoolExecutor(10) as pool:
        tokens = set(pool.map(get, range(10)))

    assert len(tokens) == 1
    assert len(token_server.seen) == 1


def test_revoked_consent_needs_a_person(token_server: Wire, box: Mailbox, person: Credential) -> None:
    box.revoke()

    with pytest.raises(AuthError, match=r"ada@example\.com.*invalid_grant.*connect the account again") as caught:
        token_source(ADA, person).token()

    assert (caught.value.account_id, caught.value.reason) == (ADA, "invalid_grant")
    assert len(token_server.seen) == 1


@pytest.mark.parametrize(
    ("answer", "means"),
    [
        (
            {"error": "invalid_grant", "error_description": "Bad Request"},
            r"password was changed.*six months.*100.*7 days",
        ),
        (
            {"error": "invalid_grant", "error_description": "Token has been expired or revoked."},
            r"expired or was revoked.*changed password.*7 days where the consent screen is in testing",
        ),
        ({"error": "invalid_grant", "error_description": "Account has been deleted"}, "was deleted; remove it"),
        (
            {
                "error": "invalid_grant",
                "error_subtype": "invalid_rapt",
                "error_description": "reauth related error (invalid_rapt)",
            },
            r"\(invalid_rapt\); a policy of the domain asks for a new login",
        ),
        ({"error": "admin_policy_enforced", "error_description": "planted"}, "administrator of the domain has blocked"),
        ({"error": "invalid_client", "error_description": "planted"}, "new secret"),
        ({"error": "deleted_client", "error_description": "planted"}, "client was deleted"),
        ({"error": "something_new", "error_description": "planted"}, "; connect the account again"),
    ],
)
def test_refusal_of_a_consent_says_what_to_do_and_repeats_no_description(
    person: Credential, answer: dict[str, str], means: str
) -> None:
    with Wire(lambda _: json_answer(answer, 400)) as wire:
        away = Credential(person.kind, {**person.content, "token_uri": wire.url})

        with pytest.raises(AuthError, match=rf"ada@example\.com: {answer['error']}.*{means}") as caught:
            token_source(ADA, away).token()

    assert caught.value.reason == answer["error"]
    assert answer["error_description"] not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert len(wire.seen) == 1


@pytest.mark.parametrize(
    ("description", "means"),
    [
        (
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe.",
            "clock is wrong; set",
        ),
        ("Invalid JWT Signature.", "key of the service account was deleted"),
        ("Invalid email or User ID", "no user of the domain"),
        ("Bad Request", "no user of the domain, the key was deleted, or our clock is wrong"),
    ],
)
def test_refusal_of_a_service_account_says_what_to_do(robot: Credential, description: str, means: str) -> None:
    with Wire(lambda _: json_answer({"error": "invalid_grant", "error_description": description}, 400)) as wire:
        away = Credential(robot.kind, {**robot.content, "token_uri": wire.url})

        with pytest.raises(AuthError, match=means) as caught:
            token_source(ADA, away).token()

    assert description not in str(caught.value)


def test_missing_delegation_needs_an_administrator(gmail: Simulator, box: Mailbox, write: Any) -> None:
    narrow = service_account(write(gmail.service_account(scopes=["gmail.metadata"])))

    with pytest.raises(AuthError, match=r"unauthorized_client.*administrator"):
        token_source(ADA, narrow).token()


@pytest.mark.parametrize(
    ("kind", "status"), [("error", 500), ("error", 503), ("error", 429), ("html503", 503), ("drop", 0)]
)
def test_token_server_that_fails_is_a_passing_matter_and_asked_once(
    gmail: Simulator, person: Credential, kind: Any, status: int
) -> None:
    source = token_source(ADA, person)
    gmail.fail_next(kind=kind, status=status, reason="backendError", method="token", times=1)

    with pytest.raises(ServerError, match="token server"):
        source.token()

    assert is_good(gmail, source.token())


@pytest.mark.parametrize(
    "answer",
    [
        Answer(400, b"<html>Bad Request</html>"),
        Answer(302, b"", {"location": "http://127.0.0.1:9/login"}),
        Answer(403, b""),
        Answer(200, b"<html>Welcome to our wireless network</html>"),
        Answer(200, b"{}"),
        Answer(400, b"{"),
    ],
)
def test_answer_of_some_proxy_does_not_end_a_consent(person: Credential, answer: Answer) -> None:
    with Wire(lambda _: answer) as wire:
        away = Credential(person.kind, {**person.content, "token_uri": wire.url})

        with pytest.raises(ServerError, match="token server"):
            token_source(ADA, away).token()

    assert len(wire.seen) == 1


def test_consent_that_does_not_cover_reading_is_told(person: Credential) -> None:
    granted = {"access_token": "a", "expires_in": 3_599, "scope": "https://www.googleapis.com/auth/gmail.labels"}
    with Wire(lambda _: json_answer(granted)) as wire:
        away = Credential(person.kind, {**person.content, "token_uri": wire.url, "scope": READONLY})

        with pytest.raises(AuthError, match=r"invalid_scope.*gmail\.readonly"):
            token_source(ADA, away).token()


def test_address_that_is_no_user_of_the_domain_is_told(gmail: Simulator, write: Any) -> None:
    narrow = service_account(write(gmail.service_account(subjects=[BOB])))

    with pytest.raises(AuthError) as caught:
        token_source(ADA, narrow).token()

    assert "domain" in str(caught.value)


def test_token_server_that_cannot_be_reached_is_a_passing_matter(person: Credential) -> None:
    away = Credential(person.kind, {**person.content, "token_uri": "http://127.0.0.1:9/token"})

    with pytest.raises(ServerError, match="token server"):
        token_source(ADA, away).token()


def test_failed_refresh_leaves_a_token_that_is_still_good_in_use(gmail: Simulator, person: Credential) -> None:
    source = token_source(ADA, person)
    first = source.token()
    gmail.fail_next(kind="html503", method="token", times=1)

    with pytest.raises(ServerError):
        source.token(force_refresh=True)

    assert source.token() == first


def test_token_out_of_the_environment_is_read_whenever_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    source = token_source(ADA, token_env("MAIL_TOKEN_FOR_TESTS"))

    with pytest.raises(ConfigError, match="MAIL_TOKEN_FOR_TESTS"):
        source.token()
    monkeypatch.setenv("MAIL_TOKEN_FOR_TESTS", "one")
    assert source.token() == "one"
    monkeypatch.setenv("MAIL_TOKEN_FOR_TESTS", "two")
    assert source.token(force_refresh=True) == "two"


def test_nobody_but_the_token_server_of_the_credentials_is_contacted(gmail: Simulator, robot: Credential) -> None:
    with watched() as contacts:
        token_source(ADA, robot).token()

    assert contacts == {("connect", ("127.0.0.1", urlsplit(gmail.url).port)), ("resolve", "127.0.0.1")}


def test_registry_hands_out_one_source_per_account(registry: Registry, gmail: Simulator, person: Credential) -> None:
    registry.add(ADA, person)

    first, second = registry.token_source(ADA), registry.token_source("ADA@EXAMPLE.COM")

    assert first is second
    assert is_good(gmail, first.token())


def test_stored_credentials_are_useless_without_the_key(
    registry: Registry, settings: Settings, person: Credential
) -> None:
    registry.add(ADA, person)
    registry.close()

    written = b"".join(path.read_bytes() for path in settings.home.iterdir() if path.name != "credentials.key")

    assert ADA.encode() in written
    for secret in (person.content["refresh_token"], person.content["client_secret"]):
        assert secret.encode() not in written


@pytest.mark.parametrize("trouble", ["revoked", "failing", "none"])
def test_nothing_secret_is_told(
    gmail: Simulator,
    box: Mailbox,
    person: Credential,
    robot: Credential,
    trouble: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    if trouble == "revoked":
        box.revoke()
        gmail.service_account()
    elif trouble == "failing":
        gmail.fail_next(kind="error", status=500, reason="backendError", method="token", times=-1)
    secrets = [person.content["refresh_token"], person.content["client_secret"], robot.content["private_key"][60:90]]
    told = []

    for credential in (person, robot):
        source = token_source(ADA, credential)
        try:
            secrets.append(source.token())
        except GmailError as error:
            told += [str(error), repr(error), *traceback.format_exception(error)]
        told.append(repr(source))
    told += [record.getMessage() for record in caplog.records]

    text = "\n".join(told)
    assert ADA in text
    assert not [secret for secret in secrets if secret in text]
