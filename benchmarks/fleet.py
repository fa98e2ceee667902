"""`python -m benchmarks.fleet`: ten thousand mailboxes on this machine, hour after hour in compressed time.

    python -m benchmarks.fleet                            10,000 mailboxes of 500 messages, twenty of 50,000; both warehouses
    python -m benchmarks.fleet --warehouse postgres --workers 4
    python -m benchmarks.fleet --mailboxes 1000 --large 2 --rounds 2

The local Gmail server runs in a process of its own, whose CPU time is told apart. The accounts are registered, with content
from today on, and synced in cycles: their first states; a busy hour, before which each mailbox gets 10 new messages, 5 label
changes and 1 deletion; and a quiet one. `--rounds` repeats the last two. An hour's waiting is left out, and nothing else: the
quotas of 2026 are kept as one would keep limits that are never reached.

A cycle is one run of Dagster's job `sync` for each shard, with the settings of `dagster.yaml`. Every run has a process of its
own, from its first import to its end, because that is how Dagster's launcher starts runs and what an installation pays; the
daemon and the code server, which run all the time, are not measured. On DuckDB one run follows the other, on Postgres
`--workers` go side by side, and the control database and Dagster's own records are there too.

CPU seconds, memory, events and bytes are those of these processes and of Dagster's storage, requests and units those that the
server counted. At last all states and all new content are compared with what the server really holds.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from benchmarks.figures import Figure, table
from benchmarks.fleet_runs import Cycle, Fleet
from benchmarks.fleet_truth import compare
from benchmarks.local import Gmail, home, serve
from benchmarks.server import database, server

MEGABYTE = 1_000_000
MESSAGES, LABEL_CHANGES, DELETIONS = 10, 5, 1
#: A look that finds nothing new; four requests and the content of each new message.
QUIET_UNITS, BUSY_UNITS = 2, 15 + 20 * MESSAGES
QUIET_CPU_MS = 20
#: A quarter of what two cores have in an hour, for ten thousand mailboxes.
BUSY_CPU_MS = 2 * 3600 / 4 / 10_000 * 1000
MEMORY_MB = 1_000
EVENTS_MB = 20


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many mailboxes of how many messages, and how they are synced."""

    mailboxes: int = 10_000
    messages: int = 500
    large: int = 20
    large_messages: int = 50_000
    shard_size: int = 500
    workers: int = 1
    rounds: int = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; 1 where a bound is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=(__doc__ or "").split("\n\n")[0])
    usual = Sizes()
    parser.add_argument("--mailboxes", type=int, default=usual.mailboxes)
    parser.add_argument("--messages", type=int, default=usual.messages, help="in each mailbox at first")
    parser.add_argument("--large", type=int, default=usual.large, help="so many of the mailboxes are large")
    parser.add_argument("--large-messages", type=int, default=usual.large_messages, help="in each of these")
    parser.add_argument("--shard-size", type=int, default=usual.shard_size, help="accounts of a shard")
    parser.add_argument("--rounds", type=int, default=usual.rounds, help="busy and quiet hours after the first states")
    parser.add_argument("--warehouse", choices=("duckdb", "postgres", "both"), default="both")
    parser.add_argument("--workers", type=int, default=4, help="runs side by side, on Postgres")
    parser.add_argument("--postgres", metavar="URL", help="a server on which databases may be made")
    options = parser.parse_args(arguments)
    sizes = Sizes(
        options.mailboxes, options.messages, options.large, options.large_messages, options.shard_size, options.workers,
        options.rounds,
    )  # fmt: skip
    figures: list[Figure] = []
    for dialect in ("duckdb", "postgres"):
        if options.warehouse in (dialect, "both"):
            figures += measure(dialect, sizes, options.postgres)
    print(table(figures))
    return int(any(figure.holds is False for figure in figures))


def measure(dialect: str, sizes: Sizes, postgres: str | None = None) -> list[Figure]:
    """All cycles on one warehouse, with a server of their own."""
    if dialect == "duckdb":
        sizes = replace(sizes, workers=1)
    began = time.perf_counter()
    with ExitStack() as stack:
        gmail = stack.enter_context(
            serve(
                sizes.messages,
                pinned=False,
                mailboxes=sizes.mailboxes,
                large=sizes.large,
                large_messages=sizes.large_messages,
                # its mail is older than the registration of the accounts
                end=f"{time.strftime('%Y-%m-%d', time.gmtime(time.time() - 86_400))}",
            )
        )
        figures = [
            Figure(dialect, "set-up of the local Gmail server", time.perf_counter() - began, "s"),
            Figure(dialect, "memory of the local Gmail server", gmail.peak_bytes() / MEGABYTE, "MB"),
        ]
        fleet = stack.enter_context(_fleet(dialect, sizes, gmail, postgres))
        began = time.perf_counter()
        fleet.register()
        figures.append(
            Figure(dialect, "registration of an account", (time.perf_counter() - began) / sizes.mailboxes * 1000, "ms")
        )
        for name in ("first states", *(("busy", "quiet") * sizes.rounds)):
            figures += _cycle(f"{dialect}, {name}", name, fleet, sizes)
        figures.append(Figure(dialect, "memory of the local Gmail server at last", gmail.peak_bytes() / MEGABYTE, "MB"))
    return figures


@contextmanager
def _fleet(dialect: str, sizes: Sizes, gmail: Gmail, postgres: str | None) -> Iterator[Fleet]:
    """A deployment with an empty warehouse, and Dagster's storage beside it."""
    with home() as folder:
        if dialect == "duckdb":
            yield Fleet(gmail, folder, sizes.shard_size, sizes.workers)
            return
        with server(postgres) as url, database(url) as warehouse, database(url) as control, database(url) as dagster:
            yield Fleet(gmail, folder, sizes.shard_size, sizes.workers, (warehouse, control, dagster))


def _cycle(scenario: str, name: str, fleet: Fleet, sizes: Sizes) -> list[Figure]:
    if name == "busy":
        changes = {"messages": MESSAGES, "label_changes": LABEL_CHANGES, "deletions": DELETIONS}
        fleet.gmail.control("hour", {**changes, "seed": fleet.cycles})
    cycle = fleet.run_cycle()
    began = time.perf_counter()
    found = compare(fleet)
    _say(f"{scenario}: {cycle.wall_s:.0f} s, compared in {time.perf_counter() - began:.0f} s")
    return [
        *_costs(scenario, name, cycle, sizes),
        Figure(scenario, "mailboxes that were synced", cycle.mailboxes_synced, "", "=", sizes.mailboxes),
        Figure(scenario, "drift: states that differ from the mailboxes", found.states, "", "=", 0),
        Figure(scenario, "new messages without their content", found.missing, "", "=", 0),
        Figure(scenario, "contents that nobody asked for", found.surplus, "", "=", 0),
        Figure(scenario, f"contents that differ, of {found.sampled} drawn", found.differing, "", "=", 0),
    ]


def _costs(scenario: str, name: str, cycle: Cycle, sizes: Sizes) -> list[Figure]:
    cpu_ms = {"quiet": QUIET_CPU_MS, "busy": BUSY_CPU_MS}.get(name)
    units = {"quiet": QUIET_UNITS, "busy": BUSY_UNITS}.get(name)
    figures = [
        _bounded(scenario, "CPU of the product", cycle.cpu_s, "s", cpu_ms and cpu_ms * sizes.mailboxes / 1000),
        _bounded(scenario, "CPU of the product, a mailbox", cycle.cpu_s / sizes.mailboxes * 1000, "ms", cpu_ms),
        Figure(scenario, "of that, imports and definitions of all processes", cycle.starts_cpu_s, "s"),
        Figure(scenario, "CPU of the local Gmail server, left out above", cycle.gmail_cpu_s, "s"),
        Figure(scenario, "wall-clock time", cycle.wall_s, "s"),
        Figure(scenario, "runs of Dagster", cycle.runs),
        Figure(scenario, "runs that failed", cycle.runs_failed, "", "=", 0),
        Figure(scenario, "requests", cycle.requests),
        Figure(scenario, "requests that were refused", cycle.refused, "", "=", 0),
        _bounded(scenario, "units", cycle.units, "", units and units * sizes.mailboxes),
        *(Figure(scenario, f"units, {method}", spent) for method, spent in sorted(cycle.units_by_method.items())),
        # one mailbox may have more labels or pages than the others; what a quiet one costs is the same for all
        _bounded(scenario, "units, the dearest mailbox", cycle.dearest_units, "", units if name == "quiet" else None),
        Figure(scenario, "peak memory of a worker", cycle.peak_bytes / MEGABYTE, "MB", "<=", MEMORY_MB),
        Figure(scenario, "Dagster's events", cycle.events),
        Figure(scenario, "Dagster's storage", cycle.event_bytes / MEGABYTE, "MB", "<=", EVENTS_MB),
        Figure(scenario, "the warehouse's size after it", cycle.warehouse_bytes / MEGABYTE, "MB"),
    ]
    if cycle.postgres_cpu_s is not None:
        figures.insert(3, Figure(scenario, "CPU of Postgres, left out above", cycle.postgres_cpu_s, "s"))
    return figures


def _bounded(scenario: str, name: str, value: float, unit: str, bound: float | None) -> Figure:
    return Figure(scenario, name, value, unit, "" if bound is None else "<=", bound)


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
