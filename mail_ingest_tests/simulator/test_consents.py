"""The consent page, one-time codes and PKCE, over HTTP and with nothing but an HTTP client."""

import base64
import hashlib
import re
from collections.abc import Callable, Iterator
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.simulator.client import Answer, Client

Connect = Callable[[str | None], Client]
SCOPE = "https://www.googleapis.com/auth/gmail.readonly"
VERIFIER = "a-verifier-of-more-than-43-characters-as-the-standard-asks-for"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).decode().rstrip("=")
REDIRECT = "http://127.0.0.1:41999/"


@pytest.fixture
def anybody(gmail: Simulator, box: Mailbox) -> Iterator[Client]:
    client = Client(gmail.url, None)
    yield client
    client.close()


def asked(gmail: Simulator, **changes: str | None) -> str:
    """The address that a program sends a person to."""
    params: dict[str, str | None] = {
        "client_id": gmail.oauth_client()["installed"]["client_id"],
        "redirect_uri": REDIRECT,
        "response_type": "code",
        "scope": SCOPE,
        "state": "s-1",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        "access_type": "offline",
        "prompt": "consent",
        **changes,
    }
    given = {name: value for name, value in params.items() if value is not None}
    return f"{urlsplit(gmail.oauth_client()['installed']['auth_uri']).path}?{urlencode(given)}"


def redirected(answer: Answer) -> dict[str, str]:
    assert answer.status == 302, answer.data
    assert answer.headers["location"].startswith(REDIRECT)
    return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}


def exchange(gmail: Simulator, client: Client, issued: str, **changes: str | None) -> Answer:
    installed = gmail.oauth_client()["installed"]
    form: dict[str, str | None] = {
        "grant_type": "authorization_code",
        "code": issued,
        "client_id": installed["client_id"],
        "client_secret": installed["client_secret"],
        "redirect_uri": REDIRECT,
        "code_verifier": VERIFIER,
        **changes,
    }
    given = {name: value for name, value in form.items() if value is not None}
    return client.request("POST", "/token", urlencode(given).encode())


def test_a_consent_is_worth_a_code_and_the_code_tokens(gmail: Simulator, anybody: Client, connect: Connect) -> None:
    back = redirected(anybody.request("GET", asked(gmail, consent_as="ada@example.com")))
    tokens = exchange(gmail, anybody, back["code"]).json

    assert (back["state"], back["scope"], tokens["scope"]) == ("s-1", SCOPE, SCOPE)
    assert connect(tokens["access_token"]).get("profile").json["emailAddress"] == "ada@example.com"
    again = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
    again |= {name: gmail.oauth_client()["installed"][name] for name in ("client_id", "client_secret")}
    assert anybody.request("POST", "/token", urlencode(again).encode()).status == 200


def test_the_page_shows_who_asks_for_what_and_its_buttons_work(gmail: Simulator, anybody: Client) -> None:
    gmail.add_account("aaron@example.com")

    page = anybody.request("GET", asked(gmail, login_hint="ada@example.com", state='"><script>'))
    text = page.data.decode()
    fields = dict(re.findall(r'type="hidden" name="([^"]*)" value="([^"]*)"', text))
    allowed = re.findall(r'name="consent_as" value="([^"]*)"', text)
    pressed = urlencode({**{name: unescape(value) for name, value in fields.items()}, "consent_as": allowed[0]})

    assert page.headers["content-type"].startswith("text/html")
    assert "<script>" not in text
    assert SCOPE in text
    assert allowed == ["ada@example.com", "aaron@example.com"]
    assert redirected(anybody.request("GET", f"/o/oauth2/v2/auth?{pressed}"))["state"] == '"><script>'


def test_a_refusal_goes_back_without_a_code(gmail: Simulator, anybody: Client) -> None:
    back = redirected(anybody.request("GET", asked(gmail, consent_error="access_denied")))

    assert back == {"state": "s-1", "error": "access_denied"}


def test_a_person_may_grant_other_scopes_than_those_asked_for(gmail: Simulator, anybody: Client) -> None:
    narrower = f"{SCOPE.removesuffix('readonly')}metadata"

    back = redirected(anybody.request("GET", asked(gmail, consent_as="ada@example.com", consent_scope=narrower)))

    assert exchange(gmail, anybody, back["code"]).json["scope"] == narrower


@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({"client_id": "another"}, 401, "invalid_client"),
        ({"redirect_uri": "https://elsewhere.example/"}, 400, "redirect_uri_mismatch"),
        ({"redirect_uri": "http://elsewhere.example/"}, 400, "redirect_uri_mismatch"),
        ({"redirect_uri": "urn:ietf:wg:oauth:2.0:oob"}, 400, "invalid_request"),
        ({"response_type": "token"}, 400, "unsupported_response_type"),
        ({"scope": None}, 400, "invalid_request"),
        ({"code_challenge_method": "S512"}, 400, "invalid_request"),
        ({"consent_as": "nobody@example.com"}, 400, "nobody@example.com"),
    ],
)
def test_what_is_wrong_with_a_request_is_shown_and_sent_nowhere(
    gmail: Simulator, anybody: Client, changes: dict[str, Any], status: int, error: str
) -> None:
    answer = anybody.request("GET", asked(gmail, **{"consent_as": "ada@example.com", **changes}))

    assert answer.status == status
    assert "location" not in answer.headers
    assert error in answer.data.decode()


@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({"code_verifier": "another-verifier-of-more-than-43-characters-in-all"}, 400, "invalid_grant"),
        ({"code_verifier": None}, 400, "invalid_grant"),
        ({"redirect_uri": "http://127.0.0.1:42000/"}, 400, "redirect_uri_mismatch"),
        ({"client_id": "another"}, 401, "invalid_client"),
        ({"client_secret": "another"}, 401, "invalid_client"),
        ({"code": None}, 400, "invalid_request"),
        ({"code": "4/unknown"}, 400, "invalid_grant"),
    ],
)
def test_a_code_is_exchanged_by_the_program_that_asked_for_it_only(
    gmail: Simulator, anybody: Client, changes: dict[str, Any], status: int, error: str
) -> None:
    code = redirected(anybody.request("GET", asked(gmail, consent_as="ada@example.com")))["code"]

    answer = exchange(gmail, anybody, code, **changes)

    assert (answer.status, answer.json["error"]) == (status, error)
    assert set(answer.json) == {"error", "error_description"}


def test_a_code_works_once_and_for_ten_minutes(gmail: Simulator, anybody: Client) -> None:
    first = redirected(anybody.request("GET", asked(gmail, consent_as="ada@example.com")))["code"]
    assert exchange(gmail, anybody, first).status == 200
    assert exchange(gmail, anybody, first).json["error"] == "invalid_grant"

    late = redirected(anybody.request("GET", asked(gmail, consent_as="ada@example.com")))["code"]
    gmail.advance(601)
    assert exchange(gmail, anybody, late).json["error"] == "invalid_grant"


def test_a_client_may_name_itself_by_basic_authentication(gmail: Simulator, anybody: Client) -> None:
    code = redirected(anybody.request("GET", asked(gmail, consent_as="ada@example.com")))["code"]
    installed = gmail.oauth_client()["installed"]
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": REDIRECT,
        "code_verifier": VERIFIER,
    }
    named = base64.b64encode(f"{installed['client_id']}:{installed['client_secret']}".encode()).decode()

    answer = anybody.request("POST", "/token", urlencode(form).encode(), {"Authorization": f"Basic {named}"})

    assert answer.status == 200


def test_a_refresh_token_comes_with_the_first_consent_or_when_consent_is_asked_for_again(
    gmail: Simulator, box: Mailbox, anybody: Client
) -> None:
    def granted(**changes: str | None) -> bool:
        back = redirected(anybody.request("GET", asked(gmail, consent_as="ada@example.com", **changes)))
        return "refresh_token" in exchange(gmail, anybody, back["code"]).json

    assert not granted(access_type="online", prompt=None)
    box.revoke()
    assert granted(prompt=None)
    assert not granted(prompt=None)
    assert granted(prompt="consent")
    box.revoke()
    assert granted(prompt=None)
