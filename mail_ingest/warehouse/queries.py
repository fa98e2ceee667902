"""The reads that syncing needs: stored states, labels, the backlog, failures, archived packs.

Every function opens the warehouse for itself and lets go of it at the end; the ones that stream say so.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from datetime import UTC, datetime

import orjson

from mail_ingest.gmail.changes import StoredState
from mail_ingest.gmail.models import Label, first_id_of
from mail_ingest.privacy import SIGN_IN_REASONS
from mail_ingest.warehouse.connection import Warehouse
from mail_ingest.warehouse.expiring import RETENTION

_STATE_COLUMNS = "message_id, thread_id, cast(label_ids as varchar), history_id, is_deleted, first_seen_at"


@dataclass(frozen=True, slots=True)
class StoredLabel:
    """A label as stored, and when it was found missing."""

    label: Label
    counts_at: datetime | None
    deleted_at: datetime | None


@dataclass(frozen=True, slots=True)
class Scope:
    """Which messages' content is wanted.

    `since` compares the arrival time that Gmail's ids carry where they are 16 hex digits; other ids are always inside.
    `label_id` keeps to messages that carry the label now, `include_labels` to those that carry any of these, and
    `exclude_labels` to those that carry none of these; `partitions` (months such as 2026-05, days such as 2026-05-03) to
    those that a listing of these found, together with `filed_elsewhere`, which it found as well; `failed` to those that
    could not be fetched before, `message_ids` to these.

    Content is missing where no row holds it, and where one does in a form of `again`: a stricter privacy tier stored it.
    What is left out on purpose is not missing; sign-in mail is where `takes_left_out`.
    """

    since: datetime | None = None
    label_id: str | None = None
    include_labels: tuple[str, ...] = ()
    exclude_labels: tuple[str, ...] = ()
    partitions: tuple[str, ...] = ()
    filed_elsewhere: tuple[str, ...] = ()
    failed: bool = False
    message_ids: tuple[str, ...] = ()
    again: tuple[str, ...] = ()
    takes_left_out: bool = False

    def missing(self) -> str:
        """SQL of live messages without content, with the tables that `condition` names; its parameter is the account."""
        again = ", ".join(f"'{form}'" for form in self.again)
        wanted = (
            f"(m.message_id is null or coalesce(m.privacy, 'full') in ({again}))" if again else "m.message_id is null"
        )
        return f"{_KNOWN_BY_DATE if self.partitions else _KNOWN} and {wanted} and {self.takes()}"

    def takes(self) -> str:
        """SQL on `m` (messages) and `lo` (left_out_messages): not what is left out on purpose."""
        reasons = ", ".join(f"'{reason}'" for reason in SIGN_IN_REASONS)
        sign_in = f" or lo.reason in ({reasons})" if self.takes_left_out else ""
        return f"(lo.message_id is null or m.message_id is not null{sign_in})"

    def condition(self) -> tuple[str, list[object]]:
        """SQL on `s` (message_states), `f` (fetch_failures, unresolved ones) and, where there are
        partitions, `mm` (message_months); and its parameters."""
        parts, values = ["true"], list[object]()
        if self.since is not None:
            parts.append("(length(s.message_id) <> 16 or s.message_id >= ?)")
            values.append(first_id_of(self.since))
        if self.label_id is not None:
            parts.append(_CARRIES)
            values.append(orjson.dumps(self.label_id).decode())
        if self.include_labels:
            parts.append(f"({' or '.join([_CARRIES] * len(self.include_labels))})")
            values += [orjson.dumps(label_id).decode() for label_id in self.include_labels]
        for label_id in self.exclude_labels:
            parts.append(f"not {_CARRIES}")
            values.append(orjson.dumps(label_id).decode())
        if self.partitions:
            parts.append(
                "(coalesce(mm.month in (select unnest(cast(? as varchar[]))), false) "
                "or coalesce(mm.day in (select unnest(cast(? as varchar[]))), false) "
                "or s.message_id in (select unnest(cast(? as varchar[]))))"
            )
            # a month's name is no day's, so that both may be looked for in both columns
            values += [list(self.partitions), list(self.partitions), list(self.filed_elsewhere)]
        if self.failed:
            parts.append("f.message_id is not null")
        if self.message_ids:
            parts.append("s.message_id in (select unnest(cast(? as varchar[])))")
            values.append(list(self.message_ids))
        return " and ".join(parts), values


@dataclass(frozen=True, slots=True)
class Backlog:
    """Live messages without content: `due` can be fetched now, `waiting` failed and wait for their next try.

    `dead` of those that are due are dead letters.
    """

    due: int
    waiting: int
    out_of_scope: int
    dead: int


@dataclass(frozen=True, slots=True)
class Failure:
    """What is known of a message that could not be fetched."""

    attempts: int
    first_failed_at: datetime
    parked_at: datetime | None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A live message that failed so often that it is tried on the slow schedule alone."""

    message_id: str
    attempts: int
    error_class: str
    reason: str
    parked_at: datetime
    next_try_at: datetime | None


class Queries:
    """Reads of one warehouse."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    def at_once(self) -> AbstractContextManager[object]:
        """Keeps the warehouse open for several questions: opening a DuckDB file takes longer than most of them. Nobody else
        gets at it meanwhile, so nothing else is to be waited for within the block."""
        return self._warehouse.open()

    def let_go(self) -> None:
        """Lets others have the warehouse, before something else that takes long."""
        self._warehouse.let_go()

    def iter_states(self, account_id: str) -> Generator[StoredState, None, None]:
        """Every stored state of an account, streamed; the warehouse stays open until the generator is done, or closed."""
        parse = _LabelSets()
        with self._warehouse.open() as connection, closing(connection.cursor()) as cursor:
            cursor.execute(f"select {_STATE_COLUMNS} from gmail.message_states where account_id = ?", [account_id])
            while rows := cursor.fetchmany(10_000):
                for row in rows:
                    yield _state(row, parse)

    def lookup_states(self, account_id: str, message_ids: Sequence[str]) -> Mapping[str, StoredState]:
        """The stored states of these messages, by id; absent ones are left out."""
        parse = _LabelSets()
        with self._warehouse.open() as connection:
            rows = connection.execute(
                f"select {_STATE_COLUMNS} from gmail.message_states "
                "where account_id = ? and message_id in (select unnest(cast(? as varchar[])))",
                [account_id, list(message_ids)],
            ).fetchall()
        return {row[0]: _state(row, parse) for row in rows}

    def states_with_label(self, account_id: str, label_ids: Sequence[str]) -> list[StoredState]:
        """Live messages that carry any of these labels."""
        parse = _LabelSets()
        found = []
        with self._warehouse.open() as connection:
            for label_id in label_ids:
                found += connection.execute(
                    f"select {_STATE_COLUMNS} from gmail.message_states "
                    "where account_id = ? and not is_deleted and position(? in cast(label_ids as varchar)) > 0",
                    [account_id, orjson.dumps(label_id).decode()],
                ).fetchall()
        return list({row[0]: _state(row, parse) for row in found}.values())

    def count_live(self, account_id: str) -> int:
        """Messages of an account that are not deleted."""
        with self._warehouse.open() as connection:
            row = connection.execute(
                "select count(*) from gmail.message_states where account_id = ? and not is_deleted", [account_id]
            ).fetchone()
        return int(row[0]) if row else 0

    def unexpected_fields(self, account_id: str, since: datetime | None = None) -> set[str]:
        """What syncs of an account, of all time or since a moment, found in Gmail's answers that was not expected."""
        with self._warehouse.open() as connection:
            rows = connection.execute(
                "select distinct cast(unexpected_fields as varchar) from gmail.sync_runs "
                "where account_id = ? and unexpected_fields is not null and finished_at >= coalesce(?, finished_at)",
                [account_id, since],
            ).fetchall()
        return {line for row in rows for line in orjson.loads(row[0])}

    def labels(self, account_id: str) -> dict[str, StoredLabel]:
        """Every label the account has or had, by id."""
        with self._warehouse.open() as connection:
            rows = connection.execute(
                "select label_id, name, type, message_list_visibility, label_list_visibility, text_color, "
                "background_color, messages_total, messages_unread, threads_total, threads_unread, counts_at, deleted_at "
                "from gmail.labels where account_id = ?",
                [account_id],
            ).fetchall()
        return {row[0]: StoredLabel(Label(*row[:11]), _aware(row[11]), _aware(row[12])) for row in rows}

    def backlog(
        self, account_id: str, scope: Scope, *, limit: int, now: datetime, failed_before: datetime | None = None
    ) -> list[tuple[str, int, bool]]:
        """Ids to fetch next with their rank and whether they are stored already, at most `limit`: those that never failed
        (0), then those that did (1), then dead letters (2). Within a rank what is stored comes last, and otherwise the newest
        arrivals first, in a backfill those of the newest partition.

        What failed waits for its next try, or only has to have failed before `failed_before`.
        """
        condition, values = scope.condition()
        with self._warehouse.open() as connection:
            return connection.execute(
                f"select s.message_id, {_RANK} as rank, m.message_id is not null as is_stored "
                f"{scope.missing()} and {condition} and {_IS_DUE} "
                f"order by rank, is_stored, {_NEWEST_PARTITION if scope.partitions else ''} "
                "length(s.message_id) desc, s.message_id desc limit ?",
                [account_id, *values, now, failed_before, limit],
            ).fetchall()

    def count_backlog(
        self, account_id: str, scope: Scope, now: datetime, failed_before: datetime | None = None
    ) -> Backlog:
        condition, values = scope.condition()
        with self._warehouse.open() as connection:
            row = connection.execute(
                COUNTED_BACKLOG.format(account="", condition=condition, missing=scope.missing()),
                [*values, now, failed_before, account_id],
            ).fetchone()
        return Backlog(*row) if row else Backlog(0, 0, 0, 0)

    def has_backlog(self, account_id: str, scope: Scope) -> bool:
        """Whether any live message within the scope lacks its content."""
        condition, values = scope.condition()
        query = f"select 1 {scope.missing()} and {condition} limit 1"
        with self._warehouse.open() as connection:
            return connection.execute(query, [account_id, *values]).fetchone() is not None

    def has_to_buy_again(self, account_id: str, scope: Scope) -> bool:
        """Whether any live message within the scope is to be bought that was bought before: stored in a form of `scope.again`, or
        left out and taken now."""
        condition, values = scope.condition()
        bought = "(m.message_id is not null or lo.message_id is not null)"
        query = f"select 1 {scope.missing()} and {condition} and {bought} limit 1"
        with self._warehouse.open() as connection:
            return connection.execute(query, [account_id, *values]).fetchone() is not None

    def count_left_out(self, account_id: str) -> int:
        """Live messages of which nothing is stored on purpose."""
        with self._warehouse.open() as connection:
            row = connection.execute(
                f"select count(*) {_KNOWN} and lo.message_id is not null and m.message_id is null", [account_id]
            ).fetchone()
        return int(row[0]) if row else 0

    def forms(self, account_id: str) -> dict[tuple[str, bool], int]:
        """Stored messages, deleted ones included, by their form and by whether they have attachments."""
        with self._warehouse.open() as connection:
            rows = connection.execute(
                "select coalesce(privacy, 'full'), coalesce(attachment_count, 0) > 0, count(*) from gmail.messages "
                "where account_id = ? group by 1, 2",
                [account_id],
            ).fetchall()
        return {(form, has_attachments): int(count) for form, has_attachments, count in rows}

    def loaded_cursor(self, account_id: str) -> int | None:
        """The cursor's copy that was loaded with the account's last package of states."""
        with self._warehouse.open() as connection:
            row = connection.execute(
                "select cursor_history_id from gmail.accounts where account_id = ?", [account_id]
            ).fetchone()
        return int(row[0]) if row and row[0] is not None else None

    def highest_history_id(self, account_id: str) -> int:
        """The last change that any stored state knows of; 0 where there is none."""
        with self._warehouse.open() as connection:
            row = connection.execute(
                "select max(history_id) from gmail.message_states where account_id = ?", [account_id]
            ).fetchone()
        return int(row[0]) if row and row[0] is not None else 0

    def failures(self, account_id: str, message_ids: Sequence[str]) -> dict[str, Failure]:
        """Unresolved failures of these messages, by id."""
        with self._warehouse.open() as connection:
            rows = connection.execute(
                "select message_id, attempts, first_failed_at, parked_at from gmail.fetch_failures where account_id = ? "
                "and resolved_at is null and message_id in (select unnest(cast(? as varchar[])))",
                [account_id, list(message_ids)],
            ).fetchall()
        return {row[0]: Failure(row[1], _aware(row[2]) or datetime.now(UTC), _aware(row[3])) for row in rows}

    def unresolved_failures(self, account_id: str) -> int:
        """Live messages that could not be fetched or parsed, dead letters included."""
        with self._warehouse.open() as connection:
            row = connection.execute(f"select count(*) {FAILED}", [account_id]).fetchone()
        return int(row[0]) if row else 0

    def failed_ids(self, account_id: str, message_ids: Sequence[str]) -> set[str]:
        """Which of these are live messages that could not be fetched or parsed."""
        with self._warehouse.open() as connection:
            rows = connection.execute(
                f"select f.message_id {FAILED} and f.message_id in (select unnest(cast(? as varchar[])))",
                [account_id, list(message_ids)],
            ).fetchall()
        return {row[0] for row in rows}

    def count_dead_letters(self, account_id: str) -> int:
        """Live messages that are dead letters, unparsed ones included."""
        with self._warehouse.open() as connection:
            row = connection.execute(f"select count(*) {FAILED} and f.parked_at is not null", [account_id]).fetchone()
        return int(row[0]) if row else 0

    def dead_letters(self, account_id: str, limit: int) -> list[DeadLetter]:
        """The dead letters that were parked last, at most `limit`."""
        with self._warehouse.open() as connection:
            rows = connection.execute(
                "select f.message_id, f.attempts, f.error_class, f.reason, f.parked_at, f.next_try_at "
                f"{FAILED} and f.parked_at is not null order by f.parked_at desc, f.message_id limit ?",
                [account_id, limit],
            ).fetchall()
        return [DeadLetter(row[0], row[1], row[2], row[3], row[4].astimezone(UTC), _aware(row[5])) for row in rows]

    def ids_without_content(self, account_id: str, message_ids: Sequence[str], scope: Scope) -> dict[str, bool]:
        """Which of these messages are known, live or deleted, and have no content stored, or some in a form of `scope.again`: by
        id, whether they have. What the scope leaves out on purpose is not among them."""
        with self._warehouse.open() as connection:
            rows = connection.execute(
                "select s.message_id, m.message_id is not null from gmail.message_states s "
                "left join gmail.messages m on m.account_id = s.account_id and m.message_id = s.message_id "
                "left join gmail.left_out_messages lo on lo.account_id = s.account_id and lo.message_id = s.message_id "
                f"and (s.is_deleted or lo.reason <> '{RETENTION}') where s.account_id = ? and (m.message_id is null "
                "or coalesce(m.privacy, 'full') in (select unnest(cast(? as varchar[])))) "
                f"and {scope.takes()} and s.message_id in (select unnest(cast(? as varchar[])))",
                [account_id, list(scope.again), list(message_ids)],
            ).fetchall()
        return dict(rows)

    def loaded_packs(self, account_id: str) -> set[str]:
        """Packs of the raw archive that stored messages point into."""
        with self._warehouse.open() as connection:
            rows = connection.execute(
                "select distinct raw_pack from gmail.messages where account_id = ? and raw_pack is not null",
                [account_id],
            ).fetchall()
        return {row[0] for row in rows}

    def content_place(self, account_id: str, message_id: str) -> tuple[str | None, str] | None:
        """Pack and hash of a message's raw bytes, None where its content is not stored."""
        with self._warehouse.open() as connection:
            row = connection.execute(
                "select raw_pack, sha256 from gmail.messages where account_id = ? and message_id = ?",
                [account_id, message_id],
            ).fetchone()
        return (row[0], row[1]) if row else None

    def spending(self, account_id: str, since: datetime) -> tuple[int, int, datetime | None]:
        """(units since a moment, units ever recorded, start of the last recorded sync)."""
        with self._warehouse.open() as connection:
            row = connection.execute(
                "select coalesce(sum(units) filter (where started_at >= ?), 0), coalesce(sum(units), 0), max(started_at) "
                "from gmail.sync_runs where account_id = ?",
                [since, account_id],
            ).fetchone()
        return (int(row[0]), int(row[1]), _aware(row[2])) if row else (0, 0, None)

    def units_since(self, since: datetime) -> dict[str, int]:
        """Units that accounts' recorded syncs have spent since a moment, by account."""
        with self._warehouse.open() as connection:
            rows = connection.execute(
                "select account_id, sum(units) from gmail.sync_runs where started_at >= ? group by account_id", [since]
            ).fetchall()
        return {str(account_id): int(units) for account_id, units in rows}

    def row_counts(self, tables: Sequence[str]) -> dict[str, int]:
        """Rows by table or view, named with their schema."""
        counts = {}
        with self._warehouse.open() as connection:
            for table in tables:
                row = connection.execute(f"select count(*) from {table}").fetchone()
                counts[table] = int(row[0]) if row else 0
        return counts


OF_ONE_ACCOUNT = "s.account_id = ?"

_CARRIES = "position(? in cast(s.label_ids as varchar)) > 0"

#: Live messages, with what is stored of each, its failure, and whether it is left out. What was left out because it was deleted
#: is wanted where it lives after all.
_KNOWN = (
    "from gmail.message_states s "
    "left join gmail.messages m on m.account_id = s.account_id and m.message_id = s.message_id "
    "left join gmail.fetch_failures f on f.account_id = s.account_id and f.message_id = s.message_id "
    "and f.resolved_at is null "
    "left join gmail.left_out_messages lo on lo.account_id = s.account_id and lo.message_id = s.message_id "
    f"and lo.reason <> '{RETENTION}' "
    f"where {OF_ONE_ACCOUNT} and not s.is_deleted"
)
#: The same with `mm`, what listings have told of them.
_KNOWN_BY_DATE = _KNOWN.replace(
    "where s.account_id",
    "left join gmail.message_months mm on mm.account_id = s.account_id and mm.message_id = s.message_id "
    "where s.account_id",
)


FAILED = (
    "from gmail.fetch_failures f "
    "inner join gmail.message_states s on s.account_id = f.account_id and s.message_id = f.message_id "
    "where f.account_id = ? and f.resolved_at is null and not s.is_deleted"
)

_NEWEST_PARTITION = "mm.month desc, mm.day desc nulls last,"

_RANK = "case when f.message_id is null then 0 when f.parked_at is null then 1 else 2 end"

_IS_DUE = "(f.next_try_at is null or f.next_try_at <= ? or coalesce(f.last_failed_at < ?, false))"


#: Columns of `Backlog`, and of what is asked for as `account`.
COUNTED_BACKLOG = (
    "select count(*) filter (where inside and is_due), count(*) filter (where inside and not is_due), "
    "count(*) filter (where not inside), count(*) filter (where inside and is_due and rank = 2) from (select {account}"
    f"({{condition}}) as inside, {_IS_DUE} as is_due, {_RANK} as rank {{missing}}) as missing"
)


class _LabelSets(dict[str, frozenset[str]]):
    """Parses label sets once each: a mailbox has few distinct ones."""

    def __missing__(self, text: str) -> frozenset[str]:
        labels = frozenset(orjson.loads(text)) if text else frozenset[str]()
        if len(self) < 50_000:
            self[text] = labels
        return labels


def _state(row: tuple[str, str, str, int, bool, datetime | None], parse: _LabelSets) -> StoredState:
    return StoredState(row[0], row[1], parse[row[2]], row[3], row[4], _aware(row[5]))


def _aware(value: datetime | None) -> datetime | None:
    return value.astimezone(UTC) if value is not None else None
