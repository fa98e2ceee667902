"""The keys that encrypt credentials: where they come from, newest first.

`MAIL_INGEST_KEY` holds keys, or references to them (see `references`), separated by commas. Where the variable is empty, a
private file holds them, one a line.

A key is 32 random bytes in base64 or hex; any other text, of 16 characters at least, is a passphrase for scrypt.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import os
import secrets
import stat
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from mail_ingest.accounts.references import KEPT_S, References, is_reference
from mail_ingest.errors import ConfigError
from mail_ingest.folders import make_private

_ASK_AGAIN_S = 5.0
"""How soon a reference may be read again for values that none of the keys opens: other processes may know a newer one."""
_KEY_BYTES = 32
_SHORTEST_PASSPHRASE = 16


class Keys:
    """The keys of `MAIL_INGEST_KEY`, or those of the key file when that is empty. Nothing is read before the first use.

    Raises ConfigError where a reference, the file or a key cannot be used, ServerError where Secret Manager fails in passing.
    """

    def __init__(self, given: str, key_file: Path, references: References) -> None:
        self._given = [text.strip() for text in given.split(",") if text.strip()]
        self.file = None if self._given else KeyFile(key_file)
        self._references = references

    def all(self, *, make: bool = False, again: bool = False) -> list[bytes]:
        """The keys, newest first; none where there is no key file. `make` makes that file if it is missing, `again`
        asks for references that were read a while ago although their five minutes are not over."""
        if self.file is not None:
            if make:
                self.file.make()
            return [key_of(text) for text in self.file.read()]
        max_age_s = _ASK_AGAIN_S if again else KEPT_S
        return [key_of(text) for given in self._given for text in self._texts(given, max_age_s)]

    @property
    def source(self) -> str:
        """Where they come from, for messages."""
        return "MAIL_INGEST_KEY" if self.file is None else f"the key file {self.file.path}"

    def _texts(self, given: str, max_age_s: float) -> list[str]:
        """The keys that one part of `MAIL_INGEST_KEY` stands for; a secret may hold several, by lines or commas."""
        if not is_reference(given):
            return [given]
        try:
            content = self._references.read(given, max_age_s=max_age_s).decode()
        except UnicodeDecodeError:
            raise ConfigError(f"MAIL_INGEST_KEY names {given}, which holds no text; it takes keys as text") from None
        texts = [text.strip() for line in content.splitlines() for text in line.split(",") if text.strip()]
        if not texts:
            raise ConfigError(f"MAIL_INGEST_KEY names {given}, which is empty")
        return texts


class KeyFile:
    """A private file of keys, one a line and newest first; complete or absent at every moment."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[str]:
        """The keys as they are written; none where there is no file. Takes away what others may do with it."""
        try:
            if stat.S_IMODE(self.path.stat().st_mode) & 0o077:
                self.path.chmod(0o600)
            texts = self.path.read_text("ascii").split()
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError):
            texts = []
        if not texts:
            raise ConfigError(f"the key file {self.path} holds no key that can be read; put back a copy of it")
        return texts

    def make(self) -> None:
        """Makes the file with a new key unless it exists; one wins where two processes try."""
        if self.path.exists():
            return
        draft = self._draft([new_key()])
        try:
            os.link(draft, self.path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()

    def write(self, texts: Sequence[str]) -> None:
        """Puts other keys in place of those that are there, at once and for good before it returns."""
        draft = self._draft(texts)
        try:
            draft.replace(self.path)
        except BaseException:
            with suppress(OSError):
                draft.unlink()
            raise
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _draft(self, texts: Sequence[str]) -> Path:
        make_private(self.path.parent)
        handle, draft = tempfile.mkstemp(dir=self.path.parent, prefix=".key-")  # mode 0600
        with os.fdopen(handle, "w") as file:
            file.write("".join(f"{text}\n" for text in texts))
            file.flush()
            os.fsync(file.fileno())
        return Path(draft)


def new_key() -> str:
    """A fresh key in the form that `MAIL_INGEST_KEY` and the key file take."""
    return base64.urlsafe_b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


def key_id(key: bytes) -> str:
    """Eight hex digits by which values name the key that they were sealed with; they tell nothing of it."""
    return hashlib.sha256(b"mail_ingest key id" + key).hexdigest()[:8]


@functools.lru_cache(maxsize=64)
def key_of(text: str) -> bytes:
    """The key that a text stands for. Raises ConfigError where it is too short for one."""
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
