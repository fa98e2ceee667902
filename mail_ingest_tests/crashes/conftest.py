"""Mailboxes to crash on, each with the home that a kill starts from and what its warehouse has to be in the end."""

from __future__ import annotations

import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mail_ingest.accounts import Registry, token_env
from mail_ingest.settings import load_settings
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest.sources.tables import ATTACHMENTS, MESSAGE_RECIPIENTS, MESSAGES, Table
from mail_ingest.warehouse.connection import Dialect
from mail_ingest_tests.crashes.child import HISTORY_PAGE, sync_in_process
from mail_ingest_tests.postgres import copied_database, fresh_database
from mail_ingest_tests.truth import opened


def _columns(table: Table, without: tuple[str, ...] = ()) -> str:
    """A table's columns, JSON as text: it is compared and counted."""
    kept = [column for column in table.columns if column.name not in without]
    return ", ".join(f"cast({c.name} as varchar)" if c.kind == "json" else c.name for c in kept)


#: Everything but load ids, times of observation, and what a sweep may tell anew.
CONTENTS = {
    "accounts": "account_id, messages_total, threads_total, cursor_history_id, status",
    "labels": "account_id, label_id, name, type, deleted_at is null",
    "message_states": "account_id, message_id, thread_id, cast(label_ids as varchar), is_deleted, deleted_at is null",
    "label_events": "account_id, history_id, message_id, label_id, action, source",
    "messages": _columns(MESSAGES, without=("fetched_at", "raw_pack")),
    "message_recipients": _columns(MESSAGE_RECIPIENTS),
    "attachments": _columns(ATTACHMENTS),
}
KEYS = {
    "sync_runs": "account_id, run_id",
    "accounts": "account_id",
    "labels": "account_id, label_id",
    "message_states": "account_id, message_id",
    "label_events": "account_id, history_id, message_id, label_id, action",
    "messages": "account_id, message_id",
    "message_recipients": "account_id, message_id, kind, position",
    "attachments": "account_id, message_id, part_id",
}

#: History records of `_change`: relabelled, deleted and new messages.
_RECORDS = 2 * HISTORY_PAGE + 5 + 30

Rows = Counter[tuple[object, ...]]


@dataclass
class Scenario:
    """A mailbox that stands still, a home from before the sync that will be killed, and the rows that it should lead to."""

    name: str
    box: Mailbox
    gmail: Simulator
    before: dict[str, str]
    truth: dict[str, Rows]
    state_units: int

    @contextmanager
    def copy(self, folder: Path) -> Iterator[dict[str, str]]:
        """The environment of a home and a warehouse of one's own, as they were before the sync."""
        shutil.copytree(self.before["MAIL_INGEST_HOME"], folder)
        copied = {**self.before, "MAIL_INGEST_HOME": str(folder)}
        if self.before["MAIL_INGEST_WAREHOUSE"].startswith("duckdb:"):
            yield {**copied, "MAIL_INGEST_WAREHOUSE": f"duckdb:///{folder / 'warehouse.duckdb'}"}
        else:
            with copied_database(self.before["MAIL_INGEST_WAREHOUSE"]) as database:
                yield {**copied, "MAIL_INGEST_WAREHOUSE": database}

    def archived(self, home: Path) -> set[str]:
        """Ids in the complete packs of the raw archive."""
        ids: set[str] = set()
        for pack in (home / "raw").rglob("*.parquet"):
            ids.update(pq.read_table(pack, columns=["message_id"]).column(0).to_pylist())
        return ids


def rows_of(warehouse: str) -> dict[str, Rows]:
    """What the landing tables of a warehouse hold."""
    with opened(warehouse) as connection:
        return {
            table: Counter(connection.execute(f"select {columns} from gmail.{table}").fetchall())
            for table, columns in CONTENTS.items()
        }


def doubled_rows(warehouse: str) -> int:
    """Rows whose key another row has as well, over all tables of a warehouse."""
    with opened(warehouse) as connection:
        counts = [
            connection.execute(f"select count(*) - count(distinct ({key})) from gmail.{table}").fetchone()
            for table, key in KEYS.items()
        ]
    return sum(row[0] for row in counts if row)


@pytest.fixture(scope="session")
def scenarios(tmp_path_factory: pytest.TempPathFactory, postgres: str) -> Iterator[Callable[[str, Dialect], Scenario]]:
    """Scenarios by name and warehouse, each made when first asked for."""
    made: dict[tuple[str, Dialect], Scenario] = {}
    with Simulator(quota="off") as gmail, ExitStack() as databases:

        def scenario(name: str, dialect: Dialect) -> Scenario:
            if (name, dialect) not in made:
                folder = tmp_path_factory.mktemp(f"{name}-{dialect}")
                warehouse = f"duckdb:///{folder / 'before' / 'warehouse.duckdb'}"
                if dialect == "postgres":
                    warehouse = databases.enter_context(fresh_database(postgres))
                made[name, dialect] = _make(name, gmail, folder, warehouse)
            return made[name, dialect]

        yield scenario


def _make(name: str, gmail: Simulator, folder: Path, warehouse: str) -> Scenario:
    box = gmail.add_account(f"{folder.name}@example.com")
    box.generate(130, seed=81, user_labels=6, mean_size_bytes=3_000)
    environment = {
        "MAIL_INGEST_GMAIL_URL": gmail.url,
        "MAIL_INGEST_QUOTA": "off",
        "CRASH_TOKEN": box.token,
        "MAIL_INGEST_HOME": str(folder / "before"),
        "MAIL_INGEST_WAREHOUSE": warehouse,
    }
    registry = Registry(load_settings({**os.environ, **environment}))
    registry.add(box.address, token_env("CRASH_TOKEN"))
    registry.close()
    if name != "first":
        assert sync_in_process(environment).runs[0]["outcome"] == "success"
        _change(box)
    if name == "expired":
        box.expire_history()
    if name == "label":
        gmail.label_delete_records = False
        box.delete_label(next(label_id for label_id in box.labels() if label_id.startswith("Label_")))
        gmail.label_delete_records = True
    gmail.reset_ledger()
    scenario = Scenario(name, box, gmail, environment, {}, 0)
    with scenario.copy(folder / "undisturbed") as copied:
        assert sync_in_process(copied).runs[0]["outcome"] == "success"
        scenario.truth = rows_of(copied["MAIL_INGEST_WAREHOUSE"])
    scenario.state_units = gmail.units() - 20 * gmail.calls("messages.get")
    assert scenario.state_units <= _dearest_state(name, box), "state costs more than Gmail's prices say"
    return scenario


def _dearest_state(name: str, box: Mailbox) -> int:
    """Units that reading state may cost by Gmail's price list: by history, or by a sweep and the history since."""
    history = 2 * math.ceil(_RECORDS / HISTORY_PAGE)
    if name in ("later", "label"):
        return 2 + 1 + history  # the labels once more, where a change names a new one
    carried = Counter(label_id for record in box.messages().values() for label_id in record.label_ids)
    swept = 5 * math.ceil(len(box.messages()) / 500) + sum(5 * math.ceil(count / 500) for count in carried.values())
    return 2 + len(box.labels()) + swept + 2 + (2 if name == "expired" else 0)


def _change(box: Mailbox) -> None:
    """Three pages of history and two packs of new mail."""
    ids = sorted(box.messages())
    label = box.create_label("Crashes/Acme")
    for message_id in ids[: 2 * HISTORY_PAGE]:
        box.relabel(message_id, add=[label])
    for message_id in ids[-5:]:
        box.delete(message_id)
    box.rename_label(label, "Crashes/Acme Corp")
    for number in range(30):
        box.add(
            subject=f"new {number}",
            sender="a@b.example",
            to=box.address,
            body="x",
            attachments=[("a.txt", "text/plain", b"a")],
        )
