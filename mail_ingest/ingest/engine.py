"""Wires accounts, client, sources and warehouse together; the command line and Dagster both call it.

The only place that knows all of them. Building an `Engine` opens nothing; its parts open what they need at first use.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial

from sqlalchemy.exc import SQLAlchemyError

from mail_ingest.accounts import ADAPTIVE, Account, AccountState, Registry, Schedule, check_groups
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
from mail_ingest.gmail import OWN_DAY_LIMIT, GmailClient, QuotaGovernor, Transport, parse_quota
from mail_ingest.ingest.account_states import States, copy_account_states
from mail_ingest.ingest.content import ContentDrain, ContentOptions
from mail_ingest.ingest.cursor import Cursor
from mail_ingest.ingest.erasing.account_rows import Instructions
from mail_ingest.ingest.erasing.people import ErasedPeople
from mail_ingest.ingest.erasing.resuming import finish_for
from mail_ingest.ingest.erasure import Erased, erase_account
from mail_ingest.ingest.heap import share_with_arrow
from mail_ingest.ingest.left_out import finish_taking_away, take_away
from mail_ingest.ingest.listing import file_by_content, list_partitions
from mail_ingest.ingest.pipelines import content_pipeline, content_pipelines, state_pipeline
from mail_ingest.ingest.privacy import Terms, in_scope, privacy_instructions
from mail_ingest.ingest.privacy_change import end_agreement_if_used, narrow_if_needed
from mail_ingest.ingest.reparse import Reparse
from mail_ingest.ingest.run import OnProgress, Progress, SyncOptions, SyncRun
from mail_ingest.ingest.scope import account_horizon
from mail_ingest.ingest.state import StateSync, check_mailbox
from mail_ingest.ingest.stopping import StopSign
from mail_ingest.ingest.traffic import measure_traffic
from mail_ingest.privacy import Hasher, Policy
from mail_ingest.settings import Settings
from mail_ingest.sources.tables import DATASET, LANDING_TABLES
from mail_ingest.warehouse.archive import RawArchive
from mail_ingest.warehouse.builds import AnalystTables, Build
from mail_ingest.warehouse.configuration import Configuration, write_hashed_domains
from mail_ingest.warehouse.connection import Connection, Dialect
from mail_ingest.warehouse.factory import make_warehouse
from mail_ingest.warehouse.marts import load_relations
from mail_ingest.warehouse.partitions import PartitionQueries
from mail_ingest.warehouse.pipeline import Pipelines
from mail_ingest.warehouse.queries import Queries, Scope
from mail_ingest.warehouse.schema import prepare_schema
from mail_ingest.warehouse.spool import Spool, remove_leftovers

logger = logging.getLogger(__name__)

#: States that end where a person names the account and its sync goes well.
REVIVED_BY_SYNC = ("needs_reauth", "parked", "cooling_down")
#: Seconds between two builds of the analyst tables within one sync.
BUILD_SECONDS = 240.0


def _no_progress(progress: Progress) -> None:
    """Nobody is watching."""


class Engine:
    """Everything one process needs to sync accounts.

    `wait_s`: how long to wait for locks that others hold; `clock` (epoch seconds): by which accounts are due and quotas
    run; `sleep`: how the client waits for Gmail.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        wait_s: float = 60.0,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        share_with_arrow()
        self.settings = settings
        self.registry = Registry(settings, now=lambda: datetime.fromtimestamp(clock(), UTC))
        self.analyst_tables = AnalystTables(
            load_relations(), Configuration.of(settings), "duckdb" if settings.is_duckdb else "postgres"
        )
        self.stop_sign = StopSign()
        sleep = self.stop_sign.sleeper(sleep)
        self.warehouse, self.locks = make_warehouse(settings, wait_s, self._prepare)
        self.locks.while_waiting = self.stop_sign.check_once
        self.queries = Queries(self.warehouse)
        self.partitions = PartitionQueries(self.warehouse)
        self.pipelines = Pipelines(settings, self.warehouse, self.locks)
        self.archive = RawArchive(settings.raw)
        profile = parse_quota(settings.quota)
        if profile.is_off and not settings.gmail_is_loopback:
            raise ConfigError(
                "MAIL_INGEST_QUOTA=off is for loopback addresses only: Gmail would refuse, and lock the mailbox out"
            )
        self.governor = QuotaGovernor(profile, share=settings.quota_share, clock=clock, sleep=sleep)
        self._clock = clock
        self._sleep = sleep
        self._knows_todays_units = False
        self._has_built = False
        self._copied_states: States = {}
        self._built_at = time.monotonic()
        self.spool_folder = settings.home / "spool"

    def _prepare(self, connection: Connection, dialect: Dialect) -> None:
        prepare_schema(connection, dialect, DATASET, LANDING_TABLES, self.analyst_tables)

    def close(self) -> None:
        """Lets connections go. The engine can be used again, it opens new ones."""
        if "transport" in self.__dict__:
            self.transport.close()
        self.registry.close()
        self.warehouse.close()

    @cached_property
    def transport(self) -> Transport:
        return Transport()

    def client(self, account: Account) -> GmailClient:
        """A client of one account's mailbox. Raises ConfigError where its credentials cannot be decrypted."""
        return GmailClient(
            account.account_id,
            token=self.registry.token_source(account.account_id),
            governor=self.governor,
            transport=self.transport,
            url=self.settings.gmail_url,
            max_in_flight=self.settings.max_in_flight,
            before_call=self._before_call,
            clock=self._clock,
            sleep=self._sleep,
        )

    def _before_call(self) -> None:
        # nobody should wait for the warehouse because Gmail takes its time
        self.warehouse.let_go()
        self.stop_sign.check()

    def accounts(self, addresses: Sequence[str] = ()) -> list[Account]:
        """The named accounts, or all active ones. Raises ConfigError for an unknown one, before anything starts."""
        if addresses:
            return [self.registry.get(address) for address in dict.fromkeys(addresses)]
        return self.registry.list("active")

    def due(
        self, addresses: Sequence[str] = (), groups: Sequence[str] = (), schedules: Sequence[Schedule] = ()
    ) -> tuple[list[Account], list[Account]]:
        """The accounts to sync now, and those that are left alone: paused, waiting after failures, out of quota.

        Naming accounts overrides all of that, naming groups or schedules leaves out other accounts. Raises ConfigError for
        an unknown account or group, and where accounts and groups are named.
        """
        if addresses and groups:
            raise ConfigError("a sync takes accounts or groups, not both")
        if addresses:
            return self.accounts(addresses), []
        check_groups(self.registry, groups)
        due = self.registry.due(groups, schedules)
        names = {account.account_id for account in due}
        others = (account for account in self.registry.list(groups=groups) if account.account_id not in names)
        return due, [account for account in others if not schedules or account.schedule in schedules]

    def check_warehouse(self) -> None:
        """Opens the warehouse once, so that what is wrong with it, or with whose it and the control database are, is said
        before any account is started.

        Raises ConfigError where it is no warehouse or cannot be opened, or where either belongs to another deployment;
        BusyError where others keep it.
        """
        self.registry.check_deployment()
        try:
            with self.warehouse.open():
                return
        except WarehouseError as error:
            raise ConfigError(str(error)) from None

    def erase_account(self, address: str) -> Erased:
        """Removes an account and erases all that is stored of it; see `erasure`."""
        return erase_account(self, address)

    def policy(self, account_id: str) -> Policy:
        """What may be stored of an account as of now."""
        return self.registry.policy(self.registry.get(account_id))

    def content_scope(self, account: Account, scope: Scope | None = None) -> Scope:
        """The account's scope, or a given one within it, to count what is missing: a label that the mailbox does not have
        is carried by no message. Nor is one whose name is stored as a hash, where the key of the hashes is lost."""
        asked = Scope(since=account_horizon(account)) if scope is None else scope
        policy = self.registry.policy(account, needs_key=False)
        if policy.tier == "hashed" and (policy.include_labels or policy.exclude_labels):
            with suppress(ConfigError):
                policy = replace(policy, hash_key=self.registry.known_hash_key() or b"")
        return in_scope(self, account, asked, policy, knows_labels=False)

    def erased_people(self, account_id: str) -> ErasedPeople | None:
        """Whose mail is kept out of an account; None where nobody's is.

        Raises ConfigError where that cannot be told: then nothing may be stored.
        """
        is_erased = self.registry.erasures.kept_out(account_id)
        return ErasedPeople(is_erased) if is_erased is not None else None

    def privacy_instructions(self, account: Account) -> Instructions:
        """How stored mail of an account is to be rewritten, by its present privacy."""
        return privacy_instructions(self.registry.policy(account))

    def cursor(self, account: Account) -> Cursor | None:
        """The account's position in its history, None before its first sync."""
        from mail_ingest.sources.landing import STATE_SOURCE

        stored = self.pipelines.read_state(state_pipeline(account), STATE_SOURCE)
        stored = stored.get("cursors", {}).get(account.account_id)
        return Cursor.from_state(stored) if stored else None

    def sync(
        self,
        accounts: Iterable[Account],
        options: SyncOptions,
        *,
        on_progress: OnProgress = _no_progress,
        on_done: Callable[[SyncRun], None] = lambda _: None,
        is_cancelled: Callable[[str], bool] = lambda _: False,
    ) -> list[SyncRun]:
        """Syncs accounts one after another. One account's failure is its own: the others are done all the same.

        Errors are in the runs (`outcome`, `error`, `error_class`), not raised, but for those that stop everything: a
        warehouse that another process holds or that cannot be opened ends that account's run alone as well.

        A sync ends early where `mail-ingest cancel` asks for it, or `is_cancelled` says so of its account_id. `stop_sign`
        ends the one under way, and none is begun after it: those accounts have no run in the list.
        """
        remove_leftovers(self.spool_folder)
        with self.warehouse.keep_open():
            runs = self._sync_all(accounts, options, on_progress, on_done, is_cancelled)
            self._keeping(self.warehouse.let_go, "closing of the warehouse")
        return runs

    def _sync_all(
        self,
        accounts: Iterable[Account],
        options: SyncOptions,
        on_progress: OnProgress,
        on_done: Callable[[SyncRun], None],
        is_cancelled: Callable[[str], bool],
    ) -> list[SyncRun]:
        self._count_todays_units()
        runs: list[SyncRun] = []
        synced: list[Account] = []
        for account in accounts:
            if self.stop_sign.stopped_by:
                break
            run = self._sync_account(account, options, on_progress, is_cancelled)
            runs.append(run)
            synced.append(account)
            on_done(run)
        if self.stop_sign.stopped_by:
            return runs
        if not self._has_built or any(run.changed_anything or run.is_recorded for run in runs):
            self.keep_analyst_tables()
        elif self.registry.states() != self._copied_states:
            self._keeping(self.copy_account_states, "states of accounts")
        adaptive = [account.account_id for account in synced if account.schedule in ADAPTIVE]
        if adaptive:
            self._keeping(lambda: self._note_traffic(adaptive), "activity of accounts")
        return runs

    def build_analyst_tables(self, *, is_full: bool = False) -> Build:
        """Brings the analyst tables up to what has landed. Raises BusyError or WarehouseError, and then left all as it was."""
        hashed = self._hashed_domains()
        with self.warehouse.open() as connection:
            write_hashed_domains(connection, hashed)
            if is_full:
                return self.analyst_tables.rebuild(connection)
            return self.analyst_tables.build(connection)

    def _hashed_domains(self) -> dict[str, str]:
        """Hashes of internal and of accounts' own domains, by domain; none where no account has the tier `hashed`."""
        states = self.registry.states()
        if all(tier != "hashed" for _, _, tier in states.values()):
            return {}
        hasher = Hasher(self.registry.hash_key())
        own = {account_id.rpartition("@")[2] for account_id, (_, _, tier) in states.items() if tier == "hashed"}
        return {domain: hasher.domain(domain) for domain in {*own, *self.settings.internal_domains}}

    def keep_analyst_tables(self) -> None:
        """The build after something landed, and once in every process: an earlier one may have died between the two.

        Raises nothing: what landed stays whatever happens, and the next build makes up for this one.
        """
        if not self.warehouse.exists:
            return
        self._keeping(self._copy_and_build, "analyst tables")

    def _copy_and_build(self) -> None:
        with self.warehouse.open():
            self._keeping(self.copy_account_states, "states of accounts")
            self._keeping(self._build_and_note, "analyst tables")

    def _build_and_note(self) -> None:
        self.build_analyst_tables()
        self._has_built = True
        self._built_at = time.monotonic()

    def copy_account_states(self) -> None:
        """Brings state and group of every account to the warehouse, for people who ask it."""
        states = self.registry.states()
        copy_account_states(self.warehouse, states)
        self._copied_states = states

    def _note_traffic(self, account_ids: Sequence[str]) -> None:
        """Notes what the adaptive schedules go by; measured by the sync, because then the warehouse is at hand."""
        self.registry.note_traffic(
            measure_traffic(self.warehouse, account_ids, datetime.fromtimestamp(self._clock(), UTC))
        )

    @staticmethod
    def _keeping(step: Callable[[], None], what: str) -> None:
        try:
            step()
        except (BusyError, WarehouseError) as error:
            logger.warning("the %s wait for the next sync or materialization: %s", what, error)
        except Exception as error:  # noqa: BLE001  a mistake of ours; its message may quote mail, its stack does not
            stack = stack_of(error)
            logger.error("unexpected %s in the build of the %s\n%s", type(error).__name__, what, stack)

    def _keep_analyst_tables_now_and_then(self) -> None:
        """A long drain takes hours: people should see what it has brought so far."""
        if time.monotonic() - self._built_at >= BUILD_SECONDS:
            self.keep_analyst_tables()

    def _count_todays_units(self) -> None:
        """Tells the governor what earlier processes have spent of the project's day, as far as `sync_runs` knows: looks
        that found nothing new leave no row, at 2 units each."""
        if self._knows_todays_units or self.governor.profile.per_project_day is None or not self.warehouse.exists:
            return
        with suppress(WarehouseError, BusyError):  # said by the sync of the first account
            self.governor.spent_before(self.queries.units_since(self.governor.day_ends_at() - timedelta(days=1)))
            self._knows_todays_units = True

    def _sync_account(
        self,
        account: Account,
        options: SyncOptions,
        on_progress: OnProgress,
        is_cancelled: Callable[[str], bool] = lambda _: False,
    ) -> SyncRun:
        run = SyncRun(account.account_id, options.triggered_by, self.governor.ledger)
        failure: MailIngestError | None = None
        try:
            with self._cancellable(account.account_id, is_cancelled):
                self.registry.sync_started(account.account_id)
                self._read_gmail(account, run, options, on_progress)
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
                f"The sync of {account.account_id} could not write its files under {self.settings.home} or the raw archive "
                f"({error.strerror or type(error).__name__}). Make room or mend the folder; what was loaded or archived stays, "
                "and the next sync goes on from there."
            )
        except Exception as error:  # noqa: BLE001  see below
            # a mistake of ours must not stop the other accounts; its message may quote mail, its stack does not
            run.outcome = "failed"
            stack = stack_of(error)
            logger.error("unexpected %s in the sync of %s\n%s", type(error).__name__, account.account_id, stack)
            failure = MailIngestError(
                f"The sync of {account.account_id} ended with an unexpected {type(error).__name__}; what was loaded or "
                "archived stays. The log has the stack: please report it."
            )
        if failure is not None:
            run.error, run.error_class = str(failure), type(failure).__name__
        run.finished_at = datetime.now(UTC)
        self._record_end(account, run, options, failure)
        return run

    def _read_gmail(self, account: Account, run: SyncRun, options: SyncOptions, on_progress: OnProgress) -> None:
        # the rest is left to the syncs that run beside a backfill, in other processes
        is_backfill = bool(options.partitions)
        self.governor.set_share(self.settings.backfill_share if is_backfill else self.settings.quota_share)
        client = self.client(account)
        run.findings = client.findings
        if options.list_only:
            check_mailbox(client.get_profile(), account.account_id)
            run.kind = "content"
            list_partitions(self, account, client, run, options.partitions, on_progress)
            return
        self.sync_state(account, client, run, options, on_progress)
        if options.content:
            self.drain_content(account, client, run, options, on_progress)

    @contextmanager
    def _cancellable(self, account_id: str, is_cancelled: Callable[[str], bool]) -> Iterator[None]:
        """Lets the sync in the block be cancelled by anybody who can write to the control database."""
        requests = self.registry.requests
        begun_with = requests.cancel_count(account_id)

        def ask() -> bool:
            try:
                return requests.cancel_count(account_id) != begun_with or is_cancelled(account_id)
            except (MailIngestError, SQLAlchemyError) as error:
                # nothing is known of a cancellation then; the sync itself will say what is wrong with the database
                logger.warning(
                    "whether the sync of %s was cancelled is not known: %s", account_id, type(error).__name__
                )
                return False

        with self.stop_sign.watch(account_id, ask):
            yield

    def sync_state(
        self,
        account: Account,
        client: GmailClient,
        run: SyncRun,
        options: SyncOptions,
        on_progress: OnProgress = _no_progress,
    ) -> None:
        """Brings ids, threads, labels and deletions up to date; holds the account's lock meanwhile.

        What a killed rewriting has left is ended first.
        """
        finish_for(self, account.account_id)
        with self.locks.hold(f"account:{account.account_id}"):
            # who waited for the lock may have waited for the account's removal
            self.registry.get(account.account_id)
            StateSync(
                client,
                run,
                pipeline=state_pipeline(account),
                pipelines=self.pipelines,
                queries=self.queries,
                spool_folder=self.spool_folder,
                status=_status_of(account),
                group=account.account_group,
                policy=self.registry.policy(account),
                has_backlog=lambda: self.queries.has_backlog(account.account_id, self.content_scope(account)),
                content_follows=options.content,
                accept_shrink=options.accept_shrink,
                on_progress=on_progress,
            ).run(options.mode)

    def drain_content(
        self,
        account: Account,
        client: GmailClient,
        run: SyncRun,
        options: SyncOptions,
        on_progress: OnProgress = _no_progress,
    ) -> None:
        """Buys content within the account's and the run's scope, until nothing is due or the limit is reached.

        What a killed rewriting has left is ended first.
        """
        finish_for(self, account.account_id)
        # a default tier that has become stricter holds for what is stored as well
        narrow_if_needed(self, account)
        if run.kind == "none":
            run.kind = "content"
        label_id = self._label_id(account, options.label) if options.label else None
        if options.retry:
            scope = Scope(failed=True, message_ids=options.message_ids)
        elif options.partitions:
            elsewhere = list_partitions(self, account, client, run, options.partitions, on_progress)
            scope = Scope(partitions=options.partitions, filed_elsewhere=elsewhere)
        else:
            scope = Scope(since=_later(options.since, account_horizon(account)), label_id=label_id)
        drain = ContentDrain(
            client,
            run,
            ContentOptions(scope, options.max_messages, keep_html=self.settings.html == "warehouse"),
            pipeline=content_pipeline(account, is_backfill=bool(options.partitions)),
            pending=content_pipelines(account),
            pipelines=self.pipelines,
            queries=self.queries,
            archive=self.archive,
            terms=partial(self._terms, account.account_id, scope),
            locks=self.locks,
            spool_folder=self.spool_folder,
            on_progress=on_progress,
            on_package=self._keep_analyst_tables_now_and_then,
            erased_people=lambda: self.erased_people(account.account_id),
            take_away=partial(take_away, self, account.account_id),
        )
        drain.run()
        if account.buys_again:
            end_agreement_if_used(self, account.account_id)
        if drain.has_taken_away:
            finish_taking_away(self, account.account_id)
        if options.partitions:
            file_by_content(self, account)
        if options.retry:
            # what came and could not be parsed is in the archive, not in the backlog
            unparsed = Reparse(
                self, account.account_id, on_progress, message_ids=options.message_ids, only_unparsed=True
            ).run()
            run.contents_adopted += unparsed.parsed
            run.contents_left_out += unparsed.left_out
            run.dead_letters -= unparsed.parsed + unparsed.left_out
            run.outcome = "partial" if run.backlog > 0 or run.dead_letters > 0 else "success"

    def _terms(self, account_id: str, scope: Scope) -> Terms:
        """Raises ConfigError where the account was removed meanwhile, or names labels that the mailbox does not have."""
        account = self.registry.get(account_id)
        policy = self.registry.policy(account)
        return Terms(policy, in_scope(self, account, scope, policy))

    def _label_id(self, account: Account, label: str) -> str:
        for stored in self.queries.labels(account.account_id).values():
            if stored.deleted_at is None and label in (stored.label.label_id, stored.label.name):
                return stored.label.label_id
        raise ConfigError(
            f"--label {label!r}: {account.account_id} has no label of that name or id; mail.labels lists those it has"
        )

    def _record_end(
        self, account: Account, run: SyncRun, options: SyncOptions, failure: MailIngestError | None
    ) -> None:
        """Tells the control database, and leaves a row in sync_runs where something changed or failed."""
        try:
            if run.outcome == "busy":
                return
            if isinstance(failure, AuthError):
                self.registry.set_state(account.account_id, "needs_reauth", run.error)
            elif isinstance(failure, AccountError):
                self.registry.set_state(account.account_id, "parked", run.error)
            if failure is None and account.state in REVIVED_BY_SYNC:
                # a person asked for it by name, and it works again
                self.registry.resume(account.account_id)
            if failure is None and not run.changed_anything and not run.partitions_listed:
                self.registry.checked(account.account_id)
                if self._has_news_of_fields(run):
                    self._record_run(account, run)
                return
            self.registry.sync_finished(
                account.account_id,
                run.outcome,
                error=failure,
                # a backfill that has spent its share of the day leaves the rest of it to the account's syncs
                next_due_at=None if options.partitions and _is_own_limit(failure) else run.resume_at,
                owner_active_at=run.owner_active_at,
                # a full disk says nothing about the account
                counts=not isinstance(failure, WarehouseError | ConfigError),
            )
            if isinstance(failure, SweepRefusedError):
                self.registry.note(account.account_id, run.error)
            # a warehouse that failed would fail again
            if not isinstance(failure, WarehouseError) and (
                failure is not None
                or not run.is_recorded
                or run.outcome != run.recorded_outcome
                or self._has_news_of_fields(run)
            ):
                self._record_run(account, run)
        except MailIngestError as error:
            logger.error("the end of the sync of %s could not be recorded: %s", account.account_id, error)
        except Exception as error:  # noqa: BLE001  the next account must have its turn
            logger.error(
                "the end of the sync of %s could not be recorded: %s", account.account_id, type(error).__name__
            )

    def _has_news_of_fields(self, run: SyncRun) -> bool:
        """Whether something unexpected in Gmail's answers is in no row of the account's runs: it is told once, not hourly."""
        new = set(run.unexpected_fields) - set(run.recorded_fields)
        return bool(new) and not new <= self.queries.unexpected_fields(run.account_id)

    def _record_run(self, account: Account, run: SyncRun) -> None:
        from mail_ingest.sources.landing import STATE_SOURCE, landing_source

        with Spool(self.spool_folder) as spool:
            run.record(spool)
            self.pipelines.load(
                state_pipeline(account),
                lambda staging: landing_source(STATE_SOURCE, spool.tables(), spool.read, staging=staging),
            )


def _status_of(account: Account) -> AccountState:
    """The state that a sync which lands its rows leads to; what leads elsewhere after that is copied at the end."""
    return "active" if account.state in REVIVED_BY_SYNC else account.state


def _is_own_limit(failure: MailIngestError | None) -> bool:
    return isinstance(failure, QuotaError) and failure.reason == OWN_DAY_LIMIT


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    if one is None or other is None:
        return one or other
    return max(one, other)
