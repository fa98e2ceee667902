"""The kinds of credentials an account may have, read and checked without calling anyone.

What is kept of a file is what is needed to get tokens; it is secret, and errors name the file and the field, never
the content. Of a reference, and of application-default credentials, nothing but the name is kept: what is behind them is read
when tokens are needed.
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

DEFAULT_PROJECT = "default"
"""The project of credentials that name none."""

_CLIENT_ID = re.compile(r"(\d+)-[^.]*\.apps\.googleusercontent\.com")
_SERVICE_ACCOUNT = re.compile(r"[^@]+@([a-z0-9.:-]+)\.iam\.gserviceaccount\.com")
_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:_-]{0,79}")

CredentialKind = Literal["authorized_user", "service_account", "token_env", "reference", "application_default"]


@dataclass(frozen=True, slots=True)
class Credential:
    """Credentials as they are stored. `content` is secret where the kind is `authorized_user` or `service_account`.

    `content["subject"]`, where there is one, is whom a service account acts for instead of the account's address.
    """

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
    return _authorized_user(_read(path, "authorized_user"), _file(path))


def service_account(path: Path, subject: str = "") -> Credential:
    """A Workspace service account with domain-wide delegation, which acts for the subject, or for the account's address.

    Its `token_uri` is honoured.
    """
    return _service_account(_read(path, "service_account"), _file(path), subject)


def token_env(name: str) -> Credential:
    """A bearer token that is read from an environment variable whenever it is needed."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ConfigError("--token-env takes the name of an environment variable (letters, digits and _), not a token")
    return Credential("token_env", {"name": name})


def application_default(subject: str = "") -> Credential:
    """Whatever google.auth.default() finds where the account is synced: a file, gcloud's login, a workload's identity."""
    return Credential("application_default", _with_subject({}, subject))


def from_reference(reference: str, subject: str = "") -> Credential:
    """A document that stays where it is; `references` says which references there are. Nothing is read here."""
    return Credential("reference", _with_subject({"reference": reference}, subject))


def from_document(document: bytes, where: str, subject: str = "") -> Credential:
    """What is behind a reference: an authorized user or a service account, recognised by its `type`.

    `where` names the place in errors.
    """
    doc = _parse(document, where)
    if doc.get("type") == "service_account":
        return _service_account(doc, where, subject)
    if doc.get("type") == "authorized_user":
        if subject:
            raise ConfigError(f"{where} holds a person's consent, which acts for nobody else: take --subject away")
        return _authorized_user(doc, where)
    raise ConfigError(f"{where} is neither of type authorized_user nor service_account")


def checked_url(url: object, what: str) -> str:
    """A URL that secrets may be sent to. Raises ConfigError, naming what it is, unless it is https or of this machine."""
    parts = urlsplit(url) if isinstance(url, str) else None
    if (
        parts is None
        or not parts.hostname
        or not (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(str(url))))
    ):
        raise ConfigError(f"{what} must be an https URL (plain http for loopback addresses only)")
    return str(url)


def _file(path: Path) -> str:
    return f"the credentials file {path}"


def _with_subject(content: dict[str, str], subject: str) -> dict[str, str]:
    """The content, with a subject if there is one."""
    if not subject.strip():
        return content
    if "@" not in subject:
        raise ConfigError(f"--subject is {subject!r}; it takes the address of a user of the domain")
    return {**content, "subject": subject.strip()}


def project_of(credential: Credential) -> str:
    """The Google project whose quota is spent: that of the OAuth client, by number, or of the service account, by id.

    What is behind a reference, and what application-default credentials find, is not looked at for this.
    """
    content = credential.content
    if credential.kind == "authorized_user":
        named = _CLIENT_ID.fullmatch(content["client_id"])
        return named[1][:80] if named else DEFAULT_PROJECT
    if credential.kind == "service_account":
        given = content.get("project_id", "")
        named = _SERVICE_ACCOUNT.fullmatch(content["client_email"])
        project = given or (named[1] if named else "")
        return project if _PROJECT.fullmatch(project) else DEFAULT_PROJECT
    return DEFAULT_PROJECT


def _authorized_user(doc: Mapping[str, Any], where: str) -> Credential:
    required = ("client_id", "client_secret", "refresh_token")
    _require(doc, where, required)
    content = {key: doc[key] for key in required}
    content["token_uri"] = _token_uri(where, doc)
    content["scope"] = _reading_scope(where, doc.get("scopes") or doc.get("scope"))
    return Credential("authorized_user", content)


def _service_account(doc: Mapping[str, Any], where: str, subject: str) -> Credential:
    _require(doc, where, ("client_email", "private_key"))
    content = {
        key: doc[key]
        for key in ("client_email", "private_key", "private_key_id", "project_id")
        if isinstance(doc.get(key), str)
    }
    content["token_uri"] = _token_uri(where, doc)
    _check_private_key(where, content["private_key"])
    return Credential("service_account", _with_subject(content, subject))


def _read(path: Path, kind: str) -> dict[str, Any]:
    try:
        document = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{_file(path)} cannot be read ({error.strerror})") from None
    doc = _parse(document, _file(path))
    if doc.get("type", "authorized_user") != kind:
        raise ConfigError(f"{_file(path)} has another type than {kind}")
    return doc


def _parse(document: bytes, where: str) -> dict[str, Any]:
    try:
        doc = json.loads(document)
    except ValueError:
        raise ConfigError(f"{where} is not JSON") from None
    if not isinstance(doc, dict):
        raise ConfigError(f"{where} holds no JSON object")
    if "installed" in doc or "web" in doc:
        raise ConfigError(f"{where} holds an OAuth client, not credentials: `mail-ingest account connect` takes it")
    return doc


def _require(doc: Mapping[str, Any], where: str, names: tuple[str, ...]) -> None:
    for name in names:
        if not isinstance(doc.get(name), str) or not doc[name]:
            raise ConfigError(f"{where} lacks the field {name}")


def _token_uri(where: str, doc: Mapping[str, Any]) -> str:
    return checked_url(doc.get("token_uri") or GOOGLE_TOKEN_URI, f"token_uri in {where}")


def _reading_scope(where: str, scopes: object) -> str:
    """The scope to ask for, empty where the file lists none and the consent decides."""
    if scopes is None:
        return ""
    granted = scopes.split() if isinstance(scopes, str) else scopes
    if not isinstance(granted, list):
        raise ConfigError(f"the field scopes in {where} is not a list")
    for scope in READING_SCOPES:
        if scope in granted:
            return scope
    raise ConfigError(f"the scopes in {where} do not allow reading mail; connect again with {SCOPE}")


def _check_private_key(where: str, pem: str) -> None:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError):
        raise ConfigError(f"the field private_key in {where} is no private key in PEM form") from None
