"""Credentials at rest: AES-256-GCM under a key from the settings or from a private file.

A sealed value reads `v1.KEYID.BASE64`: the nonce and the ciphertext, bound to the account it belongs to, so that a
value copied to another account's row does not open. The key id lets keys be changed: new values use the first key,
old values find theirs.

A key is 32 random bytes in base64 or hex; any other text, of 16 characters at least, is a passphrase for scrypt.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import os
import secrets
import tempfile
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from mail_ingest.errors import ConfigError

_VERSION = "v1"
_NONCE_BYTES = 12
_KEY_BYTES = 32
_SHORTEST_PASSPHRASE = 16


class Sealer:
    """Encrypts and decrypts with the keys of `MAIL_INGEST_KEY`, or with the key file when that is empty.

    The file is made when the first value is sealed. Nothing is read before the first use.
    """

    def __init__(self, keys: str, key_file: Path) -> None:
        self._texts = [text.strip() for text in keys.split(",") if text.strip()]
        self._key_file = key_file

    def seal(self, account_id: str, secret: bytes) -> str:
        key = self._keys(make=True)[0]
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + AESGCM(key).encrypt(nonce, secret, _bound_to(account_id))
        return f"{_VERSION}.{_key_id(key)}.{base64.b64encode(sealed).decode()}"

    def open(self, account_id: str, sealed: str) -> bytes:
        """The secret. Raises ConfigError that names the account where no key fits; the stored value stays as it is."""
        version, _, rest = sealed.partition(".")
        key_id, _, text = rest.partition(".")
        key = next((key for key in self._keys(make=False) if _key_id(key) == key_id), None)
        if version != _VERSION or key is None:
            raise ConfigError(
                f"the credentials of {account_id} were encrypted with a key ({key_id}) that is not among those given; "
                f"put the old key back ({self._source}), or remove the account and add it again"
            )
        try:
            data = base64.b64decode(text, validate=True)
            return AESGCM(key).decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], _bound_to(account_id))
        except (InvalidTag, ValueError):
            raise ConfigError(
                f"the stored credentials of {account_id} are damaged; remove the account and add it again"
            ) from None

    def __repr__(self) -> str:
        return f"Sealer({self._source})"

    @property
    def _source(self) -> str:
        return "MAIL_INGEST_KEY" if self._texts else f"the key file {self._key_file}"

    def _keys(self, *, make: bool) -> list[bytes]:
        if self._texts:
            return [_key(text) for text in self._texts]
        if make:
            _make_key_file(self._key_file)
        return _read_key_file(self._key_file)


def new_key() -> str:
    """A fresh key in the form that `MAIL_INGEST_KEY` takes."""
    return base64.urlsafe_b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


def _make_key_file(path: Path) -> None:
    """Makes the file unless it exists; complete or absent at every moment, and one wins where two processes try."""
    if path.exists():
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".key-")  # mode 0600
    try:
        with os.fdopen(handle, "w") as file:
            file.write(new_key() + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        Path(draft).unlink()


def _read_key_file(path: Path) -> list[bytes]:
    """The keys in the file, one a line and newest first; none where there is no file."""
    try:
        path.chmod(0o600)
        texts = path.read_text("ascii").split()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError):
        texts = []
    if not texts:
        raise ConfigError(f"the key file {path} holds no key that can be read; put back a copy of it")
    return [_key(text) for text in texts]


@functools.lru_cache(maxsize=16)
def _key(text: str) -> bytes:
    for decode in (_base64, bytes.fromhex):
        try:
            key = decode(text)
        except (binascii.Error, ValueError):
            continue
        if len(key) == _KEY_BYTES:
            return key
    if len(text) < _SHORTEST_PASSPHRASE:
        raise ConfigError(
            "MAIL_INGEST_KEY holds a key that is too short; it takes 32 random bytes in base64 or hex, "
            f"or a passphrase of {_SHORTEST_PASSPHRASE} characters or more; commas separate several, newest first"
        )
    return Scrypt(salt=b"mail_ingest credentials", length=_KEY_BYTES, n=2**15, r=8, p=1).derive(text.encode())


def _base64(text: str) -> bytes:
    """Either alphabet, strictly: a passphrase must not pass for base64 with some characters to skip."""
    return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)


def _key_id(key: bytes) -> str:
    return hashlib.sha256(b"mail_ingest key id" + key).hexdigest()[:8]


def _bound_to(account_id: str) -> bytes:
    return f"mail_ingest credential {account_id}".encode()
