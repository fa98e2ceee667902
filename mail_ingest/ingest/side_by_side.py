"""Accounts of one shard side by side: each is asked in a thread of its own, and what came of several is loaded together.

    waves of accounts -> locks and stored positions, asked for all at once -> Gmail, many accounts at a time
                      -> spools of accounts that changed -> one load package -> gmail.*

An account whose mailbox has not moved costs two requests, and nothing that is not shared with its neighbours. Those that
changed wait for the next package, which is loaded when nobody else is about to bring anything, when it is large, or when
somebody has waited for some seconds. Each account's failure is its own; where the warehouse refuses a package, every account in
it is tried by itself. Accounts that others are busy with, or that need more than a sync, come last, one after another.

The thread that calls does everything that is not Gmail's: it loads, tells of progress, and writes to the control database.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from mail_ingest.accounts import Account
from mail_ingest.errors import BusyError, MailIngestError, PackageRefusedError, WarehouseError
from mail_ingest.ingest.account_sync import AccountSync, Known
from mail_ingest.ingest.cursor import Cursor
from mail_ingest.ingest.heap import lean_heap
from mail_ingest.ingest.loading import Loader, Package
from mail_ingest.ingest.pipelines import content_pipelines, state_pipeline
from mail_ingest.ingest.privacy_change import says_too_much
from mail_ingest.ingest.run import OnProgress, Progress, SyncOptions, SyncRun
from mail_ingest.ingest.state import KnownCursor
from mail_ingest.privacy import Policy
from mail_ingest.warehouse.queries import Backlog
from mail_ingest.warehouse.surveys import Surveys

if TYPE_CHECKING:
    from mail_ingest.ingest.engine import Engine

logger = logging.getLogger(__name__)

#: Accounts that are begun together: their positions are asked for at once.
_WAVE = 32
#: Requests of one mailbox that are under way at a time; all accounts together have the bound of the transport.
IN_FLIGHT = 3
#: A package is loaded when its rows take so many bytes, which is also the most that several accounts have in one, or when its
#: first account has waited for so long.
_PACKAGE_BYTES = 16 * 1024 * 1024
_LONGEST_WAIT_S = 5.0
#: Seconds between two collections of what nobody uses any more; each takes a tenth of a second.
_TIDY_S = 10.0
_TICK_S = 0.05


@dataclass(slots=True)
class _Waiting:
    """A package whose account waits until it is loaded."""

    package: Package
    since: float
    done: Future[None]


class SideBySide:
    """Syncs accounts of one shard. `at_once`: how many at a time, in threads of this process."""

    def __init__(
        self,
        engine: Engine,
        options: SyncOptions,
        *,
        on_progress: OnProgress,
        on_done: Callable[[SyncRun], None],
        is_cancelled: Callable[[str], bool],
        at_once: int,
    ) -> None:
        self._engine = engine
        self._options = options
        self._on_progress = on_progress
        self._on_done = on_done
        self._is_cancelled = is_cancelled
        self._at_once = at_once
        self._loader = Loader(engine.pipelines)
        self._surveys = Surveys(engine.warehouse)
        self._inbox: queue.SimpleQueue[_Waiting | Progress | AccountSync] = queue.SimpleQueue()
        self._pending: list[_Waiting] = []
        self._under_way = 0
        self._quiet: list[str] = []
        self._accounts: Sequence[Account] = ()
        self._waiting: deque[Account] = deque()
        self._put_off: list[Account] = []
        self._unfinished: set[str] | None = None
        self.long_drains: list[AccountSync] = []
        """Accounts whose state is true, and whose content is left to their own drains, by `AccountSync.drain`."""

    def run(self, accounts: Sequence[Account]) -> None:
        """Syncs them; `on_done` hears of all but those in `long_drains`. Fewer are begun where `stop_sign` ends it."""
        self._accounts, self._waiting = accounts, deque(accounts)
        try:
            self._run_together()
        except MailIngestError as error:
            # what keeps them from being synced together is told to each by its own sync
            logger.warning("accounts are synced one after another, because of this: %s", error)
        for account in (*self._put_off, *self._waiting):
            if self._engine.stop_sign.stopped_by:
                break
            sync = AccountSync(self._engine, account, self._options, self._on_progress, self._is_cancelled)
            run = sync.run()
            if sync.has_long_drain:
                self.long_drains.append(sync)
            else:
                self._on_done(run)

    def _run_together(self) -> None:
        engine = self._engine
        tidied_at = time.monotonic()
        with (
            engine.warehouse.shared(),
            engine.locks.shared(),
            engine.stop_sign.watch_many(),
            lean_heap() as tidy,
        ):
            try:
                while self._under_way or self._may_begin():
                    if self._may_begin() and self._has_room():
                        room = min(_WAVE, self._at_once - self._under_way, len(self._waiting))
                        self._begin([self._waiting.popleft() for _ in range(room)])
                    self._take()
                    if self._is_time_to_load():
                        self._load()
                        if time.monotonic() - tidied_at >= _TIDY_S:
                            tidy()
                            tidied_at = time.monotonic()
                    engine.warehouse.let_go()
                    self._note_quiet()
            except BaseException as error:
                self._give_up(error)
                raise
            finally:
                self._note_quiet(at_least=1)

    # -- beginning -----------------------------------------------------------------------------------------------

    def _may_begin(self) -> bool:
        return bool(self._waiting) and not self._engine.stop_sign.stopped_by

    def _has_room(self) -> bool:
        # not for one alone, and not only when all have ended: one of them may take long
        return self._at_once - self._under_way >= min(_WAVE, len(self._waiting), max(self._at_once // 4, 1))

    def _begin(self, wave: list[Account]) -> None:
        """Takes the accounts' locks, asks for all of them where they stand, and lets their syncs begin."""
        locks: dict[str, ExitStack] = {}
        try:
            for account in wave:
                lock = ExitStack()
                try:
                    lock.enter_context(self._engine.locks.hold(f"account:{account.account_id}", wait_s=0))
                except (BusyError, WarehouseError):
                    self._put_off.append(account)
                else:
                    locks[account.account_id] = lock
            for account, known in self._survey(locks):
                engine = self._engine.for_one_account(self._wait_for_load, max_in_flight=IN_FLIGHT)
                sync = AccountSync(engine, account, self._options, self._inbox.put, self._is_cancelled, known)
                # a second Ctrl-C does not wait for what Gmail has not answered
                threading.Thread(target=self._sync, args=(sync, known), name="sync", daemon=True).start()
                del locks[account.account_id]
                self._under_way += 1
        except Exception as error:  # noqa: BLE001  whatever it is, each account's own sync tells
            # other errors may quote what is in a database
            why = error if isinstance(error, MailIngestError) else type(error).__name__
            logger.warning("%d accounts are synced one after another, because of this: %s", len(locks), why)
            self._put_off += [account for account in wave if account.account_id in locks]
        finally:
            for lock in locks.values():
                lock.close()

    def _survey(self, locks: dict[str, ExitStack]) -> list[tuple[Account, Known]]:
        """What is known of the accounts whose locks are held. Those that need more than a sync are put off, those that are gone
        are left out."""
        if not locks:
            return []
        engine, registry = self._engine, self._engine.registry
        names = list(locks)
        if self._unfinished is None:
            self._unfinished = self._find_unfinished()
        # who waited for the lock may have waited for the account's removal
        accounts = registry.among(names)
        must_finish = {rewriting.account_id for rewriting in registry.erasures.unfinished()}
        cancelled = registry.requests.cancel_counts(names)
        policies = {account.account_id: registry.policy(account, needs_key=False) for account in accounts}
        cursors = self._read_cursors(accounts)
        backlogs = self._read_backlogs(accounts)
        with engine.queries.at_once():
            loaded = self._surveys.loaded_cursors(names)
            dead = self._surveys.dead_letters(names)
            forms = self._surveys.forms([name for name, policy in policies.items() if not policy.allows_bytes])
        known: list[tuple[Account, Known]] = []
        for account in accounts:
            name = account.account_id
            if name in must_finish:
                continue
            about = Known(
                lock=locks[name],
                cursor=KnownCursor(cursors.get(name), loaded.get(name)),
                backlog=backlogs.get(name, Backlog(0, 0, 0, 0)),
                dead_letters=dead.get(name, 0),
                cancel_count=cancelled.get(name, 0),
                must_drain=name in self._unfinished
                or self._has_more_to_do(account, policies[name], forms.get(name, set())),
            )
            known.append((account, about))
        registry.syncs_started([account.account_id for account, _ in known])
        self._put_off += [account for account in accounts if account.account_id in must_finish]
        return known

    def _has_more_to_do(self, account: Account, policy: Policy, forms: set[tuple[str, bool]]) -> bool:
        """Whether a drain has to look at the account though nothing is missing: privacy that has become stricter, an agreement
        to buy again that may be at its end, and labels that are named and may not be there."""
        return bool(
            account.buys_again
            or account.include_labels
            or account.exclude_labels
            or says_too_much(self._engine, account, policy, forms)
        )

    def _read_cursors(self, accounts: Sequence[Account]) -> dict[str, Cursor]:
        from mail_ingest.sources.landing import STATE_SOURCE

        found: dict[str, Cursor] = {}
        for pipeline in {state_pipeline(account) for account in accounts}:
            stored = self._engine.pipelines.read_state(pipeline, STATE_SOURCE).get("cursors", {})
            names = (account.account_id for account in accounts if account.account_id in stored)
            found |= {name: Cursor.from_state(stored[name]) for name in names}
        return found

    def _read_backlogs(self, accounts: Sequence[Account]) -> dict[str, Backlog]:
        # horizons that move with the clock are the same for all of a wave
        now = datetime.now(UTC)
        by_scope = self._engine.by_scope(accounts, now)
        found: dict[str, Backlog] = {}
        with self._engine.queries.at_once():
            for scope, names in by_scope.items():
                found |= self._surveys.backlogs(names, scope, now)
        return found

    def _find_unfinished(self) -> set[str]:
        """Finishes what dead processes left pending, and tells whose messages are of loads that nobody can finish."""
        pending = dict.fromkeys(name for account in self._accounts for name in content_pipelines(account))
        self._engine.pipelines.finish_pending(*pending)
        return self._surveys.with_unfinished_loads()

    # -- in the accounts' threads --------------------------------------------------------------------------------

    def _sync(self, sync: AccountSync, known: Known) -> None:
        try:
            sync.run()
        finally:
            known.lock.close()
            self._inbox.put(sync)

    def _wait_for_load(self, package: Package) -> None:
        done: Future[None] = Future()
        self._inbox.put(_Waiting(package, time.monotonic(), done))
        done.result()

    # -- in the caller's thread ----------------------------------------------------------------------------------

    def _take(self) -> None:
        """What the accounts' threads have sent; waits a moment where there is nothing."""
        with suppress(queue.Empty):
            news = self._inbox.get(timeout=_TICK_S)
            while True:
                if isinstance(news, _Waiting):
                    self._pending.append(news)
                elif isinstance(news, Progress):
                    self._on_progress(news)
                else:
                    self._under_way -= 1
                    if news.has_long_drain:
                        self.long_drains.append(news)
                    else:
                        if news.was_quiet:
                            self._quiet.append(news.account.account_id)
                        self._on_done(news.outcome)
                news = self._inbox.get_nowait()

    def _is_time_to_load(self) -> bool:
        if not self._pending:
            return False
        size = sum(waiting.package.spool.size_bytes for waiting in self._pending)
        oldest = min(waiting.since for waiting in self._pending)
        everybody_waits = len(self._pending) >= self._under_way
        return everybody_waits or size >= _PACKAGE_BYTES or time.monotonic() - oldest >= _LONGEST_WAIT_S

    def _load(self) -> None:
        groups: dict[tuple[str, str], list[_Waiting]] = {}
        for waiting in self._pending:
            groups.setdefault((waiting.package.pipeline, waiting.package.source), []).append(waiting)
        for group in groups.values():
            for together in _parts(group):
                try:
                    self._load_together(together)
                finally:
                    done = set(map(id, together))
                    self._pending = [waiting for waiting in self._pending if id(waiting) not in done]

    def _load_together(self, together: list[_Waiting]) -> None:
        try:
            self._loader.together([waiting.package for waiting in together])
        except Exception as error:  # noqa: BLE001  told by the accounts' own syncs
            if isinstance(error, PackageRefusedError) and len(together) > 1:
                logger.warning("a package of %d accounts was refused, each is tried by itself", len(together))
                for waiting in together:
                    self._load_together([waiting])
                return
            # what passes stays pending, with the rows of all, and is finished before anything else
            for waiting in together:
                waiting.done.set_exception(error)
        except BaseException as error:
            for waiting in together:
                waiting.done.set_exception(_ended_by(error))
            raise
        else:
            for waiting in together:
                waiting.done.set_result(None)

    def _note_quiet(self, at_least: int = _WAVE) -> None:
        """Tells the control database of accounts that had nothing new; a transaction for each would take longer than the sync."""
        if len(self._quiet) >= at_least:
            noted, self._quiet = self._quiet, []
            try:
                self._engine.registry.all_checked(noted)
            except (MailIngestError, SQLAlchemyError) as error:
                logger.error(
                    "that %d accounts had nothing new could not be noted: %s", len(noted), type(error).__name__
                )

    def _give_up(self, error: BaseException) -> None:
        """Lets nobody wait for a load that will not come. Where the process is to end at once, nobody is waited for either."""
        while True:
            for waiting in self._pending:
                waiting.done.set_exception(_ended_by(error))
            self._pending.clear()
            if not self._under_way or not isinstance(error, Exception):
                return
            with suppress(Exception):  # the first one is told
                self._take()


def _parts(waiting: Sequence[_Waiting]) -> list[list[_Waiting]]:
    """Packages that are loaded as one, of `_PACKAGE_BYTES` or of one account: memory follows the size of a load."""
    parts: list[list[_Waiting]] = [[]]
    size = 0
    for one in waiting:
        if parts[-1] and size + one.package.spool.size_bytes > _PACKAGE_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(one)
        size += one.package.spool.size_bytes
    return parts


def _ended_by(error: BaseException) -> WarehouseError:
    return WarehouseError(
        f"The run was ended by {type(error).__name__} before the package was loaded; the next sync goes on from what was."
    )
