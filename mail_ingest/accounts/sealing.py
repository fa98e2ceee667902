"""Secrets at rest: AES-256-GCM under one of the keys.

A sealed value reads `v1.KEYID.BASE64`: the nonce and the ciphertext, bound to the account it belongs to and to what it
is, so that a value copied to another account's row does not open. The key id lets keys be changed: new values use the
first key, old values find theirs.
"""

from __future__ import annotations

import base64
import secrets
from pathlib import Path
from typing import Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mail_ingest.accounts.keys import Keys, key_id
from mail_ingest.accounts.references import References
from mail_ingest.errors import ConfigError

_VERSION = "v1"
_NONCE_BYTES = 12

Purpose = Literal["credential", "access token", "hash secret", "erasure secret"]


class Sealer:
    """Encrypts and decrypts with the keys of `MAIL_INGEST_KEY`, or with the key file when that is empty.

    The file is made when the first value is sealed. Nothing is read before the first use. Keys that `references` have to ask
    Secret Manager for may bring a ServerError as well.
    """

    def __init__(self, keys: str, key_file: Path, references: References | None = None) -> None:
        self.keys = Keys(keys, key_file, references or References())

    def prepare(self) -> None:
        """Reads the keys before a transaction in which values are sealed: it must not wait for a secret manager."""
        self.keys.all()

    def seal(self, account_id: str, secret: bytes, purpose: Purpose = "credential") -> str:
        """The secret under the first key. Raises ConfigError where there is none that can be used."""
        key = self.keys.all(make=True)[0]
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + AESGCM(key).encrypt(nonce, secret, _bound_to(account_id, purpose))
        return f"{_VERSION}.{key_id(key)}.{base64.b64encode(sealed).decode()}"

    def open(self, account_id: str, sealed: str, purpose: Purpose = "credential") -> bytes:
        """The secret. Raises ConfigError that names the account where no key fits; the stored value stays as it is."""
        version, _, rest = sealed.partition(".")
        wanted, _, text = rest.partition(".")
        key = self._key(wanted)
        if version != _VERSION or key is None:
            raise ConfigError(
                f"the credentials of {account_id} were encrypted with a key ({wanted}) that is not among those given, and "
                f"are kept as they are; put the old key back ({self.keys.source}), or connect the account again"
            )
        try:
            data = base64.b64decode(text, validate=True)
            return AESGCM(key).decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], _bound_to(account_id, purpose))
        except (InvalidTag, ValueError):
            raise ConfigError(
                f"the stored credentials of {account_id} are damaged, and are kept as they are; connect the account again"
            ) from None

    def __repr__(self) -> str:
        return f"Sealer({self.keys.source})"

    def _key(self, wanted: str) -> bytes | None:
        for again in (False, True):
            for key in self.keys.all(again=again):
                if key_id(key) == wanted:
                    return key
        return None


def key_id_of(sealed: str) -> str:
    """The id of the key that a value was sealed with."""
    return sealed.split(".")[1] if sealed.count(".") == 2 else ""


def _bound_to(account_id: str, purpose: Purpose) -> bytes:
    return f"mail_ingest {purpose} {account_id}".encode()
