"""Which accounts exist, what state they are in, and how to get their tokens. Opens the control database at first use."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import Engine, Row, insert, select, update

from mail_ingest.accounts.credentials import Credential, CredentialKind
from mail_ingest.accounts.database import open_database
from mail_ingest.accounts.sealing import Sealer
from mail_ingest.accounts.tables import accounts, deployment
from mail_ingest.accounts.tokens import TokenSource, token_source
from mail_ingest.errors import ConfigError
from mail_ingest.settings import Settings

AccountState = Literal["active", "paused", "needs_reauth", "parked", "cooling_down", "removed"]
KEY_FILE = "credentials.key"

_ADDRESS = re.compile(r"[^\s@<>\",;:\\]+@[^\s@<>\",;:\\]+\.[^\s@<>\",;:\\.]+")


@dataclass(frozen=True, slots=True)
class Account:
    """One registered mailbox. `account_id` is its address in lower case; times are UTC; `shard` never changes."""

    account_id: str
    address: str
    shard: int
    state: AccountState
    state_reason: str
    state_since: datetime
    created_at: datetime
    last_checked_at: datetime | None
    last_sync_started_at: datetime | None
    last_sync_finished_at: datetime | None
    last_outcome: str | None
    last_error_class: str | None
    consecutive_failures: int
    next_due_at: datetime | None
    resume_at: datetime | None
    sync_mode: str
    content_since: str
    include_chats: bool
    include_drafts: bool
    credential_kind: CredentialKind


_COLUMNS = [accounts.c[field.name] for field in fields(Account)]


class Registry:
    """The accounts of one deployment. Thread-safe; every method is one transaction.

    Writing under another deployment's name raises ConfigError: two environments must not share a control database.
    """

    def __init__(
        self, settings: Settings, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._settings = settings
        self._now = now
        self._sealer = Sealer(settings.key, settings.home / KEY_FILE)
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._owned = False
        self._tokens: dict[tuple[str, str], TokenSource] = {}

    def add(
        self,
        address: str,
        credential: Credential,
        *,
        shard: int = 0,
        content_since: str = "all",
        include_chats: bool = True,
        include_drafts: bool = True,
    ) -> Account:
        """Registers a mailbox, without calling Gmail. One that was removed comes back, on its old shard.

        Raises ConfigError where the address is none, or is registered already.
        """
        account_id = account_id_of(address)
        now = self._now()
        values = {
            "address": address.strip(),
            "state": "active",
            "state_reason": "",
            "state_since": now,
            "created_at": now,
            "content_since": content_since,
            "include_chats": include_chats,
            "include_drafts": include_drafts,
            "credential_kind": credential.kind,
            "credential": self._sealer.seal(account_id, credential.to_bytes()),
        }
        with self._writing().begin() as connection:
            row = connection.execute(
                select(accounts.c.state).where(accounts.c.account_id == account_id)
            ).one_or_none()
            if row is None:
                connection.execute(insert(accounts).values(account_id=account_id, shard=shard, **values))
            elif row.state == "removed":
                connection.execute(
                    update(accounts).where(accounts.c.account_id == account_id).values(**values)
                )
            else:
                raise ConfigError(
                    f"the account {account_id} is registered already; "
                    f"`mail-ingest account remove {account_id}` comes first if its credentials changed"
                )
        return self.get(account_id)

    def get(self, address: str) -> Account:
        """One account, by its address in any case. Raises ConfigError where it is not registered, or was removed."""
        account_id = address.strip().lower()
        with self._reading().begin() as connection:
            row = connection.execute(
                select(*_COLUMNS).where(accounts.c.account_id == account_id)
            ).one_or_none()
        if row is None or row.state == "removed":
            raise ConfigError(
                f"the account {account_id} is not registered; `mail-ingest account list` shows those that are"
            )
        return _account(row)

    def list(self, *states: AccountState) -> list[Account]:
        """The accounts in these states, by account_id; without states, all that were not removed."""
        wanted = accounts.c.state.in_(states) if states else accounts.c.state != "removed"
        with self._reading().begin() as connection:
            rows = connection.execute(select(*_COLUMNS).where(wanted).order_by(accounts.c.account_id)).all()
        return [_account(row) for row in rows]

    def remove(self, address: str) -> None:
        """Forgets the credentials and takes the account out of everything; its rows in the warehouse stay."""
        self._set(address, state="removed", state_reason="", state_since=self._now(), credential="")

    def pause(self, address: str, reason: str = "") -> None:
        self.set_state(address, "paused", reason)

    def resume(self, address: str) -> None:
        """Makes the account active again, whatever stopped it, and forgets its failures."""
        self._set(
            address,
            state="active",
            state_reason="",
            state_since=self._now(),
            consecutive_failures=0,
            resume_at=None,
            next_due_at=None,
        )

    def set_state(
        self, address: str, state: AccountState, reason: str = "", *, resume_at: datetime | None = None
    ) -> None:
        """Moves the account to a state. `reason` is shown to people; it holds no secrets."""
        self._set(address, state=state, state_reason=reason, state_since=self._now(), resume_at=resume_at)

    def checked(self, address: str, *, next_due_at: datetime | None = None) -> None:
        """Notes a look at Gmail that found nothing new."""
        self._set(address, last_checked_at=self._now(), next_due_at=next_due_at, consecutive_failures=0)

    def sync_started(self, address: str) -> None:
        self._set(address, last_sync_started_at=self._now())

    def sync_finished(
        self,
        address: str,
        outcome: str,
        *,
        error: BaseException | None = None,
        next_due_at: datetime | None = None,
    ) -> None:
        """Notes how a sync ended (`success`, `partial`, `failed`, `cancelled`) and counts failures in a row."""
        now = self._now()
        failed = outcome == "failed"
        self._set(
            address,
            last_checked_at=now if not failed else accounts.c.last_checked_at,
            last_sync_finished_at=now,
            last_outcome=outcome,
            last_error_class=type(error).__name__ if error is not None else None,
            consecutive_failures=accounts.c.consecutive_failures + 1 if failed else 0,
            next_due_at=next_due_at,
        )

    def token_source(self, address: str) -> TokenSource:
        """Where the account's tokens come from; the same object as long as its credentials are the same.

        Raises ConfigError where the credentials cannot be decrypted.
        """
        account = self.get(address)
        with self._reading().begin() as connection:
            sealed = connection.execute(
                select(accounts.c.credential).where(accounts.c.account_id == account.account_id)
            ).scalar_one()
        with self._lock:
            key = (account.account_id, sealed)
            if key not in self._tokens:
                content = self._sealer.open(account.account_id, sealed)
                credential = Credential.from_bytes(account.credential_kind, content)
                self._tokens[key] = token_source(account.account_id, credential)
            return self._tokens[key]

    def close(self) -> None:
        """Lets the database connections go."""
        with self._lock:
            if self._engine is not None:
                self._engine.dispose()
                self._engine = None

    def _set(self, address: str, **values: Any) -> None:
        account_id = address.strip().lower()
        with self._writing().begin() as connection:
            changed = connection.execute(
                update(accounts)
                .where(accounts.c.account_id == account_id, accounts.c.state != "removed")
                .values(**values)
            )
        if changed.rowcount != 1:
            raise ConfigError(
                f"the account {account_id} is not registered; `mail-ingest account list` shows those that are"
            )

    def _reading(self) -> Engine:
        with self._lock:
            if self._engine is None:
                self._engine = open_database(self._settings.control)
            return self._engine

    def _writing(self) -> Engine:
        """The engine, once it is certain that this deployment owns the database."""
        engine = self._reading()
        if not self._owned:
            with engine.begin() as connection:
                name = connection.execute(select(deployment.c.name)).scalar()
                if name is None:
                    name = self._settings.env
                    connection.execute(insert(deployment).values(id=1, name=name, named_at=self._now()))
            if name != self._settings.env:
                raise ConfigError(
                    f"the control database belongs to the deployment {name!r}, and MAIL_INGEST_ENV is {self._settings.env!r}; "
                    "use that name, or another database"
                )
            self._owned = True
        return engine


def account_id_of(address: str) -> str:
    """The key of an address: trimmed, in lower case. Raises ConfigError where it is no address."""
    account_id = address.strip().lower()
    if not _ADDRESS.fullmatch(account_id) or len(account_id) > 320:
        raise ConfigError(
            f"{address!r} is no mail address; an account is named by its address, such as ada@example.com"
        )
    return account_id


def _account(row: Row[Any]) -> Account:
    return Account(**row._mapping)
