"""Rewrites what is stored of one account: landing rows, packs of the raw archive, and what dlt has left behind.

    stored rows -> Rewrite -> other rows or none -> one transaction for each package -> packs -> staging tables

Packages hold at most 500 messages or 16 MB of text, packs are rewritten a row group at a time; so memory is bounded by about
100 MB, whatever is stored. A process may die between any two steps: a rewriting is done again from its beginning, and
finds most of it done. What has to stay is written before what it replaces is deleted.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mail_ingest.accounts import Account
from mail_ingest.ingest.erasing.evidence import Evidence
from mail_ingest.ingest.erasing.people import texts_to_read
from mail_ingest.ingest.pipelines import content_pipelines, state_pipeline
from mail_ingest.privacy import Policy
from mail_ingest.sources.stored import STORED_TABLES, Rewrite, StoredMessage
from mail_ingest.sources.tables import DATASET, FETCH_FAILURES, LEFT_OUT_MESSAGES, MESSAGE_PARTS, MESSAGES
from mail_ingest.warehouse.archive import ArchivedMessage, DamagedPackError
from mail_ingest.warehouse.rewriting import StoredRows

if TYPE_CHECKING:
    from mail_ingest.ingest.engine import Engine

logger = logging.getLogger(__name__)

#: A package ends at whichever comes first; one longer message is a package by itself.
PACKAGE_MESSAGES = 500
PACKAGE_CHARACTERS = 16 * 1024 * 1024

#: Whether archived bytes with this text in them have to go; True for all of them, False for none.
Doomed = Callable[[str], bool] | bool


@dataclass(frozen=True, slots=True)
class Instructions:
    """What is to become of stored mail.

    `doomed`: archived bytes that have to go; those of messages that `rewrite` removes, or whose row it points to no pack, go in
    any case. `left_out`: why a message that `rewrite` removes is not bought again, for `gmail.left_out_messages`.
    `candidates`: the messages of an account that `rewrite` can change at all, None for every one of them. `policy`: the account's
    privacy that all of this follows from, None where it follows from something else.
    """

    rewrite: Rewrite
    doomed: Doomed
    left_out: Callable[[StoredMessage], str]
    candidates: Callable[[str], Collection[str] | None] = lambda _: None
    policy: Policy | None = None


@dataclass(slots=True)
class Tally:
    """What was done, or would be: messages, rows by table, packs of the raw archive."""

    messages_removed: int = 0
    messages_changed: int = 0
    rows_removed: Counter[str] = field(default_factory=Counter)
    rows_changed: Counter[str] = field(default_factory=Counter)
    packs_rewritten: int = 0
    packs_deleted: int = 0
    packs_unreadable: int = 0

    def count(self, old: StoredMessage, new: StoredMessage | None) -> None:
        self.messages_removed += new is None
        self.messages_changed += new is not None
        for table in STORED_TABLES:
            before, after = old.rows(table), () if new is None else new.rows(table)
            name = f"{DATASET}.{table.name}"
            self.rows_removed[name] += len(before) - len(after)
            self.rows_changed[name] += sum(row not in before for row in after)


class AccountRows:
    """Rewrites one account. The caller holds its account and content locks, but for `plan`."""

    def __init__(
        self, engine: Engine, account: Account, instructions: Instructions, evidence: Evidence, tally: Tally
    ) -> None:
        self._engine = engine
        self._account = account
        self._account_id = account.account_id
        self._instructions = instructions
        self._evidence = evidence
        self._tally = tally
        self._rows = StoredRows(engine.warehouse, DATASET, STORED_TABLES)

    def plan(self) -> None:
        """Counts what would be done, and takes strings that have to go; writes nothing."""
        for old, new in self._changes():
            self._tally.count(old, new)
            self._evidence.note(old, new)

    def run(self) -> None:
        """Rewrites rows, then packs. Raises BusyError, WarehouseError; what was rewritten before stays rewritten."""
        engine, account_id = self._engine, self._account_id
        if engine.warehouse.exists:
            for name in (state_pipeline(self._account), *content_pipelines(self._account)):
                # a package that is loaded later would bring rows back
                engine.pipelines.finish_pending(name)
            engine.pipelines.remove_unfinished(account_id, MESSAGES.name, [table.name for table in MESSAGE_PARTS])
            self._rewrite_rows()
        engine.archive.remove_unfinished(account_id)
        self._rewrite_packs()
        for name in content_pipelines(self._account):
            engine.pipelines.empty_staging(name)

    def _rewrite_rows(self) -> None:
        package: list[tuple[StoredMessage, StoredMessage | None]] = []
        characters = 0
        for old, new in self._changes():
            self._tally.count(old, new)
            package.append((old, new))
            characters += len(old.message["body_text"] or "")
            if len(package) >= PACKAGE_MESSAGES or characters >= PACKAGE_CHARACTERS:
                self._write(package)
                package, characters = [], 0
        if package:
            self._write(package)

    def _changes(self) -> Iterator[tuple[StoredMessage, StoredMessage | None]]:
        """Messages that are to be stored in another way, or no more, in the order of their ids."""
        candidates = self._instructions.candidates(self._account_id)
        for message_ids in self._packages(candidates):
            stored = self._rows.read(self._account_id, message_ids)
            # within a sync it would stay open, and nobody should wait for it meanwhile
            self._engine.warehouse.let_go()
            for message_id in message_ids:
                if MESSAGES.name not in stored[message_id]:
                    continue  # parts without their message; a sync takes them back
                old = StoredMessage.of(stored[message_id])
                new = self._instructions.rewrite(old)
                if new is not None and self._instructions.doomed is True:
                    new = _without_bytes(new)
                if new is not None:
                    # also where nothing changes: what has to go of one message may stand in another one that stays
                    self._evidence.stays("\n".join(new.texts()).encode("utf-8", "surrogatepass"))
                if new != old:
                    yield old, new

    def _packages(self, candidates: Collection[str] | None) -> Iterator[list[str]]:
        if candidates is not None:
            ids = sorted(candidates)
            yield from (ids[start : start + PACKAGE_MESSAGES] for start in range(0, len(ids), PACKAGE_MESSAGES))
            return
        last = ""
        while places := self._rows.after(self._account_id, last, PACKAGE_MESSAGES):
            package: list[str] = []
            characters = 0
            for place in places:
                if package and characters + place.characters > PACKAGE_CHARACTERS:
                    break
                package.append(place.message_id)
                characters += place.characters
            last = package[-1]
            yield package

    def _write(self, package: Sequence[tuple[StoredMessage, StoredMessage | None]]) -> None:
        self._engine.locks.check()
        now = datetime.now(UTC)
        rows = {
            old.message_id: {} if new is None else {table.name: new.rows(table) for table in STORED_TABLES}
            for old, new in package
        }
        marks: list[dict[str, Any]] = [
            {
                "account_id": self._account_id,
                "message_id": old.message_id,
                "reason": self._instructions.left_out(old),
                "left_out_at": now,
            }
            for old, new in package
            if new is None
        ]
        self._rows.replace(self._account_id, rows, marks=(LEFT_OUT_MESSAGES, marks), unmarked=FETCH_FAILURES.name)
        self._engine.warehouse.let_go()

    # -- the raw archive ----------------------------------------------------------------------------------------

    def _rewrite_packs(self) -> None:
        archive = self._engine.archive
        if self._instructions.doomed is True:
            self._tally.packs_deleted += archive.erase(self._account_id)
            return
        present = set(archive.packs(self._account_id))
        for path in sorted(present):
            self._engine.locks.check()
            self._engine.warehouse.let_go()
            try:
                self._rewrite_pack(path, present)
            except DamagedPackError as error:
                logger.error("%s; nobody can tell what it holds: delete it if it must not stay", error)
                self._tally.packs_unreadable += 1
        self._tally.packs_unreadable += len(archive.damaged(self._account_id))

    def _rewrite_pack(self, path: str, present: set[str]) -> None:
        """Writes a pack without what has to go, points its rows to the new one, and deletes the old one."""
        archive = self._engine.archive
        message_ids = archive.message_ids(path)
        places = self._rows.places(self._account_id, message_ids)
        # what was left out once and bought since keeps its mark
        left_out = self._rows.ids_in(LEFT_OUT_MESSAGES.name, self._account_id, message_ids) - places.keys()
        doomed: set[str] = set()
        dropped = 0

        def keep(archived: ArchivedMessage) -> bool:
            nonlocal dropped
            message_id = archived.message.message_id
            place = places.get(message_id, path)
            # a row may point elsewhere because of a rewriting that died, or nowhere because its bytes have to go
            if place != path and (place is None or place in present):
                dropped += 1
                return False
            if message_id in left_out or self._is_doomed(archived):
                doomed.add(message_id)
                dropped += 1
                return False
            return True

        self._engine.warehouse.let_go()
        # judged first: most packs hold nothing that has to go, and are left as they are
        for archived in archive.read_pack(path):
            keep(archived)
        if not dropped:
            return
        dropped = 0
        fresh = archive.rewrite(path, self._account_id, keep) if len(doomed) < len(message_ids) else None
        if self._engine.warehouse.exists:
            self._rows.repoint(self._account_id, path, fresh, doomed)
        archive.erase_pack(path)
        self._tally.packs_rewritten += fresh is not None
        self._tally.packs_deleted += fresh is None

    def _is_doomed(self, archived: ArchivedMessage) -> bool:
        doomed = self._instructions.doomed
        if doomed is True:
            return True
        try:
            # twice the message's size in memory, for as long as it is looked at
            texts = [archived.message.snippet, *texts_to_read(archived.message.raw)]
            if doomed and any(doomed(text) for text in texts):
                return True
        except Exception as error:  # noqa: BLE001  one message must not keep all the others
            logger.error(
                "archived message %s of %s cannot be read (%s)%s",
                archived.message.message_id,
                self._account_id,
                type(error).__name__,
                "; nobody can tell whom it mentions, so its bytes go" if doomed else "",
            )
            return bool(doomed)
        for text in texts:
            self._evidence.stays(text.encode("utf-8", "surrogatepass"))
        return False


def _without_bytes(message: StoredMessage) -> StoredMessage:
    if message.message["raw_pack"] is None:
        return message
    return StoredMessage({**message.message, "raw_pack": None}, message.recipients, message.attachments, message.html)
