"""The three kinds of credentials an account may have, read and checked without calling anyone.

What is kept of a file is what is needed to get tokens; it is secret, and errors name the file and the field, never
the content.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from mail_ingest.errors import ConfigError
from mail_ingest.settings import is_loopback

SCOPE = "https://www.googleapis.com/auth/gmail.readonly"
GOOGLE_TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105
READING_SCOPES = (SCOPE, "https://www.googleapis.com/auth/gmail.modify", "https://mail.google.com/")

CredentialKind = Literal["authorized_user", "service_account", "token_env"]


@dataclass(frozen=True, slots=True)
class Credential:
    """Credentials as they are stored. `content` is secret unless the kind is `token_env`."""

    kind: CredentialKind
    content: Mapping[str, str] = field(repr=False)

    def to_bytes(self) -> bytes:
        return json.dumps(dict(self.content), sort_keys=True).encode()

    @classmethod
    def from_bytes(cls, kind: CredentialKind, content: bytes) -> Credential:
        return cls(kind, json.loads(content))


def authorized_user(path: Path) -> Credential:
    """A person's consent: the file that `google.oauth2.credentials.Credentials.to_json()` or gcloud writes.

    Its `token_uri` is honoured. Of its scopes the one that reads Gmail is asked for, and gmail.readonly if it is there.
    """
    doc = _read(path, "authorized_user", required=("client_id", "client_secret", "refresh_token"))
    content = {key: doc[key] for key in ("client_id", "client_secret", "refresh_token")}
    content["token_uri"] = _token_uri(path, doc)
    content["scope"] = _reading_scope(path, doc.get("scopes") or doc.get("scope"))
    return Credential("authorized_user", content)


def service_account(path: Path) -> Credential:
    """A Workspace service account with domain-wide delegation, which acts for the account's address.

    Its `token_uri` is honoured.
    """
    doc = _read(path, "service_account", required=("client_email", "private_key"))
    content = {
        key: doc[key] for key in ("client_email", "private_key", "private_key_id") if isinstance(doc.get(key), str)
    }
    content["token_uri"] = _token_uri(path, doc)
    _check_private_key(path, content["private_key"])
    return Credential("service_account", content)


def token_env(name: str) -> Credential:
    """A bearer token that is read from an environment variable whenever it is needed."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ConfigError("--token-env takes the name of an environment variable (letters, digits and _), not a token")
    return Credential("token_env", {"name": name})


def _read(path: Path, kind: str, required: tuple[str, ...]) -> dict[str, Any]:
    try:
        doc = json.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"the credentials file {path} cannot be read ({error.strerror})") from None
    except ValueError:
        raise ConfigError(f"the credentials file {path} is not JSON") from None
    if not isinstance(doc, dict):
        raise ConfigError(f"the credentials file {path} holds no JSON object")
    if "installed" in doc or "web" in doc:
        raise ConfigError(f"{path} holds an OAuth client, not credentials: run the consent flow with it first")
    if doc.get("type", "authorized_user") != kind:
        raise ConfigError(f"the credentials file {path} has another type than {kind}")
    for name in required:
        if not isinstance(doc.get(name), str) or not doc[name]:
            raise ConfigError(f"the credentials file {path} lacks the field {name}")
    return doc


def _token_uri(path: Path, doc: Mapping[str, Any]) -> str:
    uri = doc.get("token_uri") or GOOGLE_TOKEN_URI
    parts = urlsplit(uri) if isinstance(uri, str) else None
    if (
        parts is None
        or not parts.hostname
        or not (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(uri)))
    ):
        raise ConfigError(f"token_uri in {path} must be an https URL (plain http for loopback addresses only)")
    return str(uri)


def _reading_scope(path: Path, scopes: object) -> str:
    """The scope to ask for, empty where the file lists none and the consent decides."""
    if scopes is None:
        return ""
    granted = scopes.split() if isinstance(scopes, str) else scopes
    if not isinstance(granted, list):
        raise ConfigError(f"the field scopes in {path} is not a list")
    for scope in READING_SCOPES:
        if scope in granted:
            return scope
    raise ConfigError(f"the scopes in {path} do not allow reading mail; connect again with {SCOPE}")


def _check_private_key(path: Path, pem: str) -> None:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError):
        raise ConfigError(f"the field private_key in {path} is no private key in PEM form") from None
