"""One person's traces: what they wrote goes, and where others wrote to them or of them, their address and name do.

    keep out (from now on) -> mark accounts -> rows and packs, account by account -> files, search, receipt

The person is kept out before anything is rewritten, so a sync beside it brings nothing back. What is known of them afterwards
is a keyed hash of the address.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mail_ingest.accounts import Account
from mail_ingest.accounts.erasures import Rewriting
from mail_ingest.errors import BusyError, ConfigError, MailIngestError
from mail_ingest.ingest.erasing.account_rows import AccountRows, Instructions, Tally
from mail_ingest.ingest.erasing.evidence import Evidence
from mail_ingest.ingest.erasing.people import AT_SIGNS, ErasedPeople
from mail_ingest.ingest.erasing.proof import Proof
from mail_ingest.ingest.erasing.receipts import Erasure, finish, receipt_of
from mail_ingest.ingest.erasing.turns import hold_account
from mail_ingest.privacy import Hasher
from mail_ingest.sources.content import ERASED
from mail_ingest.sources.stored import NOT_CONTENT, STORED_TABLES
from mail_ingest.sources.tables import DATASET, LEFT_OUT_MESSAGES, MESSAGE_RECIPIENTS, MESSAGES

if TYPE_CHECKING:
    from mail_ingest.ingest.engine import Engine

logger = logging.getLogger(__name__)

_ADDRESS = re.compile(r"[^\s@\"\\<>%,;]+@[^\s@'\"\\<>%,;]+\.[^\s@'\"\\<>%,;]+")
#: Names that were seen beside the address; more are no names of one person.
_MOST_NAMES = 200
#: Ids of messages, for as long as an erasure is planned.
_MENTIONS = "mail_ingest.mentions"


class ContactErasure:
    """The erasure of one person: `addresses` in lower case, empty where nothing but the hash is known."""

    def __init__(
        self,
        engine: Engine,
        account_ids: Sequence[str],
        *,
        seed: str,
        is_erased: Callable[[str], bool],
        addresses: Sequence[str] = (),
    ) -> None:
        self._engine = engine
        self.account_ids = account_ids
        self._addresses = addresses
        self._people = ErasedPeople(is_erased)
        self.evidence = Evidence(seed, self._people, addresses)
        self.tally = Tally()
        self._names: set[str] | None = None
        self._has_list = False

    def plan(self) -> None:
        """Takes strings that have to go, out of all accounts. The caller holds the lock `rewriting`."""
        if self._engine.warehouse.exists:
            with self._listed_mentions():
                self._plan(Tally())
                self.evidence.settle()
                self._leave_out_what_stays()

    def count(self) -> Tally:
        """What would be done; writes nothing."""
        if self._engine.warehouse.exists:
            self._plan(self.tally)
        return self.tally

    def _plan(self, tally: Tally) -> None:
        concerned: Collection[str] = self.account_ids
        if self._is_literal():
            with self._engine.warehouse.open() as connection:
                rows = connection.execute(
                    f"select distinct account_id from ({self._mentions()}) as mentions"
                ).fetchall()
            concerned = {row[0] for row in rows}
        for account_id in self.account_ids:
            if account_id in concerned:
                self._rows(self._engine.registry.find(account_id), tally).plan()

    @contextmanager
    def _listed_mentions(self) -> Iterator[None]:
        """Keeps the ids of messages with an address in a table meanwhile: finding them reads all texts that are stored."""
        drop = f"drop table if exists {_MENTIONS}"
        if self._is_literal():
            with self._engine.warehouse.open() as connection:
                connection.execute(drop)
                connection.execute(
                    f"create table {_MENTIONS} as select distinct * from ({self._mentions()}) as mentions"
                )
        self._has_list = self._is_literal()
        try:
            yield
        finally:
            self._has_list = False
            with self._engine.warehouse.open() as connection:
                connection.execute(drop)

    def rewrite(self, account_id: str) -> None:
        """Rewrites one account, under its locks. Raises BusyError where somebody holds it; nothing was changed then."""
        with hold_account(self._engine, account_id):
            self._rows(self._engine.registry.find(account_id), self.tally).run()

    def _rows(self, account: Account, tally: Tally) -> AccountRows:
        names = self._seen_names()
        instructions = Instructions(
            rewrite=lambda message: self._people.take_out_of(message, names),
            doomed=self._people.mentioned_in,
            left_out=lambda _: ERASED,
            candidates=self._candidates,
        )
        return AccountRows(self._engine, account, instructions, self.evidence, tally)

    def _is_literal(self) -> bool:
        """Whether SQL can tell candidates: it has another idea of lower case than Python where letters are not ASCII."""
        return bool(self._addresses) and all(address.isascii() for address in self._addresses)

    def _candidates(self, account_id: str) -> Collection[str] | None:
        """The messages in which an address stands, or may; about 0.1 KB each. None where all have to be read."""
        if not self._is_literal():
            return None
        with self._engine.warehouse.open() as connection:
            rows = connection.execute(
                f"select distinct message_id from ({self._mentions(account_id)}) as mentions"
            ).fetchall()
        return {row[0] for row in rows}

    def _mentions(self, account_id: str = "") -> str:
        """SQL: account and message of each content row in which an address stands, of one account or of all."""
        of_account = "account_id = '{}' and ".format(account_id.replace("'", "''")) if account_id else ""
        if self._has_list:
            return f"select account_id, message_id from {_MENTIONS} where {of_account}true"
        domains = {address.rpartition("@")[2].replace("'", "''") for address in self._addresses}
        spelled = [address.replace("@", sign).replace("'", "''") for address in self._addresses for sign in AT_SIGNS]
        parts = []
        for table in STORED_TABLES:
            texts = [
                f"cast({column.name} as varchar)"
                for column in table.columns
                if column.kind in ("text", "json") and column.name not in NOT_CONTENT
            ]
            line = f"lower(concat_ws(' ', {', '.join(texts)}))"
            # the domain first, which is rare: one search of most texts in place of five
            rare = " or ".join(f"position('{domain}' in {line}) > 0" for domain in sorted(domains))
            exact = " or ".join(f"position('{text}' in {line}) > 0" for text in spelled)
            parts.append(
                f"select account_id, message_id from {DATASET}.{table.name} where {of_account}({rare}) and ({exact})"
            )
        return " union all ".join(parts)

    def _seen_names(self) -> set[str]:
        """Names that headers of any account have paired with an address."""
        if self._names is None:
            self._names = set()
            if self._engine.warehouse.exists:
                with self._engine.warehouse.open() as connection:
                    rows = connection.execute(
                        f"select distinct name from {DATASET}.{MESSAGE_RECIPIENTS.name} where name <> '' "
                        f"and lower(address) in (select unnest(cast(? as varchar[]))) limit {_MOST_NAMES}",
                        [list(self._addresses)],
                    ).fetchall()
                self._names = {row[0] for row in rows}
        return self._names

    def _leave_out_what_stays(self) -> None:
        """Leaves out strings that stand in rows without the address too, of any account, such as what others have quoted."""
        kept = f"where (account_id, message_id) not in ({self._mentions()})" if self._is_literal() else ""
        for table in STORED_TABLES:
            columns = ", ".join(column.name for column in table.columns)
            source = f"(select {columns} from {DATASET}.{table.name} {kept})"
            if kept:
                self._engine.warehouse.search(self._engine.warehouse.text_of(source), self.evidence.stays)


def erase_contact(engine: Engine, address: str, *, in_account: str = "", is_dry_run: bool = False) -> Erasure:
    """Erases one person's traces from all accounts or one, and keeps them out from now on.

    Raises ConfigError for what is no address or a mailbox of its own, BusyError where an account or the warehouse is held: what
    was rewritten before stays, and the same command goes on.
    """
    wanted = address.strip().lower()
    account_ids = _scope(engine, wanted, in_account)
    erasures = engine.registry.erasures
    spellings = _spellings(engine, wanted)
    is_erased = frozenset(spellings).__contains__
    if is_dry_run:
        contact = ContactErasure(engine, account_ids, seed="", is_erased=is_erased, addresses=spellings)
        tally = contact.count()
        return Erasure(receipt_of("contact", "", tally, account_ids, Proof(), [], is_dry_run=True))
    with engine.locks.hold("rewriting"):
        # before anything is rewritten: what comes from now on must not bring it back
        hashed, rewriting_id = erasures.begin_keeping_out(spellings, in_account.strip().lower(), account_ids)
        contact = ContactErasure(engine, account_ids, seed=rewriting_id, is_erased=is_erased, addresses=spellings)
        erasure = _run(engine, contact, rewriting_id, hashed)
    if erasure is None:
        raise MailIngestError(f"accounts were added to {rewriting_id} meanwhile; run the same command again")
    return erasure


def let_in(engine: Engine, address: str, in_account: str = "") -> bool:
    """Lets mail of an erased person come in again; whether they were kept out.

    Nothing tells which messages were theirs, so all that erasures have left out is bought again, and judged anew.
    """
    account_id = in_account.strip().lower()
    ended = [engine.registry.erasures.let_in(spelling, account_id) for spelling in _spellings(engine, address)]
    if not any(ended):
        return False
    if engine.warehouse.exists:
        with engine.warehouse.open() as connection:
            connection.execute(
                f"delete from {DATASET}.{LEFT_OUT_MESSAGES.name} where reason = ? and (? or account_id = ?)",
                [ERASED, not account_id, account_id],
            )
    return True


def finish_contact(engine: Engine, rewriting: Rewriting, account_ids: Sequence[str]) -> Erasure | None:
    """Ends an erasure that died, by the hash alone: these accounts of it, and the files if they were the last.

    The caller holds the lock `rewriting`.
    """
    # whoever is kept out: the hash of the address alone does not know the address that stands in hashed rows
    is_erased = engine.registry.erasures.kept_out(account_ids[0] if account_ids else "") or (lambda _: False)
    contact = ContactErasure(
        engine,
        account_ids,
        seed=rewriting.rewriting_id,
        is_erased=is_erased,
        addresses=_addresses_of(engine, is_erased),
    )
    return _run(engine, contact, rewriting.rewriting_id, rewriting.contact_hash)


def _run(engine: Engine, contact: ContactErasure, rewriting_id: str, hashed: str) -> Erasure | None:
    """Rewrites the accounts, then the files unless others are left; None then."""
    erasures = engine.registry.erasures
    contact.plan()
    busy = []
    for account_id in contact.account_ids:
        try:
            contact.rewrite(account_id)
        except BusyError:
            busy.append(account_id)
            continue
        erasures.rows_done(rewriting_id, account_id)
    if busy:
        raise BusyError(
            f"Other processes hold {', '.join(busy)} and did not let go; the other accounts are done, and nothing of the person "
            "is stored from now on. Run the same command again when they are done, or wait longer with --wait."
        )
    marked = [other for other in erasures.unfinished() if other.rewriting_id == rewriting_id]
    if any(other.rows_done_at is None for other in marked):
        return None
    every = [other.account_id for other in marked]
    return finish(engine, rewriting_id, "contact", contact.evidence, contact.tally, every, subject=hashed)


def _scope(engine: Engine, address: str, in_account: str) -> list[str]:
    """The accounts whose mail is gone through, removed ones included: their data may have been kept."""
    if _ADDRESS.fullmatch(address) is None:
        raise ConfigError("--contact takes one address, such as jane@example.com; nothing was done")
    states = engine.registry.states()
    if address in states:
        raise ConfigError(
            f"{address} is a mailbox that is registered here, and stands in every message of it; nothing was done. "
            f"`mail-ingest erase --account {address}` erases the mailbox, and after that --contact its traces elsewhere"
        )
    if in_account:
        return [engine.registry.find(in_account).account_id]
    return sorted(states)


def _spellings(engine: Engine, address: str) -> list[str]:
    """An address in lower case, and as it stands in rows of the tier `hashed`."""
    wanted = address.strip().lower()
    key = engine.registry.known_hash_key()
    return [wanted] if key is None else [wanted, Hasher(key).address(wanted)]


def _addresses_of(engine: Engine, is_erased: Callable[[str], bool]) -> list[str]:
    """The address that a hash stands for, as long as any header still tells it."""
    if not engine.warehouse.exists:
        return []
    found: set[str] = set()
    with engine.warehouse.open() as connection:
        cursor = connection.cursor()
        cursor.execute(
            f"select distinct lower(address) from {DATASET}.{MESSAGE_RECIPIENTS.name} "
            f"union select distinct lower(from_address) from {DATASET}.{MESSAGES.name}"
        )
        while rows := cursor.fetchmany(10_000):
            found.update(address for (address,) in rows if address and is_erased(address))
        cursor.close()
    return sorted(found)
