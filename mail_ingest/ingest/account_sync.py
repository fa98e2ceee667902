"""One sync of one account: state, then content, and what is told of its end. Its failure is its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from mail_ingest.accounts import Account, Standing
from mail_ingest.errors import (
    AccountError,
    AuthError,
    BusyError,
    CancelledError,
    ConfigError,
    MailIngestError,
    QuotaError,
    SweepRefusedError,
    WarehouseError,
    stack_of,
)
from mail_ingest.gmail import OWN_DAY_LIMIT, GmailClient
from mail_ingest.ingest.content import ContentDrain, ContentOptions
from mail_ingest.ingest.erasing.resuming import finish_for
from mail_ingest.ingest.left_out import finish_taking_away, take_away
from mail_ingest.ingest.listing import file_by_content, list_partitions
from mail_ingest.ingest.loading import Package
from mail_ingest.ingest.pipelines import content_pipeline, content_pipelines, state_pipeline
from mail_ingest.ingest.privacy import Terms, in_scope
from mail_ingest.ingest.privacy_change import end_agreement_if_used, narrow_if_needed
from mail_ingest.ingest.reparse import Reparse
from mail_ingest.ingest.run import OnProgress, SyncOptions, SyncRun
from mail_ingest.ingest.scope import account_horizon
from mail_ingest.ingest.state import KnownCursor, StateSync, check_mailbox
from mail_ingest.warehouse.queries import Backlog, Scope
from mail_ingest.warehouse.spool import Spool

if TYPE_CHECKING:
    from mail_ingest.ingest.engine import Engine

logger = logging.getLogger(__name__)

#: States that end where a person names the account and its sync goes well.
REVIVED_BY_SYNC = ("needs_reauth", "parked", "cooling_down")
#: Messages that an account may buy beside others, or within a run of its shard; more are left to a drain of its own.
MOST_MESSAGES = 200


@dataclass(frozen=True, slots=True)
class Known:
    """What was found out about an account together with others, while the lock of its state was held.

    `lock` is that lock, already taken; it is let go at the end of its block. `backlog` and `dead_letters` are within the
    account's own scope, `must_drain`: there is more to do than to buy what is missing.
    """

    lock: ExitStack
    cursor: KnownCursor
    backlog: Backlog
    dead_letters: int
    cancel_count: int
    must_drain: bool


class AccountSync:
    """Syncs one account. `known`: see `Known`; without it everything is asked for."""

    def __init__(
        self,
        engine: Engine,
        account: Account,
        options: SyncOptions,
        on_progress: OnProgress,
        is_cancelled: Callable[[str], bool] = lambda _: False,
        known: Known | None = None,
    ) -> None:
        self.account = account
        self.outcome = SyncRun(
            account.account_id, options.triggered_by, engine.governor.ledger, account_group=account.account_group
        )
        self.was_quiet = False
        """Gmail had nothing new, and nobody has told the control database yet."""
        self.has_long_drain = False
        """State is true, and `drain` is still to be called."""
        self._engine = engine
        self._options = options
        self._on_progress = on_progress
        self._is_cancelled = is_cancelled
        self._known = known
        self._begun_with = known.cancel_count if known is not None else None
        self._account_id = account.account_id

    def run(self) -> SyncRun:
        """State, then content. Raises nothing: errors are in the run."""
        return self._guarded(self._read_gmail)

    def leave(self, engine: Engine) -> SyncRun:
        """Ends without the long drain, which somebody else does; by an engine as `drain` takes it."""
        self._engine, self._known = engine, None
        self.has_long_drain, self.outcome.outcome = False, "partial"
        with suppress(BusyError, WarehouseError):  # it was not counted since the state sync
            scope = self._engine.content_scope(self.account)
            missing = self._engine.queries.count_backlog(self._account_id, scope, datetime.now(UTC))
            self.outcome.backlog, self.outcome.out_of_scope = missing.due + missing.waiting, missing.out_of_scope
        self._record_end(None)
        return self.outcome

    def drain(self, engine: Engine) -> SyncRun:
        """The long drain that `run` has left to its caller, by an engine that is not shared with other accounts."""
        self._engine, self._known, self.has_long_drain = engine, None, False
        return self._guarded(lambda: self._drain_content(self._client()))

    def _guarded(self, read: Callable[[], None]) -> SyncRun:
        run, account_id = self.outcome, self._account_id
        failure: MailIngestError | None = None
        try:
            with self._cancellable():
                if self._known is None:
                    self._engine.registry.sync_started(account_id)
                read()
        except CancelledError as error:
            run.outcome, failure = "cancelled", error
        except BusyError as error:
            run.outcome, failure = "busy", error
        except QuotaError as error:
            run.outcome, failure, run.resume_at = "partial", error, error.resume_at
        except MailIngestError as error:
            run.outcome, failure = "failed", error
        except OSError as error:
            run.outcome = "failed"
            failure = WarehouseError(
                f"The sync of {account_id} could not write its files under {self._engine.settings.home} or the raw archive "
                f"({error.strerror or type(error).__name__}). Make room or mend the folder; what was loaded or archived stays, "
                "and the next sync goes on from there."
            )
        except Exception as error:  # noqa: BLE001  see below
            # a mistake of ours must not stop the other accounts; its message may quote mail, its stack does not
            run.outcome = "failed"
            stack = stack_of(error)
            logger.error("unexpected %s in the sync of %s\n%s", type(error).__name__, account_id, stack)
            failure = MailIngestError(
                f"The sync of {account_id} ended with an unexpected {type(error).__name__}; what was loaded or "
                "archived stays. The log has the stack: please report it."
            )
        if failure is not None:
            self.has_long_drain = False
            run.error, run.error_class = str(failure), type(failure).__name__
        run.finished_at = datetime.now(UTC)
        if not self.has_long_drain:
            self._record_end(failure)
        return run

    @contextmanager
    def _cancellable(self) -> Iterator[None]:
        """Lets the sync in the block be cancelled by anybody who can write to the control database."""
        requests, account_id = self._engine.registry.requests, self._account_id
        if self._begun_with is None:
            self._begun_with = requests.cancel_count(account_id)
        begun_with = self._begun_with

        def ask() -> bool:
            try:
                return requests.cancel_count(account_id) != begun_with or self._is_cancelled(account_id)
            except (MailIngestError, SQLAlchemyError) as error:
                # nothing is known of a cancellation then; the sync itself will say what is wrong with the database
                logger.warning(
                    "whether the sync of %s was cancelled is not known: %s", account_id, type(error).__name__
                )
                return False

        with self._engine.stop_sign.watch(account_id, ask):
            yield

    def _client(self) -> GmailClient:
        client = self._engine.client(self.account, self._options.purpose)
        # a drain of its own goes on with what the state sync has found
        client.findings.add(self.outcome.unexpected_fields)
        self.outcome.findings = client.findings
        return client

    def _read_gmail(self) -> None:
        engine, run, options = self._engine, self.outcome, self._options
        if options.list_only:
            client = self._client()
            check_mailbox(client.get_profile(), self._account_id)
            run.kind = "content"
            list_partitions(engine, self.account, client, run, options.partitions, self._on_progress)
            return
        client = self._sync_state()
        if not options.content:
            return
        missing = self._missing()
        if missing is not None:
            run.backlog, run.out_of_scope = missing.due + missing.waiting, missing.out_of_scope
            wanted = missing.due + (run.messages_added if self._known is not None else 0)
            if min(wanted, wanted if options.max_messages is None else options.max_messages) > MOST_MESSAGES:
                self.has_long_drain = True
                return
        if (
            self._known is None
            or missing is None
            or self._known.must_drain
            or missing.due
            or self._may_have_come_into_scope()
        ):
            self._drain_content(client)
        else:
            run.dead_letters = self._known.dead_letters
            run.outcome = "partial" if run.backlog > 0 or run.dead_letters > 0 else "success"

    def _missing(self) -> Backlog | None:
        """What is missing within the account's scope, where it matters how much: None where all of it is bought here."""
        if self._known is not None:
            return self._known.backlog
        if not self._options.leaves_long_drains:
            return None
        scope = self._engine.content_scope(self.account)
        return self._engine.queries.count_backlog(self._account_id, scope, datetime.now(UTC))

    def _may_have_come_into_scope(self) -> bool:
        """Whether the state sync has found what a drain might buy."""
        has_labels = self.account.include_labels or self.account.exclude_labels or self._options.label
        return bool(self.outcome.messages_added or (has_labels and self.outcome.changed_anything))

    def _sync_state(self) -> GmailClient:
        """Brings ids, threads, labels and deletions up to date; holds the account's lock meanwhile.

        What a killed rewriting has left is ended first.
        """
        engine, account, known = self._engine, self.account, self._known
        if known is None:
            finish_for(engine, self._account_id)
        with known.lock if known is not None else engine.locks.hold(f"account:{self._account_id}"):
            if known is None:
                # who waited for the lock may have waited for the account's removal, or for its move to another shard
                account = self.account = engine.registry.get(self._account_id)
            client = self._client()
            StateSync(
                client,
                self.outcome,
                pipeline=state_pipeline(account),
                pipelines=engine.pipelines,
                load=engine.load,
                queries=engine.queries,
                spool_folder=engine.spool_folder,
                standing=_standing_after(engine.registry.standing(account)),
                policy=engine.registry.policy(account),
                has_backlog=self._has_backlog,
                content_follows=self._options.content,
                accept_shrink=self._options.accept_shrink,
                on_progress=self._on_progress,
                known=known.cursor if known is not None else None,
            ).run(self._options.mode)
        return client

    def _has_backlog(self) -> bool:
        if self._known is not None:
            return self._known.backlog.due + self._known.backlog.waiting > 0
        return self._engine.queries.has_backlog(self._account_id, self._engine.content_scope(self.account))

    def _drain_content(self, client: GmailClient) -> None:
        """Buys content within the account's and the run's scope, until nothing is due or the limit is reached.

        What a killed rewriting has left is ended first.
        """
        engine, account, run, options = self._engine, self.account, self.outcome, self._options
        if self._known is None:
            finish_for(engine, self._account_id)
        # a default tier that has become stricter holds for what is stored as well
        narrow_if_needed(engine, account)
        if run.kind == "none":
            run.kind = "content"
        label_id = self._label_id(options.label) if options.label else None
        if options.retry:
            scope = Scope(failed=True, message_ids=options.message_ids)
        elif options.partitions:
            elsewhere = list_partitions(engine, account, client, run, options.partitions, self._on_progress)
            scope = Scope(partitions=options.partitions, filed_elsewhere=elsewhere)
        else:
            scope = Scope(since=_later(options.since, account_horizon(account)), label_id=label_id)
        drain = ContentDrain(
            client,
            run,
            ContentOptions(scope, options.max_messages, keep_html=engine.settings.html == "warehouse"),
            pipeline=content_pipeline(account, is_backfill=bool(options.partitions)),
            pending=content_pipelines(account),
            pipelines=engine.pipelines,
            load=engine.load,
            queries=engine.queries,
            archive=engine.archive,
            terms=partial(self._terms, scope),
            locks=engine.locks,
            spool_folder=engine.spool_folder,
            on_progress=self._on_progress,
            on_package=engine.keep_analyst_tables_now_and_then,
            erased_people=lambda: engine.erased_people(self._account_id),
            take_away=partial(take_away, engine, self._account_id),
        )
        drain.run()
        if account.buys_again:
            end_agreement_if_used(engine, self._account_id)
        if drain.has_taken_away:
            finish_taking_away(engine, self._account_id)
        if options.partitions:
            file_by_content(engine, account)
        if options.retry:
            # what came and could not be parsed is in the archive, not in the backlog
            unparsed = Reparse(
                engine, self._account_id, self._on_progress, message_ids=options.message_ids, only_unparsed=True
            ).run()
            run.contents_adopted += unparsed.parsed
            run.contents_left_out += unparsed.left_out
            run.dead_letters -= unparsed.parsed + unparsed.left_out
            run.outcome = "partial" if run.backlog > 0 or run.dead_letters > 0 else "success"

    def _terms(self, scope: Scope) -> Terms:
        """Raises ConfigError where the account was removed meanwhile, or names labels that the mailbox does not have."""
        account = self._engine.registry.get(self._account_id)
        policy = self._engine.registry.policy(account)
        return Terms(policy, in_scope(self._engine, account, scope, policy))

    def _label_id(self, label: str) -> str:
        for stored in self._engine.queries.labels(self._account_id).values():
            if stored.deleted_at is None and label in (stored.label.label_id, stored.label.name):
                return stored.label.label_id
        raise ConfigError(
            f"--label {label!r}: {self._account_id} has no label of that name or id; mail.labels lists those it has"
        )

    def _record_end(self, failure: MailIngestError | None) -> None:
        """Tells the control database, and leaves a row in sync_runs where something changed or failed."""
        registry, run, account_id = self._engine.registry, self.outcome, self._account_id
        try:
            if run.outcome == "busy":
                return
            if isinstance(failure, AuthError):
                registry.set_state(account_id, "needs_reauth", run.error)
            elif isinstance(failure, AccountError):
                registry.set_state(account_id, "parked", run.error)
            if failure is None and self.account.state in REVIVED_BY_SYNC:
                # a person asked for it by name, and it works again
                registry.resume(account_id)
            if failure is None and not run.changed_anything and not run.partitions_listed:
                if self._known is None:
                    registry.checked(account_id)
                self.was_quiet = True
                if self._has_news_of_fields():
                    self._record_run()
                return
            registry.sync_finished(
                account_id,
                run.outcome,
                error=failure,
                # a backfill that has spent its share of the day leaves the rest of it to the account's syncs
                next_due_at=None if self._options.partitions and _is_own_limit(failure) else run.resume_at,
                owner_active_at=run.owner_active_at,
                # a full disk says nothing about the account
                counts=not isinstance(failure, WarehouseError | ConfigError),
            )
            # what a person has to mend, and no state says; a pause has a reason of its own
            if isinstance(failure, SweepRefusedError | ConfigError) and self.account.state in (
                "active",
                "cooling_down",
            ):
                registry.note(account_id, run.error)
            # a warehouse that failed would fail again
            if not isinstance(failure, WarehouseError) and (
                failure is not None
                or not run.is_recorded
                or run.outcome != run.recorded_outcome
                or self._has_news_of_fields()
            ):
                self._record_run()
        except MailIngestError as error:
            logger.error("the end of the sync of %s could not be recorded: %s", account_id, error)
        except Exception as error:  # noqa: BLE001  the next account must have its turn
            logger.error("the end of the sync of %s could not be recorded: %s", account_id, type(error).__name__)

    def _has_news_of_fields(self) -> bool:
        """Whether something unexpected in Gmail's answers is in no row of the account's runs: it is told once, not hourly."""
        new = set(self.outcome.unexpected_fields) - set(self.outcome.recorded_fields)
        return bool(new) and not new <= self._engine.queries.unexpected_fields(self._account_id)

    def _record_run(self) -> None:
        from mail_ingest.sources.landing import STATE_SOURCE

        with Spool(self._engine.spool_folder) as spool:
            self.outcome.record(spool)
            self._engine.load(Package(state_pipeline(self.account), STATE_SOURCE, spool))


def _standing_after(before: Standing) -> Standing:
    """With the state that a sync which lands its rows leads to; what leads elsewhere after that is copied at the end."""
    return before._replace(status="active") if before.status in REVIVED_BY_SYNC else before


def _is_own_limit(failure: MailIngestError | None) -> bool:
    return isinstance(failure, QuotaError) and failure.reason == OWN_DAY_LIMIT


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    if one is None or other is None:
        return one or other
    return max(one, other)
