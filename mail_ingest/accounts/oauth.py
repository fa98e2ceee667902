"""google-auth, as far as we use it: credentials objects, their refresh, and what a refusal of the token server means.

Importing the library takes a while, so it happens at the first refresh.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import threading
from datetime import UTC
from typing import Any

from mail_ingest.accounts.advice import advice
from mail_ingest.accounts.credentials import READING_SCOPES, SCOPE, Credential, CredentialKind
from mail_ingest.accounts.google_apis import is_word, oauth_code, oauth_field
from mail_ingest.errors import AuthError, ConfigError, ServerError

_TIMEOUT_S = 30.0
_REAUTHENTICATION = "Reauthentication is needed"


def google_credentials(account_id: str, credential: Credential) -> Any:
    """google-auth's object for an account's credentials; has no token yet.

    Raises ConfigError where the credentials cannot be used for a mailbox.
    """
    subject = credential.content.get("subject") or account_id
    if credential.kind == "service_account":
        return _service_account(credential).with_subject(subject)
    if credential.kind == "application_default":
        return _application_default(account_id, subject)
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


def delegated(credential: Credential, subject: str, scope: str) -> Any:
    """google-auth's object for a service account that acts for the subject with one scope; has no token yet."""
    return _service_account(credential).with_scopes([scope]).with_subject(subject)


def refresh(google: Any, account_id: str, kind: CredentialKind) -> float:
    """Gets a new token into `google` and returns when it ends, in epoch seconds. Raises AuthError or ServerError."""
    from google.auth.exceptions import GoogleAuthError, RefreshError

    if kind == "application_default" and hasattr(google, "with_subject"):
        kind = "service_account"  # what a refusal means, and what to do about it, is the same
    try:
        google.refresh(send)
    except RefreshError as error:
        raise _refused(error, account_id, kind) from None
    except (GoogleAuthError, TypeError, ValueError, LookupError, RecursionError, AttributeError) as error:
        # the latter ones when the answer is no JSON, or other JSON than a token
        raise ServerError(
            f"no token for {account_id}: the token server did not answer ({type(error).__name__})",
            account_id=account_id,
            reason="tokenServer",
        ) from None
    granted = getattr(google, "granted_scopes", None)
    if granted and not set(granted) & set(READING_SCOPES):
        raise _dead(account_id, kind, "invalid_scope")
    return float(google.expiry.replace(tzinfo=UTC).timestamp()) if google.expiry else float("inf")


def _refused(error: Any, account_id: str, kind: CredentialKind) -> AuthError | ServerError:
    """An answer that is not OAuth's (some proxy's page) is a failure that passes, not the end of a consent."""
    code = oauth_code(error)
    subtype, description = oauth_field(error, "error_subtype"), oauth_field(error, "error_description")
    if str(error.args[0] if error.args else "").startswith(_REAUTHENTICATION):
        # google-auth keeps the answer for itself: invalid_grant, with one of two subtypes
        code, subtype = "invalid_grant", "invalid_rapt"
    if error.retryable or not code:
        return ServerError(
            f"no token for {account_id}: the token server failed ({code or 'an answer of another kind'})",
            account_id=account_id,
            reason=code or "tokenServer",
        )
    return _dead(account_id, kind, code, subtype, description)


def _dead(account_id: str, kind: CredentialKind, code: str, subtype: str = "", description: str = "") -> AuthError:
    told = f"{code} ({subtype})" if is_word(subtype) else code
    return AuthError(
        f"no token for {account_id}: {told}; {advice(kind, code, subtype=subtype, description=description)}",
        account_id=account_id,
        reason=code,
    )


def _application_default(account_id: str, subject: str) -> Any:
    """A person's login opens that person's mailbox, a service account's key the subject's; nothing else opens one."""
    import google.auth
    from google.auth.exceptions import GoogleAuthError
    from google.oauth2.credentials import Credentials as Person

    try:
        found, _ = google.auth.default(scopes=[SCOPE])
    except (GoogleAuthError, OSError, ValueError) as error:
        raise ConfigError(
            f"no application-default credentials for {account_id} ({type(error).__name__}): set "
            "GOOGLE_APPLICATION_CREDENTIALS to a file, or log in with gcloud"
        ) from None
    if hasattr(found, "with_subject"):
        return found.with_subject(subject)
    if isinstance(found, Person) and subject == account_id:
        return found
    raise ConfigError(
        f"the application-default credentials ({type(found).__module__}) cannot act for {subject}: that takes the key of a "
        "service account with domain-wide delegation"
    )


def marks_of(google: Any) -> tuple[str, ...]:
    """What differs between two application-default credentials; some of it is secret."""
    signer = getattr(google, "signer", None)
    of_robots = (getattr(google, "service_account_email", None), getattr(signer, "key_id", None))
    of_people = (getattr(google, "client_id", None), getattr(google, "refresh_token", None))
    return tuple(str(mark or "") for mark in (*of_robots, *of_people))


_signers: dict[str, Any] = {}
_signers_lock = threading.Lock()


def _service_account(credential: Credential) -> Any:
    """Parsing a private key costs 42 ms of CPU, and one key often serves a whole domain: parsed once per process."""
    from google.oauth2.service_account import Credentials

    info = {key: value for key, value in credential.content.items() if key != "subject"}
    fingerprint = hashlib.sha256(Credential("service_account", info).to_bytes()).hexdigest()
    with _signers_lock:
        if fingerprint not in _signers:
            try:
                _signers[fingerprint] = Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
                    info, scopes=[SCOPE]
                )
            except ValueError:
                raise ConfigError("the stored service account key cannot be used; add the account again") from None
        return _signers[fingerprint]


@functools.cache
def _connections() -> Any:
    """Connections to token servers, shared by all accounts."""
    import google.auth.transport.urllib3
    import urllib3

    # at DEBUG it logs what it sends, and knows of a service account's signed assertion as little as of a passphrase
    logging.getLogger("google.auth.transport.urllib3").setLevel(logging.INFO)

    pools = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(connect=_TIMEOUT_S, read=_TIMEOUT_S))
    return google.auth.transport.urllib3.Request(pools)  # type: ignore[no-untyped-call]


def send(url: str, method: str = "GET", body: Any = None, headers: Any = None, **_: Any) -> Any:
    """What google-auth sends its requests with; redirects are not followed, secrets travel on them.

    A failing server is told at once: google-auth would ask it again by itself, on a clock of its own.
    """
    from google.auth.exceptions import TransportError

    response = _connections()(url, method=method, body=body, headers=headers, redirect=False)
    if response.status >= 500 or response.status == 429:
        raise TransportError(f"status {response.status}")  # type: ignore[no-untyped-call]
    return response
