"""Credentials -> access tokens that are good now, for any number of threads.

Tokens are fetched by google-auth from the `token_uri` of the credentials. Tries are not repeated here: a passing
failure is a ServerError, and whoever makes the call decides how often to ask again.
"""

from __future__ import annotations

import functools
import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC
from typing import Any, Protocol

from mail_ingest.accounts.credentials import SCOPE, Credential
from mail_ingest.errors import AuthError, ConfigError, ServerError
from mail_ingest.settings import variable

_AHEAD_S = 225.0
_TIMEOUT_S = 30.0


class TokenSource(Protocol):
    """Gives an account's access token."""

    def token(self, force_refresh: bool = False) -> str:
        """A bearer token that is good now; `force_refresh` gets another one though the last should still be good.

        Raises AuthError when a person must connect the account again, ServerError when the token server failed in
        passing.
        """
        ...


def token_source(account_id: str, credential: Credential, clock: Callable[[], float] = time.time) -> TokenSource:
    """The source for an account's credentials. Building it calls nobody."""
    if credential.kind == "token_env":
        return EnvironmentToken(credential.content["name"])
    return RefreshedToken(account_id, credential, clock)


class EnvironmentToken:
    """A token out of an environment variable, read anew each time."""

    def __init__(self, name: str) -> None:
        self._name = name

    def token(self, force_refresh: bool = False) -> str:  # noqa: ARG002  every reading is fresh
        return variable(self._name)

    def __repr__(self) -> str:
        return f"EnvironmentToken({self._name})"


class RefreshedToken:
    """A token that google-auth fetches: at first use, again shortly before it expires, and when asked to.

    Threads that need a new one at the same time cause one request; the others wait for it.
    """

    def __init__(self, account_id: str, credential: Credential, clock: Callable[[], float] = time.time) -> None:
        self._account_id = account_id
        self._credential = credential
        self._clock = clock
        self._lock = threading.Lock()
        self._google: Any = None
        self._token = ""
        self._due_at = 0.0

    def token(self, force_refresh: bool = False) -> str:
        token = self._token
        if token and not force_refresh and self._clock() < self._due_at:
            return token
        with self._lock:
            if self._token == token or not self._token:
                self._refresh()
            return self._token

    def __repr__(self) -> str:
        return f"RefreshedToken({self._account_id}, {self._credential.kind})"

    def _refresh(self) -> None:
        from google.auth.exceptions import GoogleAuthError, RefreshError, TransportError

        if self._google is None:
            self._google = _google_credentials(self._account_id, self._credential)
        try:
            self._google.refresh(_send)
        except RefreshError as error:
            raise self._refused(error) from None
        except (TransportError, GoogleAuthError) as error:
            raise ServerError(
                f"no token for {self._account_id}: the token server did not answer ({type(error).__name__})",
                account_id=self._account_id,
                reason="tokenServer",
            ) from None
        expires_at = self._google.expiry.replace(tzinfo=UTC).timestamp() if self._google.expiry else float("inf")
        life_s = max(expires_at - self._clock(), 0.0)
        self._due_at = self._clock() + max(life_s - _AHEAD_S, life_s / 2)
        self._token = self._google.token

    def _refused(self, error: Any) -> AuthError | ServerError:
        code = _code(error)
        if error.retryable:
            return ServerError(
                f"no token for {self._account_id}: the token server failed ({code})",
                account_id=self._account_id,
                reason=code,
            )
        return AuthError(
            f"no token for {self._account_id}: the token server answered {code}; {_advice(code)}",
            account_id=self._account_id,
            reason=code,
        )


_ADVICE = {
    "invalid_grant": "the consent was revoked or has expired (in testing: after 7 days): connect the account again",
    "invalid_rapt": "the domain asks for a new login: connect the account again",
    "unauthorized_client": f"let a domain administrator delegate the scope {SCOPE} to the service account",
    "invalid_client": "the OAuth client was deleted or has a new secret: connect the account again with a current one",
    "admin_policy_enforced": "the domain does not allow this app: ask its administrator",
}


def _advice(code: str) -> str:
    return _ADVICE.get(code, "connect the account again")


def _code(error: Any) -> str:
    """The OAuth error code, or nothing better than `refused`; never a description, which may hold anything."""
    details = error.args[1] if len(error.args) > 1 else None
    code = details.get("error") if isinstance(details, Mapping) else None
    return code if isinstance(code, str) and code.replace("_", "").isalnum() and len(code) < 40 else "refused"


def _google_credentials(account_id: str, credential: Credential) -> Any:
    if credential.kind == "service_account":
        return _service_account(credential).with_subject(account_id)
    from google.oauth2.credentials import Credentials

    content = credential.content
    return Credentials(  # type: ignore[no-untyped-call]
        None,
        refresh_token=content["refresh_token"],
        client_id=content["client_id"],
        client_secret=content["client_secret"],
        token_uri=content["token_uri"],
        scopes=[content["scope"]] if content["scope"] else None,
    )


_signers: dict[str, Any] = {}
_signers_lock = threading.Lock()


def _service_account(credential: Credential) -> Any:
    """Parsing a private key costs 42 ms of CPU, and one key often serves a whole domain: parsed once per process."""
    from google.oauth2 import service_account

    fingerprint = hashlib.sha256(credential.to_bytes()).hexdigest()
    with _signers_lock:
        if fingerprint not in _signers:
            try:
                _signers[fingerprint] = service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
                    dict(credential.content), scopes=[SCOPE]
                )
            except ValueError:
                raise ConfigError("the stored service account key cannot be used; add the account again") from None
        return _signers[fingerprint]


@functools.cache
def _connections() -> Any:
    """Connections to token servers, shared by all accounts; redirects are not followed, secrets travel on them."""
    import google.auth.transport.urllib3
    import urllib3

    pools = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(connect=_TIMEOUT_S, read=_TIMEOUT_S))
    return google.auth.transport.urllib3.Request(pools)  # type: ignore[no-untyped-call]


def _send(url: str, method: str = "GET", body: Any = None, headers: Any = None, **_: Any) -> Any:
    """What google-auth sends its requests with. A failure of the server ends here: google-auth would repeat it
    itself.
    """
    from google.auth.exceptions import TransportError

    response = _connections()(url, method=method, body=body, headers=headers, redirect=False)
    if response.status >= 500 or response.status == 429:
        raise TransportError(f"status {response.status}")  # type: ignore[no-untyped-call]
    return response
