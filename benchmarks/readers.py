"""`python -m benchmarks.readers`: how long people wait for answers, and builds of the analyst tables for what changed.

    python -m benchmarks.readers                          a million messages in 100 mailboxes, both warehouses
    python -m benchmarks.readers --warehouse duckdb --messages 100000 --accounts 20
    python -m benchmarks.readers --postgres postgresql://user:password@host/database

Mailboxes are generated inside the landing tables of a new warehouse (`benchmarks.mailboxes`), the analyst tables built from
them, and brought up to date after loads of 1,000 changes. Then each question is asked many times, of messages, threads and
contacts drawn by a fixed seed, on one connection such as `mail-ingest query` opens. The yardstick is a scan of every body
in `mail.messages`, on the same connection.

Postgres is a server of its own from a wheel, with the settings that `benchmarks.server` lists, or the one that is named;
on that one a database is made and dropped.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks.changes import load_changes
from benchmarks.local import home, inherited, run_worker
from benchmarks.mailboxes import account_id, account_sizes, generate
from benchmarks.server import database, server, settings_of
from mail_ingest.ingest.engine import Engine
from mail_ingest.settings import Settings, load_settings

_SEED = 7
_WARM_UP = 5
_CHANGES = 1_000
_BUILD_BOUND_S = {"duckdb": 3.0, "postgres": 5.0}
_SCAN = "select count(case when body_text like '%nowhere to be found%' then 1 end) as found from mail.messages"


@dataclass(frozen=True, slots=True)
class Question:
    """What people ask. `drawn` names the columns of a drawn message that its parameters are."""

    name: str
    sql: str
    drawn: tuple[str, ...]
    bound_ms: float


QUESTIONS = (
    Question(
        "newest 50 messages of an account",
        "select message_id, internal_date, from_address, subject, snippet, is_unread from mail.messages "
        "where account_id = ? and internal_date is not null and not is_deleted order by internal_date desc limit 50",
        ("account_id",),
        50,
    ),
    Question(
        "a thread, with its texts",
        "select message_id, internal_date, from_address, subject, body_text from mail.messages "
        "where account_id = ? and thread_id = ? order by internal_date",
        ("account_id", "thread_id"),
        50,
    ),
    Question(
        "a contact's year",
        "select messages.message_id, recipients.kind, messages.internal_date, messages.subject, messages.snippet "
        "from mail.recipients as recipients inner join mail.messages as messages "
        "on recipients.account_id = messages.account_id and recipients.message_id = messages.message_id "
        "where recipients.account_id = ? and recipients.contact_address = ? "
        "and recipients.internal_date >= cast(? as timestamptz) and recipients.internal_date < cast(? as timestamptz) "
        "order by messages.internal_date desc",
        ("account_id", "contact_address", "year_begins", "year_ends"),
        50,
    ),
    Question(
        "unread by label",
        "select name, message_count, unread_count from mail.labels where account_id = ? and unread_count > 0 "
        "order by unread_count desc",
        ("account_id",),
        50,
    ),
    Question(
        "unread by label, counted again",
        "select label_id, count(*) as unread_count from mail.message_labels "
        "where account_id = ? and is_unread and not is_deleted group by label_id order by unread_count desc",
        ("account_id",),
        50,
    ),
    Question(
        "daily_mailbox for a year",
        "select * from mail.daily_mailbox where account_id = ? and day >= cast(? as date) and day < cast(? as date) "
        "order by day",
        ("account_id", "year_begins", "year_ends"),
        300,
    ),
    Question(
        "response times per sender",
        "select to_address, count(*) as replies, percentile_cont(0.5) within group (order by response_seconds) as median_s, "
        "percentile_cont(0.5) within group (order by business_seconds) as median_business_s "
        "from mail.thread_responses where account_id = ? and is_sent group by to_address order by replies desc",
        ("account_id",),
        300,
    ),
)


@dataclass(frozen=True, slots=True)
class Sizes:
    messages: int = 1_000_000
    accounts: int = 100
    rounds: int = 60
    builds: int = 5
    changes: int = _CHANGES


@dataclass(slots=True)
class Measured:
    """Times of one thing on one warehouse, in seconds. `asked`: the parameters and number of rows of each answer."""

    name: str
    warehouse: str
    seconds: list[float] = field(default_factory=list)
    bound_s: float | None = None
    asked: list[tuple[list[Any], int]] = field(default_factory=list)

    @property
    def median_s(self) -> float:
        return statistics.median(self.seconds)

    @property
    def slowest_s(self) -> float:
        """The 95th percentile."""
        return sorted(self.seconds)[int(0.95 * (len(self.seconds) - 1) + 0.5)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; 1 where a bound is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.readers", description=(__doc__ or "").split("\n\n")[0])
    usual = Sizes()
    parser.add_argument("--messages", type=int, default=usual.messages)
    parser.add_argument("--accounts", type=int, default=usual.accounts)
    parser.add_argument("--rounds", type=int, default=usual.rounds, help="times that each question is asked")
    parser.add_argument("--builds", type=int, default=usual.builds, help="builds after changes, of each kind")
    parser.add_argument("--warehouse", choices=("duckdb", "postgres", "both"), default="both")
    parser.add_argument("--postgres", metavar="URL", help="a server on which a database may be made")
    options = parser.parse_args(arguments)
    sizes = Sizes(options.messages, options.accounts, options.rounds, options.builds)
    measured: list[Measured] = []
    for dialect in ("duckdb", "postgres"):
        if options.warehouse in (dialect, "both"):
            with warehouse(dialect, options.postgres) as variables:
                measured += measure(dialect, sizes, variables)
    print(report(measured))
    return int(any(one.bound_s is not None and one.median_s > one.bound_s for one in measured))


@contextmanager
def warehouse(dialect: str, postgres: str | None) -> Iterator[dict[str, str]]:
    """The environment of a deployment with an empty warehouse."""
    with home() as folder:
        variables = {"MAIL_INGEST_HOME": str(folder)}
        if dialect == "duckdb":
            yield variables
            return
        with server(postgres) as url, database(url) as made:
            yield {**variables, "MAIL_INGEST_WAREHOUSE": made}


def measure(dialect: str, sizes: Sizes, variables: dict[str, str]) -> list[Measured]:
    """Fills the empty warehouse that the environment `variables` names, and measures everything on it."""
    settings = load_settings(variables)
    with closing(Engine(settings)) as engine:
        began = time.perf_counter()
        with engine.warehouse.open() as connection:
            _say(dialect, settings_of(connection, dialect))
            if dialect == "duckdb":
                connection.execute("set memory_limit = '4GB'")
            generate(connection, dialect, account_sizes(sizes.messages, sizes.accounts))
        _say(dialect, f"generated in {time.perf_counter() - began:.0f} s")
        measured = [_full_build(dialect, variables), *_builds(engine, dialect, sizes)]
    return [*measured, *ask_all(settings, dialect, sizes.rounds)]


def ask_all(settings: Settings, dialect: str, rounds: int) -> list[Measured]:
    """Each question `rounds` times after a warm-up, the scan three times."""
    drawn = _drawn(settings, rounds + _WARM_UP)
    measured = [Measured(question.name, dialect, bound_s=question.bound_ms / 1000) for question in QUESTIONS]
    scan = Measured("full scan of mail.messages", dialect)
    with closing(_reader(settings)) as reader:
        for question, times in zip(QUESTIONS, measured, strict=True):
            for number, message in enumerate(drawn):
                parameters = [message[column] for column in question.drawn]
                began = time.perf_counter()
                rows = _count(reader, question.sql, parameters)
                if number >= _WARM_UP:
                    times.seconds.append(time.perf_counter() - began)
                    times.asked.append((parameters, rows))
        for _ in range(3):
            began = time.perf_counter()
            _count(reader, _SCAN, [])
            scan.seconds.append(time.perf_counter() - began)
    return [*measured, scan]


def report(measured: Sequence[Measured]) -> str:
    """The table: seconds for builds, milliseconds for questions, and how many answers fit into a full scan."""
    rows = [("measured", "warehouse", "median", "95 %", "bound", "", "in one full scan")]
    scans = {one.warehouse: one.median_s for one in measured if one.name.startswith("full scan")}
    questions = {question.name for question in QUESTIONS}
    for one in measured:
        verdict = "" if one.bound_s is None else "met" if one.median_s <= one.bound_s else "MISSED"
        share = (
            f"{scans[one.warehouse] / one.median_s:,.1f}" if one.name in questions and one.warehouse in scans else ""
        )
        times = (one.median_s, one.slowest_s, one.bound_s)
        rows.append((one.name, one.warehouse, *(_shown(seconds) for seconds in times), verdict, share))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in (0, 1, 5) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _full_build(dialect: str, variables: dict[str, str]) -> Measured:
    """In a process of its own, whose memory is the build's; that of a Postgres server is in none of ours."""
    done = run_worker("build", {**inherited(), **variables})
    if dialect == "duckdb":
        _say(dialect, f"peak memory of the full build {(done['peak_bytes'] - done['imports_bytes']) / 1e6:.0f} MB")
    return Measured("full build", dialect, [done["wall_s"]])


def _builds(engine: Engine, dialect: str, sizes: Sizes) -> list[Measured]:
    number = 0
    measured = []
    for name, account, count, bound in (
        (f"build, {sizes.changes:,} changes in all accounts", "", sizes.changes, _BUILD_BOUND_S[dialect]),
        (f"build, {sizes.changes:,} changes in the largest", account_id(0), sizes.changes, _BUILD_BOUND_S[dialect]),
        ("build, nothing changed", "", 0, None),
    ):
        one = Measured(name, dialect, bound_s=bound)
        for _ in range(sizes.builds):
            number += 1
            if count:
                with engine.warehouse.open() as connection:
                    load_changes(connection, dialect, number, count, account)
            with engine.warehouse.open() as connection:
                began = time.perf_counter()
                engine.analyst_tables.build(connection)
                one.seconds.append(time.perf_counter() - began)
        measured.append(one)
    return measured


def _drawn(settings: Settings, count: int) -> list[dict[str, Any]]:
    """Messages whose accounts, threads and contacts are asked for: large mailboxes are drawn as often as they are large."""
    sql = (
        "select messages.account_id, messages.thread_id, recipients.contact_address, messages.internal_date "
        "from mail.messages as messages inner join mail.recipients as recipients "
        "on messages.account_id = recipients.account_id and messages.message_id = recipients.message_id "
        f"where recipients.contact_address is not null order by md5('{_SEED}' || messages.message_id), position, kind "
        f"limit {count}"
    )
    with closing(_reader(settings)) as reader:
        drawn: list[dict[str, Any]] = []
        for batch in reader.run(sql, [])[1]:
            drawn += batch.to_pylist()
    for message in drawn:
        year = message["internal_date"].year
        message["year_begins"], message["year_ends"] = f"{year}-01-01", f"{year + 1}-01-01"
    random.Random(_SEED).shuffle(drawn)
    return drawn


def _count(reader: Any, sql: str, parameters: list[Any]) -> int:
    return sum(batch.num_rows for batch in reader.run(sql, parameters)[1])


def _reader(settings: Settings) -> Any:
    if settings.is_duckdb:
        from mail_ingest.warehouse.embedded_reader import DuckDBReader

        return DuckDBReader(settings, 60)
    from mail_ingest.warehouse.postgres_reader import PostgresReader

    return PostgresReader(settings)


def _shown(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:,.2f} s" if seconds >= 1 else f"{seconds * 1000:,.1f} ms"


def _say(dialect: str, words: str) -> None:
    load = f" (load {os.getloadavg()[0]:.1f})" if hasattr(os, "getloadavg") else ""
    print(f"{dialect}: {words}{load}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
