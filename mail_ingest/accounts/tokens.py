"""Credentials -> access tokens that are good now, for any number of threads and processes.

Tokens are fetched by google-auth from the `token_uri` of the credentials. Tries are not repeated here: a passing
failure is a ServerError, and whoever makes the call decides how often to ask again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from mail_ingest.accounts import oauth
from mail_ingest.accounts.credentials import Credential, from_document
from mail_ingest.accounts.references import References
from mail_ingest.accounts.shared_tokens import FETCHING_S, SharedToken, origin_of
from mail_ingest.errors import AuthError
from mail_ingest.settings import variable

_AHEAD_S = 225.0
"""How long before its end a token is replaced, as google-auth has it; a token of short life at half of it."""
_LOOK_AGAIN_S = 0.05


class TokenSource(Protocol):
    """Gives an account's access token."""

    def token(self, force_refresh: bool = False) -> str:
        """A bearer token that is good now; `force_refresh` gets another one though the last should still be good.

        Raises AuthError when a person must connect the account again, ServerError when asking later may help.
        """
        ...


def token_source(
    account_id: str,
    credential: Credential,
    clock: Callable[[], float] = time.time,
    *,
    references: References | None = None,
    shared: SharedToken | None = None,
) -> TokenSource:
    """The source for an account's credentials. Building it calls nobody, and reads nothing that is kept elsewhere. Without
    `shared` other processes fetch tokens of their own."""
    if credential.kind == "token_env":
        return EnvironmentToken(credential.content["name"])
    return RefreshedToken(account_id, credential, clock, references=references, shared=shared)


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

    Threads and processes that need a new one at the same time cause one request; the others wait for it.
    """

    def __init__(
        self,
        account_id: str,
        credential: Credential,
        clock: Callable[[], float] = time.time,
        *,
        references: References | None = None,
        shared: SharedToken | None = None,
    ) -> None:
        self._account_id = account_id
        self._credential = credential
        self._clock = clock
        self._references = references or References()
        self._shared = shared
        self._used: Credential | None = None
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
                self._renew(refused=token if force_refresh else "")
            return self._token

    def __repr__(self) -> str:
        return f"RefreshedToken({self._account_id}, {self._credential.kind})"

    def _renew(self, refused: str) -> None:
        """Gets another token than the refused one: what some process has stored, or else from the token server."""
        credential = self._current()
        if self._shared is None:
            self._fetch(credential)
            return
        origin = self._origin(credential)
        give_up_at = time.monotonic() + 2 * FETCHING_S  # one that died may hold up the next one to try
        while True:
            stored = self._shared.read(origin)
            if stored.token not in ("", refused) and self._clock() < stored.due_at:
                self._token, self._due_at = stored.token, stored.due_at
                return
            is_refused = bool(refused) and stored.token == refused
            if self._shared.take(stored, is_refused=is_refused) or time.monotonic() >= give_up_at:
                break
            time.sleep(_LOOK_AGAIN_S)
        try:
            self._fetch(credential)
        except BaseException:
            self._shared.give_up()
            raise
        self._shared.store(self._token, self._due_at, origin)

    def _fetch(self, credential: Credential) -> None:
        google = self._google_for(credential)
        try:
            expires_at = oauth.refresh(google, self._account_id, credential.kind)
        except AuthError:
            if self._credential.kind == "reference":
                self._references.forget(self._credential.content["reference"])
            raise
        now = self._clock()
        life_s = max(expires_at - now, 0.0)
        self._due_at = now + max(life_s - _AHEAD_S, life_s / 2)
        self._token = google.token

    def _google_for(self, credential: Credential) -> Any:
        if self._google is None or credential != self._used:
            self._google = oauth.google_credentials(self._account_id, credential)
            self._used = credential
        return self._google

    def _origin(self, credential: Credential) -> str:
        """Of application-default credentials nothing is known before google-auth has found them."""
        is_found = credential.kind == "application_default"
        return origin_of(credential, *(oauth.marks_of(self._google_for(credential)) if is_found else ()))

    def _current(self) -> Credential:
        """The credentials to use now: what is behind a reference may have changed since the last token."""
        if self._credential.kind != "reference":
            return self._credential
        reference, subject = self._credential.content["reference"], self._credential.content.get("subject", "")
        return from_document(self._references.read(reference), f"the document behind {reference}", subject)
