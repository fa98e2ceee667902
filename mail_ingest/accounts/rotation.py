"""Changing keys: every stored value is encrypted anew with the first key, while other processes read and write them.

With a key file, in this order: a new key becomes its first one, values are encrypted anew one by one, and keys that no
value needs any more are taken out. A process may die at any point; the next rotation ends what that one began. With
`MAIL_INGEST_KEY` the keys are the operator's, and only the values change.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from filelock import FileLock
from sqlalchemy import Column, ColumnElement, Connection, Engine, Table, func, select, update

from mail_ingest.accounts.keys import key_id, key_of, new_key
from mail_ingest.accounts.sealing import Purpose, Sealer
from mail_ingest.accounts.tables import access_tokens, accounts, deployment, erasure_secrets, hash_secrets
from mail_ingest.errors import ConfigError
from mail_ingest.folders import make_private

logger = logging.getLogger(__name__)

_PAGE = 200
#: What is sealed: the table, its column, and what the values are for. Each row's `account_id` is bound into its value.
_SEALED: tuple[tuple[Table, Column[str], Purpose], ...] = (
    (accounts, accounts.c.credential, "credential"),
    (access_tokens, access_tokens.c.sealed, "access token"),
    (hash_secrets, hash_secrets.c.sealed, "hash secret"),
    (erasure_secrets, erasure_secrets.c.sealed, "erasure secret"),
)

_SECRETS: Mapping[Purpose, str] = {
    "hash secret": "the secret of the address hashes of the tier hashed",
    "erasure secret": "the secret by which mail of erased people is kept out",
}
"""What belongs to no account, as people are told of it."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a rotation did.

    `key_id`: the key that all new values use; `resealed`: values that were encrypted anew; `unopened`: accounts whose
    credentials none of the keys opens, which stay as they are, and `unopened_secrets` what else none opens, in words for people;
    `retired`: keys that were taken out of the key file;
    `in_use`: how many credentials each key has sealed.
    """

    key_id: str
    made_key: bool
    resealed: int
    unopened: tuple[str, ...]
    unopened_secrets: tuple[str, ...]
    retired: tuple[str, ...]
    in_use: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class _Resealed:
    """How many credentials were encrypted anew, and what did not open: accounts whose credentials, and secrets."""

    values: int
    accounts: tuple[str, ...]
    secrets: tuple[str, ...]


def rotate(engine: Engine, sealer: Sealer) -> Rotation:
    """Encrypts all values anew with the first key, which a key file gets for it.

    Raises ConfigError where the keys cannot be read; nothing is lost then, nor where values cannot be opened.
    """
    file = sealer.keys.file
    if file is None:
        done = _reseal(engine, sealer)
        first = key_id(sealer.keys.all()[0])
        return Rotation(first, False, done.values, done.accounts, done.secrets, (), keys_in_use(engine))
    make_private(file.path.parent)
    with FileLock(f"{file.path}.lock", mode=0o600):
        done = _reseal(engine, sealer) if file.read() else _Resealed(0, (), ())
        # what a rotation that died had left to do, if there was one: its key is new enough
        made_key = not (done.values or _retire(engine, sealer))
        if made_key:
            file.write([new_key(), *file.read()])
            done = _reseal(engine, sealer)
        retired = _retire(engine, sealer)
        first = key_id(sealer.keys.all()[0])
        in_use = keys_in_use(engine)
        return Rotation(first, made_key, done.values, done.accounts, done.secrets, tuple(retired), in_use)


def keys_in_use(engine: Engine) -> dict[str, int]:
    """How many values (credentials, access tokens, other secrets) each key has sealed, by key id."""
    with engine.begin() as connection:
        return _in_use(connection)


def hold_keys(connection: Connection) -> None:
    """Keeps keys from being taken away until the transaction ends; to be called before a value is sealed in it.

    SQLite's transactions exclude each other anyway.
    """
    connection.execute(select(deployment.c.id).with_for_update(read=True))


def _reseal(engine: Engine, sealer: Sealer) -> _Resealed:
    """Encrypts values of other keys than the first anew.

    A value that somebody changes meanwhile is left to them: it is written only over the one that was read.
    """
    first = key_id(sealer.keys.all(make=True)[0])
    resealed, unopened, unopened_secrets = 0, [], []
    for table, column, purpose in _SEALED:
        for account_id, sealed in _values_of_other_keys(engine, table, column, first):
            try:
                renewed = sealer.seal(account_id, sealer.open(account_id, sealed, purpose), purpose)
            except ConfigError as error:
                if purpose == "credential":
                    logger.warning("%s", error)
                    unopened.append(account_id)
                elif purpose in _SECRETS:
                    unopened_secrets.append(_SECRETS[purpose])
                continue
            with engine.begin() as connection:
                changed = connection.execute(
                    update(table)
                    .where(table.c.account_id == account_id, column == sealed)
                    .values({column.name: renewed})
                )
            resealed += changed.rowcount if purpose == "credential" else 0
    return _Resealed(resealed, tuple(unopened), tuple(unopened_secrets))


def _values_of_other_keys(engine: Engine, table: Table, column: Column[str], first: str) -> Iterator[tuple[str, str]]:
    after = ""
    while True:
        page = (
            select(table.c.account_id, column)
            .where(column != "", _key_id(column) != first, table.c.account_id > after)
            .order_by(table.c.account_id)
            .limit(_PAGE)
        )
        with engine.begin() as connection:
            rows = connection.execute(page).all()
        if not rows:
            return
        for account_id, sealed in rows:
            yield str(account_id), str(sealed)
        after = rows[-1][0]


def _retire(engine: Engine, sealer: Sealer) -> list[str]:
    """Takes keys out of the key file that no credentials need any more; the ids of those."""
    file = sealer.keys.file
    if file is None:
        return []
    with engine.begin() as connection:
        # waits for transactions in which a value is being sealed, and lets no other begin
        connection.execute(select(deployment.c.id).with_for_update())
        needed = _in_use(connection)
        texts = file.read()
        unneeded = [text for text in texts[1:] if key_id(key_of(text)) not in needed]
        if unneeded:
            file.write([text for text in texts if text not in unneeded])
    return [key_id(key_of(text)) for text in unneeded]


def _in_use(connection: Connection) -> dict[str, int]:
    counts: dict[str, int] = {}
    # access tokens are left out: they are fetched anew
    for column in (accounts.c.credential, hash_secrets.c.sealed, erasure_secrets.c.sealed):
        key = _key_id(column)
        for name, count in connection.execute(select(key, func.count()).where(column != "").group_by(key)):
            counts[str(name)] = counts.get(str(name), 0) + int(count)
    return dict(sorted(counts.items()))


def _key_id(column: Column[str]) -> ColumnElement[str]:
    """The key id within `v1.KEYID.BASE64`."""
    return func.substr(column, 4, 8)
