"""Keyed hashes: one text always gives the same hash under a key, and without the key nobody can try texts.

A hash is 24 letters and digits in lower case: 80 bits of HMAC-SHA256, and 40 bits by which the holder of the key knows
it again, so that applying a policy twice changes nothing and nobody can send mail under a made-up hash.
"""

from __future__ import annotations

import base64
import functools
import hmac
import re
import secrets

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

HASHED_DOMAIN = "hashed"
"""Top level of a hashed domain; there is none of that name."""

_KEY_BYTES = 32
_HASH_BYTES, _CHECK_BYTES = 10, 5
_HASH = re.compile(r"[a-z2-7]{24}")
_INNER_ID = re.compile(r"<([^<>]*)>")


def new_secret() -> bytes:
    """A fresh secret to derive hash keys from. It has to outlive every hash, so it is not the key of the credentials."""
    return secrets.token_bytes(_KEY_BYTES)


def derive_key(secret: bytes) -> bytes:
    """The hash key out of a deployment's secret (HKDF-SHA256)."""
    return HKDF(SHA256(), length=_KEY_BYTES, salt=None, info=b"mail_ingest address hashes").derive(secret)


class Hasher:
    """Hashes under one key. Not for several threads at once."""

    def __init__(self, key: bytes) -> None:
        if len(key) != _KEY_BYTES:
            raise ValueError("a hash key has 32 bytes; see derive_key")
        self._key = key
        self._hash = functools.lru_cache(maxsize=20_000)(self._make)

    def __repr__(self) -> str:
        return "Hasher(...)"

    def address(self, address: str) -> str:
        """`HASH@HASH.hashed` for an address in any case: its domain hashed by itself. `HASH` where it has no domain."""
        local, at, domain = address.strip().lower().rpartition("@")
        if not at:
            return self._once("address", domain) if domain else ""
        if not local:
            return self._once("address", address.strip().lower())
        if domain.endswith(f".{HASHED_DOMAIN}") and self._is_hash("address", local):
            return f"{local}@{domain}"
        return f"{self._hash('address', f'{local}@{domain}')}@{self.domain(domain)}"

    def domain(self, domain: str) -> str:
        """`HASH.hashed`, as it stands behind the at sign of hashed addresses."""
        name = domain.strip().lower()
        inner = name.removesuffix(f".{HASHED_DOMAIN}")
        return (
            name
            if inner != name and self._is_hash("domain", inner)
            else f"{self._hash('domain', name)}.{HASHED_DOMAIN}"
        )

    def identifier(self, identifier: str) -> str:
        """A Message-ID or the like, with angle brackets or without: what was equal stays equal, so threads still join."""
        found = _INNER_ID.search(identifier)
        inner = found[1] if found else identifier
        local = inner.removesuffix(f"@{HASHED_DOMAIN}")
        if local == inner or not self._is_hash("id", local):
            local = self._hash("id", inner)
        return f"<{local}@{HASHED_DOMAIN}>" if found else f"{local}@{HASHED_DOMAIN}"

    def fingerprint(self, fingerprint: str) -> str:
        """A content's SHA-256: content that can be guessed could be tried against it."""
        return self._once("fingerprint", fingerprint)

    def _once(self, kind: str, text: str) -> str:
        return text if self._is_hash(kind, text) else self._hash(kind, text)

    def _make(self, kind: str, text: str) -> str:
        made = hmac.digest(self._key, f"{kind}\0{text}".encode("utf-8", "surrogatepass"), "sha256")[:_HASH_BYTES]
        return _text(made + self._check(kind, made))

    def _is_hash(self, kind: str, text: str) -> bool:
        """Whether the text is a hash of that kind under this key."""
        if _HASH.fullmatch(text) is None:
            return False
        data = base64.b32decode(text.upper())
        return hmac.compare_digest(data[_HASH_BYTES:], self._check(kind, data[:_HASH_BYTES]))

    def _check(self, kind: str, made: bytes) -> bytes:
        return hmac.digest(self._key, b"check\0" + kind.encode() + b"\0" + made, "sha256")[:_CHECK_BYTES]


def _text(data: bytes) -> str:
    return base64.b32encode(data).decode().lower()
