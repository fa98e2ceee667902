"""Wires accounts, client, sources and warehouse together; the command line and Dagster both call it.

The only place that knows all of them. Building an `Engine` opens nothing; its parts open what they need at first use.
"""

from __future__ import annotations

import copy
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cached_property

from sqlalchemy.exc import SQLAlchemyError

from mail_ingest.accounts import ADAPTIVE, BACKFILL, Account, Registry, Schedule, check_groups, make_wish
from mail_ingest.errors import (
    BudgetStoreError,
    BusyError,
    ConfigError,
    MailIngestError,
    WarehouseError,
    stack_of,
)
from mail_ingest.gmail import (
    DEFAULT_PROJECT,
    Budgets,
    DayUse,
    GmailClient,
    Patience,
    Purpose,
    QuotaGovernor,
    Shares,
    Transport,
    parse_quota,
)
from mail_ingest.ingest.account_states import States, copy_account_states
from mail_ingest.ingest.account_sync import AccountSync
from mail_ingest.ingest.cursor import Cursor
from mail_ingest.ingest.erasing.account_rows import Instructions
from mail_ingest.ingest.erasing.people import ErasedPeople
from mail_ingest.ingest.erasure import Erased, erase_account
from mail_ingest.ingest.heap import share_with_arrow
from mail_ingest.ingest.loading import Load, Loader
from mail_ingest.ingest.pipelines import state_pipeline
from mail_ingest.ingest.privacy import in_scope, privacy_instructions
from mail_ingest.ingest.run import OnProgress, Progress, SyncOptions, SyncRun
from mail_ingest.ingest.scope import account_horizon
from mail_ingest.ingest.side_by_side import SideBySide
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
from mail_ingest.warehouse.spool import remove_leftovers

logger = logging.getLogger(__name__)

#: Seconds between two builds of the analyst tables within one sync.
BUILD_SECONDS = 240.0


def _no_progress(progress: Progress) -> None:
    """Nobody is watching."""


class Engine:
    """Everything one process needs to sync accounts.

    `wait_s`: how long to wait for locks that others hold; `turn_s`: how long a rewriting waits for an account whose content
    somebody buys, None for as long as a package may take; `clock` (epoch seconds): by which accounts are due and quotas
    run; `sleep`: how the client waits for Gmail.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        wait_s: float = 60.0,
        turn_s: float | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        share_with_arrow()
        self.settings = settings
        self.turn_s = turn_s
        self.registry = Registry(settings, now=lambda: datetime.fromtimestamp(clock(), UTC))
        self.analyst_tables = AnalystTables(
            load_relations(), Configuration.of(settings), "duckdb" if settings.is_duckdb else "postgres"
        )
        self.stop_sign = StopSign()
        self._plain_sleep = sleep
        sleep = self.stop_sign.sleeper(sleep)
        self.warehouse, self.locks = make_warehouse(settings, wait_s, self._prepare)
        self.locks.while_waiting = self.stop_sign.check_once
        self.queries = Queries(self.warehouse)
        self.partitions = PartitionQueries(self.warehouse)
        self.pipelines = Pipelines(settings, self.warehouse, self.locks)
        self.load: Load = Loader(self.pipelines)
        self.archive = RawArchive(settings.raw)
        profile = parse_quota(settings.quota)
        if profile.is_off and not settings.gmail_is_loopback:
            raise ConfigError(
                "MAIL_INGEST_QUOTA=off is for loopback addresses only: Gmail would refuse, and lock the mailbox out"
            )
        shares = Shares.of(settings.quota_share, settings.quota_reserve, settings.backfill_share)
        budgets = Budgets(profile, shares, stores=self.registry.budget_stores.of, clock=clock)
        self.governor = QuotaGovernor(profile, shares=shares, budgets=budgets, clock=clock, sleep=sleep)
        self._clock = clock
        self._sleep = sleep
        self._max_in_flight = settings.max_in_flight
        self._keeps_analyst_tables = True
        self._counted_day: datetime | None = None
        self._has_built = False
        self._copied_states: States = {}
        self._built_at = time.monotonic()
        self.spool_folder = settings.home / "spool"

    def _prepare(self, connection: Connection, dialect: Dialect) -> None:
        prepare_schema(connection, dialect, DATASET, LANDING_TABLES, self.analyst_tables)

    def close(self) -> None:
        """Lets connections go. The engine can be used again, it opens new ones."""
        self.governor.budgets.settle()
        if "transport" in self.__dict__:
            self.transport.close()
        self.registry.close()
        self.warehouse.close()

    @cached_property
    def transport(self) -> Transport:
        return Transport()

    def for_one_account(self, load: Load, *, max_in_flight: int) -> Engine:
        """A copy for a thread that syncs one account beside others: with a stop sign, and waits for locks and for Gmail, of its
        own. All else is shared, the wait for quota as well: it ends early where all accounts are to end, not where one is."""
        _ = self.transport  # made before it is shared
        other = copy.copy(self)
        other.stop_sign = StopSign(self.stop_sign)
        other.locks = copy.copy(self.locks)
        other.locks.while_waiting = other.stop_sign.check_once
        other._sleep = other.stop_sign.sleeper(self._plain_sleep)
        other._max_in_flight = min(max_in_flight, self._max_in_flight)
        other._keeps_analyst_tables = False
        other.load = load
        return other

    def client(
        self,
        account: Account,
        purpose: Purpose = "asked",
        *,
        patience: Patience = Patience(),  # noqa: B008  frozen
    ) -> GmailClient:
        """A client of one account's mailbox, which spends what its project has left for the purpose. Raises ConfigError where
        its credentials cannot be decrypted."""
        self.governor.assign(account.account_id, project=account.project, purpose=purpose)
        return GmailClient(
            account.account_id,
            token=self.registry.token_source(account.account_id),
            governor=self.governor,
            transport=self.transport,
            url=self.settings.gmail_url,
            max_in_flight=self._max_in_flight,
            patience=patience,
            before_call=self._before_call,
            clock=self._clock,
            sleep=self._sleep,
        )

    def _before_call(self) -> None:
        # nobody should wait for the warehouse because Gmail takes its time
        self.warehouse.let_go()
        self.stop_sign.check()

    def accounts(self, addresses: Sequence[str] = (), groups: Sequence[str] = ()) -> list[Account]:
        """The named accounts, or all active ones, of these groups where any are given.

        Raises ConfigError for an unknown account or group, and where accounts and groups are named, before anything starts.
        """
        self._check_choice(addresses, groups)
        if addresses:
            return [self.registry.get(address) for address in dict.fromkeys(addresses)]
        return self.registry.list("active", groups=groups)

    def _check_choice(self, addresses: Sequence[str], groups: Sequence[str]) -> None:
        if addresses and groups:
            raise ConfigError("accounts or groups are named, not both")
        check_groups(self.registry, groups)

    def due(
        self,
        addresses: Sequence[str] = (),
        groups: Sequence[str] = (),
        schedules: Sequence[Schedule] = (),
        shards: Sequence[int] = (),
    ) -> tuple[list[Account], list[Account]]:
        """The accounts to sync now, and those that are left alone: paused, waiting after failures, out of quota.

        Naming accounts overrides all of that, naming groups, schedules or shards leaves out other accounts. Raises ConfigError
        for an unknown account, group or shard, and where accounts are named together with groups or shards.
        """
        self._check_choice(addresses, groups)
        if addresses and shards:
            raise ConfigError("accounts or shards are named, not both")
        if addresses:
            return self.accounts(addresses), []
        unknown = set(shards) - set(self.registry.shards())
        if unknown:
            raise ConfigError(f"no account is on shard {min(unknown)}; `mail-ingest account list` shows the shards")
        due = self.registry.due(groups, schedules, shards)
        names = {account.account_id for account in due}
        others = (account for account in self.registry.list(groups=groups) if account.account_id not in names)
        return due, [
            account
            for account in others
            if (not schedules or account.schedule in schedules) and (not shards or account.shard in shards)
        ]

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

    def by_scope(self, accounts: Sequence[Account], now: datetime) -> dict[Scope, list[str]]:
        """Accounts by their scope: questions about those that have the same can be asked together."""
        found: dict[Scope, list[str]] = {}
        for account in accounts:
            scope = self.content_scope(account, Scope(since=account_horizon(account, now)))
            found.setdefault(scope, []).append(account.account_id)
        return found

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
        """Syncs accounts, those of a shard side by side. One account's failure is its own: the others are done all the same.

        Errors are in the runs (`outcome`, `error`, `error_class`), not raised, but for those that stop everything: a
        warehouse that another process holds or that cannot be opened ends that account's run alone as well.

        A sync ends early where `mail-ingest cancel` asks for it, or `is_cancelled` says so of its account_id. `stop_sign`
        ends the one under way, and none is begun after it: those accounts have no run in the list.
        """
        remove_leftovers(self.spool_folder)
        with self.warehouse.keep_open():
            runs = self._sync_all(accounts, options, on_progress, on_done, is_cancelled)
            self._keeping(self.warehouse.let_go, "closing of the warehouse")
        self.governor.budgets.settle()
        return runs

    def _sync_all(
        self,
        accounts: Iterable[Account],
        options: SyncOptions,
        on_progress: OnProgress,
        on_done: Callable[[SyncRun], None],
        is_cancelled: Callable[[str], bool],
    ) -> list[SyncRun]:
        self.count_todays_units()
        runs: list[SyncRun] = []
        synced: list[Account] = []

        def ended(run: SyncRun) -> None:
            runs.append(run)
            on_done(run)

        if isinstance(accounts, Sequence) and len(accounts) > 1 and options.may_go_side_by_side:
            synced += accounts
            self._sync_side_by_side(accounts, options, on_progress, ended, is_cancelled)
            order = {account.account_id: place for place, account in enumerate(accounts)}
            runs.sort(key=lambda run: order[run.account_id])
        else:
            for account in accounts:
                if self.stop_sign.stopped_by:
                    break
                synced.append(account)
                sync = AccountSync(self, account, options, on_progress, is_cancelled)
                run = sync.run()
                ended(self._end_long_drain(sync, options) if sync.has_long_drain else run)
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

    def _sync_side_by_side(
        self,
        accounts: Sequence[Account],
        options: SyncOptions,
        on_progress: OnProgress,
        on_done: Callable[[SyncRun], None],
        is_cancelled: Callable[[str], bool],
    ) -> None:
        """Shard by shard, and then the content that takes long, one account after another."""
        long_drains: list[AccountSync] = []
        for shard in sorted({account.shard for account in accounts}):
            if self.stop_sign.stopped_by:
                break
            members = [account for account in accounts if account.shard == shard]
            at_once = self.settings.accounts_at_once
            together = SideBySide(
                self, options, on_progress=on_progress, on_done=on_done, is_cancelled=is_cancelled, at_once=at_once
            )
            together.run(members)
            long_drains += together.long_drains
            self.keep_analyst_tables_now_and_then()
        for sync in long_drains:
            on_done(self._end_long_drain(sync, options))

    def _end_long_drain(self, sync: AccountSync, options: SyncOptions) -> SyncRun:
        """Buys what is left, or asks for a run of its own for it."""
        if not options.leaves_long_drains or self.stop_sign.stopped_by:
            return sync.drain(self)
        wish = make_wish(datetime.fromtimestamp(self._clock(), UTC), priority=BACKFILL)
        try:
            self.registry.requests.file_long_drain(sync.account.account_id, wish)
        except (MailIngestError, SQLAlchemyError) as error:
            # removed meanwhile, or the next run of the shard asks again
            logger.warning(
                "no run was asked for, for the content of %s: %s", sync.account.account_id, type(error).__name__
            )
        return sync.leave(self)

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
        if all(account.privacy != "hashed" for account in states.values()):
            return {}
        hasher = Hasher(self.registry.hash_key())
        own = {account_id.rpartition("@")[2] for account_id, its in states.items() if its.privacy == "hashed"}
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
        """Brings state, group and watch of every account to the warehouse, for people who ask it."""
        states = self.registry.states()
        copy_account_states(self.warehouse, states)
        self._copied_states = states

    def keep_account_states(self) -> None:
        """The same, where there is a warehouse; raises nothing, because the next sync makes up for it."""
        if self.warehouse.exists:
            self._keeping(self.copy_account_states, "states of accounts")

    def _note_traffic(self, account_ids: Sequence[str]) -> None:
        """Notes what the adaptive schedules go by; measured by the sync, because then the warehouse is at hand."""
        self.registry.note_traffic(
            measure_traffic(self.warehouse, account_ids, datetime.fromtimestamp(self._clock(), UTC))
        )

    @staticmethod
    def _keeping(step: Callable[[], None], what: str) -> None:
        try:
            step()
        except (BusyError, ConfigError, WarehouseError) as error:
            # the key of hashes may be missing
            logger.warning("the %s wait for the next sync or materialization: %s", what, error)
        except Exception as error:  # noqa: BLE001  a mistake of ours; its message may quote mail, its stack does not
            stack = stack_of(error)
            logger.error("unexpected %s in the build of the %s\n%s", type(error).__name__, what, stack)

    def keep_analyst_tables_now_and_then(self) -> None:
        """A long drain takes hours: people should see what it has brought so far."""
        if self._keeps_analyst_tables and time.monotonic() - self._built_at >= BUILD_SECONDS:
            self.keep_analyst_tables()

    def count_todays_units(self) -> None:
        """Tells each project's budget what `sync_runs` knows of its day, once a process and day: a budget may have been lost,
        or be younger than the day."""
        day_began_at = self.governor.day_ends_at() - timedelta(days=1)
        if (
            self._counted_day == day_began_at
            or self.governor.profile.per_project_day is None
            or not self.warehouse.exists
        ):
            return
        with suppress(WarehouseError, BusyError, SQLAlchemyError):  # said by the sync of the first account
            for project, units in self.units_by_project(day_began_at).items():
                self.governor.budgets.note_spent(project, units)
            self._counted_day = day_began_at

    def projects_today(self, accounts: Iterable[Account]) -> list[DayUse]:
        """What the projects of accounts have spent of the present day; none where nothing is limited, nor where it cannot be
        told, which the log says."""
        found: list[DayUse] = []
        if self.governor.profile.is_off:
            return found
        for project in sorted({account.project for account in accounts}):
            try:
                found.append(self.governor.budgets.day_use(project))
            except BudgetStoreError as error:
                logger.warning("%s", error)
        return found

    def units_by_project(self, since: datetime) -> dict[str, int]:
        """Units that recorded syncs have spent since a moment; looks that found nothing new leave no row, at 2 units each."""
        projects = self.registry.projects()
        spent: Counter[str] = Counter()
        for account_id, units in self.queries.units_since(since).items():
            spent[projects.get(account_id, DEFAULT_PROJECT)] += units
        return dict(spent)
