"""Deletes what is older than it is kept, and gives the room back: rows, requests, bytes of mail, packs, the warehouse's file.

    control database -> old rows of the warehouse -> expired mail and packs, account by account -> analyst tables -> file

How long things are kept is in the settings (`Kept`); what people list in `mail_ingest.holds` stays. A state stays for ever: it
tells that a message existed and is gone, so nothing is bought again. A process may die anywhere, the next run goes on. An account
that others hold is left to the next run.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from mail_ingest.errors import BusyError, MailIngestError
from mail_ingest.ingest.repacking import Repacked, Repacking
from mail_ingest.warehouse.expiring import KINDS, Amount, Expiry

if TYPE_CHECKING:
    from mail_ingest.ingest.engine import Engine

logger = logging.getLogger(__name__)

#: An account that is busy for longer has its turn in the next run.
TURN_S = 30.0
#: Accounts whose packs are looked through together.
_ACCOUNTS_AT_ONCE = 100
#: A file is written anew where this part of it is free, unless it is smaller than that.
FREE_SHARE = 1 / 3
LEAST_FILE_BYTES = 16 * 1024 * 1024


@dataclass(slots=True)
class Retained:
    """What a run deleted, or would: by kind, and for how many days each is kept, None for ever. Holds no personal data but
    `skipped`, which says by account why it was left to the next run.

    `mail` are the messages whose content goes; `file_bytes` is what the warehouse's file lost, and `file` says what was done.
    """

    is_dry_run: bool
    days: dict[str, int | None] = field(default_factory=dict)
    amounts: dict[str, Amount] = field(default_factory=dict)
    mail: int = 0
    archive: Repacked = field(default_factory=Repacked)
    file_bytes: int = 0
    file: str = ""
    accounts: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    is_any_broken: bool = False

    def as_json(self) -> dict[str, Any]:
        """The document of `--json`; it names no account."""
        return {
            "dry_run": self.is_dry_run,
            "kinds": {name: {"kept_days": self.days[name], **asdict(amount)} for name, amount in self.amounts.items()},
            "deleted_messages": self.mail,
            "raw_archive": asdict(self.archive),
            "warehouse_file": {"bytes": self.file_bytes, "what": self.file},
            "accounts_skipped": len(self.skipped),
        }


def retain(engine: Engine, *, is_dry_run: bool = False, now: datetime | None = None) -> Retained:
    """Deletes what is older than it is kept, or counts it; as of `now`, the present moment without it.

    Raises BusyError where another process is at it or has the warehouse, ConfigError where that is another deployment's,
    WarehouseError; what was deleted before stays deleted.
    """
    done = Retained(is_dry_run)
    with engine.locks.hold("retention"):
        _requests(engine, done)
        if engine.warehouse.exists:
            engine.check_warehouse()
            with engine.warehouse.keep_open():
                _Warehouse(engine, done, now or datetime.now(UTC)).run()
    return done


def _requests(engine: Engine, done: Retained) -> None:
    engine.registry.check_deployment()
    requests = engine.registry.requests
    rows, size = requests.count_forgettable()
    if not done.is_dry_run:
        rows = requests.forget_ended()
    done.days["requests"] = engine.settings.keep.requests
    done.amounts["requests"] = Amount(rows, size)


class _Warehouse:
    """One run over the warehouse and the raw archive."""

    def __init__(self, engine: Engine, done: Retained, now: datetime) -> None:
        self._engine = engine
        self._done = done
        self._expiry = Expiry(engine.warehouse)
        self._now = now

    def run(self) -> None:
        done = self._done
        for kind in KINDS:
            days = getattr(self._engine.settings.keep, kind.name)
            before = self._before(days)
            done.days[kind.name] = days
            amount = done.amounts[kind.name] = Amount() if before is None else self._expiry.count(kind, before)
            if before is not None and not done.is_dry_run:
                amount.rows = 0
                for rows in self._expiry.delete(kind, before):
                    amount.rows += rows
                    self._engine.locks.check()
                    self._engine.warehouse.let_go()
        self._mail_and_packs()
        if not done.is_dry_run and any(amount.rows for amount in done.amounts.values()):
            self._engine.keep_analyst_tables()
        self._engine.warehouse.let_go()
        self._file()

    def _before(self, days: int | None) -> datetime | None:
        return None if days is None else self._now - timedelta(days=days)

    # -- mail and packs ------------------------------------------------------------------------------------------

    def _mail_and_packs(self) -> None:
        done = self._done
        days = self._engine.settings.keep.deleted_mail
        before = self._before(days)
        done.days["deleted_mail"] = days
        messages, amount = (0, Amount()) if before is None else self._expiry.count_mail(before)
        done.mail, done.amounts["deleted_mail"] = messages, amount
        concerned = set(self._expiry.accounts_with_mail(before)) if before is not None and messages else set()
        account_ids = sorted(self._engine.registry.states())
        for start in range(0, len(account_ids), _ACCOUNTS_AT_ONCE):
            batch = account_ids[start : start + _ACCOUNTS_AT_ONCE]
            for account_id, pointed in self._expiry.packs_of(batch).items():
                self._account(account_id, before if account_id in concerned else None, pointed)
        if before is not None and messages and not done.is_dry_run:
            # what was left to the next run did not go
            messages, left = self._expiry.count_mail(before)
            done.mail -= messages
            amount.rows -= left.rows
            amount.bytes -= left.bytes

    def _account(self, account_id: str, before: datetime | None, pointed: dict[str, int]) -> None:
        engine, done = self._engine, self._done
        done.accounts += 1
        try:
            repacking = Repacking(engine, engine.registry.find(account_id), before, done.archive)
            if done.is_dry_run:
                repacking.estimate(pointed)
            elif before is not None or repacking.is_needed(pointed):
                with _hold(engine, account_id):
                    repacking.run()
        except MailIngestError as error:
            # the others must have their turn
            logger.warning("the retention has left out %s: %s", account_id, error)
            done.skipped[account_id] = str(error)
            done.is_any_broken |= not isinstance(error, BusyError)
        finally:
            engine.warehouse.let_go()

    # -- the warehouse's file ------------------------------------------------------------------------------------

    def _file(self) -> None:
        try:
            self._write_file_anew()
        except BusyError as error:
            # a reader that keeps it is no reason to fail: the next run looks again
            self._done.file = f"left as it is: {error}"

    def _write_file_anew(self) -> None:
        engine, done = self._engine, self._done
        room = engine.warehouse.room()
        if room is None:
            done.file = "a server gives room that is free to other rows by itself"
            return
        used = room.size - room.free
        if room.size < LEAST_FILE_BYTES or room.free < room.size * FREE_SHARE:
            done.file = f"left as it is: {room.free:,} of its {room.size:,} bytes are free for other rows"
        elif room.disk_free < used:
            done.file = (
                f"left as it is, though {room.free:,} of its {room.size:,} bytes are free: writing it anew takes {used:,} bytes "
                f"for a while, and its disk has {room.disk_free:,}; make room there"
            )
            logger.warning("the warehouse's file is %s", done.file)
        elif done.is_dry_run:
            done.file_bytes = room.free
            done.file = f"would be written anew: {room.free:,} of its {room.size:,} bytes are free"
        else:
            engine.warehouse.write_anew([])
            after = engine.warehouse.room() or room
            done.file_bytes = room.size - after.size
            done.file = f"written anew: {after.size:,} bytes in place of {room.size:,}"


@contextmanager
def _hold(engine: Engine, account_id: str) -> Iterator[None]:
    """Holds an account's state and content, unless others do: maintenance waits for nobody."""
    wait_s = min(engine.locks.wait_s, TURN_S)
    with (
        engine.locks.hold(f"account:{account_id}", wait_s=wait_s),
        engine.locks.hold_in_turn(f"content:{account_id}", wait_s=wait_s),
    ):
        yield
