"""The access token that the processes of a deployment share: encrypted in the control database, fetched by one of them.

Whoever needs a new token takes the fetching of it, for some seconds at most, by comparing and setting one row; the others
wait for what it brings. A process that dies meanwhile keeps them waiting until those seconds are over.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from mail_ingest.accounts.credentials import Credential
from mail_ingest.accounts.rotation import hold_keys
from mail_ingest.accounts.sealing import Sealer
from mail_ingest.accounts.tables import access_tokens
from mail_ingest.errors import MailIngestError

logger = logging.getLogger(__name__)

#: Seconds for which one process may keep the others waiting. A token takes a fraction of one.
FETCHING_S = 10.0


def origin_of(credential: Credential, *more: str) -> str:
    """A digest of what a token is fetched with: of the credentials themselves, not of the reference that they are behind."""
    return hashlib.sha256(json.dumps([credential.kind, credential.to_bytes().decode(), *more]).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class StoredToken:
    """What the database holds. `token` is empty where there is none that this process may use; `due_at` is when it is
    to be replaced, in epoch seconds; `sealed` is the value as it stands, to compare with."""

    sealed: str
    token: str = field(default="", repr=False)
    due_at: float = 0.0


class SharedToken:
    """The row of one account. Where the database or the keys cannot be used, every process fetches for itself.

    `origin` is what `origin_of` says of the credentials in use: a token of others, replaced meanwhile, must not be used.
    """

    def __init__(self, account_id: str, sealer: Sealer, engine: Callable[[], Engine]) -> None:
        self._account_id = account_id
        self._sealer = sealer
        self._engine = engine
        self._me = secrets.token_hex(8)

    def read(self, origin: str) -> StoredToken:
        """The token that was stored last, if it is of this origin."""
        try:
            with self._engine().begin() as connection:
                sealed = connection.execute(
                    select(access_tokens.c.sealed).where(access_tokens.c.account_id == self._account_id)
                ).scalar()
        except (SQLAlchemyError, MailIngestError) as error:
            self._warn(error)
            return StoredToken("")
        if not sealed:
            return StoredToken("")
        try:
            content = json.loads(self._sealer.open(self._account_id, sealed, "access token"))
        except MailIngestError:
            return StoredToken(sealed)
        if content["origin"] != origin:
            return StoredToken(sealed)
        return StoredToken(sealed, content["token"], content["due_at"])

    def take(self, seen: StoredToken, *, is_refused: bool) -> bool:
        """Whether this process is to fetch the next token: nobody else does, and `seen` is still what is stored.

        `is_refused`: Gmail does not take the stored token any more, so nobody is to use it.
        """
        now = datetime.now(UTC)
        mine = {"fetched_by": self._me, "fetched_until": now + timedelta(seconds=FETCHING_S)}
        is_free = or_(access_tokens.c.fetched_until.is_(None), access_tokens.c.fetched_until < now)
        try:
            engine = self._engine()
            dialect = postgresql if engine.dialect.name == "postgresql" else sqlite
            first = dialect.insert(access_tokens).values(account_id=self._account_id, **mine).on_conflict_do_nothing()
            again = (
                update(access_tokens)
                .where(access_tokens.c.account_id == self._account_id, access_tokens.c.sealed == seen.sealed, is_free)
                .values(**mine, **({"sealed": ""} if is_refused else {}))
            )
            with engine.begin() as connection:
                return bool(connection.execute(first).rowcount == 1 or connection.execute(again).rowcount == 1)
        except (SQLAlchemyError, MailIngestError) as error:
            self._warn(error)
            return True

    def store(self, token: str, due_at: float, origin: str) -> None:
        """Stores a token for all, and ends the fetching."""
        content = json.dumps({"token": token, "due_at": due_at, "origin": origin}).encode()
        try:
            self._sealer.prepare()
            with self._engine().begin() as connection:
                hold_keys(connection)
                sealed = self._sealer.seal(self._account_id, content, "access token")
                connection.execute(
                    update(access_tokens)
                    .where(access_tokens.c.account_id == self._account_id, access_tokens.c.fetched_by == self._me)
                    .values(sealed=sealed, fetched_by=None, fetched_until=None)
                )
        except (SQLAlchemyError, MailIngestError) as error:
            self._warn(error)

    def give_up(self) -> None:
        """Ends the fetching without a token: the next one may try."""
        try:
            with self._engine().begin() as connection:
                connection.execute(
                    update(access_tokens)
                    .where(access_tokens.c.account_id == self._account_id, access_tokens.c.fetched_by == self._me)
                    .values(fetched_by=None, fetched_until=None)
                )
        except (SQLAlchemyError, MailIngestError) as error:
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        logger.warning("the access token of %s is not shared (%s)", self._account_id, type(error).__name__)
