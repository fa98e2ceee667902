"""Which accounts exist, what state they are in, and how to get their tokens.

The control database is opened at the first call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Row, case, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from mail_ingest.accounts.account import Account, AccountState, Look, account_id_of
from mail_ingest.accounts.credentials import Credential
from mail_ingest.accounts.database import open_database
from mail_ingest.accounts.references import References
from mail_ingest.accounts.sealing import Sealer
from mail_ingest.accounts.tables import accounts, deployment
from mail_ingest.accounts.tokens import TokenSource, token_source
from mail_ingest.accounts.waiting import COOLING_DOWN_AFTER, wait_after
from mail_ingest.errors import ConfigError
from mail_ingest.settings import Settings

KEY_FILE = "credentials.key"
"""Under home; made when the first credentials are stored and `MAIL_INGEST_KEY` is empty."""

Accounts = list[Account]
Looks = list[Look]

_COLUMNS = [accounts.c[field.name] for field in fields(Account)]
_REGISTERED = accounts.c.state != "removed"


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Registry:
    """The accounts of one deployment. Thread-safe; every method is one transaction.

    Addresses are taken in any case. Methods that name an account raise ConfigError where it is not registered; those
    that write do so under another deployment's name: two environments must not share a control database.
    """

    def __init__(self, settings: Settings, *, now: Callable[[], datetime] = _utc_now) -> None:
        self._settings = settings
        self._now = now
        self._sealer = Sealer(settings.key, settings.home / KEY_FILE)
        self._references = References(settings.secrets_url)
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._is_ours = False
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
        raw_archive: bool = True,
        discovered_from: str = "",
    ) -> Account:
        """Registers a mailbox, without calling Gmail. One that was removed comes back, on its old shard.

        Raises ConfigError where the address is none, or is registered already.
        """
        account_id = account_id_of(address)
        now = self._now()
        values: dict[str, Any] = {
            "address": address.strip(),
            "created_at": now,
            "content_since": content_since,
            "include_chats": include_chats,
            "include_drafts": include_drafts,
            "raw_archive": raw_archive,
            "discovered_from": discovered_from,
            **self._sealed(account_id, credential),
            **_fresh_start(now),
        }
        returning = update(accounts).where(accounts.c.account_id == account_id, ~_REGISTERED).values(**values)
        try:
            with self._writing().begin() as connection:
                if connection.execute(returning).rowcount == 0:
                    connection.execute(insert(accounts).values(account_id=account_id, shard=shard, **values))
                return _read(connection, account_id)
        except IntegrityError:
            raise ConfigError(
                f"the account {account_id} is registered already; to give it other credentials, remove it first: "
                "what is in the warehouse stays"
            ) from None

    def change(self, address: str, *, content_since: str | None = None, raw_archive: bool | None = None) -> None:
        """Changes what is bought and kept from now on; None leaves a setting as it is."""
        given = {"content_since": content_since, "raw_archive": raw_archive}
        self._set(address, **{name: value for name, value in given.items() if value is not None})

    def reconnect(self, address: str, credential: Credential) -> None:
        """Gives an account other credentials and makes it active again."""
        account_id = account_id_of(address)
        self._set(account_id, **self._sealed(account_id, credential), **_fresh_start(self._now()))

    def get(self, address: str) -> Account:
        """One account, in any state but removed."""
        with self._reading().begin() as connection:
            return _read(connection, address.strip().lower())

    def list(self, *states: AccountState) -> Accounts:
        """The accounts in these states, by account_id; without states, all that were not removed."""
        return self._select(accounts.c.state.in_(states) if states else _REGISTERED)

    def due(self) -> Accounts:
        """The accounts to be synced now: active ones whose time has come, and those that have cooled down."""
        now = self._now()
        is_time = or_(accounts.c.next_due_at.is_(None), accounts.c.next_due_at <= now)
        has_cooled = (accounts.c.state == "cooling_down") & (accounts.c.resume_at <= now)
        return self._select(((accounts.c.state == "active") & is_time) | has_cooled)

    def looks(self) -> Looks:
        """When Gmail was last asked about each account that was not removed, by account_id."""
        columns = [accounts.c.account_id, accounts.c.state, accounts.c.last_checked_at, accounts.c.created_at]
        with self._reading().begin() as connection:
            rows = connection.execute(select(*columns).where(_REGISTERED).order_by(accounts.c.account_id)).all()
        return [Look(*row) for row in rows]

    def remove(self, address: str) -> None:
        """Forgets the credentials and leaves the account out of everything; its rows in the warehouse stay."""
        self._set(address, state="removed", state_reason="", state_since=self._now(), credential="")

    def pause(self, address: str, reason: str = "") -> None:
        """Leaves the account out of syncs until it is resumed."""
        self.set_state(address, "paused", reason)

    def resume(self, address: str) -> None:
        """Makes the account active again, whatever stopped it, and due at once."""
        self._set(address, **_fresh_start(self._now()))

    def note(self, address: str, reason: str) -> None:
        """Shows people a reason without changing the account's state; the next sync that goes well takes it away."""
        self._set(address, state_reason=reason)

    def set_state(
        self, address: str, state: AccountState, reason: str = "", *, resume_at: datetime | None = None
    ) -> None:
        """Moves the account to a state. `reason` is shown to people; it holds no secrets."""
        self._set(address, state=state, state_reason=reason, state_since=self._now(), resume_at=resume_at)

    def checked(self, address: str, *, next_due_at: datetime | None = None) -> None:
        """Notes a look at Gmail that found nothing new."""
        is_active = accounts.c.state == "active"
        self._set(
            address,
            last_checked_at=self._now(),
            next_due_at=next_due_at,
            consecutive_failures=0,
            state_reason=case((is_active, ""), else_=accounts.c.state_reason),
        )

    def sync_started(self, address: str) -> None:
        """Notes that a sync is under way."""
        self._set(address, last_sync_started_at=self._now())

    def sync_finished(
        self,
        address: str,
        outcome: str,
        *,
        error: BaseException | None = None,
        next_due_at: datetime | None = None,
        counts: bool = True,
    ) -> None:
        """Notes how a sync ended (`success`, `partial`, `failed`, `cancelled`), and lets an account that keeps failing wait.

        Failures in a row are counted, and waited for as `waiting` says; from the fifth on an active account is
        `cooling_down` until a sync goes well. `counts`: whether this failure says anything about the account; a full disk
        does not.
        """
        now = self._now()
        values: dict[str, Any] = {
            "last_sync_finished_at": now,
            "last_outcome": outcome,
            "last_error_class": None if error is None else type(error).__name__,
            "next_due_at": next_due_at,
        }
        account_id = address.strip().lower()
        with self._writing().begin() as connection:
            row = connection.execute(
                select(accounts.c.state, accounts.c.consecutive_failures)
                .where(accounts.c.account_id == account_id, _REGISTERED)
                .with_for_update()
            ).one_or_none()
            if row is None:
                raise _not_registered(account_id)
            if outcome != "failed":
                values |= {"last_checked_at": now, "consecutive_failures": 0}
                if row.state == "cooling_down":
                    values |= {"state": "active", "state_since": now, "resume_at": None}
                if row.state in ("active", "cooling_down"):
                    values["state_reason"] = ""
            elif counts:
                values |= _after_failure(row.state, row.consecutive_failures + 1, values["last_error_class"], now)
            connection.execute(update(accounts).where(accounts.c.account_id == account_id).values(**values))

    def token_source(self, address: str) -> TokenSource:
        """Where the account's tokens come from; the same object as long as its credentials are the same.

        Raises ConfigError where the credentials cannot be decrypted. Calls nobody.
        """
        with self._reading().begin() as connection:
            account = _read(connection, address.strip().lower())
            sealed = _sealed_credential(connection, account.account_id)
        with self._lock:
            key = (account.account_id, sealed)
            if key not in self._tokens:
                content = self._sealer.open(account.account_id, sealed)
                credential = Credential.from_bytes(account.credential_kind, content)
                self._tokens[key] = token_source(account.account_id, credential, references=self._references)
            return self._tokens[key]

    def reseal(self) -> int:
        """Encrypts all credentials anew with the newest key, so that older keys may be taken away; returns how many."""
        with self._writing().begin() as connection:
            account_ids = connection.execute(select(accounts.c.account_id).where(_REGISTERED)).scalars().all()
            for account_id in account_ids:
                secret = self._sealer.open(account_id, _sealed_credential(connection, account_id))
                connection.execute(
                    update(accounts)
                    .where(accounts.c.account_id == account_id)
                    .values(credential=self._sealer.seal(account_id, secret))
                )
        return len(account_ids)

    def close(self) -> None:
        """Lets the database connections go; the next call opens them again."""
        with self._lock:
            if self._engine is not None:
                self._engine.dispose()
                self._engine = None

    def _sealed(self, account_id: str, credential: Credential) -> dict[str, str]:
        return {
            "credential_kind": credential.kind,
            "credential": self._sealer.seal(account_id, credential.to_bytes()),
        }

    def _select(self, wanted: ColumnElement[bool]) -> Accounts:
        with self._reading().begin() as connection:
            rows = connection.execute(select(*_COLUMNS).where(wanted).order_by(accounts.c.account_id)).all()
        return [_account(row) for row in rows]

    def _set(self, address: str, **values: Any) -> None:
        account_id = address.strip().lower()
        with self._writing().begin() as connection:
            changed = connection.execute(
                update(accounts).where(accounts.c.account_id == account_id, _REGISTERED).values(**values)
            )
            if changed.rowcount != 1:
                raise _not_registered(account_id)

    def _reading(self) -> Engine:
        with self._lock:
            if self._engine is None:
                self._engine = open_database(self._settings.control)
            return self._engine

    def _writing(self) -> Engine:
        """The engine, once it is certain that this deployment owns the database."""
        engine = self._reading()
        if not self._is_ours:
            ours = self._settings.env
            owner = _owner(engine, ours, self._now())
            if owner != ours:
                raise ConfigError(
                    f"the control database belongs to the deployment {owner!r}, and MAIL_INGEST_ENV is {ours!r}; "
                    "use that name, or another database"
                )
            self._is_ours = True
        return engine


def _owner(engine: Engine, candidate: str, now: datetime) -> str:
    """The deployment that owns the database: the candidate, if nobody has written to it yet."""
    dialect = postgresql if engine.dialect.name == "postgresql" else sqlite
    claim = dialect.insert(deployment).values(id=1, name=candidate, named_at=now).on_conflict_do_nothing()
    with engine.begin() as connection:
        connection.execute(claim)
        return str(connection.execute(select(deployment.c.name)).scalar_one())


def _read(connection: Connection, account_id: str) -> Account:
    row = connection.execute(select(*_COLUMNS).where(accounts.c.account_id == account_id, _REGISTERED)).one_or_none()
    if row is None:
        raise _not_registered(account_id)
    return _account(row)


def _sealed_credential(connection: Connection, account_id: str) -> str:
    return str(
        connection.execute(select(accounts.c.credential).where(accounts.c.account_id == account_id)).scalar_one()
    )


def _fresh_start(now: datetime) -> dict[str, Any]:
    return {
        "state": "active",
        "state_reason": "",
        "state_since": now,
        "consecutive_failures": 0,
        "resume_at": None,
        "next_due_at": None,
    }


def _after_failure(state: AccountState, failures: int, error_class: str | None, now: datetime) -> dict[str, Any]:
    values: dict[str, Any] = {"consecutive_failures": failures}
    wait = wait_after(failures)
    if wait is None or state not in ("active", "cooling_down"):
        return values
    values["next_due_at"] = now + wait
    if failures >= COOLING_DOWN_AFTER:
        values |= {
            "state": "cooling_down",
            "state_reason": f"{failures} failed syncs in a row, the last with {error_class or 'an error'}",
            "resume_at": now + wait,
        }
        if state != "cooling_down":
            values["state_since"] = now
    return values


def _not_registered(account_id: str) -> ConfigError:
    return ConfigError(f"the account {account_id} is not registered; `mail-ingest account list` shows those that are")


def _account(row: Row[Any]) -> Account:
    return Account(**row._mapping)
