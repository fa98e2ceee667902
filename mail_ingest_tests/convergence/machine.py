"""One mailbox and its copy, taken through rounds of changes, troubles, deaths and syncs, and then compared.

Everything is real: the server at its socket, dlt, the warehouse, the archive, the locks. Only time is not: the client's waits
move a clock on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Self
from unittest import mock

import orjson

from mail_ingest.accounts import PrivacySettings, authorized_user
from mail_ingest.gmail import Transport
from mail_ingest.ingest import Engine, SyncOptions, content, packages, packs
from mail_ingest.ingest.erasing import account_rows
from mail_ingest.ingest.erasing.contact import erase_contact
from mail_ingest.ingest.pipelines import content_pipeline
from mail_ingest.ingest.privacy_change import change_privacy, consequences
from mail_ingest.settings import load_settings
from mail_ingest.simulator import Call, Simulator
from mail_ingest.simulator import Fault as PlannedFault
from mail_ingest.simulator.faults import HookHandle
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.convergence import faults
from mail_ingest_tests.convergence.comparison import Purchases, assert_converged, assert_events_complete
from mail_ingest_tests.convergence.deaths import run_in_child
from mail_ingest_tests.convergence.planted import ADDRESSES
from mail_ingest_tests.convergence.served import Event, Served
from mail_ingest_tests.convergence.steps import (
    Change,
    Conditions,
    Death,
    During,
    EraseContact,
    Expire,
    Fault,
    Round,
    SetDefault,
    SetPrivacy,
    Switch,
    Sync,
)
from mail_ingest_tests.convergence.verbs import LEAVING, MONTHS, Verbs

_TIMEOUT_S = 0.8
_PAGE = 3
_START_S = 1_768_000_000.0  # 9 January 2026


@dataclass(frozen=True)
class Ended:
    """How a sync ended; None in its place where its process died."""

    kind: str
    outcome: str
    error: str
    error_class: str | None
    landed: bool
    resume_at: datetime | None
    changed_anything: bool


class Clock:
    """Epoch seconds that only waiting moves on."""

    def __init__(self) -> None:
        self.now_s = _START_S

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


class Machine:
    """Takes steps. As a context manager it serves the mailbox meanwhile."""

    def __init__(self, folder: Path, warehouse_url: str, conditions: Conditions, tally: Counter[str]) -> None:
        self._folder = folder
        self._warehouse_url = warehouse_url
        self._conditions = conditions
        self._tally = tally
        self._stack = ExitStack()
        self._landed: set[Event] = set()
        self._truncated = 0
        self._default = "full"
        self._erased: set[str] = set()
        self._is_rewritten = False
        self._faults: list[PlannedFault] = []
        self._hooks: list[HookHandle] = []
        #: Syncs that died: when they began and ended, and what they were served. What landed of it shows at the end.
        self._deaths: list[tuple[datetime, datetime, set[Event]]] = []

    def __enter__(self) -> Self:
        for owner, name, value in (
            (content, "PACKAGE_MESSAGES", 5),
            (packs, "PACK_MESSAGES", 2),
            (packages, "PART_ROWS", self._conditions.part_rows),
            (account_rows, "PACKAGE_MESSAGES", 4),
        ):
            self._stack.enter_context(mock.patch.object(owner, name, value))
        self._clock = Clock()
        self._gmail = self._stack.enter_context(Simulator(quota="off", clock=self._clock))
        self._gmail.page_limit = _PAGE
        self._box = self._gmail.add_account(ADDRESS)
        self._verbs = Verbs(self._box)
        self._served = Served(self._gmail)
        self._purchases = Purchases(self._served)
        self._engine = self._new_engine()
        self._stack.callback(lambda: self._engine.close())
        consent = self._folder / "consent.json"
        consent.write_bytes(orjson.dumps(self._box.authorized_user()))
        self._engine.registry.add(ADDRESS, authorized_user(consent))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _new_engine(self) -> Engine:
        variables = {
            "MAIL_INGEST_HOME": str(self._folder / "home"),
            "MAIL_INGEST_WAREHOUSE": self._warehouse_url,
            "MAIL_INGEST_GMAIL_URL": self._gmail.url,
            "MAIL_INGEST_QUOTA": "off",
            "MAIL_INGEST_PRIVACY": self._default,
            "MAIL_INGEST_MAX_IN_FLIGHT": str(self._conditions.in_flight),
        }
        engine = Engine(load_settings(variables), wait_s=2.0, clock=self._clock, sleep=self._clock.sleep)
        engine.transport = Transport(read_timeout_s=_TIMEOUT_S)
        return engine

    # steps

    def run(self, rounds: Sequence[Round]) -> None:
        """Takes all rounds, then one clean sync, and compares."""
        for number in range(self._conditions.mail):
            self._take(Change("insert", number, number), "")
        for taken in rounds:
            for step in taken.steps:
                self._take(step, "")
            if taken.rewriting is not None:
                self._rewrite(taken.rewriting)
            self._sync(taken.sync)
        self._converge()

    def _take(self, step: Change | Switch | Expire, prefix: str, asked_for: str = "") -> None:
        self._clock.sleep(1.0)
        match step:
            case Change():
                done = self._verbs.apply(step, asked_for)
                self._tally[f"{prefix or 'change'}: {step.verb if done else '(nothing there to change)'}"] += 1
            case Switch():
                setattr(self._gmail, step.name, step.value)
                self._tally[f"switch: {step.name}"] += 1
            case Expire():
                records = self._box.state.history.records
                with self._gmail.world.lock:
                    before = records[-1 - step.keep].id if 0 < step.keep < len(records) else None
                self._box.expire_history(before)
                self._tally[f"{prefix or 'change'}: expire history" + (" in part" if before is not None else "")] += 1

    def _rewrite(self, step: SetPrivacy | SetDefault | EraseContact) -> None:
        """Changes what may be stored, as the command line does, in this process or in one that dies."""
        self._clock.sleep(1.0)
        self._is_rewritten = True
        match step:
            case SetDefault():
                self._default = step.tier
                self._new_process()
                # nobody agreed to anything by it, also not who agreed to buy again and has not got all of it yet
                self._purchases.before_rewriting(self._engine)
                self._tally[f"rewriting: default {step.tier}"] += 1
            case SetPrivacy():
                settings = PrivacySettings(step.tier, step.attachments, step.sign_in_mail)
                if settings.changes_anything:
                    account = self._engine.registry.get(ADDRESS)
                    agreed = self._engine.registry.policy(account, privacy=settings)
                    self._purchases.before_rewriting(self._engine, agreed)
                    self._work(partial(_set_privacy, settings=settings), step.death)
                told = ", ".join(f"{name} {value}" for name, value in settings.values().items())
                self._tally[f"rewriting: {told or '(nothing to change)'}"] += 1
            case EraseContact():
                who = ADDRESSES[step.who % len(ADDRESSES)]
                self._purchases.before_rewriting(self._engine)
                lived = self._work(partial(_erase, who=who), step.death)
                is_erased = self._engine.registry.erasures.kept_out(ADDRESS) or (lambda _: False)
                if lived:
                    assert is_erased(who)
                # a command that died before it did anything has not begun
                if is_erased(who):
                    self._erased.add(who)
                self._tally["rewriting: a person is erased"] += 1

    def _work(self, work: Callable[[Engine], bool], death: Death | None) -> bool:
        """Does it here, or in a process that is to die; whether it lived."""
        if death is None:
            assert work(self._engine), "what had to go was found"
            return True
        is_proven = run_in_child(lambda: work(self._new_engine()), death, self._engine.warehouse.dialect)
        assert is_proven is not False, "what had to go was found"
        self._tally[f"death: {death.point if is_proven is None else '(did not come)'}"] += 1
        self._new_process()
        return is_proven is not None

    def _new_process(self) -> None:
        self._engine.close()
        self._engine = self._new_engine()

    def _sync(self, sync: Sync) -> None:
        planned = [(trouble, self._plan(trouble)) for trouble in sync.trouble]
        ended = self._synced(sync)
        for trouble, strikes in planned:
            if isinstance(trouble, Fault):
                self._tally[f"fault: {trouble.kind if strikes() else '(did not strike)'}"] += 1
        if ended is not None and ended.error_class:
            assert ended.error_class in _may_end_with(sync), ended

    def _plan(self, trouble: Fault | During) -> Callable[[], int]:
        """Plans trouble for the sync that comes; returns how to learn how often it came."""
        if isinstance(trouble, Fault):
            fault = faults.plan(self._gmail, trouble, self._clock())

            def strikes() -> int:
                return fault.served

            self._faults.append(fault)
            return strikes

        def meddle(call: Call) -> None:
            for step in trouble.steps:
                self._take(step, "during a sync", call.resource)

        hooking = self._gmail.before if trouble.when == "before" else self._gmail.after
        handle = hooking(trouble.method, meddle, times=1, after=trouble.after)
        self._hooks.append(handle)
        return lambda: handle.runs

    def _synced(self, sync: Sync) -> Ended | None:
        """One sync, in this process or in one of its own, and the account of what it was served."""
        self._served.begin()
        self._purchases.begin()
        options = _options(sync)
        began_at = datetime.now(UTC)
        if sync.is_fresh or sync.death is not None:
            ended = run_in_child(
                lambda: _ended(self._new_engine(), options), sync.death, self._engine.warehouse.dialect
            )
            self._new_process()
        else:
            ended = _ended(self._engine, options)
        self._served.settle()
        self._end_trouble()
        self._note(sync, ended)
        if ended is None:
            self._deaths.append((began_at, datetime.now(UTC), self._served.events))
        elif ended.landed:
            self._landed |= self._served.events
        if ended is not None and ended.resume_at is not None:
            self._clock.now_s = max(self._clock.now_s, ended.resume_at.timestamp())
        self._clock.sleep(60.0)
        self._purchases.check(self._engine, died=ended is None, damaged=self._truncated)
        return ended

    def _end_trouble(self) -> None:
        for handle in self._hooks:
            handle.remove()
        self._hooks.clear()
        self._gmail.clear_faults()
        self._truncated += sum(fault.served for fault in self._faults if fault.kind == "truncate")
        self._faults.clear()

    def _note(self, sync: Sync, ended: Ended | None) -> None:
        self._tally[f"sync: {sync.kind}"] += 1
        if sync.death is not None:
            self._tally[f"death: {sync.death.point if ended is None else '(did not come)'}"] += 1
        if ended is not None:
            self._tally[f"ended: {ended.kind}, {ended.error_class or ended.outcome}"] += 1

    # the clean sync

    def _converge(self) -> None:
        engine = self._engine
        # what dead processes left pending lands first: it may hold failures that are waiting, too
        for is_backfill in (False, True):
            engine.pipelines.finish_pending(content_pipeline(engine.registry.get(ADDRESS), is_backfill=is_backfill))
        with engine.warehouse.open() as connection:
            # a day passes: what failed is due again
            connection.execute(
                "update gmail.fetch_failures set next_try_at = first_failed_at where resolved_at is null"
            )
        ended = self._synced(Sync())
        assert ended is not None
        assert (ended.error, ended.outcome) == ("", "success")
        assert_converged(engine, self._box, self._erased, is_rewritten=self._is_rewritten)
        assert_events_complete(engine, self._served, self._landed | self._landed_of_the_dead())
        again = self._synced(Sync())
        assert again is not None
        assert not again.changed_anything, "a second sync of a mailbox at rest changes something"
        self._tally["in all: contents lost to deaths"] += self._purchases.lost_to_deaths
        self._tally["in all: contents bought"] += self._served.bought.total()
        self._tally["in all: events served"] += len(self._served.history)
        self._tally["in all: events landed"] += len(self._landed)

    def _landed_of_the_dead(self) -> set[Event]:
        """What died syncs were served and landed all the same: their run stands in the warehouse."""
        with self._engine.warehouse.open() as connection:
            runs = connection.execute(
                "select started_at from gmail.sync_runs where kind in ('partial', 'full') and error_class is null"
            ).fetchall()
        landed: set[Event] = set()
        for began_at, died_at, events in self._deaths:
            if any(began_at <= started_at <= died_at for (started_at,) in runs):
                landed |= events
        return landed


def _set_privacy(engine: Engine, settings: PrivacySettings) -> bool:
    """`account set --yes`; whether nothing was found that had to go."""
    account = engine.registry.get(ADDRESS)
    erasure = change_privacy(engine, account, settings, consequences(engine, account, settings))
    return erasure is None or erasure.is_proven


def _erase(engine: Engine, who: str) -> bool:
    return erase_contact(engine, who).is_proven


def _may_end_with(sync: Sync) -> set[str]:
    """The errors that its trouble explains; any other is a mistake of the product."""
    allowed: set[str] = set()
    for trouble in sync.trouble:
        if isinstance(trouble, Fault):
            allowed |= faults.may_end_with(trouble)
        elif any(isinstance(step, Change) and step.verb in LEAVING for step in trouble.steps):
            # a small mailbox that loses a message during its sweep has lost more than a tenth
            allowed.add("SweepRefusedError")
    return allowed


def _options(sync: Sync) -> SyncOptions:
    match sync.kind:
        case "full":
            return SyncOptions(mode="full")
        case "month":
            return SyncOptions(partitions=(MONTHS[sync.month % len(MONTHS)],))
        case "limited":
            return SyncOptions(max_messages=2)
        case "states":
            return SyncOptions(content=False)
        case _:
            return SyncOptions()


def _ended(engine: Engine, options: SyncOptions) -> Ended:
    run = engine.sync(engine.accounts([ADDRESS]), options)[0]
    return Ended(
        run.kind, run.outcome, run.error, run.error_class, run.is_recorded, run.resume_at, run.changed_anything
    )
