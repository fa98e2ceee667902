"""The benchmarks of readers and of the fleet run as they stand, on small warehouses, and measure what they should."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack, closing
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from benchmarks import fleet, readers
from benchmarks.fleet_runs import Fleet
from benchmarks.fleet_truth import Found, compare
from benchmarks.floor import Floor
from benchmarks.local import Gmail
from benchmarks.readers import QUESTIONS, Sizes, measure, report, warehouse
from mail_ingest.ingest import SyncOptions
from mail_ingest.ingest.engine import Engine
from mail_ingest.settings import load_settings
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.postgres import fresh_database

MAILBOXES = 8
SIZES = Sizes(messages=4_000, accounts=8, rounds=6, builds=1, changes=100)


@pytest.mark.parametrize(("archive", "codec"), [(True, "fast"), (False, "stdlib")])
def test_the_floor_stores_every_message(
    gmail: Simulator, box: Mailbox, tmp_path: Path, archive: bool, codec: str
) -> None:
    box.generate(30, seed=1)

    stored = Floor(gmail.url, box.token, tmp_path, archive, codec, threads=2).run()

    assert stored == 30
    assert any(tmp_path.glob("*.parquet")) == archive


@pytest.mark.parametrize("dialect", ["duckdb", "postgres"])
def test_every_question_of_the_readers_gets_its_rows(dialect: str, request: pytest.FixtureRequest) -> None:
    postgres = request.getfixturevalue("postgres") if dialect == "postgres" else None
    with warehouse(dialect, postgres) as variables:
        measured = measure(dialect, SIZES, variables)
        landed = Landed(variables)

    questions = {question.name for question in QUESTIONS}
    asked = {one.name: one.asked for one in measured if one.name in questions}
    assert {name: len(answers) for name, answers in asked.items()} == dict.fromkeys(questions, SIZES.rounds)
    for name, answers in asked.items():
        for parameters, rows in answers:
            assert rows == EXPECTED[name](landed, *parameters), f"{name} {parameters}"
    assert all(one.seconds for one in measured)
    assert all(one.name in report(measured) for one in measured)


def test_the_benchmark_of_readers_prints_every_question_with_its_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    small = "--warehouse duckdb --messages 3000 --accounts 6 --rounds 3"

    missed = readers.main(small.split())

    lines = capsys.readouterr().out.splitlines()
    verdicts = {line.split("  ")[0]: re.search(r"\b(met|MISSED)\b", line) for line in lines}
    assert {question.name for question in QUESTIONS} <= verdicts.keys()
    assert all(verdicts[question.name] for question in QUESTIONS)
    assert {"full build", "build, nothing changed", "full scan of mail.messages"} <= verdicts.keys()
    assert missed == any("MISSED" in line for line in lines)


@pytest.mark.timeout(900)  # six runs of Dagster, each in a process that begins with its imports
@pytest.mark.parametrize("dialect", ["duckdb", "postgres"])
def test_a_small_fleet_has_no_drift_and_a_quiet_hour_costs_two_units(
    dialect: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    small = f"--mailboxes {MAILBOXES} --messages 20 --large 2 --large-messages 300 --shard-size {MAILBOXES // 2} --workers 2"
    where = ["--postgres", request.getfixturevalue("postgres")] if dialect == "postgres" else []

    missed = fleet.main([*small.split(), "--warehouse", dialect, *where])

    printed = Printed(capsys.readouterr().out)
    for cycle in ("first states", "busy", "quiet"):
        scenario = f"{dialect}, {cycle}"
        assert printed.figures(scenario) >= FIGURES, scenario
        assert printed.value(scenario, "mailboxes that were synced") == MAILBOXES
        assert printed.value(scenario, "runs of Dagster") == 2
        # a process takes as many seconds for thirty mailboxes as for five hundred
        assert printed.missed(scenario) <= {"CPU of the product", "CPU of the product, a mailbox"}
    assert printed.value(f"{dialect}, first states", "units") > MAILBOXES * 4
    assert MAILBOXES * 200 < printed.value(f"{dialect}, busy", "units") <= MAILBOXES * 215
    assert printed.value(f"{dialect}, busy", "drift: states that differ from the mailboxes") == 0
    assert printed.value(f"{dialect}, busy", "units, messages.get") == MAILBOXES * 10 * 20
    assert printed.value(f"{dialect}, quiet", "units") == MAILBOXES * 2
    assert printed.value(f"{dialect}, quiet", "units, the dearest mailbox") == 2
    assert missed == printed.has_missed


@pytest.mark.parametrize("dialect", ["duckdb", "postgres"])
def test_the_comparison_of_a_fleet_finds_each_difference(
    dialect: str,
    gmail: Simulator,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ada, bob = (gmail.add_account(f"{name}@example.com") for name in ("ada", "bob"))
    old = ada.generate(30, end="2026-01-01")
    gmail.pass_hour(messages=3, label_changes=2)
    for number, box in enumerate((ada, bob)):
        monkeypatch.setenv(f"FLEET_TOKEN_{number}", box.token)
    announced = {"url": gmail.url, "accounts": [{"address": box.address, "token": box.token} for box in (ada, bob)]}
    with ExitStack() as stack:
        databases = None
        if dialect == "postgres":
            url = request.getfixturevalue("postgres")
            warehouse, control, dagster = (stack.enter_context(fresh_database(url)) for _ in range(3))
            databases = (warehouse, control, dagster)
        synced = Fleet(Gmail(announced), tmp_path, 1, 1, databases)
        synced.register()
        engine = stack.enter_context(closing(Engine(synced.settings)))
        assert [run.error for run in engine.sync(engine.accounts(), SyncOptions())] == ["", ""]

        assert compare(synced) == Found(states=0, missing=0, surplus=0, sampled=6, differing=0)

        alive = [message_id for message_id in old if message_id in ada.messages()]
        ada.relabel(alive[0], add=["Label_1"], remove=["INBOX"])
        assert compare(synced).states == 1
        ada.delete(alive[1])
        assert compare(synced).states == 2
        bob.receive(1)
        assert compare(synced) == Found(states=3, missing=1, surplus=0, sampled=6, differing=0)
        with engine.warehouse.open() as connection:
            connection.execute("update gmail.messages set sha256 = 'other' where account_id = 'ada@example.com'")
            connection.execute(
                "update gmail.messages set internal_date = timestamp '2020-01-01 00:00:00' "
                "where message_id = (select max(message_id) from gmail.messages)"
            )
        assert compare(synced) == Found(states=3, missing=1, surplus=1, sampled=6, differing=3)


FIGURES = {
    "CPU of the product",
    "CPU of the product, a mailbox",
    "CPU of the local Gmail server, left out above",
    "wall-clock time",
    "runs that failed",
    "requests",
    "requests that were refused",
    "units",
    "peak memory of a worker",
    "Dagster's events",
    "Dagster's storage",
    "drift: states that differ from the mailboxes",
    "new messages without their content",
    "contents that nobody asked for",
}


class Printed:
    """The table of a benchmark, as a person reads it."""

    def __init__(self, text: str) -> None:
        self._rows = {
            (cells[0], cells[1]): cells[2:]
            for cells in (re.split(r"\s{2,}", line) for line in text.splitlines())
            if len(cells) > 2
        }
        self.has_missed = "MISSED" in text

    def figures(self, scenario: str) -> set[str]:
        return {name for of, name in self._rows if of == scenario}

    def value(self, scenario: str, name: str) -> float:
        return float(self._rows[scenario, name][0].split()[0].replace(",", ""))

    def missed(self, scenario: str) -> set[str]:
        return {name for (of, name), cells in self._rows.items() if of == scenario and cells[-1] == "MISSED"}


class Landed:
    """What the landing tables hold, by account."""

    def __init__(self, variables: dict[str, str]) -> None:
        engine = Engine(load_settings(variables))
        with engine.warehouse.open() as connection:

            def rows(query: str) -> list[Any]:
                return connection.execute(query).fetchall()

            contents = {
                (account, message): (moment, address)
                for account, message, moment, address in rows(
                    "select account_id, message_id, internal_date, from_address from gmail.messages"
                )
            }
            self.messages: dict[str, list[dict[str, Any]]] = defaultdict(list)
            for account, message, thread, labels, is_deleted, deleted_at, seen_at in rows(
                "select account_id, message_id, thread_id, cast(label_ids as varchar), is_deleted, deleted_at, "
                "first_seen_at from gmail.message_states"
            ):
                moment, address = contents.get((account, message), (None, None))
                self.messages[account].append(
                    {
                        "id": message,
                        "thread": thread,
                        "labels": set(json.loads(labels)),
                        "is_live": not is_deleted,
                        "deleted_at": deleted_at,
                        "seen_at": seen_at,
                        "at": moment,
                        "from": address,
                    }
                )
            self.recipients = [
                (account, address, contents[account, message][0])
                for account, message, address in rows(
                    "select account_id, message_id, address from gmail.message_recipients"
                )
            ]
            self.labels = set(rows("select account_id, label_id from gmail.labels"))
            self.observed = [
                (account, moment)
                for account, message, label, action, moment in rows(
                    "select account_id, message_id, label_id, action, observed_at from gmail.label_events"
                )
                if label == "UNREAD" or (label == "INBOX" and action == "removed" and (account, message) in contents)
            ]
        engine.close()

    def newest(self, account: str) -> int:
        return min(50, sum(message["is_live"] and message["at"] is not None for message in self.messages[account]))

    def thread(self, account: str, thread: str) -> int:
        return sum(message["thread"] == thread for message in self.messages[account])

    def contact(self, account: str, address: str, begins: str, ends: str) -> int:
        year = (_moment(begins), _moment(ends))
        return sum(
            owner == account and written.lower() == address and year[0] <= moment < year[1]
            for owner, written, moment in self.recipients
        )

    def unread(self, account: str) -> int:
        return len({label for label in self._unread(account) if (account, label) in self.labels})

    def counted(self, account: str) -> int:
        return len(self._unread(account))

    def days(self, account: str, begins: str, ends: str) -> int:
        messages = self.messages[account]
        arrived = [message["at"] for message in messages if message["at"]]
        happened = [
            *arrived,
            *(message["deleted_at"] for message in messages if message["deleted_at"]),
            *(message["seen_at"] for message in messages if "UNREAD" in message["labels"]),
            *(moment for owner, moment in self.observed if owner == account),
        ]
        first = max(min(arrived).date(), date.fromisoformat(begins))
        last = min(max(happened).date(), date.fromisoformat(ends) - timedelta(days=1))
        return (last - first).days + 1

    def senders(self, account: str) -> int:
        threads = defaultdict(list)
        for message in self.messages[account]:
            if message["is_live"] and message["at"] is not None:
                author = account if "SENT" in message["labels"] else message["from"].lower()
                threads[message["thread"]].append((message["at"], message["id"], author))
        waited = set()
        for messages in threads.values():
            authors = [author for _, _, author in sorted(messages)]
            waited |= {before for before, author in pairwise(authors) if before != author == account}
        return len(waited)

    def _unread(self, account: str) -> set[str]:
        unread = (message["labels"] for message in self.messages[account] if message["is_live"])
        return set().union(*(labels for labels in unread if "UNREAD" in labels))


EXPECTED: dict[str, Callable[..., int]] = {
    "newest 50 messages of an account": Landed.newest,
    "a thread, with its texts": Landed.thread,
    "a contact's year": Landed.contact,
    "unread by label": Landed.unread,
    "unread by label, counted again": Landed.counted,
    "daily_mailbox for a year": Landed.days,
    "response times per sender": Landed.senders,
}


def _moment(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC)
