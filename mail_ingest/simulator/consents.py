"""Consents of people to installed programs: what a program asks for, and the one-time code that a consent is worth.

Flow: https://developers.google.com/identity/protocols/oauth2/native-app . Texts of the token endpoint as reported by users.
"""

import hashlib
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import Any
from urllib.parse import urlsplit

import pybase64

from mail_ingest.simulator.token_errors import TokenError

CLIENT_ID = "simulator.apps.googleusercontent.com"
CLIENT_SECRET = "simulator-client-secret"  # noqa: S105 (the secret of no one)
CODE_LIFETIME_S = 600
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class ConsentError(Exception):
    """What Google shows on a page of its own instead of going back to the program: `Error 400: redirect_uri_mismatch`."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(f"{error}: {description}")
        self.error = error
        self.description = description
        self.status = status


@dataclass(frozen=True, slots=True)
class ConsentRequest:
    """What a program asks a person for."""

    client_id: str
    redirect_uri: str
    scopes: frozenset[str]
    state: str
    challenge: str
    challenge_method: str
    login_hint: str
    is_offline: bool
    prompts_consent: bool


@dataclass(frozen=True, slots=True)
class Consent:
    """What a code was exchanged for."""

    address: str
    scopes: frozenset[str]
    client_id: str
    has_refresh_token: bool


@dataclass(frozen=True, slots=True)
class _Code:
    request: ConsentRequest
    address: str
    scopes: frozenset[str]
    expires_at_s: float


@dataclass(slots=True)
class Consents:
    """Codes that wait for their exchange, and who consented before. There is one client: `CLIENT_ID`, a desktop app."""

    clock: Callable[[], float]
    _codes: dict[str, _Code] = field(default_factory=dict)
    _consented: set[tuple[str, str]] = field(default_factory=set)

    def read(self, params: Mapping[str, str]) -> ConsentRequest:
        """The parameters of the authorization endpoint; raises `ConsentError`."""
        if params.get("client_id") != CLIENT_ID:
            raise ConsentError("invalid_client", "The OAuth client was not found.", 401)
        redirect_uri = params.get("redirect_uri", "")
        if redirect_uri.startswith("urn:ietf:wg:oauth:2.0:oob"):
            raise ConsentError("invalid_request", "The out-of-band (OOB) flow has been blocked")
        parts = urlsplit(redirect_uri)
        if parts.scheme != "http" or parts.hostname not in _LOOPBACK:
            raise ConsentError("redirect_uri_mismatch", f"redirect_uri={redirect_uri}")
        if params.get("response_type") != "code":
            raise ConsentError("unsupported_response_type", f"Invalid response_type: {params.get('response_type', '')}")
        scopes = frozenset(params.get("scope", "").split())
        if not scopes:
            raise ConsentError("invalid_request", "Missing required parameter: scope")
        method = params.get("code_challenge_method", "plain")
        if method not in ("plain", "S256"):
            raise ConsentError("invalid_request", f"Invalid code_challenge_method: {method}")
        return ConsentRequest(
            CLIENT_ID,
            redirect_uri,
            scopes,
            params.get("state", ""),
            params.get("code_challenge", ""),
            method,
            params.get("login_hint", ""),
            params.get("access_type") == "offline",
            "consent" in params.get("prompt", "").split(),
        )

    def give(self, request: ConsentRequest, address: str, scopes: Iterable[str]) -> str:
        """A person allows these scopes; returns the code for the program."""
        code = "4/0sim-" + secrets.token_urlsafe(32)
        self._codes[code] = _Code(request, address, frozenset(scopes), self.clock() + CODE_LIFETIME_S)
        return code

    def redeem(self, form: Mapping[str, str]) -> Consent:
        """Exchanges a code, which works once; raises `TokenError`."""
        if form.get("client_id") != CLIENT_ID:
            raise TokenError("invalid_client", "The OAuth client was not found.", 401)
        if form.get("client_secret") != CLIENT_SECRET:
            raise TokenError("invalid_client", "The provided client secret is invalid.", 401)
        if not form.get("code"):
            raise TokenError("invalid_request", "Missing required parameter: code")
        code = self._codes.pop(form["code"], None)
        if code is None:
            raise TokenError("invalid_grant", "Malformed auth code.")
        if code.expires_at_s <= self.clock():
            raise TokenError("invalid_grant", "Bad Request")
        if form.get("redirect_uri") != code.request.redirect_uri:
            raise TokenError("redirect_uri_mismatch", "Bad Request")
        _check_verifier(code.request, form.get("code_verifier", ""))
        consented = (code.address, code.request.client_id)
        is_first = consented not in self._consented
        self._consented.add(consented)
        # a refresh token comes with the first consent of a person, and with one that was asked for again
        has_refresh_token = code.request.is_offline and (is_first or code.request.prompts_consent)
        return Consent(code.address, code.scopes, code.request.client_id, has_refresh_token)

    def forget(self, address: str) -> None:
        """The person withdrew consent."""
        self._consented = {consented for consented in self._consented if consented[0] != address}


def client_file(url: str, project: str) -> dict[str, dict[str, Any]]:
    """The client as Google's console gives it, with the endpoints of the server at `url`."""
    return {
        "installed": {
            "client_id": CLIENT_ID,
            "project_id": f"project-{project}",
            "auth_uri": f"{url}/o/oauth2/v2/auth",
            "token_uri": f"{url}/token",
            "auth_provider_x509_cert_url": f"{url}/oauth2/v1/certs",
            "client_secret": CLIENT_SECRET,
            "redirect_uris": ["http://localhost"],
        }
    }


def _check_verifier(request: ConsentRequest, verifier: str) -> None:
    if not request.challenge:
        return
    if not verifier:
        raise TokenError("invalid_grant", "Missing code verifier.")
    answer = verifier
    if request.challenge_method == "S256":
        answer = pybase64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    if not compare_digest(answer, request.challenge):
        raise TokenError("invalid_grant", "Invalid code verifier.")
