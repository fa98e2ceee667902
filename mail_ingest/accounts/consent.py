"""A person's consent, asked for as an installed app does: a page of Google's in a browser, and back to this machine.

google-auth-oauthlib makes the address (PKCE, state) and exchanges the code. `gmail.readonly` is asked for, and whatever else
was granted is no consent. Nothing is stored here; no token and no code reaches a log, an error or a terminal.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlencode, urljoin

from mail_ingest.accounts.credentials import GOOGLE_TOKEN_URI, SCOPE, Credential, checked_url
from mail_ingest.accounts.redirect import Redirect
from mail_ingest.errors import AuthError, ConfigError, ServerError
from mail_ingest.settings import plain_oauth_on_loopback

GOOGLE_AUTH_URI = "https://accounts.google.com/o/oauth2/v2/auth"
_TIMEOUT_S = 30.0

_REFUSALS = {
    "access_denied": "the person refused, or is no test user of an OAuth client that is in testing",
    "admin_policy_enforced": "an administrator of the domain does not allow this OAuth client",
    "org_internal": "the OAuth client is for people of its own organization",
    "invalid_grant": "the code was refused: it was made for another attempt, or came too late",
    "invalid_client": "the OAuth client was deleted or has a new secret: take its file from the console again",
    "redirect_uri_mismatch": "the OAuth client is of another type than desktop app",
}


@dataclass(frozen=True, slots=True)
class OAuthClient:
    """An OAuth client of type desktop app. Its secret is none in the strict sense, and shown all the same to nobody."""

    client_id: str
    client_secret: str = field(repr=False)
    auth_uri: str
    token_uri: str


@dataclass(frozen=True, slots=True)
class Grant:
    """What a person granted: credentials to be stored, and an access token that is good now."""

    credential: Credential
    access_token: str = field(repr=False)

    def revoke(self) -> bool:
        """Gives the consent back, with every token of it; whether the server said that it is gone."""
        import requests

        uri = urljoin(self.credential.content["token_uri"], "revoke")
        try:
            answer = requests.post(
                uri, data={"token": self.credential.content["refresh_token"]}, timeout=_TIMEOUT_S, allow_redirects=False
            )
        except requests.RequestException:
            return False
        return bool(answer.status_code == HTTPStatus.OK)


def read_client(path: Path) -> OAuthClient:
    """The client's file, as Google's console gives it; its `auth_uri` and `token_uri` are honoured. Raises ConfigError."""
    what = f"the OAuth client file {path}"
    try:
        doc = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{what} cannot be read ({error.strerror})") from None
    except ValueError:
        raise ConfigError(f"{what} is not JSON") from None
    installed = doc.get("installed") if isinstance(doc, dict) else None
    if not isinstance(installed, dict):
        raise ConfigError(
            f"{what} holds no client of type desktop app (no `installed`): create one in Google's console"
        )
    for name in ("client_id", "client_secret"):
        if not isinstance(installed.get(name), str) or not installed[name]:
            raise ConfigError(f"{what} lacks the field {name}")
    return OAuthClient(
        installed["client_id"],
        installed["client_secret"],
        checked_url(installed.get("auth_uri") or GOOGLE_AUTH_URI, f"auth_uri in {what}"),
        checked_url(installed.get("token_uri") or GOOGLE_TOKEN_URI, f"token_uri in {what}"),
    )


def ask(
    client: OAuthClient,
    account_id: str,
    *,
    port: int = 0,
    timeout_s: float,
    show: Callable[[str, int], None],
    tell: Callable[[str], None],
    pasted: TextIO | None = None,
) -> Grant:
    """Asks the person behind `account_id`, and waits for the answer.

    `show` gets the address that a browser has to open, and the port that it comes back to; `tell` what the person should know
    meanwhile. Raises AuthError where there is no consent to `gmail.readonly`, ServerError where the token server does not
    answer, ConfigError where the port is taken.
    """
    from google_auth_oauthlib.flow import InstalledAppFlow

    config = {
        "client_id": client.client_id,
        "client_secret": client.client_secret,
        "auth_uri": client.auth_uri,
        "token_uri": client.token_uri,
    }
    flow = InstalledAppFlow.from_client_config(  # type: ignore[no-untyped-call]
        {"installed": config}, scopes=[SCOPE]
    )
    flow.oauth2session.max_redirects = 0  # the client's secret and the code would travel with them
    redirect = Redirect(port)
    try:
        with _quiet(), plain_oauth_on_loopback(client.auth_uri, client.token_uri):
            flow.redirect_uri = redirect.uri
            url, state = flow.authorization_url(access_type="offline", prompt="consent", login_hint=account_id)
            show(url, redirect.port)
            try:
                answer = redirect.wait(state, timeout_s=timeout_s, pasted=pasted, tell=tell)
            except TimeoutError:
                raise _no_consent(account_id, "timeout", f"nobody answered within {timeout_s:g} seconds") from None
            if "error" in answer:
                raise _refused(account_id, answer["error"])
            return _exchange(flow, client, account_id, answer)
    finally:
        redirect.close()


def _exchange(flow: Any, client: OAuthClient, account_id: str, answer: Mapping[str, str]) -> Grant:
    import requests
    from oauthlib.oauth2 import MissingTokenError, OAuth2Error

    # the library insists on https here, though Google comes back to a loopback address by http
    came_back = f"https{flow.redirect_uri.removeprefix('http')}?{urlencode(answer)}"
    try:
        token = flow.fetch_token(authorization_response=came_back, timeout=_TIMEOUT_S)
    except Warning as warning:  # what was granted is not what was asked for
        token = getattr(warning, "token", {})
    except MissingTokenError:
        raise _no_answer(account_id, "an answer of another kind") from None
    except OAuth2Error as error:
        raise _refused(account_id, str(error.error or "")) from None
    except (requests.RequestException, ValueError, TypeError, LookupError, AttributeError) as error:
        raise _no_answer(account_id, type(error).__name__) from None
    return _grant(token, client, account_id)


def _grant(token: Mapping[str, Any], client: OAuthClient, account_id: str) -> Grant:
    scopes = token.get("scope") or [SCOPE]  # not said where it is what was asked for
    granted = set(scopes.split() if isinstance(scopes, str) else scopes)
    if SCOPE not in granted:
        raise _no_consent(account_id, "insufficient_scope", f"{SCOPE} was not granted: leave its box ticked")
    if granted != {SCOPE}:
        more = ", ".join(sorted(scope for scope in granted - {SCOPE}))
        raise _no_consent(
            account_id, "excessive_scope", f"more was granted than reading mail ({more}), which is not wanted"
        )
    if not token.get("refresh_token"):
        raise _no_consent(account_id, "no_refresh_token", "no lasting consent came back")
    content = {
        "client_id": client.client_id,
        "client_secret": client.client_secret,
        "refresh_token": str(token["refresh_token"]),
        "token_uri": client.token_uri,
        "scope": SCOPE,
    }
    return Grant(Credential("authorized_user", content), str(token["access_token"]))


def _refused(account_id: str, code: str) -> AuthError:
    word = code if code.replace("_", "").isalnum() and len(code) < 40 else "refused"
    return _no_consent(account_id, word, _REFUSALS.get(word, "Google refused"))


def _no_consent(account_id: str, code: str, why: str) -> AuthError:
    return AuthError(
        f"no consent for {account_id}: {code}; {why}. Nothing was stored", account_id=account_id, reason=code
    )


def _no_answer(account_id: str, why: str) -> ServerError:
    return ServerError(
        f"no consent for {account_id}: the token server did not answer ({why}); nothing was stored, try again",
        account_id=account_id,
        reason="tokenServer",
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps two libraries, imported by now, from logging codes, tokens and the client's secret, as they do at debug level."""
    names = [
        name for name in logging.root.manager.loggerDict if name.split(".")[0] in ("oauthlib", "requests_oauthlib")
    ]
    silenced = [logger for name in names if not (logger := logging.getLogger(name)).disabled]
    for logger in silenced:
        logger.disabled = True
    try:
        yield
    finally:
        for logger in silenced:
            logger.disabled = False
