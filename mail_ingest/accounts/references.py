"""Secrets that stay where they are: `env://NAME`, `file:///path`, `gcp-secret://projects/P/secrets/S/versions/V`.

Secret Manager is asked with application-default credentials. What is read is kept in memory for five minutes, so that a
thousand accounts behind one secret, or a key that seals all of them, ask for it once; errors name the reference and the
reason, never the content.
"""

from __future__ import annotations

import base64
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

from mail_ingest.accounts.google_apis import asking, execute, service
from mail_ingest.accounts.oauth import send
from mail_ingest.errors import ConfigError
from mail_ingest.settings import SECRETS_URL, variable

#: How long what was read is used before it is read again.
KEPT_S = 300.0
_LARGEST_BYTES = 1_000_000
_PLATFORM_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_REFERENCE = re.compile(r"[a-z][a-z0-9+.-]*://")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VERSION = re.compile(r"projects/[\w.:-]+/secrets/[\w-]+/versions/[\w-]+")
_FORMS = "env://NAME, file:///absolute/path or gcp-secret://projects/P/secrets/S/versions/V"


def is_reference(text: str) -> bool:
    """Whether a text names a secret rather than being one; `check_reference` says whether it can be read."""
    return _REFERENCE.match(text) is not None


def check_reference(reference: str) -> str:
    """The reference itself. Raises ConfigError where it is none; then it is not repeated, it might be a secret."""
    scheme, _, rest = reference.partition("://")
    if scheme == "env" and _NAME.fullmatch(rest):
        return reference
    if scheme == "file" and rest.startswith("/") and len(rest) > 1:
        return reference
    if scheme == "gcp-secret" and _VERSION.fullmatch(rest):
        return reference
    raise ConfigError(f"a reference to a secret is one of {_FORMS}; what was given is none of them")


class References:
    """Reads what is behind references. Thread-safe; building it opens nothing."""

    def __init__(self, secrets_url: str = SECRETS_URL, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._secrets_url = secrets_url
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[float, bytes]] = {}

    def read(self, reference: str, *, max_age_s: float = KEPT_S) -> bytes:
        """The content, at most five minutes old, or as young as `max_age_s` asks for. It is secret.

        Raises ConfigError where it is not there or may not be read, ServerError where Secret Manager fails in passing.
        """
        with self._lock:
            kept = self._kept.get(reference)
            if kept is not None and self._clock() - kept[0] < max_age_s:
                return kept[1]
            content = self._fetch(check_reference(reference))
            self._kept[reference] = (self._clock(), content)
            return content

    def forget(self, reference: str) -> None:
        """Reads it anew next time: what was kept is no longer good."""
        with self._lock:
            self._kept.pop(reference, None)

    def __repr__(self) -> str:
        return f"References({self._secrets_url})"

    def _fetch(self, reference: str) -> bytes:
        scheme, _, rest = reference.partition("://")
        if scheme == "env":
            return variable(rest, holds="credentials as JSON, or a key").encode()
        if scheme == "file":
            return _read_file(reference)
        return self._secret_version(reference, rest)

    def _secret_version(self, reference: str, name: str) -> bytes:
        import google.auth
        from google.auth.exceptions import GoogleAuthError
        from google.oauth2.credentials import Credentials

        what = f"the secret {reference} cannot be read"
        try:
            credentials, _ = google.auth.default(scopes=[_PLATFORM_SCOPE])
        except (GoogleAuthError, OSError, ValueError) as error:
            raise ConfigError(
                f"{what}: there are no application-default credentials to ask with ({type(error).__name__})"
            ) from None
        with asking(what):
            credentials.refresh(send)  # type: ignore[no-untyped-call]
            # a service account's own object would ask a third server, in the background, where it may be used
            token = Credentials(credentials.token)  # type: ignore[no-untyped-call]
        with service("secretmanager", "v1", token, self._secrets_url) as api:
            answer = execute(api.projects().secrets().versions().access(name=name), what)
        try:
            return base64.b64decode(answer["payload"]["data"], validate=True)
        except (LookupError, TypeError, ValueError):
            raise ConfigError(f"{what}: the answer holds no data") from None


def _read_file(reference: str) -> bytes:
    try:
        with Path(unquote(reference.removeprefix("file://"))).open("rb") as file:
            content = file.read(_LARGEST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise ConfigError(f"the file of {reference} cannot be read ({getattr(error, 'strerror', '')})") from None
    if len(content) > _LARGEST_BYTES:
        raise ConfigError(f"the file of {reference} is larger than {_LARGEST_BYTES:,} bytes, and holds no secret")
    return content
