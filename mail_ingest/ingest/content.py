"""Content: what is known but not bought yet is fetched newest first, archived, parsed and loaded in bounded packages.

    backlog (warehouse) -> Gmail, format=raw -> raw archive -> rows on disk -> one load package

Bytes reach the archive before their rows are loaded, so a process killed in between has bought nothing twice: packs
that no stored message points into are adopted by the next drain. A failed fetch stays in the backlog, with its attempts
and its next try in `fetch_failures` (see `failures`); a package holds either messages that never failed, or such that
did, or dead letters, in this order, so that nothing waits for what fails. The account's content lock is let go after
every package, to whoever waits for it: a sync of new mail does not wait for the whole of a long backfill.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from mail_ingest.errors import (
    BusyError,
    CancelledError,
    ChangedAnswerError,
    GmailError,
    MessageGoneError,
    ServerError,
    UnreadableAnswerError,
)
from mail_ingest.gmail import GmailClient, RawMessage
from mail_ingest.heap import return_unused
from mail_ingest.ingest import failures
from mail_ingest.ingest.erasing.admission import Admission
from mail_ingest.ingest.erasing.people import ErasedPeople
from mail_ingest.ingest.heap import lean_heap
from mail_ingest.ingest.loading import Load, Package
from mail_ingest.ingest.packs import Packs
from mail_ingest.ingest.pipelines import replacing_pipeline
from mail_ingest.ingest.privacy import Terms, private_rows
from mail_ingest.ingest.run import OnProgress, Progress, SyncRun
from mail_ingest.privacy import Policy
from mail_ingest.sources.batches import RowBuffer
from mail_ingest.sources.content import ContentRows, content_sha256, internal_date
from mail_ingest.sources.landing import CONTENT_SOURCE, REPARSE_SOURCE, placeholder
from mail_ingest.sources.tables import (
    ATTACHMENTS,
    FETCH_FAILURES,
    MESSAGE_HTML,
    MESSAGE_PARTS,
    MESSAGE_RECIPIENTS,
    MESSAGES,
)
from mail_ingest.warehouse.archive import DamagedPackError, RawArchive
from mail_ingest.warehouse.locks import Locks
from mail_ingest.warehouse.pipeline import Pipelines
from mail_ingest.warehouse.queries import Failure, Queries, Scope
from mail_ingest.warehouse.spool import Spool

logger = logging.getLogger(__name__)

#: A package ends at whichever comes first. Memory of a load grows with its rows: about 400 MB at these bounds.
PACKAGE_MESSAGES = 5_000
PACKAGE_BYTES = 32 * 1024 * 1024
#: At Gmail's pace 5,000 messages take a quarter of an hour: people and crashes should not wait that long.
PACKAGE_SECONDS = 300.0
#: Packages between two tidy-ups of the warehouse file (see `Warehouse.merge_row_groups`), which take seconds each.
TIDY_PACKAGES = 20

#: Seconds that a drain waits for its next turn, once it has begun: another process may buy two packages in between.
NEXT_TURN_S = 2 * PACKAGE_SECONDS
#: What `Queries.backlog` ranks last.
_DEAD = 2


@dataclass(frozen=True, slots=True)
class ContentOptions:
    """What one drain may do: at most `max_messages`, within `scope` (which the account's own narrows); where HTML goes.

    What somebody asks for, some dates or the failed messages (`scope.failed`), is tried at once: it does not wait for its
    next try.
    """

    scope: Scope
    max_messages: int | None = None
    keep_html: bool = False

    @property
    def is_asked_for(self) -> bool:
        return bool(self.scope.partitions) or self.scope.failed


class ContentDrain:
    """Buys the backlog of one account."""

    def __init__(
        self,
        client: GmailClient,
        run: SyncRun,
        options: ContentOptions,
        *,
        pipeline: str,
        pending: Sequence[str],
        pipelines: Pipelines,
        load: Load,
        queries: Queries,
        archive: RawArchive,
        locks: Locks,
        spool_folder: Path,
        terms: Callable[[], Terms],
        on_progress: OnProgress,
        on_package: Callable[[], None] = lambda: None,
        erased_people: Callable[[], ErasedPeople | None] = lambda: None,
        take_away: Callable[[Mapping[str, str]], None],
    ) -> None:
        """`terms`: what holds for the account, asked under its content lock before each package, because it may change while
        others hold the lock. `pending`: every pipeline that may hold packages of the account's content, left by a process that
        died. `on_package`: called between two packages, with no lock held. `erased_people`: asked under the content lock whose
        mail is kept out. `take_away`: takes stored messages away, by id with the reason of each."""
        self._client = client
        self._run = run
        self._options = options
        self._account_id = run.account_id
        self._pipeline = pipeline
        self._pending = pending
        self._pipelines = pipelines
        self._load_package = load
        self._queries = queries
        self._raw_archive = self._archive = archive
        self._terms = terms
        self._policy = Policy()
        self._private = private_rows(self._policy)
        self._scope = options.scope
        self._locks = locks
        self._spool_folder = spool_folder
        self._on_progress = on_progress
        self._on_package = on_package
        self._erased_people = erased_people
        self._take_away = take_away
        #: Messages of which this drain has found that nothing may be stored; 0.1 KB each.
        self._left_out: set[str] = set()
        self.has_taken_away = False
        self._retry_failed_before = datetime.now(UTC) if options.is_asked_for else None
        self._dead_letters_left = None if options.scope.failed else failures.DEAD_LETTERS_PER_RUN
        self._total = 0
        self._attempted = 0
        self._packages = 0

    def run(self) -> None:
        """Drains until nothing is due or the limit is reached. Raises what ends the account's work (AuthError,
        QuotaError, ...) after what was fetched before has been loaded."""
        with lean_heap() as tidy:
            while self._one_package():
                tidy()
                self._on_package()
                if self._packages % TIDY_PACKAGES == 0:
                    self._merge_row_groups()
            if self._packages % TIDY_PACKAGES > 1:
                self._merge_row_groups()

    def _merge_row_groups(self) -> None:
        # a reader that keeps the file longer than we wait is no reason to fail: the next load merges
        with suppress(BusyError):
            self._pipelines.merge_row_groups()

    def _one_package(self) -> bool:
        """Fetches and loads one package; whether there may be more."""
        wait_s = max(self._locks.wait_s, NEXT_TURN_S) if self._packages else None
        with self._locks.hold_in_turn(f"content:{self._account_id}", wait_s=wait_s):
            self._accept_terms()
            is_first = self._attempted == 0
            if is_first:
                self._raw_archive.remove_unfinished(self._account_id)
                self._adopt()
            with self._queries.at_once():
                if is_first:
                    self._count()
                wanted = self._wanted()
                ids, rank, is_stored = self._due(wanted) if wanted else ([], 0, False)
            if not ids:
                self._run.outcome = "partial" if self._run.backlog > 0 or self._run.dead_letters > 0 else "success"
                return False
            attempted_before = self._attempted
            may_go_on = self._fetch(ids, rank, is_stored=is_stored)
            return may_go_on and self._attempted > attempted_before

    def _accept_terms(self) -> None:
        """Takes the account's privacy and scope as they are now that the lock is held."""
        terms = self._terms()
        if terms.policy != self._policy:
            self._policy, self._private = terms.policy, private_rows(terms.policy)
        self._scope = terms.scope
        self._archive = self._raw_archive if self._policy.keeps_bytes else RawArchive("off")

    def _due(self, limit: int) -> tuple[list[str], int, bool]:
        """The ids of the next package, all of one rank, that rank, and whether they are stored and bought again."""
        rows = self._queries.backlog(
            self._account_id,
            self._scope,
            limit=limit,
            now=datetime.now(UTC),
            failed_before=self._retry_failed_before,
        )
        # whatever becomes of their marks: what is left out once is not bought twice
        rows = [row for row in rows if row[0] not in self._left_out]
        rank, is_stored = rows[0][1:] if rows else (0, False)
        ids = [message_id for message_id, *kind in rows if kind == [rank, is_stored]]
        if rank == _DEAD and self._dead_letters_left is not None:
            ids = ids[: self._dead_letters_left]
            self._dead_letters_left -= len(ids)
        return ids, rank, is_stored

    def _wanted(self) -> int:
        limit = self._options.max_messages
        return PACKAGE_MESSAGES if limit is None else max(min(limit - self._attempted, PACKAGE_MESSAGES), 0)

    def _count(self) -> None:
        backlog = self._queries.count_backlog(
            self._account_id, self._scope, datetime.now(UTC), self._retry_failed_before
        )
        self._run.backlog = backlog.due + backlog.waiting
        self._run.out_of_scope = backlog.out_of_scope
        self._run.dead_letters = self._queries.count_dead_letters(self._account_id)
        due = backlog.due
        if self._dead_letters_left is not None:
            due -= max(backlog.dead - self._dead_letters_left, 0)
        limit = self._options.max_messages
        self._total = due if limit is None else min(limit, due)

    def _fetch(self, ids: list[str], rank: int, *, is_stored: bool) -> bool:
        """Buys and loads one package; whether another one may follow. Raises what ends the account's work."""
        earlier = self._queries.failures(self._account_id, ids) if rank else {}
        patience = failures.DEAD_LETTER_PATIENCE if rank == _DEAD else None
        with Spool(self._spool_folder) as spool, Packs(self._archive, self._account_id) as packs:
            rows, admission = self._content_rows(spool)
            failed = RowBuffer(FETCH_FAILURES, spool.write)
            fetch = self._client.get_raw_messages if self._policy.keeps_bodies else self._client.get_header_messages
            fetched: list[str] = []
            left_out: list[str] = []
            bare: set[str] = set()
            ended: GmailError | CancelledError | None = None
            deadline = time.monotonic() + PACKAGE_SECONDS
            bounded = _until(ids, lambda: spool.size_bytes < PACKAGE_BYTES and time.monotonic() < deadline)
            try:
                for message_id, result in fetch(bounded, patience=patience):
                    self._attempted += 1
                    if not isinstance(result, RawMessage):
                        failed.add(self._failure(message_id, result, earlier.get(message_id)))
                        self._report()
                        continue
                    self._run.backlog -= 1
                    # before anything of it is archived
                    verdict = admission.judge(result)
                    if verdict == "left out":
                        self._run.contents_left_out += 1
                        left_out.append(message_id)
                    else:
                        now = datetime.now(UTC)
                        sha256 = content_sha256(result.raw)
                        pack = packs.add(result, sha256) if verdict == "whole" else None
                        if pack is None:
                            bare.add(message_id)
                        rows.add(result, fetched_at=now, sha256=sha256, raw_pack=pack)
                        self._run.contents_stored += 1
                        self._run.days.add(f"{internal_date(result.internal_date_ms):%Y-%m-%d}")
                        fetched.append(message_id)
                    self._report()
            except (GmailError, CancelledError) as error:
                ended = error
            packs.close()
            rows.flush()
            admission.flush()
            for message_id in rows.left_out:
                fetched.remove(message_id)
                left_out.append(message_id)
                self._run.contents_stored -= 1
                self._run.contents_left_out += 1
            self._leave_out({**rows.left_out, **(admission.reasons if is_stored else {})})
            self._left_out.update(left_out)
            self._note_outcomes([*fetched, *left_out], rows.unparsed, earlier, failed, bare)
            failed.flush()
            if is_stored:
                replace_parts(spool.write, self._account_id, fetched, rows.unparsed, keep_html=self._options.keep_html)
            is_done = ended is None and self._attempted >= self._total and self._run.backlog <= 0
            self._run.outcome = "success" if is_done and self._run.dead_letters <= 0 else "partial"
            if spool.rows:
                self._packages += 1
                more_follow = self._packages > 1 or (ended is None and self._attempted < self._total)
                self._run.record(spool)
                self._load(spool, more_follow=more_follow, replaces=is_stored)
        if rank and isinstance(ended, ServerError | UnreadableAnswerError | ChangedAnswerError):
            # these have failed before: that many of them fail in a row says nothing about the account, which did well
            # until here. What was not tried waits for the next run.
            logger.warning(
                "messages of %s that failed before fail again; the rest of them is left for later", self._account_id
            )
            return False
        if ended is not None:
            raise ended
        return True

    def _leave_out(self, reasons: Mapping[str, str]) -> None:
        """Takes away what is stored of messages, in rows or in packs, and turns out to be left out."""
        if reasons:
            self._take_away(reasons)
            self.has_taken_away = True

    def _note_outcomes(
        self,
        fetched: list[str],
        unparsed: Mapping[str, str],
        earlier: Mapping[str, Failure],
        failed: RowBuffer,
        bare: Collection[str] = (),
    ) -> None:
        """Rows of failures for what came and could not be parsed, and for what came after all. `bare`: whose bytes are in no
        pack."""
        now = datetime.now(UTC)
        for message_id in fetched:
            before = earlier.get(message_id)
            if message_id not in unparsed:
                if before is not None:
                    failed.add(failures.resolved(self._account_id, message_id, before, now))
                    self._run.dead_letters -= before.parked_at is not None
                continue
            if message_id in bare:
                # nothing of it is kept, so it stays in the backlog like any other that cannot be had
                self._run.contents_stored -= 1
                self._run.contents_failed += 1
                self._run.backlog += 1
                row, is_new = failures.failed(self._account_id, message_id, unparsed[message_id], before, now)
            else:
                row, is_new = failures.unparsed(self._account_id, message_id, unparsed[message_id], before, now)
            failed.add(row)
            self._run.dead_letters += is_new

    def _adopt(self) -> None:
        """Finishes what a process that died left behind: pending packages, then packs that were archived and not loaded."""
        self._pipelines.finish_pending(*self._pending)
        with self._queries.at_once():
            self._pipelines.remove_unfinished(self._account_id, MESSAGES.name, [table.name for table in MESSAGE_PARTS])
            packs = self._archive.packs(self._account_id)
            loaded = self._queries.loaded_packs(self._account_id) if packs else set()
        for pack in packs:
            if pack in loaded:
                continue
            try:
                self._adopt_pack(pack)
            except DamagedPackError as error:
                logger.error("%s; it is set aside as .damaged and what only it held is fetched again", error)
                self._archive.set_aside(pack)

    def _adopt_pack(self, pack: str) -> None:
        """Loads what only this pack holds. Raises DamagedPackError; then nothing of it is loaded."""
        found = self._queries.ids_without_content(self._account_id, self._archive.message_ids(pack), self._scope)
        if not found:
            return
        missing = set(found)
        again = {message_id for message_id, is_stored in found.items() if is_stored}
        self._queries.let_go()
        with Spool(self._spool_folder) as spool:
            rows, admission = self._content_rows(spool)
            if admission.may_refuse:
                left = self._without_erased(pack, missing, admission)
                admission.flush()
                self._leave_out({name: reason for name, reason in admission.reasons.items() if name in again})
                if left is None:
                    if spool.rows:
                        self._load(spool)
                    return
                pack = left
            for archived in self._archive.read_pack(pack):
                if archived.message.message_id in missing:
                    if not archived.is_intact:
                        raise DamagedPackError(pack, "other bytes than were archived")
                    self._run.days.add(f"{internal_date(archived.message.internal_date_ms):%Y-%m-%d}")
                    rows.add(archived.message, fetched_at=datetime.now(UTC), sha256=archived.sha256, raw_pack=pack)
            rows.flush()
            self._leave_out(rows.left_out)
            missing -= rows.left_out.keys()
            failed = RowBuffer(FETCH_FAILURES, spool.write)
            earlier = self._queries.failures(self._account_id, sorted(missing))
            self._note_outcomes(sorted(missing), rows.unparsed, earlier, failed)
            failed.flush()
            if again:
                stored = sorted(missing & again)
                replace_parts(spool.write, self._account_id, stored, rows.unparsed, keep_html=self._options.keep_html)
            self._run.contents_adopted += len(missing)
            self._run.record(spool)
            self._load(spool, replaces=bool(again))
            logger.info(
                "adopted %d messages of %s from an archived pack that had not been loaded",
                len(missing),
                self._account_id,
            )

    def _without_erased(self, pack: str, missing: set[str], admission: Admission) -> str | None:
        """A pack without what has to stay out: the same one, one that takes its place, or None where nothing of it may stay.

        What an erased person wrote and sign-in mail that is left out are taken out of `missing`, and so is what is bought again
        to be stored without its bytes.
        """
        refused: set[str] = set()
        for archived in self._archive.read_pack(pack):
            if admission.judge(archived.message) != "whole":
                refused.add(archived.message.message_id)
        missing -= refused
        if not refused:
            return pack
        left = self._archive.rewrite(
            pack, self._account_id, lambda archived: archived.message.message_id not in refused
        )
        self._archive.erase_pack(pack)
        return left

    def _failure(self, message_id: str, error: GmailError, earlier: Failure | None) -> tuple[object, ...]:
        row, is_new = failures.failed(self._account_id, message_id, error, earlier, datetime.now(UTC))
        self._run.dead_letters += is_new
        if isinstance(error, MessageGoneError):
            # deleted between the state sync and now: the next history says so, and the failure row is then of no interest
            self._run.contents_gone += 1
        else:
            self._run.contents_failed += 1
            logger.warning(
                "content of message %s of %s could not be fetched (%s); attempt %d, it stays in the backlog%s",
                message_id,
                self._account_id,
                type(error).__name__,
                (earlier.attempts if earlier else 0) + 1,
                " as a dead letter: `mail-ingest retry` tries it before its week is over" if is_new else "",
            )
        return row

    def _report(self) -> None:
        self._on_progress(Progress(self._account_id, "contents", self._attempted, max(self._total, self._attempted)))

    def _content_rows(self, spool: Spool) -> tuple[ContentRows, Admission]:
        """What makes rows of messages, and what says first whether they may have any."""
        people = self._erased_people()
        rows = ContentRows(
            self._account_id,
            spool.write,
            keep_html=self._options.keep_html and self._policy.keeps_html,
            rewrite=people.take_out_of if people is not None else None,
            private=self._private,
        )
        leaves_out = None if self._policy.sign_in_mail else rows.reason_to_leave_out
        return rows, Admission(people, self._account_id, spool.write, leaves_out=leaves_out)

    def _load(self, spool: Spool, *, more_follow: bool = False, replaces: bool = False) -> None:
        # DuckDB has an allocator of its own, and cannot use what fetching and parsing have left
        return_unused()
        pipeline = replacing_pipeline(self._account_id) if replaces else self._pipeline
        source = REPARSE_SOURCE if replaces else CONTENT_SOURCE
        self._load_package(Package(pipeline, source, spool, more_follow=more_follow))


def replace_parts(
    write: Callable[[str, pa.RecordBatch], None],
    account_id: str,
    message_ids: Sequence[str],
    unparsed: Collection[str],
    *,
    keep_html: bool,
) -> None:
    """Stages what lets go of the parts that these messages had before, where their rows are replaced."""
    for table in (MESSAGE_RECIPIENTS, ATTACHMENTS, *([MESSAGE_HTML] if keep_html else [])):
        buffer = RowBuffer(table, write)
        for message_id in message_ids:
            if message_id not in unparsed:
                buffer.add(placeholder(table, account_id, message_id))
        buffer.flush()


def _until(ids: list[str], go_on: Callable[[], bool]) -> Iterator[str]:
    for message_id in ids:
        if not go_on():
            return
        yield message_id
