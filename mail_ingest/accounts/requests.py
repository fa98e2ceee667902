"""Requests for syncs: what somebody asked for, from the wish to the run that fulfils it.

    waiting -> claimed -> started -> done | failed

Of an account one request at most is waiting: whoever asks meanwhile joins it, and the stronger wish of the two is kept. A
claimed request belongs to a run that is to come, so nobody joins it; it is started once that run exists. Each may be
cancelled until it is done. Every method is one transaction.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Row,
    String,
    delete,
    false,
    func,
    insert,
    select,
    true,
    update,
)

from mail_ingest.accounts.tables import accounts, request_filings, sync_requests
from mail_ingest.accounts.wishes import Wish, make_wish, stronger
from mail_ingest.errors import ConfigError

#: Which sensor claims: Dagster tells runs of one key apart by their sensor, so each keeps to its own.
Claimer = Literal["requests", "pushes"]
RequestState = Literal["waiting", "claimed", "started", "done", "failed", "cancelled"]

#: Requests for one account in a minute; those beyond wait until the minute is over, as one.
MOST_PER_MINUTE = 10
#: Who asks, where Gmail has told of a change.
PUSH = "push"
#: Who asks, where a sync of many accounts leaves one with much to buy to a run of its own.
LONG_DRAIN = "long drain"
#: Accounts that one run takes.
BATCH_ACCOUNTS = 100
#: Requests that one look hands over at most.
_CLAIMED_AT_ONCE = 500

_LONGEST_NAME = 80
_OPEN: tuple[RequestState, ...] = ("waiting", "claimed", "started")


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `filed_count`: how often it was asked for; `reason` says why it failed or was cancelled."""

    request_id: str
    account_id: str
    state: RequestState
    mode: str
    new_mail: bool
    months: str
    priority: int
    not_before: datetime
    requested_by: str
    requested_at: datetime
    filed_count: int
    run_key: str | None
    run_id: str | None
    started_at: datetime | None
    ended_at: datetime | None
    reason: str

    @property
    def wish(self) -> Wish:
        months = tuple(month for month in self.months.split(",") if month)
        return Wish(self.mode, self.new_mail, months, self.priority, self.not_before)

    @property
    def is_open(self) -> bool:
        return self.state in _OPEN


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests of one priority and one kind that a run fulfils together; `run_key` is the run's."""

    run_key: str
    requests: tuple[Request, ...]

    @property
    def first(self) -> Request:
        return self.requests[0]


_COLUMNS = [sync_requests.c[field.name] for field in fields(Request)]
_TEXTS = [column for column in sync_requests.c if isinstance(column.type, String)]
_OF_PUSHES = [accounts.c[name] for name in ("push", "state", "push_history_id", "next_due_at", "resume_at")]
_IS_REGISTERED = accounts.c.state != "removed"
_IS_WAITING = sync_requests.c.state == "waiting"
_MAY_START = sync_requests.c.state.in_(("claimed", "started", "failed"))


class Requests:
    """The requests of one deployment; `Registry.requests` gives it. `kept_days`: for how long ended ones can be looked up, None
    for ever."""

    def __init__(
        self,
        reading: Callable[[], Engine],
        writing: Callable[[], Engine],
        now: Callable[[], datetime],
        kept_days: int | None = None,
    ) -> None:
        self._reading = reading
        self._writing = writing
        self._now = now
        self._kept_days = kept_days

    def file(self, address: str, wish: Wish, requested_by: str) -> Request:
        """The request that stands for this wish: a new one, or the account's waiting one, made to cover it as well.

        Beyond `MOST_PER_MINUTE` in a minute nothing starts before the minute is over. Raises ConfigError where the account
        is not registered.
        """
        account_id = address.strip().lower()
        if not requested_by.strip() or len(requested_by) > _LONGEST_NAME or not requested_by.isprintable():
            raise ConfigError(f"whoever asks is named by {_LONGEST_NAME} printable characters at most, such as person")
        now = self._now()
        with self._writing().begin() as connection:
            _lock_account(connection, account_id)
            if requested_by == PUSH:
                connection.execute(update(accounts).where(accounts.c.account_id == account_id).values(last_push_at=now))
            earliest = max(wish.not_before, _note_filing(connection, account_id, now))
            return _place(connection, account_id, replace(wish, not_before=earliest), requested_by, now)

    def file_push(self, address: str, history_id: int) -> Literal["filed", "known", "unknown", "unwanted"]:
        """Files what a notification asks for: a sync of the account, as urgent as a person's, and once for any number of them.

        `known`: it tells nothing that a notification before it has not told, as it happens to those that come twice or late;
        the request of that one was stored. `unknown`: no such account. `unwanted`: push is switched off, or no sync can go well
        before a person has acted.
        """
        account_id = address.strip().lower()
        now = self._now()
        with self._writing().begin() as connection:
            is_this = accounts.c.account_id == account_id
            row = connection.execute(select(*_OF_PUSHES).where(is_this, _IS_REGISTERED).with_for_update()).one_or_none()
            if row is None:
                return "unknown"
            if row.push is False or row.state in ("needs_reauth", "parked"):
                return "unwanted"
            is_known = row.push_history_id is not None and row.push_history_id >= history_id
            newest = row.push_history_id if is_known else history_id
            connection.execute(update(accounts).where(is_this).values(last_push_at=now, push_history_id=newest))
            if is_known:
                return "known"
            # an account that waits after failures goes on waiting: its mailbox may change every minute
            earliest = max(_note_filing(connection, account_id, now), row.next_due_at or now, row.resume_at or now)
            _place(connection, account_id, make_wish(now, at=earliest), PUSH, now)
            return "filed"

    def file_long_drain(self, address: str, wish: Wish) -> Request | None:
        """The request for a drain that takes too long to be done beside other accounts; None where one is open already."""
        if any(request.requested_by == LONG_DRAIN for request in self.find(address)):
            return None
        return self.file(address, wish, LONG_DRAIN)

    def get(self, request_id: str) -> Request:
        """One request. Raises ConfigError for one that is not known, or was forgotten (`MAIL_INGEST_KEEP_REQUESTS`)."""
        found = self._select(sync_requests.c.request_id == request_id)
        if not found:
            raise ConfigError(f"there is no request {request_id!r}; `mail-ingest request --list` shows those there are")
        return found[0]

    def find(self, address: str | None = None, *, only_open: bool = True) -> list[Request]:
        """Requests of one account or of all, in the order in which they are taken; those that have ended on demand."""
        wanted: ColumnElement[bool] = sync_requests.c.state.in_(_OPEN) if only_open else true()
        if address is not None:
            wanted = wanted & (sync_requests.c.account_id == address.strip().lower())
        return self._select(wanted)

    def cancel(self, request_id: str, reason: str) -> Request:
        """Cancels one request, and gives it as it was before. Its sync, if it is under way, stops soon.

        Raises ConfigError for one that has ended.
        """
        with self._writing().begin() as connection:
            rows = _read(connection, sync_requests.c.request_id == request_id, for_update=True)
            if not rows or not rows[0].is_open:
                what = f"has ended ({rows[0].state})" if rows else "does not exist"
                raise ConfigError(f"the request {request_id} {what}; nothing was done")
            _end(connection, sync_requests.c.request_id == request_id, "cancelled", reason, self._now())
            return rows[0]

    def cancel_account(self, address: str, reason: str) -> int:
        """Asks the sync of an account that is under way, if any, to stop, wherever it runs; and cancels the account's open
        requests: how many."""
        account_id = address.strip().lower()
        with self._writing().begin() as connection:
            _lock_account(connection, account_id)
            one_more = {"cancel_count": accounts.c.cancel_count + 1}
            connection.execute(update(accounts).where(accounts.c.account_id == account_id).values(**one_more))
            return end_requests(connection, account_id, reason, self._now())

    def cancel_count(self, account_id: str) -> int:
        """How often the account's syncs were asked to stop: one under way stops where this is not what it began with."""
        with self._reading().begin() as connection:
            count = select(accounts.c.cancel_count).where(accounts.c.account_id == account_id)
            return int(connection.execute(count).scalar_one_or_none() or 0)

    def cancel_counts(self, account_ids: Sequence[str]) -> dict[str, int]:
        """The same of many accounts."""
        columns = (accounts.c.account_id, accounts.c.cancel_count)
        with self._reading().begin() as connection:
            rows = connection.execute(select(*columns).where(accounts.c.account_id.in_(account_ids)))
            return {account_id: int(count or 0) for account_id, count in rows}

    def is_cancelled(self, request_id: str) -> bool:
        """Whether nobody wants it any more; so it is with one that went with its account."""
        with self._reading().begin() as connection:
            state = connection.execute(
                select(sync_requests.c.state).where(sync_requests.c.request_id == request_id)
            ).scalar_one_or_none()
        return state in ("cancelled", None)

    # -- for the sensor ------------------------------------------------------------------------------------------

    def claim(self, claimer: Claimer = "requests", *, pushes: bool = True) -> list[Batch]:
        """Claims the requests whose time has come, most urgent first, for runs that do not exist yet; and gives all that this
        claimer has claimed. Paused accounts' requests wait on.

        A batch that was claimed before, and whose run is not known to exist, comes again under the same `run_key`. `pushes`
        leaves what pushes asked for waiting, where it is false; the claimer `pushes` takes nothing else.
        """
        now = self._now()
        is_push = sync_requests.c.requested_by == PUSH
        with self._writing().begin() as connection:
            is_time = _IS_WAITING & (sync_requests.c.not_before <= now)
            if claimer == "pushes":
                is_time &= is_push
            if not pushes:
                is_time &= ~is_push
            of_accounts = sync_requests.c.account_id == accounts.c.account_id
            due = connection.execute(
                select(*_COLUMNS)
                .join(accounts, of_accounts & accounts.c.state.not_in(("paused", "removed")))
                .where(is_time)
                .order_by(sync_requests.c.priority, sync_requests.c.not_before, sync_requests.c.request_id)
                .limit(_CLAIMED_AT_ONCE)
                .with_for_update(of=sync_requests, skip_locked=True)
            ).all()
            for group in _batches([_request(row) for row in due]):
                connection.execute(
                    update(sync_requests)
                    .where(sync_requests.c.request_id.in_([request.request_id for request in group]), _IS_WAITING)
                    .values(state="claimed", run_key=f"{claimer}-{secrets.token_hex(8)}")
                )
            is_of_pushes = sync_requests.c.run_key.like("pushes-%")
            is_mine = is_of_pushes if claimer == "pushes" else ~is_of_pushes
            claimed = _read(connection, (sync_requests.c.state == "claimed") & is_mine)
        by_key: dict[str, list[Request]] = {}
        for request in claimed:
            by_key.setdefault(request.run_key or "", []).append(request)
        return [Batch(run_key, tuple(requests)) for run_key, requests in by_key.items()]

    def acknowledge(self, run_key: str, run_id: str) -> int:
        """Notes that the run of a batch exists; how many requests it has started."""
        with self._writing().begin() as connection:
            is_of_run = (sync_requests.c.run_key == run_key) & (sync_requests.c.state == "claimed")
            started = {"state": "started", "run_id": run_id, "started_at": self._now()}
            return connection.execute(update(sync_requests).where(is_of_run).values(**started)).rowcount

    def forget_ended(self) -> int:
        """Deletes requests that ended before those that are kept; how many."""
        with self._writing().begin() as connection:
            return connection.execute(delete(sync_requests).where(self._is_old())).rowcount

    def count_forgettable(self) -> tuple[int, int]:
        """How many `forget_ended` would delete, and the bytes of their texts."""
        length: Any = sum(func.length(func.coalesce(column, "")) for column in _TEXTS)
        with self._reading().begin() as connection:
            [row] = connection.execute(select(func.count(), func.sum(length)).where(self._is_old()))
        return int(row[0]), int(row[1] or 0)

    def _is_old(self) -> ColumnElement[bool]:
        if self._kept_days is None:
            return false()
        return sync_requests.c.ended_at < self._now() - timedelta(days=self._kept_days)

    # -- for the run ---------------------------------------------------------------------------------------------

    def start(self, request_ids: Sequence[str], run_id: str) -> list[Request]:
        """Those of a run's requests that are to be fulfilled now, noted as started by it.

        Done and cancelled ones are left out, so a run that is tried again repeats nothing; those of accounts that were
        paused meanwhile wait again.
        """
        now = self._now()
        with self._writing().begin() as connection:
            is_of_run = sync_requests.c.request_id.in_(request_ids)
            wanted = _read(connection, is_of_run & _MAY_START)
            paused = set(
                connection.execute(
                    select(accounts.c.account_id).where(
                        accounts.c.account_id.in_([request.account_id for request in wanted]),
                        accounts.c.state == "paused",
                    )
                ).scalars()
            )
            for request in wanted:
                if request.account_id in paused:
                    _put_back(connection, request, now)
            taken = [request for request in wanted if request.account_id not in paused]
            is_taken = sync_requests.c.request_id.in_([request.request_id for request in taken])
            connection.execute(
                update(sync_requests)
                .where(is_taken, _MAY_START)  # as of now: it may have been cancelled since it was read
                .values(state="started", run_id=run_id, started_at=now, ended_at=None, reason="")
            )
            return _read(connection, is_taken & (sync_requests.c.state == "started"))

    def finish(self, request_id: str, state: RequestState, reason: str = "") -> None:
        """Notes how a started request ended: done, failed or cancelled. What was cancelled meanwhile stays so."""
        with self._writing().begin() as connection:
            is_started = (sync_requests.c.request_id == request_id) & (sync_requests.c.state == "started")
            _end(connection, is_started, state, reason, self._now())

    def _select(self, wanted: ColumnElement[bool]) -> list[Request]:
        with self._reading().begin() as connection:
            return _read(connection, wanted)


def end_requests(connection: Connection, account_id: str, reason: str, now: datetime) -> int:
    """Cancels all open requests of an account; how many."""
    is_open = (sync_requests.c.account_id == account_id) & sync_requests.c.state.in_(_OPEN)
    return _end(connection, is_open, "cancelled", reason, now)


def forget_requests(connection: Connection, account_id: str) -> None:
    """Deletes every trace of an account's requests."""
    for table in (sync_requests, request_filings):
        connection.execute(delete(table).where(table.c.account_id == account_id))


def _lock_account(connection: Connection, account_id: str) -> None:
    """Lets filings for one account follow each other: on Postgres by its row, on SQLite the transaction is alone anyway."""
    row = connection.execute(
        select(accounts.c.state).where(accounts.c.account_id == account_id, _IS_REGISTERED).with_for_update()
    ).one_or_none()
    if row is None:
        raise ConfigError(
            f"the account {account_id} is not registered; `mail-ingest account list` shows those that are"
        )


def _note_filing(connection: Connection, account_id: str, now: datetime) -> datetime:
    """Counts a filing; when it may start at the earliest."""
    is_of_account = request_filings.c.account_id == account_id
    minute = timedelta(minutes=1)
    connection.execute(delete(request_filings).where(is_of_account, request_filings.c.filed_at <= now - minute))
    filed: Sequence[datetime] = (
        connection.execute(select(request_filings.c.filed_at).where(is_of_account)).scalars().all()
    )
    if len(filed) >= MOST_PER_MINUTE:
        return min(filed) + minute
    connection.execute(
        insert(request_filings).values(filing_id=secrets.token_hex(8), account_id=account_id, filed_at=now)
    )
    return now


def _place(connection: Connection, account_id: str, wish: Wish, requested_by: str, now: datetime) -> Request:
    # locked: a run may be claiming it at this moment, and would not hear of a wish that joins
    waiting = _read(connection, _IS_WAITING & (sync_requests.c.account_id == account_id), for_update=True)
    if waiting:
        request_id = waiting[0].request_id
        values = {**_columns(stronger(waiting[0].wish, wish)), "filed_count": waiting[0].filed_count + 1}
        if waiting[0].priority > wish.priority:
            values["requested_by"] = requested_by
        connection.execute(update(sync_requests).where(sync_requests.c.request_id == request_id).values(**values))
    else:
        request_id = secrets.token_hex(6)
        values = {**_columns(wish), "requested_by": requested_by, "requested_at": now}
        connection.execute(
            insert(sync_requests).values(request_id=request_id, account_id=account_id, state="waiting", **values)
        )
    return _read(connection, sync_requests.c.request_id == request_id)[0]


def _put_back(connection: Connection, request: Request, now: datetime) -> None:
    """Lets a claimed request wait again; where another one of its account waits by now, that one covers it as well."""
    _lock_account(connection, request.account_id)
    is_this = (sync_requests.c.request_id == request.request_id) & _MAY_START
    if _read(connection, _IS_WAITING & (sync_requests.c.account_id == request.account_id)):
        joined = _place(connection, request.account_id, request.wish, request.requested_by, now)
        _end(connection, is_this, "cancelled", f"its account was paused; joined the request {joined.request_id}", now)
    else:
        again = {
            "state": "waiting",
            "run_key": None,
            "run_id": None,
            "started_at": None,
            "ended_at": None,
            "reason": "",
        }
        connection.execute(update(sync_requests).where(is_this).values(**again))


def _columns(wish: Wish) -> dict[str, Any]:
    return {
        "mode": wish.mode,
        "new_mail": wish.new_mail,
        "months": ",".join(wish.months),
        "priority": wish.priority,
        "not_before": wish.not_before,
    }


def _end(connection: Connection, which: ColumnElement[bool], state: RequestState, reason: str, now: datetime) -> int:
    values = {"state": state, "reason": reason, "ended_at": now}
    return connection.execute(update(sync_requests).where(which).values(**values)).rowcount


def _batches(requests: Sequence[Request]) -> list[list[Request]]:
    """Requests that one run can fulfil: of one priority, mode and choice of months, asked for by the same kind of caller."""
    groups: dict[tuple[object, ...], list[list[Request]]] = {}
    for request in requests:
        who: str = request.requested_by if request.requested_by == PUSH else ""
        if request.requested_by == LONG_DRAIN:
            who = request.account_id  # each has a run of its own
        kind = (request.priority, request.mode, request.new_mail, request.months, who)
        batches = groups.setdefault(kind, [[]])
        if len(batches[-1]) >= BATCH_ACCOUNTS:
            batches.append([])
        batches[-1].append(request)
    return [batch for batches in groups.values() for batch in batches]


def _read(connection: Connection, wanted: ColumnElement[bool], *, for_update: bool = False) -> list[Request]:
    """`for_update`: waits for whoever is changing one of them, and leaves out what is wanted no more after that."""
    order = (sync_requests.c.priority, sync_requests.c.not_before, sync_requests.c.request_id)
    chosen = select(*_COLUMNS).where(wanted).order_by(*order)
    return [_request(row) for row in connection.execute(chosen.with_for_update() if for_update else chosen).all()]


def _request(row: Row[Any]) -> Request:
    return Request(**row._mapping)
