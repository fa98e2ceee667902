"""The scenarios. Each starts its own server and its own measured processes, and returns figures."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import duckdb
import orjson

from benchmarks.figures import Figure
from benchmarks.local import ADDRESS, Gmail, environment, home, run_command, run_worker, serve
from mail_ingest.simulator.quota import WINDOW_S, window_start

MEGABYTE = 1_000_000
_UNITS_A_WINDOW = 6_000
_UNITS_A_MESSAGE = 20


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much mail and how many repetitions one run of all scenarios takes."""

    throughput_messages: int
    throughput_rounds: int
    quota_windows: int
    quiet_messages: int
    memory_messages: int
    state_messages: int
    expired_messages: int


QUICK = Sizes(1_000, 1, 1, 500, 10_000, 50_000, 5_000)
USUAL = Sizes(10_000, 3, 4, 5_000, 100_000, 1_000_000, 50_000)
FULL = Sizes(20_000, 5, 12, 50_000, 100_000, 1_000_000, 50_000)


def throughput(sizes: Sizes) -> list[Figure]:
    """End to end, content and all, against the floor: run in turns, the medians compared."""
    messages = sizes.throughput_messages
    runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with serve(messages, mean_size_bytes=20_000) as gmail:
        for _ in range(sizes.throughput_rounds):
            for kind in ("floor", "product", "floor with archive"):
                with home() as folder:
                    env = environment(gmail, folder)
                    served = gmail.cpu_s()
                    if kind == "product":
                        measured = run_worker("sync", env)
                        _expect(measured["contents_stored"], messages, "messages were stored")
                        # the floor has no analyst tables
                        measured["cpu_s"] -= measured["build_cpu_s"]
                        measured["wall_s"] -= measured["build_wall_s"]
                    else:
                        measured = run_worker("floor", env, folder=str(folder), archive="archive" in kind)
                        _expect(measured["messages"], messages, "messages were stored")
                    measured["server_s"] = gmail.cpu_s() - served
                    measured["file_bytes"] = _file_bytes(folder)
                    runs[kind].append(measured)

    def middle(kind: str, what: str) -> float:
        return float(median(run[what] for run in runs[kind]))

    def info(name: str, value: float, unit: str) -> Figure:
        return Figure("throughput", name, value, unit)

    def milliseconds(kind: str, what: str) -> float:
        return middle(kind, what) / messages * 1000

    return [
        Figure(
            "throughput",
            "client CPU a message: product (with archive) / floor (without)",
            middle("product", "cpu_s") / middle("floor", "cpu_s"),
            "x",
            "<=",
            2.0,
        ),
        Figure(
            "throughput",
            "messages a second: product (with archive) / floor (without)",
            middle("floor", "wall_s") / middle("product", "wall_s"),
            "x",
            ">=",
            0.5,
        ),
        info(
            "client CPU a message: product / floor with archive",
            middle("product", "cpu_s") / middle("floor with archive", "cpu_s"),
            "x",
        ),
        info("product: client CPU a message", milliseconds("product", "cpu_s"), "ms"),
        info("floor: client CPU a message", milliseconds("floor", "cpu_s"), "ms"),
        info("floor with archive: client CPU a message", milliseconds("floor with archive", "cpu_s"), "ms"),
        info(
            "product: client CPU a message for the analyst tables, left out above",
            milliseconds("product", "build_cpu_s"),
            "ms",
        ),
        info("product: messages a second", messages / middle("product", "wall_s"), "/s"),
        info("server: CPU a message, left out above", milliseconds("product", "server_s"), "ms"),
        info("product: imports, once", middle("product", "imports_cpu_s"), "CPU-s"),
        info("product: warehouse file a message", middle("product", "file_bytes") / messages / 1000, "KB"),
        info("floor: warehouse file a message", middle("floor", "file_bytes") / messages / 1000, "KB"),
    ]


def quota(sizes: Sizes) -> list[Figure]:
    """A backlog under the quota of 2026, which the server enforces in minutes whose phase the client does not know."""
    per_window = _UNITS_A_WINDOW // _UNITS_A_MESSAGE
    messages = per_window * (sizes.quota_windows + 1) + per_window // 4
    with serve(messages, quota="2026", mean_size_bytes=20_000) as gmail, home() as folder:
        env = environment(gmail, folder, MAIL_INGEST_QUOTA="2026", MAIL_INGEST_QUOTA_SHARE="1.0")
        measured = run_worker("sync", env)
        log = list(gmail.lines("requests/log"))
        lost = len(_truth(gmail)) - _count(folder, "gmail.messages")
    fetched = [request["at_s"] for request in log if request["method"] == "messages.get"]
    spent: dict[int, int] = defaultdict(int)
    for request in log:
        spent[_window(request["at_s"])] += request["units"]
    # windows that lay within the backlog from their first to their last second
    complete = [start for start in spent if start >= fetched[0] and start + WINDOW_S <= fetched[-1]]
    shares = [spent[start] / _UNITS_A_WINDOW * 100 for start in complete]
    return [
        Figure(
            "quota",
            f"units used in {len(shares)} complete minutes of backlog",
            sum(shares) / max(len(shares), 1),
            "%",
            ">=",
            97,
        ),
        Figure("quota", "worst of these minutes", min(shares, default=0.0), "%"),
        Figure("quota", "refused requests", sum(request["status"] != 200 for request in log), "", "=", 0),
        Figure("quota", "messages lost", lost, "", "=", 0),
        Figure("quota", "messages failed", measured["contents_failed"], "", "=", 0),
    ]


def quiet(sizes: Sizes) -> list[Figure]:
    """`mail-ingest sync` on a mailbox that is up to date, and after ten new messages; whole processes are timed."""
    with serve(sizes.quiet_messages, mean_size_bytes=20_000) as gmail, home() as folder:
        env = environment(gmail, folder)
        run_worker("sync", env)
        loads = _count(folder, "gmail._dlt_loads")
        nothing = _command(gmail, env)
        loads = _count(folder, "gmail._dlt_loads") - loads
        for number in range(10):
            gmail.verb("add", subject=f"New {number}", body="Hello\n" * 100)
        ten = _command(gmail, env)
        differences = _differences(gmail, folder)
        stored = _count(folder, "gmail.messages")
    _expect(stored, sizes.quiet_messages + 10, "messages were stored")
    return [
        Figure("no change", "units", nothing.units, "", "<=", 2),
        Figure("no change", "requests", nothing.requests, "", "<=", 2),
        Figure("no change", "loads", loads, "", "=", 0),
        Figure("no change", "time of the whole command beyond the server's", nothing.seconds, "s"),
        Figure("ten new messages", "units", ten.units, "", "<=", 4 + 10 * _UNITS_A_MESSAGE),
        Figure("ten new messages", "time of the whole command beyond the server's", ten.seconds, "s", "<=", 3),
        Figure("ten new messages", "states that differ from the mailbox", differences, "", "=", 0),
    ]


def memory(sizes: Sizes) -> list[Figure]:
    """Peak memory of a whole sync, and that it does not grow with the mailbox."""
    peaks = {}
    for messages in (sizes.memory_messages // 10, sizes.memory_messages):
        with serve(messages, mean_size_bytes=20_000) as gmail, home() as folder:
            measured = run_worker("sync", environment(gmail, folder))
            _expect(measured["contents_stored"], messages, "messages were stored")
            peaks[messages] = _above_imports(measured)
            file_bytes = _file_bytes(folder) / messages / 1000
    small, large = peaks.values()
    return [
        Figure("memory", f"peak above imports, {sizes.memory_messages:,} messages", large, "MB", "<=", 700),
        Figure("memory", f"the same, {sizes.memory_messages // 10:,} messages", small, "MB"),
        Figure("memory", "ratio of the two", large / small, "x", "<=", 1.1),
        Figure("memory", f"CPU a message, {sizes.memory_messages:,} messages", _cpu_ms(measured, messages), "ms"),
        Figure("memory", f"warehouse file a message, {sizes.memory_messages:,} messages", file_bytes, "KB"),
        Figure("memory", "imports alone", measured["imports_bytes"] / MEGABYTE, "MB"),
    ]


def states(sizes: Sizes) -> list[Figure]:
    """Memory of the state of a very large mailbox, without content."""
    messages = sizes.state_messages
    with serve(messages, labels_per_message=3) as gmail, home() as folder:
        measured = run_worker("sync", environment(gmail, folder), content=False)
        _expect(measured["messages_added"], messages, "states were stored")
        differences = _differences(gmail, folder)
    return [
        Figure("state only", f"peak above imports, {messages:,} ids", _above_imports(measured), "MB", "<=", 700),
        Figure("state only", "units", measured["units"]),
        Figure("state only", "states that differ from the mailbox", differences, "", "=", 0),
        Figure("state only", "client CPU an id", _cpu_ms(measured, messages), "ms"),
    ]


def expired(sizes: Sizes) -> list[Figure]:
    """History has expired at the cursor; meanwhile messages came, went, and were labelled, and a label was deleted."""
    messages = sizes.expired_messages
    with serve(messages, labels_per_message=3, user_labels=20) as gmail, home() as folder:
        env = environment(gmail, folder)
        run_worker("sync", env, content=False)
        ids = [message["id"] for message in gmail.lines(f"accounts/{ADDRESS}/messages")]
        labels = gmail.control(f"accounts/{ADDRESS}/labels")
        gmail.verb("relabel_many", message_ids=ids[: messages // 10], add=["STARRED"], remove=["INBOX"])
        gmail.verb("delete_many", message_ids=ids[messages // 2 : messages // 2 + messages // 100])
        gmail.verb("delete_label", label_id=next(label["id"] for label in labels if not label["is_system"]))
        for number in range(20):
            gmail.verb("add", subject=f"Meanwhile {number}")
        gmail.verb("expire_history")
        gmail.forget_requests()
        measured = run_worker("sync", env, content=False)
        units = gmail.requests()["units"]
        differences = _differences(gmail, folder)
        drift = run_worker("verify", env)["drift"]
    return [
        Figure("expired history", f"units, {messages:,} messages, {len(labels)} labels", units, "", "<=", 2_500),
        Figure("expired history", "states that differ from the mailbox", differences, "", "=", 0),
        Figure("expired history", "drift that mail-ingest verify finds", drift, "", "=", 0),
        Figure("expired history", "changes repaired", measured["states_changed"]),
        Figure("expired history", "wall-clock time", measured["wall_s"], "s"),
    ]


SCENARIOS: dict[str, Callable[[Sizes], list[Figure]]] = {
    "throughput": throughput,
    "quota": quota,
    "quiet": quiet,
    "memory": memory,
    "states": states,
    "expired": expired,
}


@dataclass(frozen=True, slots=True)
class _Command:
    units: int
    requests: int
    seconds: float


def _command(gmail: Gmail, env: dict[str, str]) -> _Command:
    """One `mail-ingest sync`, timed from the start of its process to its end, less the server's CPU time."""
    gmail.forget_requests()
    served, began = gmail.cpu_s(), time.perf_counter()
    done = run_command(env, "sync", ADDRESS)
    seconds = time.perf_counter() - began - (gmail.cpu_s() - served)
    if done.returncode:
        raise RuntimeError(f"mail-ingest sync ended with {done.returncode}: {done.stderr}")
    counted = gmail.requests()
    return _Command(counted["units"], counted["calls"], seconds)


def _truth(gmail: Gmail) -> dict[str, tuple[str, frozenset[str]]]:
    """Thread and labels of every message, as the server itself keeps them."""
    return {
        message["id"]: (message["threadId"], frozenset(message["labelIds"]))
        for message in gmail.lines(f"accounts/{ADDRESS}/messages")
    }


def _differences(gmail: Gmail, folder: Path) -> int:
    """Messages whose stored existence, thread or labels are not the mailbox's."""
    truth = _truth(gmail)
    query = "select message_id, thread_id, cast(label_ids as varchar) from gmail.message_states where not is_deleted"
    stored = {}
    with duckdb.connect(str(_warehouse(folder)), read_only=True) as connection:
        cursor = connection.execute(query)
        while rows := cursor.fetchmany(10_000):
            stored.update({row[0]: (row[1], frozenset(orjson.loads(row[2]))) for row in rows})
    return sum(stored.get(key) != value for key, value in truth.items()) + len(stored.keys() - truth.keys())


def _count(folder: Path, table: str) -> int:
    with duckdb.connect(str(_warehouse(folder)), read_only=True) as connection:
        row = connection.execute(f"select count(*) from {table}").fetchone()
    return int(row[0]) if row else 0


def _warehouse(folder: Path) -> Path:
    return folder / "warehouse.duckdb"


def _file_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.duckdb"))


def _window(at_s: float) -> int:
    """Start of the server's minute that a request fell into."""
    from mail_ingest.simulator.world import DEFAULT_PROJECT

    return window_start(f"{DEFAULT_PROJECT}/{ADDRESS}", at_s)


def _above_imports(measured: dict[str, Any]) -> float:
    return float(measured["peak_bytes"] - measured["imports_bytes"]) / MEGABYTE


def _cpu_ms(measured: dict[str, Any], messages: int) -> float:
    return float(measured["cpu_s"]) / messages * 1000


def _expect(found: int, wanted: int, what: str) -> None:
    if found != wanted:
        raise RuntimeError(f"{found} {what}, not {wanted}: the figures would mean nothing")


__all__ = ["FULL", "QUICK", "SCENARIOS", "USUAL", "Sizes"]
