"""The budgets that processes share, in a file and on Postgres: several processes against a Gmail that meters."""

from __future__ import annotations

import logging
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mail_ingest.accounts import Registry
from mail_ingest.accounts.budgets import BUDGET_FILE
from mail_ingest.errors import BudgetStoreError, QuotaError
from mail_ingest.gmail import Budgets, Shares, parse_quota
from mail_ingest.gmail.leasing import Purpose
from mail_ingest.settings import Settings, load_settings
from mail_ingest.simulator import Mailbox, QuotaProfile, Simulator
from mail_ingest.simulator.quota import PROFILES, window_start

LIMIT = 6_000
#: How much faster than ours the clock of Gmail and of the processes runs: a minute takes 10 seconds.
SPEED = 6.0

PROCESS = """
import sys, time
from mail_ingest.accounts import Registry
from mail_ingest.errors import QuotaError
from mail_ingest.gmail import Budgets, GmailClient, QuotaGovernor, Shares, Transport, parse_quota
from mail_ingest.settings import load_settings

address, token, url, message_id, quota, began, speed = sys.argv[1:]
began, speed = float(began), float(speed)
clock = lambda: began + (time.time() - began) * speed
sleep = lambda seconds: time.sleep(seconds / speed)

class Token:
    def token(self, force_refresh=False):
        return token

registry, profile, shares = Registry(load_settings()), parse_quota(quota), Shares.of(1.0)
budgets = Budgets(profile, shares, stores=registry.budget_stores.of, clock=clock)
governor = QuotaGovernor(profile, shares=shares, budgets=budgets, clock=clock, sleep=sleep)
client = GmailClient(
    address, token=Token(), governor=governor, transport=Transport(), url=url, clock=clock, sleep=sleep
)
print("ready", flush=True)
until = float(sys.stdin.readline())
try:
    while clock() < until:
        client.get_raw_message(message_id)
except QuotaError:
    budgets.settle()
print("done", flush=True)
"""


@pytest.fixture(params=["file", "postgres"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    variables = {"MAIL_INGEST_HOME": str(tmp_path / "home")}
    if request.param == "postgres":
        variables["MAIL_INGEST_CONTROL"] = str(request.getfixturevalue("database"))
    return load_settings(variables)


@pytest.fixture
def registry(settings: Settings) -> Iterator[Registry]:
    registry = Registry(settings)
    yield registry
    registry.close()


@pytest.fixture
def start(settings: Settings) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a process that reads one message over and over, as fast as the budget lets it."""
    begun: list[subprocess.Popen[str]] = []

    def start(*arguments: object) -> subprocess.Popen[str]:
        env = {**os.environ, "MAIL_INGEST_HOME": str(settings.home), "MAIL_INGEST_CONTROL": settings.control}
        begun.append(
            subprocess.Popen(
                [sys.executable, "-c", PROCESS, *map(str, arguments)],
                env=env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.communicate()


def what_to_read(gmail: Simulator, box: Mailbox) -> tuple[str, str, str, str]:
    [message_id] = box.generate(1, mean_size_bytes=500)
    return box.address, box.token, gmail.url, message_id


def begin_together(processes: list[subprocess.Popen[str]], clock: Callable[[], float], seconds: float) -> float:
    """Lets all of them go on once all are there; when that was."""
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    now = clock()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(f"{now + seconds}\n")
        process.stdin.flush()
    return now


def test_four_processes_spend_a_projects_minute_and_never_more_and_one_that_is_killed_is_made_up_for(
    registry: Registry, start: Callable[..., subprocess.Popen[str]]
) -> None:
    registry.check_deployment()
    began = time.time()

    def clock() -> float:
        return began + (time.time() - began) * SPEED

    with Simulator(quota=QuotaProfile(PROFILES["2026"].costs, None, LIMIT), clock=clock) as gmail:
        boxes = [gmail.add_account(f"user{number}@example.com") for number in range(4)]
        quota = f"user=none,project={LIMIT},day=none"
        processes = [start(*what_to_read(gmail, box), quota, began, SPEED) for box in boxes]
        ready_at = begin_together(processes, clock, 150)
        time.sleep(20 / SPEED)
        processes[0].send_signal(signal.SIGKILL)
        killed_at = clock()
        ended = [process.communicate(timeout=120) for process in processes[1:]]
        until = ready_at + 150
        refused = gmail.calls(status=403)
        windows: Counter[int] = Counter()
        for request in gmail.requests:
            windows[window_start(f"{gmail.world.project}/", request.at_s)] += request.units

    assert [out for out, _ in ended] == ["done\n"] * 3, ended
    assert refused == 0
    assert max(windows.values()) <= LIMIT
    full = {begin: units for begin, units in windows.items() if ready_at <= begin and begin + 60 <= until}
    afterwards = [units for begin, units in full.items() if begin > killed_at]
    assert afterwards
    assert min(full.values()) >= 0.9 * LIMIT, full


def test_the_day_is_shared_by_processes_to_the_last_call(
    registry: Registry, start: Callable[..., subprocess.Popen[str]]
) -> None:
    registry.check_deployment()
    with Simulator(quota="off") as gmail:
        boxes = [gmail.add_account(f"user{number}@example.com") for number in range(4)]
        quota = "user=none,project=none,day=5000"
        processes = [start(*what_to_read(gmail, box), quota, 0, 1) for box in boxes]
        begin_together(processes, time.time, 60)
        ended = [process.communicate(timeout=120) for process in processes]
        units = sum(request.units for request in gmail.requests)

    assert [out for out, _ in ended] == ["done\n"] * 4, ended
    # the rest of the leases of those that ended first is given back, and may find nobody left who wants it
    assert 5_000 - 4 * 200 <= units <= 5_000
    assert units <= use_of(registry, quota).day_use("default").units <= 5_000


def use_of(registry: Registry, quota: str, shares: Shares = Shares.of(1.0), **more: object) -> Budgets:  # noqa: B008
    return Budgets(parse_quota(quota), shares, stores=registry.budget_stores.of, **more)  # type: ignore[arg-type]


def spend(budgets: Budgets, purpose: Purpose, project: str = "p") -> int:
    """Units that may be spent at once."""
    units = 0
    while True:
        try:
            if budgets.take("ada@example.com", project, purpose, 20):
                return units
        except QuotaError:
            return units
        units += 20


def test_a_persons_request_goes_through_when_scheduled_work_has_spent_its_day(registry: Registry) -> None:
    quota, shares = "user=none,project=none,day=10000", Shares.of(1.0, 0.1, 0.6)

    spent = [spend(use_of(registry, quota, shares), purpose) for purpose in ("backfill", "scheduled", "asked")]  # type: ignore[arg-type]

    assert spent == [6_000, 3_000, 1_000]


def test_projects_have_rows_of_their_own(registry: Registry) -> None:
    budgets = use_of(registry, "user=none,project=none,day=1000")

    assert [spend(budgets, "asked", project) for project in ("123456789012", "sales-mail")] == [1_000, 1_000]
    assert budgets.day_use("sales-mail").left == 0
    assert budgets.day_use("another").left == 1_000


def test_processes_that_meet_for_the_first_time_are_not_given_the_same_units(settings: Settings) -> None:
    registries = [Registry(settings) for _ in range(8)]
    registries[0].check_deployment()
    gate = threading.Barrier(len(registries))
    spent: list[int] = []

    def run(registry: Registry) -> None:
        budgets = use_of(registry, "user=none,project=none,day=1000")
        gate.wait()
        spent.append(spend(budgets, "asked"))

    threads = [threading.Thread(target=run, args=(registry,)) for registry in registries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for registry in registries:
        registry.close()

    assert sum(spent) == 1_000


def test_the_file_is_made_for_its_owner_alone_and_the_server_gets_none(registry: Registry, settings: Settings) -> None:
    spend(use_of(registry, "user=none,project=none,day=1000"), "asked")

    path = settings.home / BUDGET_FILE
    if settings.control.startswith("sqlite"):
        assert {
            stat.S_IMODE(each.stat().st_mode) for each in settings.home.iterdir() if each.name.startswith(BUDGET_FILE)
        } == {0o600}
    else:
        assert not path.exists()


def test_a_file_that_is_no_database_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = load_settings({"MAIL_INGEST_HOME": str(tmp_path / "home")})
    registry = Registry(settings)
    registry.check_deployment()
    (settings.home / BUDGET_FILE).write_bytes(b"no database at all, and long enough to be read as one" * 100)
    budgets = use_of(registry, "user=none,project=none,day=10000")

    with caplog.at_level(logging.WARNING):
        spent = spend(budgets, "asked")
    with pytest.raises(BudgetStoreError, match="shared budget of project p cannot be read"):
        budgets.day_use("p")
    registry.close()

    assert spent == 1_000
    assert len(caplog.records) == 1
