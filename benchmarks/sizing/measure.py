"""Measures what a shard of mailboxes costs on Postgres: a first sync with all content, a busy hour, a quiet one.

The mailboxes, runs and hours are those of `benchmarks.fleet`: each run of the job `sync` is a process of its own.
"""

from __future__ import annotations

from contextlib import ExitStack

from benchmarks.fleet import DELETIONS, LABEL_CHANGES, MESSAGES
from benchmarks.fleet_runs import Fleet
from benchmarks.local import home, serve
from benchmarks.server import database, database_bytes, server
from benchmarks.sizing.figures import Figures
from mail_ingest.ingest.account_sync import MOST_MESSAGES

MEAN_SIZE_BYTES = 20_000


def measure(mailboxes: int, messages: int, postgres: str | None = None) -> Figures:
    """Figures of so many mailboxes with so many messages each, `MOST_MESSAGES` at most: more are bought by runs of their own."""
    if messages > MOST_MESSAGES:
        raise SystemExit(f"a run of a shard buys {MOST_MESSAGES} messages of a mailbox at most; measure with as many")
    with ExitStack() as stack:
        enter = stack.enter_context
        gmail = enter(serve(messages, pinned=False, mailboxes=mailboxes, mean_size_bytes=MEAN_SIZE_BYTES))
        folder, url = enter(home()), enter(server(postgres))
        warehouse, control, dagster = (enter(database(url)) for _ in range(3))
        fleet = Fleet(gmail, folder, mailboxes, 1, (warehouse, control, dagster))
        fleet.register(buys_all=True)
        empty_bytes, stored = database_bytes(warehouse), mailboxes * messages
        first = fleet.run_cycle()
        stored_bytes = database_bytes(warehouse) - empty_bytes
        packs = [path.stat().st_size for path in fleet.settings.home.joinpath("raw").rglob("*") if path.is_file()]
        gmail.control("hour", {"messages": MESSAGES, "label_changes": LABEL_CHANGES, "deletions": DELETIONS, "seed": 1})
        busy = fleet.run_cycle()
        quiet = fleet.run_cycle()
    failed = first.runs_failed + busy.runs_failed + quiet.runs_failed
    if failed:
        raise RuntimeError(f"{failed} of the measured runs failed; the figures would mean nothing")
    return Figures(
        measured_mailboxes=mailboxes,
        measured_messages=messages,
        mean_message_bytes=MEAN_SIZE_BYTES,
        run_cpu_s=round(quiet.starts_cpu_s / quiet.runs, 2),
        quiet_cpu_ms=round((quiet.cpu_s - quiet.starts_cpu_s) / mailboxes * 1e3, 1),
        busy_cpu_ms=round((busy.cpu_s - busy.starts_cpu_s) / mailboxes * 1e3, 1),
        content_cpu_ms=round((first.cpu_s - first.starts_cpu_s) / stored * 1e3, 2),
        postgres_busy_cpu_ms=round((busy.postgres_cpu_s or 0.0) / mailboxes * 1e3, 1),
        postgres_content_cpu_ms=round((first.postgres_cpu_s or 0.0) / stored * 1e3, 2),
        quiet_units=quiet.units / mailboxes,
        busy_units=busy.units / mailboxes,
        busy_messages=MESSAGES,
        content_units=round(first.units / stored, 2),
        run_peak_mb=round(max(first.peak_bytes, busy.peak_bytes) / 1e6),
        database_bytes=round(stored_bytes / stored),
        archive_bytes=round(sum(packs) / stored),
        run_events=busy.events / busy.runs,
        run_event_bytes=round(busy.event_bytes / busy.runs),
    )
