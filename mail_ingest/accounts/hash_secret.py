"""The secret under which the tier `hashed` hashes addresses: one for the deployment, made once, encrypted like credentials.

It is not one of the keys that encrypt: those change, and hashes have to stay joinable across accounts and over time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from sqlalchemy import Engine, insert, select
from sqlalchemy.exc import IntegrityError

from mail_ingest.accounts.rotation import hold_keys
from mail_ingest.accounts.sealing import Sealer
from mail_ingest.accounts.tables import hash_secrets
from mail_ingest.errors import ConfigError
from mail_ingest.privacy import derive_key, new_secret

_ROW = "addresses"
"""The one row, to which the secret's encryption is bound."""


class HashSecret:
    """Opens nothing before its first use; thread-safe."""

    def __init__(self, reading: Callable[[], Engine], writing: Callable[[], Engine], sealer: Sealer) -> None:
        self._reading = reading
        self._writing = writing
        self._sealer = sealer
        self._lock = threading.Lock()
        self._key = b""

    def key(self) -> bytes:
        """The hash key, derived from the secret, which is made where there is none.

        Raises ConfigError where the secret cannot be decrypted: another one would make hashes that join with nothing.
        """
        with self._lock:
            if not self._key:
                self._key = derive_key(self._read() or self._make())
            return self._key

    def known_key(self) -> bytes | None:
        """The hash key, None where nothing was ever hashed."""
        return self.key() if self._key or self._read() is not None else None

    def _read(self) -> bytes | None:
        with self._reading().begin() as connection:
            sealed = connection.execute(
                select(hash_secrets.c.sealed).where(hash_secrets.c.account_id == _ROW)
            ).scalar_one_or_none()
        if sealed is None:
            return None
        try:
            return self._sealer.open(_ROW, sealed, "hash secret")
        except ConfigError:
            raise ConfigError(
                "the secret under which the tier hashed hashes addresses was encrypted with a key that is not among those given, "
                f"or is damaged; nothing is stored in that tier before the old key is back ({self._sealer.keys.source}): another "
                "secret would make hashes that join with nothing"
            ) from None

    def _make(self) -> bytes:
        """A new secret, or the one that another process has just made."""
        self._sealer.prepare()
        secret = new_secret()
        try:
            with self._writing().begin() as connection:
                hold_keys(connection)
                sealed = self._sealer.seal(_ROW, secret, "hash secret")
                connection.execute(insert(hash_secrets).values(account_id=_ROW, sealed=sealed))
        except IntegrityError:
            return self._read() or secret
        return secret
