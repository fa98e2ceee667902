"""Reparsing: rows of an older parser are made again from the archived bytes, without Gmail.

    outdated rows (warehouse) -> their packs -> parser -> rows on disk -> one load package

Content is bought once and parsed as often as the parser improves. A package is bounded like one of a drain, and made under
the same content lock, so that the two take turns. What is outdated is asked of the warehouse each time: a killed reparse
goes on after the last loaded package. What cannot be read, or breaks the newer parser, keeps the rows it has.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING

from mail_ingest import mime
from mail_ingest.accounts import Account
from mail_ingest.errors import BusyError, MailIngestError, stack_of
from mail_ingest.ingest import failures
from mail_ingest.ingest.content import PACKAGE_BYTES, PACKAGE_MESSAGES, replace_parts
from mail_ingest.ingest.heap import lean_heap
from mail_ingest.ingest.left_out import finish_taking_away, take_away
from mail_ingest.ingest.loading import Package
from mail_ingest.ingest.pipelines import replacing_pipeline
from mail_ingest.ingest.privacy import private_rows
from mail_ingest.ingest.run import OnProgress, Progress
from mail_ingest.sources.batches import RowBuffer
from mail_ingest.sources.content import UNPARSED_VERSION, ContentRows
from mail_ingest.sources.landing import REPARSE_SOURCE
from mail_ingest.sources.tables import FETCH_FAILURES
from mail_ingest.warehouse.archive import DamagedPackError
from mail_ingest.warehouse.reparsing import Outdated, count_outdated, outdated
from mail_ingest.warehouse.spool import Spool

if TYPE_CHECKING:
    from mail_ingest.ingest.engine import Engine

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Reparsed:
    """What a reparse of one account did, in messages.

    `parsed` have rows of the present parser now, `unparsed` it could not read. `without_bytes` were stored while the
    archive was off (or it is off now), `unreadable` are in packs that are missing or damaged. `left_out` were stored, and nothing
    of them may be, as the newer parser has told.
    """

    account_id: str
    parser_version: int
    parsed: int = 0
    unparsed: int = 0
    without_bytes: int = 0
    unreadable: int = 0
    left_out: int = 0
    error: str = ""
    is_busy: bool = False

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "error": self.error or None}


def reparse_accounts(engine: Engine, accounts: Iterable[Account], on_progress: OnProgress) -> list[Reparsed]:
    """Reparses accounts one after another. One account's failure (`error`), or another process that holds its content
    (`is_busy` as well), is in its own result alone."""
    results = []
    for account in accounts:
        reparse = Reparse(engine, account.account_id, on_progress)
        try:
            reparse.run()
        except MailIngestError as error:
            reparse.done.error, reparse.done.is_busy = str(error), isinstance(error, BusyError)
        except Exception as error:  # noqa: BLE001  the other accounts must have their turn
            # its message may quote mail, its stack does not
            stack = stack_of(error)
            logger.error("unexpected %s in the reparse of %s\n%s", type(error).__name__, account.account_id, stack)
            reparse.done.error = f"The reparse of {account.account_id} ended with an unexpected {type(error).__name__}."
        results.append(reparse.done)
    if any(result.parsed or result.left_out for result in results):
        engine.keep_analyst_tables()
    return results


class Reparse:
    """Brings the content rows of one account up to the present parser: all of them, those of `message_ids`, or
    (`only_unparsed`) those that no parser could read so far."""

    def __init__(
        self,
        engine: Engine,
        account_id: str,
        on_progress: OnProgress,
        *,
        message_ids: Sequence[str] = (),
        only_unparsed: bool = False,
    ) -> None:
        self._engine = engine
        self._account_id = account_id
        self._on_progress = on_progress
        self._message_ids = message_ids
        self._version = UNPARSED_VERSION + 1 if only_unparsed else mime.PARSER_VERSION
        self._keep_html = engine.settings.html == "warehouse"
        self._pipeline = replacing_pipeline(account_id)
        #: Messages that stay outdated whatever this reparse does; 0.1 KB each.
        self._left: set[str] = set()
        self.done = Reparsed(account_id, mime.PARSER_VERSION)

    def run(self) -> Reparsed:
        """Reparses package by package. Raises BusyError, WarehouseError; what was loaded before stays."""
        if self._engine.archive.enabled:
            with lean_heap() as tidy:
                while self._one_package():
                    tidy()
            if self.done.left_out:
                finish_taking_away(self._engine, self._account_id)
        self.done.without_bytes = count_outdated(
            self._engine.warehouse,
            self._account_id,
            self._version,
            message_ids=self._message_ids,
            without_pack=self._engine.archive.enabled,
        )
        return self.done

    def _one_package(self) -> bool:
        """Reparses and loads one package; whether there may be more."""
        with self._engine.locks.hold_in_turn(f"content:{self._account_id}"):
            policy = self._engine.policy(self._account_id)
            if not policy.keeps_bytes:
                return False  # what is still in the archive is about to go
            # first: what a killed reparse had made and not loaded must not come after what is made now
            self._engine.pipelines.finish_pending(self._pipeline)
            rows = outdated(
                self._engine.warehouse,
                self._account_id,
                self._version,
                limit=PACKAGE_MESSAGES,
                message_ids=self._message_ids,
                without=self._left,
            )
            if not rows:
                return False
            with Spool(self._engine.spool_folder) as spool:
                people = self._engine.erased_people(self._account_id)
                content = ContentRows(
                    self._account_id,
                    spool.write,
                    keep_html=self._keep_html,
                    private=private_rows(policy),
                    rewrite=people.take_out_of if people is not None else None,
                )
                read: list[str] = []
                for pack, wanted in groupby(rows, key=lambda row: row.raw_pack):
                    if spool.size_bytes >= PACKAGE_BYTES:
                        break
                    read += self._read_pack(pack, list(wanted), content, spool)
                content.flush()
                if content.left_out:
                    take_away(self._engine, self._account_id, content.left_out)
                    self._left.update(content.left_out)
                    self.done.left_out += len(content.left_out)
                    read = [message_id for message_id in read if message_id not in content.left_out]
                self._note_outcomes(read, content.unparsed, spool)
                self._load(spool)
        return True

    def _read_pack(self, pack: str, rows: list[Outdated], content: ContentRows, spool: Spool) -> list[str]:
        """Parses the wanted messages of a pack until the package is full; the ids of those that were read.

        A package that ends within a pack leaves the rest outdated, so it comes again with the next.
        """
        wanted = {row.message_id: row for row in rows}
        read: list[str] = []
        self._engine.warehouse.let_go()
        try:
            for archived in self._engine.archive.read_pack(pack):
                row = wanted.get(archived.message.message_id)
                if row is None or archived.sha256 != row.sha256 or not archived.is_intact:
                    continue
                del wanted[row.message_id]
                content.add(
                    archived.message,
                    fetched_at=row.fetched_at,
                    sha256=row.sha256,
                    raw_pack=pack,
                    source=row.source,
                    # columns of an older parser are worth more than none
                    stand_in=row.parser_version <= UNPARSED_VERSION,
                )
                read.append(row.message_id)
                done = self.done.parsed + self.done.unparsed + len(read)
                self._on_progress(Progress(self._account_id, "reparsed", done, None))
                if spool.size_bytes >= PACKAGE_BYTES:
                    return read
        except (DamagedPackError, FileNotFoundError) as error:
            what = str(error) if isinstance(error, DamagedPackError) else f"pack {pack} of the raw archive is missing"
            logger.error("%s; the rows that point into it stay as they are", what)
        self._left.update(wanted)
        self.done.unreadable += len(wanted)
        return read

    def _note_outcomes(self, read: list[str], unparsed: dict[str, str], spool: Spool) -> None:
        """Rows of failures that were, or are now, and the placeholders that let go parts of before."""
        earlier = self._engine.queries.failures(self._account_id, read)
        buffer = RowBuffer(FETCH_FAILURES, spool.write)
        now = datetime.now(UTC)
        for message_id in read:
            before = earlier.get(message_id)
            if message_id in unparsed:
                buffer.add(failures.unparsed(self._account_id, message_id, unparsed[message_id], before, now)[0])
            elif before is not None:
                buffer.add(failures.resolved(self._account_id, message_id, before, now))
        buffer.flush()
        replace_parts(spool.write, self._account_id, read, unparsed, keep_html=self._keep_html)
        self._left.update(unparsed)
        self.done.unparsed += len(unparsed)
        self.done.parsed += len(read) - len(unparsed)

    def _load(self, spool: Spool) -> None:
        if spool.rows:
            self._engine.load(Package(self._pipeline, REPARSE_SOURCE, spool))
