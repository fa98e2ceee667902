"""Compacts the raw archive of one account: packs without mail whose time is over, without gaps, and not too many small ones.

    packs, rows that point into them -> groups -> one new pack each -> rows point there -> old packs are deleted

A process may die between any two steps: a pack that nothing points into, and of which every message is stored elsewhere or left
out for good, is deleted by the next run, whether it is an old one or a new one. Packs that hold what only they have are left
to the next sync, which adopts them. Memory is that of two row groups, and 0.2 KB for each of the account's packs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from mail_ingest.accounts import Account
from mail_ingest.ingest.packs import PACK_MESSAGES
from mail_ingest.ingest.pipelines import content_pipelines, state_pipeline
from mail_ingest.sources.stored import STORED_TABLES
from mail_ingest.sources.tables import DATASET, FETCH_FAILURES, LEFT_OUT_MESSAGES, MESSAGE_PARTS, MESSAGES
from mail_ingest.warehouse.archive import DamagedPackError
from mail_ingest.warehouse.expiring import RETENTION, Expiry
from mail_ingest.warehouse.rewriting import StoredRows

if TYPE_CHECKING:
    from mail_ingest.ingest.engine import Engine

logger = logging.getLogger(__name__)

#: A pack with less is small; so many of an account are merged.
SMALL_BYTES = 4 * 1024 * 1024
SMALL_MESSAGES = PACK_MESSAGES // 2
MANY_SMALL = 24
#: Packs are merged into one until it has so many messages or bytes.
_MOST_BYTES = 32 * 1024 * 1024
#: Messages without bytes whose rows go at once.
_ROWS_AT_ONCE = 5_000


@dataclass(slots=True)
class Repacked:
    """What was done to the archive, or would be: packs that went, packs in their place, and the bytes less that it takes."""

    packs_removed: int = 0
    packs_written: int = 0
    packs_unreadable: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """`groups` of packs, each to become one pack or none; `orphans`, into which no row points. `bytes` is what that frees, about,
    and `written` how many packs the groups leave."""

    groups: tuple[tuple[str, ...], ...] = ()
    orphans: tuple[str, ...] = ()
    written: int = 0
    bytes: int = 0


def plan_of(
    sizes: Mapping[str, int], pointed: Mapping[str, int], doomed: Mapping[str | None, int], count: Callable[[str], int]
) -> Plan:
    """What to do about an account's packs, oldest first: their bytes, the rows that point into them, and those of these that go.

    `count` tells how many messages a pack holds. It is asked of packs alone that are large and have few rows.
    """
    must: list[str] = []
    small: list[str] = []
    freed = 0
    for path, size in sizes.items():
        rows = pointed.get(path, 0)
        if not rows:
            continue
        if doomed.get(path, 0):
            must.append(path)
            freed += size * doomed[path] // rows
        elif size < SMALL_BYTES and rows < SMALL_MESSAGES:
            small.append(path)
        elif rows < SMALL_MESSAGES and rows * 2 < (held := count(path)):
            must.append(path)
            freed += size - size * rows // held
    left = {path: pointed[path] - doomed.get(path, 0) for path in (*must, *small)}
    groups = list(_grouped(must, sizes, left))
    if len(small) >= MANY_SMALL:
        groups += [group for group in _grouped(small, sizes, left) if len(group) > 1]
    return Plan(
        tuple(groups),
        tuple(path for path in sizes if path not in pointed),
        sum(any(left[path] for path in group) for group in groups),
        freed,
    )


def _grouped(paths: Sequence[str], sizes: Mapping[str, int], left: Mapping[str, int]) -> Iterator[tuple[str, ...]]:
    group: list[str] = []
    messages = size = 0
    for path in paths:
        if group and (messages + left[path] > PACK_MESSAGES or size + sizes[path] > _MOST_BYTES):
            yield tuple(group)
            group, messages, size = [], 0, 0
        group.append(path)
        messages += left[path]
        size += sizes[path]
    if group:
        yield tuple(group)


@dataclass(slots=True)
class Repacking:
    """The archive and the expired mail of one account. `before`: content of messages that were deleted earlier goes, None where
    it is kept for ever."""

    engine: Engine
    account: Account
    before: datetime | None
    tally: Repacked
    _rows: StoredRows = field(init=False)
    _expiry: Expiry = field(init=False)
    _present: dict[str, int] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._rows = StoredRows(self.engine.warehouse, DATASET, STORED_TABLES)
        self._expiry = Expiry(self.engine.warehouse)

    def is_needed(self, pointed: Mapping[str, int]) -> bool:
        """Whether there is anything to do, as far as can be told without the account's locks."""
        plan = self._plan(pointed)
        return bool(plan.groups) or any(self._is_spare(path) for path in plan.orphans)

    def estimate(self, pointed: Mapping[str, int]) -> None:
        """Counts what would be done; writes nothing."""
        plan = self._plan(pointed)
        spare = [path for path in plan.orphans if self._is_spare(path)]
        self.tally.packs_removed += sum(map(len, plan.groups)) + len(spare)
        self.tally.packs_written += plan.written
        self.tally.bytes += plan.bytes + sum(self._present[path] for path in spare)

    def run(self) -> None:
        """Does it. The caller holds the account's state and content locks.

        Raises BusyError, WarehouseError; what was done before stays done.
        """
        engine, account_id = self.engine, self.account.account_id
        for name in (state_pipeline(self.account), *content_pipelines(self.account)):
            # a package that is loaded later would point into packs that are gone, and bring rows back
            engine.pipelines.finish_pending(name)
        engine.pipelines.remove_unfinished(account_id, MESSAGES.name, [table.name for table in MESSAGE_PARTS])
        engine.archive.remove_unfinished(account_id)
        plan = self._plan(self._expiry.packs_of([account_id])[account_id])
        for path in plan.orphans:
            if self._is_spare(path):
                engine.archive.erase_pack(path)
                self.tally.packs_removed += 1
                self.tally.bytes += self._present.pop(path)
        for group in plan.groups:
            self._repack(group)
        self._take_rows_without_bytes()

    def _plan(self, pointed: Mapping[str, int]) -> Plan:
        self._present = self.engine.archive.sizes(self.account.account_id)
        doomed = (
            self._expiry.mail_by_pack(self.account.account_id, self.before)
            if self.before is not None and self._present
            else {}
        )
        self.engine.warehouse.let_go()
        return plan_of(self._present, pointed, doomed, self._count)

    def _count(self, path: str) -> int:
        try:
            return self.engine.archive.count(path)
        except (DamagedPackError, FileNotFoundError):
            return 0

    def _repack(self, group: Sequence[str]) -> None:
        self.engine.locks.check()
        try:
            self._replace(group)
        except DamagedPackError as error:
            if len(group) > 1:
                for path in group:
                    self._repack([path])
                return
            logger.error("%s; it stays, and so do the rows that point into it", error)
            self.tally.packs_unreadable += 1

    def _replace(self, group: Sequence[str]) -> None:
        """Writes one pack in the place of some: copies what stays, has the rows point there and takes those that go, deletes."""
        engine, account_id = self.engine, self.account.account_id
        doomed = self._expiry.mail_in(account_id, group, self.before) if self.before is not None else set()
        stays = {path: self._staying(path, doomed) for path in group}
        engine.warehouse.let_go()
        fresh = engine.archive.merge(group, account_id, lambda path, message_id: message_id in stays[path])
        self._write(doomed, {path: (fresh, ids) for path, ids in stays.items()} if fresh is not None else {})
        # cannot be, under the locks; and what a row points into is never deleted
        still = self._rows.points_into(account_id, group)
        engine.warehouse.let_go()
        freed = sum(self._present[path] for path in group if path not in still)
        for path in group:
            if path not in still:
                engine.archive.erase_pack(path)
        self.tally.packs_removed += len(group) - len(still)
        self.tally.packs_written += fresh is not None
        self.tally.bytes += freed - (engine.archive.size(fresh) if fresh is not None else 0)

    def _staying(self, path: str, doomed: set[str]) -> set[str]:
        """The messages of a pack whose bytes are to be kept."""
        message_ids = self.engine.archive.message_ids(path)
        places = self._rows.places(self.account.account_id, message_ids)
        left_out = self._left_out(message_ids) - places.keys()
        return {
            message_id
            for message_id in message_ids
            if message_id not in doomed
            and message_id not in left_out
            and not self._is_elsewhere(path, places.get(message_id, path))
        }

    def _is_spare(self, path: str) -> bool:
        """Whether a pack into which no row points holds nothing that only it has."""
        try:
            message_ids = self.engine.archive.message_ids(path)
        except (DamagedPackError, FileNotFoundError):
            return False  # the next sync sets it aside
        places = self._rows.places(self.account.account_id, message_ids)
        left_out = self._left_out(message_ids)
        return all(
            self._is_elsewhere(path, places[message_id]) if message_id in places else message_id in left_out
            for message_id in message_ids
        )

    def _is_elsewhere(self, path: str, place: str | None) -> bool:
        """Whether a row that points to `place` does without the bytes in a pack: it has its own, or is to have none."""
        return place != path and (place is None or place in self._present)

    def _left_out(self, message_ids: Sequence[str]) -> set[str]:
        return self._rows.ids_in(LEFT_OUT_MESSAGES.name, self.account.account_id, message_ids)

    def _take_rows_without_bytes(self) -> None:
        """Takes the rows of expired mail that points into no pack that is there."""
        account_id, before = self.account.account_id, self.before
        if before is None:
            return
        packs = list(self.engine.archive.sizes(account_id))
        while ids := self._expiry.mail_outside(account_id, packs, before, _ROWS_AT_ONCE):
            self.engine.locks.check()
            self._write(set(ids), {})
            self.engine.warehouse.let_go()

    def _write(self, doomed: set[str], moved: Mapping[str, tuple[str, set[str]]]) -> None:
        now = datetime.now(UTC)
        marks = [
            {
                "account_id": self.account.account_id,
                "message_id": message_id,
                "reason": RETENTION,
                "left_out_at": now,
            }
            for message_id in sorted(doomed)
        ]
        self._rows.replace(
            self.account.account_id,
            {message_id: {} for message_id in sorted(doomed)},
            marks=(LEFT_OUT_MESSAGES, marks),
            unmarked=FETCH_FAILURES.name,
            moved=moved,
        )
