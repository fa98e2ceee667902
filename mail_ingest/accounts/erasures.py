"""What the control database knows of erasures: whose mail is kept out, what is being rewritten, and receipts.

Addresses of erased people are kept as keyed hashes (HMAC-SHA256) alone. The secret is encrypted like credentials, and
outlives them: without it nobody could tell any more whose mail must not come back.
"""

from __future__ import annotations

import hmac
import json
import logging
import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, Engine, Row, delete, insert, or_, select, text, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError

from mail_ingest.accounts.database import vacuum_sqlite
from mail_ingest.accounts.rotation import hold_keys
from mail_ingest.accounts.sealing import Sealer
from mail_ingest.accounts.tables import (
    access_tokens,
    accounts,
    erased_contacts,
    erasure_receipts,
    erasure_secrets,
    rewritings,
)
from mail_ingest.errors import BusyError, ConfigError

logger = logging.getLogger(__name__)

Kind = Literal["account", "contact", "privacy"]

#: `account_id` of what belongs to no account.
_NOBODY = ""
#: The row of the secret, to which its encryption is bound.
_ROW = "erasures"
_SECRET_BYTES = 32
#: Of the hash that stands for an address in receipts and lists.
_SHOWN = 16


@dataclass(frozen=True, slots=True)
class Rewriting:
    """One account's part of a rewriting that was begun and has no receipt yet."""

    rewriting_id: str
    account_id: str
    kind: Kind
    contact_hash: str
    begun_at: datetime
    rows_done_at: datetime | None


class Erasures:
    """Erased contacts, unfinished rewritings and receipts of one deployment. Every method is one transaction."""

    def __init__(
        self,
        reading: Callable[[], Engine],
        writing: Callable[[], Engine],
        sealer: Sealer,
        now: Callable[[], datetime],
    ) -> None:
        self._reading = reading
        self._writing = writing
        self._sealer = sealer
        self._now = now
        self._lock = threading.Lock()
        self._secret = b""

    # -- whose mail is kept out ---------------------------------------------------------------------------------

    def hash_of(self, address: str) -> str:
        """The keyed hash of an address, in lower case: the same for the same address for ever. Makes the secret at first."""
        return self._hash(self._read_secret(make=True), address)

    def keep_out(self, address: str, account_id: str = _NOBODY) -> str:
        """From now on nothing of this person is stored, of one account or of all; the hash of the address."""
        hashed = self.hash_of(address)
        with self._writing().begin() as connection:
            _keep_out(connection, [hashed], account_id, self._now())
        return hashed

    def begin_keeping_out(
        self, addresses: Sequence[str], account_id: str, account_ids: Sequence[str]
    ) -> tuple[str, str]:
        """Keeps a person out, by all spellings of one address, and marks accounts as being rewritten for it: both or neither,
        so that whoever is kept out is erased as well, whenever the process dies. The hash of the first spelling, and the id of
        the rewriting."""
        hashes = [self.hash_of(address) for address in addresses]
        with self._writing().begin() as connection:
            _keep_out(connection, hashes, account_id, self._now())
            return hashes[0], _mark(connection, "contact", account_ids, hashes[0], self._now())

    def let_in(self, address: str, account_id: str = _NOBODY) -> bool:
        """Ends what `keep_out` began: mail that comes from now on is stored again. Whether there was anything to end."""
        hashed = self.hash_of(address)
        chosen = (erased_contacts.c.contact_hash == hashed) & (erased_contacts.c.account_id == account_id)
        with self._writing().begin() as connection:
            return bool(connection.execute(delete(erased_contacts).where(chosen)).rowcount)

    def kept_out(self, account_id: str) -> Callable[[str], bool] | None:
        """Tells whether an address (in lower case) is kept out of an account; None where nobody is.

        Raises ConfigError where the secret cannot be decrypted: then nobody can tell, and nothing may be stored.
        """
        chosen = or_(erased_contacts.c.account_id == _NOBODY, erased_contacts.c.account_id == account_id)
        with self._reading().begin() as connection:
            hashes = set(connection.execute(select(erased_contacts.c.contact_hash).where(chosen)).scalars())
        if not hashes:
            return None
        secret = self._read_secret()
        return lambda address: self._hash(secret, address) in hashes

    @staticmethod
    def _hash(secret: bytes, address: str) -> str:
        return hmac.digest(secret, b"mail_ingest erased " + address.strip().lower().encode(), "sha256").hex()

    def _read_secret(self, *, make: bool = False) -> bytes:
        with self._lock:
            if self._secret:
                return self._secret
            chosen = select(erasure_secrets.c.sealed).where(erasure_secrets.c.account_id == _ROW)
            with self._reading().begin() as connection:
                sealed = connection.execute(chosen).scalar_one_or_none()
            if sealed is None and make:
                self._make_secret()
                with self._reading().begin() as connection:
                    sealed = connection.execute(chosen).scalar_one_or_none()
            if sealed is None:
                raise ConfigError(
                    "the control database has lost the secret of the addresses that were erased; put back a copy of it, "
                    "or erase them again"
                )
            try:
                self._secret = self._sealer.open(_ROW, sealed, "erasure secret")
            except ConfigError:
                raise ConfigError(
                    "people's mail was erased, and the secret by which it is kept out was encrypted with a key that is not "
                    f"among those given; nothing is stored before the old key is back ({self._sealer.keys.source})"
                ) from None
            return self._secret

    def _make_secret(self) -> None:
        self._sealer.prepare()
        try:
            with self._writing().begin() as connection:
                hold_keys(connection)
                sealed = self._sealer.seal(_ROW, secrets.token_bytes(_SECRET_BYTES), "erasure secret")
                connection.execute(insert(erasure_secrets).values(account_id=_ROW, sealed=sealed))
        except IntegrityError:
            pass  # another process was quicker

    # -- what is being rewritten --------------------------------------------------------------------------------

    def begin(self, kind: Kind, account_ids: Sequence[str], contact_hash: str = "") -> str:
        """Marks accounts as being rewritten, durably; the id of the rewriting. One that was begun before goes on, with the
        accounts that it lacks."""
        with self._writing().begin() as connection:
            return _mark(connection, kind, account_ids, contact_hash, self._now())

    def unfinished(self, account_id: str | None = None) -> list[Rewriting]:
        """Rewritings that have no receipt yet, oldest first: of one account, or of all."""
        columns = [rewritings.c[name] for name in Rewriting.__dataclass_fields__]
        chosen = select(*columns).order_by(rewritings.c.begun_at, rewritings.c.rewriting_id, rewritings.c.account_id)
        if account_id is not None:
            chosen = chosen.where(rewritings.c.account_id == account_id)
        with self._reading().begin() as connection:
            return [Rewriting(*row) for row in connection.execute(chosen)]

    def rows_done(self, rewriting_id: str, account_id: str) -> None:
        """Notes that nothing but files is left to be written anew for an account."""
        chosen = (rewritings.c.rewriting_id == rewriting_id) & (rewritings.c.account_id == account_id)
        with self._writing().begin() as connection:
            connection.execute(update(rewritings).where(chosen).values(rows_done_at=self._now()))

    def finish(self, rewriting_id: str, kind: Kind, receipt: dict[str, Any], wait_s: float = 60.0) -> None:
        """Keeps the receipt, and forgets that the rewriting was under way, unless an account was marked for it anew."""
        with self._writing().begin() as connection:
            connection.execute(
                insert(erasure_receipts).values(
                    receipt_id=receipt["receipt_id"], kind=kind, made_at=self._now(), document=json.dumps(receipt)
                )
            )
            is_over = rewritings.c.rewriting_id == rewriting_id
            if kind == "privacy":
                is_over &= rewritings.c.rows_done_at.is_not(None)
            connection.execute(delete(rewritings).where(is_over))
        try:
            # the mark has named an account
            self.write_anew(wait_s)
        except BusyError as error:
            # what was erased is gone, and the receipt says so; the mark's own bytes go with the next erasure
            logger.warning("an account's name stays in free pages of the control database for now: %s", error)

    # -- receipts -----------------------------------------------------------------------------------------------

    def receipts(self) -> list[dict[str, Any]]:
        """All receipts, the newest first."""
        chosen = select(erasure_receipts.c.document).order_by(
            erasure_receipts.c.made_at.desc(), erasure_receipts.c.receipt_id
        )
        with self._reading().begin() as connection:
            return [json.loads(document) for document in connection.execute(chosen).scalars()]

    # -- the database's own files -------------------------------------------------------------------------------

    def write_anew(self, wait_s: float = 60.0) -> list[str]:
        """Has the control database let go of the bytes of deleted rows; what it could not reach.

        Raises BusyError where others read or write a SQLite file for longer than `wait_s` seconds.
        """
        engine = self._writing()
        if engine.dialect.name == "sqlite":
            vacuum_sqlite(engine, wait_s)
            return []
        try:
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                for table in (accounts, access_tokens, rewritings, erased_contacts):
                    connection.execute(text(f"vacuum full {table.name}"))
        except DBAPIError:
            return ["dead rows of the control database: the user may not vacuum its tables"]
        return ["write-ahead logs, replicas and backups of the control database"]

    def rows(self, write: Callable[[bytes], None]) -> None:
        """Hands over every value of every table as bytes, a row at a time, for a search."""
        engine = self._reading()
        with engine.connect() as connection:
            for table in erased_contacts.metadata.sorted_tables:
                row: Row[Any]
                for row in connection.execute(select(table)).yield_per(1_000):
                    write(("\n".join(str(value) for value in row if value is not None) + "\n").encode())


def _keep_out(connection: Connection, hashes: Sequence[str], account_id: str, now: datetime) -> None:
    """Notes whose mail is kept out; of those that are kept out already nothing changes."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    rows = [{"contact_hash": hashed, "account_id": account_id, "erased_at": now} for hashed in hashes]
    connection.execute(dialect.insert(erased_contacts).on_conflict_do_nothing(), rows)


def mark_anew(connection: Connection, account_id: str, now: datetime) -> None:
    """Marks an account as to be rewritten by the privacy that the same transaction gives it. A rewriting that is under way by an
    earlier one does not end the mark."""
    rewriting_id = _mark(connection, "privacy", [account_id], "", now)
    its_own = (rewritings.c.rewriting_id == rewriting_id) & (rewritings.c.account_id == account_id)
    connection.execute(update(rewritings).where(its_own).values(rows_done_at=None))


def _mark(connection: Connection, kind: Kind, account_ids: Sequence[str], contact_hash: str, now: datetime) -> str:
    same = (rewritings.c.kind == kind) & (rewritings.c.contact_hash == contact_hash)
    if kind != "contact":
        same &= rewritings.c.account_id.in_(account_ids)
    begun = connection.execute(select(rewritings.c.rewriting_id).where(same).limit(1)).scalar_one_or_none()
    rewriting_id = begun or f"{kind}-{secrets.token_hex(8)}"
    chosen = select(rewritings.c.account_id).where(rewritings.c.rewriting_id == rewriting_id)
    marked = set(connection.execute(chosen).scalars())
    rows = [
        {
            "rewriting_id": rewriting_id,
            "account_id": account_id,
            "kind": kind,
            "contact_hash": contact_hash,
            "begun_at": now,
        }
        for account_id in account_ids
        if account_id not in marked
    ]
    if rows:
        connection.execute(insert(rewritings), rows)
    return rewriting_id


def forget_account(connection: Connection, account_id: str) -> None:
    """Takes away who was kept out of an account that is erased, and what was to be rewritten in it, but for its own erasure."""
    connection.execute(delete(erased_contacts).where(erased_contacts.c.account_id == account_id))
    its_own = rewritings.c.kind == "account"
    connection.execute(delete(rewritings).where(rewritings.c.account_id == account_id, ~its_own))


def shown_hash(contact_hash: str) -> str:
    """As much of a hash as people are shown."""
    return contact_hash[:_SHOWN]
