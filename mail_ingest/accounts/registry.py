"""Which accounts exist, what state they are in, and how to get their tokens.

The control database is opened at the first call.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    bindparam,
    case,
    delete,
    func,
    insert,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from mail_ingest.accounts.account import (
    Account,
    AccountState,
    Look,
    PrivacySettings,
    Standing,
    account_id_of,
    group_of,
)
from mail_ingest.accounts.budgets import BudgetStores
from mail_ingest.accounts.credentials import DEFAULT_PROJECT, Credential, project_of
from mail_ingest.accounts.database import of_another_deployment, open_database
from mail_ingest.accounts.erasures import Erasures, forget_account, mark_anew
from mail_ingest.accounts.hash_secret import HashSecret
from mail_ingest.accounts.references import References
from mail_ingest.accounts.requests import Requests, end_requests, forget_requests
from mail_ingest.accounts.rotation import Rotation, hold_keys, keys_in_use, rotate
from mail_ingest.accounts.schedules import Schedule
from mail_ingest.accounts.sealing import Sealer
from mail_ingest.accounts.shared_tokens import SharedToken
from mail_ingest.accounts.states import ERASED
from mail_ingest.accounts.tables import access_tokens, accounts, deployment
from mail_ingest.accounts.tokens import TokenSource, token_source
from mail_ingest.accounts.waiting import after_failure, fresh_start
from mail_ingest.accounts.watches import NO_WATCH, Watches, is_pushed
from mail_ingest.errors import ConfigError
from mail_ingest.folders import guard
from mail_ingest.privacy import Policy, Tier
from mail_ingest.settings import Settings

KEY_FILE = "credentials.key"
"""Under home; made when the first credentials are stored and `MAIL_INGEST_KEY` is empty."""

Accounts = list[Account]
Looks = list[Look]

_COLUMNS = [accounts.c[field.name] for field in fields(Account)]
_OF_STANDING = [
    accounts.c[name]
    for name in ("account_id", "state", "account_group", "privacy", "push", "watch_expires_at", "last_push_at")
]
_REGISTERED = accounts.c.state != "removed"
_UNMEASURED = dict.fromkeys(("owner_active_at", "messages_last_day", "messages_last_week", "last_push_at"))
#: What an account whose data were erased keeps nothing of: its group, names of its labels, what was measured of its owner.
_FORGOTTEN: dict[str, Any] = {"account_group": None, "include_labels": "", "exclude_labels": "", **_UNMEASURED}


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
        self._references = References(settings.secrets_url)
        self._sealer = Sealer(settings.key, settings.home / KEY_FILE, self._references)
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._is_ours = False
        self._tokens: dict[tuple[str, str], TokenSource] = {}
        self.requests = Requests(self._reading, self._writing, now, settings.keep.requests)
        self.watches = Watches(self._reading, self._writing, now)
        self.budget_stores = BudgetStores(settings.control, self._writing)
        self._hash_secret = HashSecret(self._reading, self._writing, self._sealer)
        self.erasures = Erasures(self._reading, self._writing, self._sealer, now)

    def add(
        self,
        address: str,
        credential: Credential,
        *,
        shard: int | None = None,
        content_since: str = "all",
        raw_archive: bool = True,
        account_group: str = "",
        discovered_from: str = "",
        privacy: PrivacySettings = PrivacySettings(),  # noqa: B008  frozen
    ) -> Account:
        """Registers a mailbox, without calling Gmail. It gets the first shard that has room; one that was removed comes back, on
        its old one. Where sign-in mail is left out of it, its next sync looks for such mail among what was kept.

        Raises ConfigError where the address is none, or is registered already.
        """
        account_id = account_id_of(address)
        self._sealer.prepare()
        now = self._now()
        values: dict[str, Any] = {
            "address": address.strip(),
            "created_at": now,
            "content_since": content_since,
            "include_chats": True,
            "include_drafts": True,
            "raw_archive": raw_archive,
            "account_group": group_of(account_group),
            "discovered_from": discovered_from,
            "buys_again": False,
            "agreed_privacy": None,
            **privacy.values(),
            **fresh_start(now),
        }
        try:
            with self._writing().begin() as connection:
                values |= self._sealed(connection, account_id, credential)
                returning = update(accounts).where(accounts.c.account_id == account_id, ~_REGISTERED).values(**values)
                if connection.execute(returning).rowcount == 0:
                    its = self._shard_with_room(connection) if shard is None else shard
                    connection.execute(insert(accounts).values(account_id=account_id, shard=its, **values))
                    return _read(connection, account_id)
                account = _read(connection, account_id)
                if not account.sign_in_mail:
                    mark_anew(connection, account_id, now)
                return account
        except IntegrityError:
            raise ConfigError(
                f"the account {account_id} is registered already; `mail-ingest account set` changes it, and `mail-ingest "
                "account connect` gives it a new consent"
            ) from None

    def change(
        self,
        address: str,
        *,
        content_since: str | None = None,
        raw_archive: bool | None = None,
        account_group: str | None = None,
        schedule: Schedule | None = None,
        push: bool | None = None,
        privacy: PrivacySettings = PrivacySettings(),  # noqa: B008  frozen
        buys_again: bool | None = None,
        agreed_privacy: Tier | None = None,
        rewrites: bool = False,
    ) -> None:
        """Changes the group, the schedule, whether Gmail is to publish changes, and what is bought and kept from now on; None
        leaves a setting as it is, and an empty group takes the account out of its own. `agreed_privacy` goes with `buys_again`:
        the tier that it is about. `rewrites`: what is stored is to be rewritten by these settings; its next sync does that, if
        nobody does before."""
        given: dict[str, Any] = {
            "content_since": content_since,
            "raw_archive": raw_archive,
            "schedule": schedule,
            "push": push,
            "buys_again": buys_again,
        }
        values = {name: value for name, value in given.items() if value is not None} | privacy.values()
        if account_group is not None:
            values["account_group"] = group_of(account_group)
        if buys_again is not None:
            values["agreed_privacy"] = agreed_privacy if buys_again else None
        account_id = address.strip().lower()
        with self._writing().begin() as connection:
            _update(connection, account_id, values)
            if rewrites:
                mark_anew(connection, account_id, self._now())

    def end_agreement(self, account: Account) -> None:
        """Forgets that a person agreed to buy again what is stored in a stricter form, unless its privacy was changed since
        `account` was read: that is another agreement."""
        same = (accounts.c[name] == getattr(account, name) for name in ("attachments", "sign_in_mail"))
        tier = accounts.c.privacy.is_not_distinct_from(account.privacy)
        is_this = (accounts.c.account_id == account.account_id, tier, *same)
        ended = update(accounts).where(*is_this).values(buys_again=False, agreed_privacy=None)
        with self._writing().begin() as connection:
            connection.execute(ended)

    def reconnect(self, address: str, credential: Credential) -> None:
        """Gives an account other credentials and makes it active again, whatever had stopped it. It goes on from its
        cursor."""
        account_id = account_id_of(address)
        self._sealer.prepare()
        with self._writing().begin() as connection:
            sealed = self._sealed(connection, account_id, credential)
            _update(connection, account_id, {**sealed, **fresh_start(self._now())})

    def get(self, address: str) -> Account:
        """One account, in any state but removed."""
        with self._reading().begin() as connection:
            return _read(connection, address.strip().lower())

    def among(self, account_ids: Sequence[str]) -> Accounts:
        """Those of these accounts that are registered, by account_id."""
        return self._select(accounts.c.account_id.in_(account_ids) & _REGISTERED)

    def find(self, address: str) -> Account:
        """One account, in any state. Raises ConfigError where it was never registered, or was erased."""
        found = self._select(accounts.c.account_id == address.strip().lower())
        if not found:
            raise _not_registered(address.strip().lower())
        return found[0]

    def list(self, *states: AccountState, groups: Sequence[str] = ()) -> Accounts:
        """The accounts in these states, by account_id; without states, all that were not removed. `groups` leaves out
        those of other groups, and those of none."""
        return self._select((accounts.c.state.in_(states) if states else _REGISTERED) & _in_groups(groups))

    def states(self) -> dict[str, Standing]:
        """How every account stands that was ever registered and not erased, by account_id."""
        with self._reading().begin() as connection:
            rows = connection.execute(select(*_OF_STANDING)).all()
        return {row.account_id: self.standing(row) for row in rows}

    def standing(self, account: Account | Row[Any]) -> Standing:
        """How an account stands, with what the deployment adds. A row has the columns that it takes."""
        return Standing(
            account.state,
            account.account_group,
            account.privacy or self._settings.privacy,
            account.state != "removed" and is_pushed(account.push, self._settings.push_topic),
            account.watch_expires_at,
            account.last_push_at,
        )

    def projects(self) -> dict[str, str]:
        """The Google project of every account that was not removed, by account_id."""
        with self._reading().begin() as connection:
            rows = connection.execute(select(accounts.c.account_id, accounts.c.project).where(_REGISTERED)).all()
        return {row.account_id: row.project for row in rows}

    def policy(self, account: Account, *, privacy: PrivacySettings | None = None, needs_key: bool = True) -> Policy:
        """What may be stored of an account, or could be with other settings. `needs_key`: false where nothing is to be hashed.

        Raises ConfigError where the tier is `hashed`, and the secret of the hashes is needed and cannot be decrypted.
        """
        changed = privacy.applied_to(account) if privacy else account
        tier = changed.privacy or self._settings.privacy
        return Policy(
            tier=tier,
            attachments=changed.attachments,
            sign_in_mail=changed.sign_in_mail,
            raw_archive=changed.raw_archive,
            include_labels=tuple(changed.include_labels.splitlines()),
            exclude_labels=tuple(changed.exclude_labels.splitlines()),
            hash_key=self._hash_secret.key() if tier == "hashed" and needs_key else b"",
        )

    def known_hash_key(self) -> bytes | None:
        """The same, None where nothing was ever hashed under it."""
        return self._hash_secret.known_key()

    def hash_key(self) -> bytes:
        """The key of all address hashes of this deployment; secret."""
        return self._hash_secret.key()

    def groups(self) -> set[str]:
        """The groups that accounts are in, removed ones left out."""
        with self._reading().begin() as connection:
            named = select(accounts.c.account_group).where(_REGISTERED, accounts.c.account_group.is_not(None))
            return set(connection.execute(named.distinct()).scalars())

    def shards(self, schedules: Sequence[Schedule] = ()) -> Sequence[int]:
        """The shards that accounts are on, removed ones left out; `schedules` leaves out accounts with another one."""
        scheduled = accounts.c.schedule.in_(schedules) if schedules else true()
        with self._reading().begin() as connection:
            found = select(accounts.c.shard).where(_REGISTERED, scheduled).distinct().order_by(accounts.c.shard)
            return [*connection.execute(found).scalars()]

    def move(self, address: str, shard: int) -> None:
        """Puts an account on another shard. Its cursor has to be there already; see `ingest.moving`."""
        self._set(address, shard=shard)

    def due(
        self, groups: Sequence[str] = (), schedules: Sequence[Schedule] = (), shards: Sequence[int] = ()
    ) -> Accounts:
        """The accounts to be synced now: active ones whose time has come, and those that have cooled down. `schedules`
        and `shards` leave out those with or on another one."""
        now = self._now()
        is_time = or_(accounts.c.next_due_at.is_(None), accounts.c.next_due_at <= now)
        has_cooled = (accounts.c.state == "cooling_down") & (accounts.c.resume_at <= now)
        scheduled = accounts.c.schedule.in_(schedules) if schedules else true()
        on_shards = accounts.c.shard.in_(shards) if shards else true()
        is_due = ((accounts.c.state == "active") & is_time) | has_cooled
        return self._select(is_due & _in_groups(groups) & scheduled & on_shards)

    def looks(self) -> Looks:
        """When Gmail was last asked about each account that was not removed, by account_id; without those that are synced
        on demand alone."""
        columns = [accounts.c.account_id, accounts.c.state, accounts.c.last_checked_at, accounts.c.created_at]
        scheduled = _REGISTERED & (accounts.c.schedule != "off")
        with self._reading().begin() as connection:
            rows = connection.execute(select(*columns).where(scheduled).order_by(accounts.c.account_id)).all()
        return [Look(*row) for row in rows]

    def note_traffic(self, traffic: Mapping[str, tuple[int, int]]) -> None:
        """Notes how many messages accounts had within a day and a week, by account_id."""
        if not traffic:
            return
        values: dict[str, Any] = {"messages_last_day": bindparam("day"), "messages_last_week": bindparam("week")}
        of_account = update(accounts).where(accounts.c.account_id == bindparam("of")).values(**values)
        rows = [{"of": account_id, "day": day, "week": week} for account_id, (day, week) in traffic.items()]
        with self._writing().begin() as connection:
            connection.execute(of_account, rows)

    def remove(self, address: str, reason: str = "") -> None:
        """Forgets the credentials and leaves the account out of everything; its rows in the warehouse stay."""
        account_id = address.strip().lower()
        with self._writing().begin() as connection:
            values = {"state": "removed", "state_reason": reason, "state_since": self._now(), "credential": ""}
            values |= {**NO_WATCH, "push": None, "push_history_id": None}
            _update(connection, account_id, values)
            connection.execute(delete(access_tokens).where(access_tokens.c.account_id == account_id))
            end_requests(connection, account_id, "the account was removed", self._now())

    def forget(self, address: str) -> None:
        """Takes the last trace of a removed account out of the control database.

        Of one that a discovery registered the name stays: the next discovery would find it new, and read it again.
        """
        account_id = address.strip().lower()
        is_this = (accounts.c.account_id == account_id) & ~_REGISTERED
        with self._writing().begin() as connection:
            if connection.execute(select(accounts.c.account_id).where(is_this)).first() is not None:
                forget_requests(connection, account_id)
            connection.execute(delete(accounts).where(is_this, accounts.c.discovered_from == ""))
            connection.execute(update(accounts).where(is_this).values(state_reason=ERASED, **_FORGOTTEN))
            forget_account(connection, account_id)

    def pause(self, address: str, reason: str = "") -> None:
        """Leaves the account out of syncs until it is resumed."""
        self.set_state(address, "paused", reason)

    def resume(self, address: str) -> None:
        """Makes the account active again, whatever stopped it, and due at once."""
        self._set(address, **fresh_start(self._now()))

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
        self._set(address, **_all_is_well(self._now()), next_due_at=next_due_at)

    def all_checked(self, account_ids: Sequence[str]) -> None:
        """The same of many accounts, those left out that were removed meanwhile."""
        self._set_all(account_ids, **_all_is_well(self._now()), next_due_at=None)

    def sync_started(self, address: str) -> None:
        """Notes that a sync is under way."""
        self._set(address, last_sync_started_at=self._now())

    def syncs_started(self, account_ids: Sequence[str]) -> None:
        """The same of many accounts."""
        self._set_all(account_ids, last_sync_started_at=self._now())

    def sync_finished(
        self,
        address: str,
        outcome: str,
        *,
        error: BaseException | None = None,
        next_due_at: datetime | None = None,
        owner_active_at: datetime | None = None,
        counts: bool = True,
    ) -> None:
        """Notes how a sync ended (`success`, `partial`, `failed`, `cancelled`), and lets an account that keeps failing wait.

        Failures in a row are counted, and waited for as `waiting` says; from the fifth on an active account is
        `cooling_down` until a sync goes well. `counts`: whether this failure says anything about the account; a full disk
        does not. A cancelled sync says nothing about it either. `owner_active_at`: when the sync saw that the mailbox's owner
        had read or sent something; None where it saw nothing of it.
        """
        now = self._now()
        values: dict[str, Any] = {
            "last_sync_finished_at": now,
            "last_outcome": outcome,
            "last_error_class": None if error is None else type(error).__name__,
            "next_due_at": next_due_at,
        }
        if owner_active_at is not None:
            values["owner_active_at"] = owner_active_at
        account_id = address.strip().lower()
        with self._writing().begin() as connection:
            row = connection.execute(
                select(accounts.c.state, accounts.c.consecutive_failures)
                .where(accounts.c.account_id == account_id, _REGISTERED)
                .with_for_update()
            ).one_or_none()
            if row is None:
                raise _not_registered(account_id)
            if outcome == "cancelled":
                del values["next_due_at"]
            elif outcome != "failed":
                values |= {"last_checked_at": now, "consecutive_failures": 0}
                if row.state == "cooling_down":
                    values |= {"state": "active", "state_since": now, "resume_at": None}
                if row.state in ("active", "cooling_down"):
                    values["state_reason"] = ""
            elif counts:
                values |= after_failure(row.state, row.consecutive_failures + 1, values["last_error_class"], now)
            connection.execute(update(accounts).where(accounts.c.account_id == account_id).values(**values))

    def token_source(self, address: str) -> TokenSource:
        """Where the account's tokens come from; the same object as long as its credentials are the same.

        Raises ConfigError where the credentials cannot be decrypted. Calls nobody but the place where the keys are kept, and
        raises ServerError where that fails in passing.
        """
        with self._reading().begin() as connection:
            account = _read(connection, address.strip().lower())
            sealed = _sealed_credential(connection, account.account_id)
        key = (account.account_id, sealed)
        with self._lock:
            if key in self._tokens:
                return self._tokens[key]
        content = self._sealer.open(account.account_id, sealed)
        credential = Credential.from_bytes(account.credential_kind, content)
        if account.project == DEFAULT_PROJECT != project_of(credential):
            # registered by a version that knew of no projects
            self._set(account.account_id, project=project_of(credential))
        source = token_source(
            account.account_id,
            credential,
            references=self._references,
            shared=SharedToken(account.account_id, self._sealer, self._writing),
        )
        with self._lock:
            if key not in self._tokens:
                # what was built on earlier credentials is of no use any more
                self._tokens = {known: old for known, old in self._tokens.items() if known[0] != key[0]}
                self._tokens[key] = source
            return self._tokens[key]

    def rotate_keys(self) -> Rotation:
        """Encrypts all credentials anew with the newest key, which a key file gets for it. Others may read and write
        meanwhile. What no key opens stays as it is, and is named."""
        return rotate(self._writing(), self._sealer)

    def keys_in_use(self) -> dict[str, int]:
        """How many credentials each key has sealed, by key id."""
        return keys_in_use(self._reading())

    def check_deployment(self) -> None:
        """Raises ConfigError where the database belongs to another deployment: said before anything is started or erased."""
        self._writing()

    def close(self) -> None:
        """Lets the database connections go; the next call opens them again."""
        self.budget_stores.close()
        with self._lock:
            if self._engine is not None:
                self._engine.dispose()
                self._engine = None

    def _shard_with_room(self, connection: Connection) -> int:
        """The first shard with fewer accounts than `shard_size`, removed ones counted: they may come back."""
        counted = select(accounts.c.shard, func.count()).group_by(accounts.c.shard)
        sizes = {shard: int(size) for shard, size in connection.execute(counted)}
        return next(shard for shard in itertools.count() if sizes.get(shard, 0) < self._settings.shard_size)

    def _sealed(self, connection: Connection, account_id: str, credential: Credential) -> dict[str, str]:
        hold_keys(connection)
        return {
            "credential_kind": credential.kind,
            "project": project_of(credential),
            "credential": self._sealer.seal(account_id, credential.to_bytes()),
        }

    def _select(self, wanted: ColumnElement[bool]) -> Accounts:
        with self._reading().begin() as connection:
            rows = connection.execute(select(*_COLUMNS).where(wanted).order_by(accounts.c.account_id)).all()
        return [_account(row) for row in rows]

    def _set(self, address: str, **values: Any) -> None:
        with self._writing().begin() as connection:
            _update(connection, address.strip().lower(), values)

    def _set_all(self, account_ids: Sequence[str], **values: Any) -> None:
        with self._writing().begin() as connection:
            chosen = accounts.c.account_id.in_(account_ids) & _REGISTERED
            connection.execute(update(accounts).where(chosen).values(**values))

    def _reading(self) -> Engine:
        with self._lock:
            if self._engine is None:
                guard(self._settings.home)
                self._engine = open_database(self._settings.control, self._settings.env)
            return self._engine

    def _writing(self) -> Engine:
        """The engine, once it is certain that this deployment owns the database."""
        engine = self._reading()
        if not self._is_ours:
            ours = self._settings.env
            owner = _owner(engine, ours, self._now())
            if owner != ours:
                raise of_another_deployment(owner, ours)
            self._is_ours = True
        return engine


def _all_is_well(now: datetime) -> dict[str, Any]:
    return {
        "last_checked_at": now,
        "consecutive_failures": 0,
        "state_reason": case((accounts.c.state == "active", ""), else_=accounts.c.state_reason),
    }


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


def _update(connection: Connection, account_id: str, values: dict[str, Any]) -> None:
    changed = connection.execute(
        update(accounts).where(accounts.c.account_id == account_id, _REGISTERED).values(**values)
    )
    if changed.rowcount != 1:
        raise _not_registered(account_id)


def check_groups(registry: Registry, groups: Sequence[str]) -> None:
    """Raises ConfigError for a group that no account is in."""
    known = registry.groups() if groups else set()
    for group in groups:
        if group not in known:
            raise ConfigError(f"no account is in the group {group!r}; `mail-ingest account list` shows the groups")


def _in_groups(groups: Sequence[str]) -> ColumnElement[bool]:
    return accounts.c.account_group.in_(groups) if groups else true()


def _not_registered(account_id: str) -> ConfigError:
    return ConfigError(f"the account {account_id} is not registered; `mail-ingest account list` shows those that are")


def _account(row: Row[Any]) -> Account:
    return Account(**row._mapping)
