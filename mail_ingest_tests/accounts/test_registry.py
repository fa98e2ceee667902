"""Accounts in the control database: on SQLite, and on any Postgres."""

import dataclasses
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from mail_ingest.accounts import Account, Credential, Look, PrivacySettings, Registry, account_id_of, token_env
from mail_ingest.accounts.account import AccountState
from mail_ingest.errors import ConfigError, QuotaError
from mail_ingest.settings import Settings
from mail_ingest_tests.accounts.conftest import Calendar

ADA, BOB, EVE = "ada@example.com", "bob@example.com", "eve@example.com"
TOKEN = token_env("ADA_TOKEN")

Open = Callable[[Settings], Registry]


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    if request.param == "sqlite":
        return settings
    return dataclasses.replace(settings, control=request.getfixturevalue("control_database"))


@pytest.mark.first_use
def test_building_a_registry_opens_nothing(settings: Settings) -> None:
    Registry(dataclasses.replace(settings, control="postgresql://nobody@192.0.2.1/none"))
    Registry(settings)

    assert not settings.home.exists()


def test_account_is_known_by_its_address_in_lower_case(registry: Registry, calendar: Calendar) -> None:
    added = registry.add(
        " Ada@Example.com ", TOKEN, shard=3, content_since="30d", privacy=PrivacySettings(include_chats=False)
    )

    assert added == registry.get("ADA@example.com")
    assert (added.account_id, added.address, added.shard) == (ADA, "Ada@Example.com", 3)
    assert (added.state, added.state_reason, added.state_since) == ("active", "", calendar.now)
    assert (added.content_since, added.include_chats, added.include_drafts) == ("30d", False, True)
    assert added.credential_kind == "token_env"
    assert added.created_at == calendar.now
    assert added.last_sync_finished_at is None


@pytest.mark.parametrize(
    "address",
    ["", "ada", "ada@", "@example.com", "ada@example", "a da@example.com", "ada@example.com, bob@example.com",
     "Ada <ada@example.com>", "ada@@example.com", "ada@example..com", "ada@example.com\n", "a" * 250 + "@example.com"],
)  # fmt: skip
def test_what_is_no_address_is_refused(address: str) -> None:
    if address.strip() != address:
        assert account_id_of(address) == address.strip()
        return
    with pytest.raises(ConfigError, match="is no mail address"):
        account_id_of(address)


def test_account_is_registered_once(registry: Registry) -> None:
    first = registry.add(ADA, TOKEN)

    with pytest.raises(ConfigError, match="registered already"):
        registry.add("ADA@example.com", token_env("OTHER"), shard=5)

    assert registry.list() == [first]


def test_unknown_account_is_told_where_to_look(registry: Registry) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: registry.get(BOB),
        lambda: registry.remove(BOB),
        lambda: registry.pause(BOB),
        lambda: registry.resume(BOB),
        lambda: registry.checked(BOB),
        lambda: registry.sync_started(BOB),
        lambda: registry.sync_finished(BOB, "success"),
        lambda: registry.token_source(BOB),
        lambda: registry.reconnect(BOB, TOKEN),
    ]

    for call in calls:
        with pytest.raises(ConfigError, match=r"bob@example\.com is not registered.*mail-ingest account list"):
            call()


def test_accounts_are_listed_in_order_and_by_state(registry: Registry) -> None:
    for address in (EVE, ADA, BOB):
        registry.add(address, TOKEN)
    registry.pause(BOB, "holiday")
    registry.remove(EVE)

    assert [account.account_id for account in registry.list()] == [ADA, BOB]
    assert [account.account_id for account in registry.list("paused")] == [BOB]
    assert [account.account_id for account in registry.list("active", "paused")] == [ADA, BOB]
    assert [account.account_id for account in registry.list("removed")] == [EVE]


def test_removed_account_comes_back_on_its_shard_and_with_new_credentials(
    registry: Registry, calendar: Calendar
) -> None:
    registry.add(ADA, TOKEN, shard=4)
    registry.sync_finished(ADA, "failed", error=ValueError())
    registry.remove(ADA)
    with pytest.raises(ConfigError):
        registry.get(ADA)
    calendar.forward(days=1)

    again = registry.add("Ada@Example.com", token_env("NEW_TOKEN"), shard=9)

    assert (again.shard, again.state, again.state_since) == (4, "active", calendar.now)
    assert again.consecutive_failures == 0
    assert repr(registry.token_source(ADA)) == "EnvironmentToken(NEW_TOKEN)"


def test_removal_forgets_the_credentials(registry: Registry, settings: Settings) -> None:
    registry.add(ADA, TOKEN)
    registry.remove(ADA)

    assert stored(settings, "credential") == [""]


def test_pausing_and_resuming_tell_why_and_since_when(registry: Registry, calendar: Calendar) -> None:
    registry.add(ADA, TOKEN)
    paused_at = calendar.forward(hours=1)
    registry.pause(ADA, "holiday")
    paused = registry.get(ADA)
    resumed_at = calendar.forward(hours=1)
    registry.resume(ADA)
    resumed = registry.get(ADA)

    assert (paused.state, paused.state_reason, paused.state_since) == ("paused", "holiday", paused_at)
    assert (resumed.state, resumed.state_reason, resumed.state_since) == ("active", "", resumed_at)


def test_syncs_leave_their_marks(registry: Registry, calendar: Calendar) -> None:
    registry.add(ADA, TOKEN)
    started_at = calendar.forward(minutes=1)
    registry.sync_started(ADA)
    finished_at = calendar.forward(minutes=5)
    due_at = finished_at.replace(hour=9)
    registry.sync_finished(ADA, "success", next_due_at=due_at)

    account = registry.get(ADA)

    assert (account.last_sync_started_at, account.last_sync_finished_at) == (started_at, finished_at)
    assert (account.last_checked_at, account.next_due_at) == (finished_at, due_at)
    assert (account.last_outcome, account.last_error_class, account.consecutive_failures) == ("success", None, 0)


def test_failures_in_a_row_are_counted_until_one_sync_goes_well(registry: Registry, calendar: Calendar) -> None:
    registry.add(ADA, TOKEN)
    error = QuotaError("later", resume_at=calendar.now)
    for _ in range(3):
        registry.sync_finished(ADA, "failed", error=error)
    failing = registry.get(ADA)
    registry.sync_finished(ADA, "partial")
    well = registry.get(ADA)

    assert (failing.consecutive_failures, failing.last_error_class, failing.last_checked_at) == (3, "QuotaError", None)
    assert (well.consecutive_failures, well.last_error_class, well.last_checked_at) == (0, None, calendar.now)


def test_waits_grow_with_the_failures_in_a_row_and_resuming_ends_them(registry: Registry, calendar: Calendar) -> None:
    registry.add(ADA, TOKEN)
    waits = []
    for _ in range(10):
        registry.sync_finished(ADA, "failed", error=QuotaError("later", resume_at=calendar.now))
        account = registry.get(ADA)
        wait = None if account.next_due_at is None else (account.next_due_at - calendar.now).total_seconds() / 60
        waits.append((account.state, wait))
        calendar.forward(hours=5)
    registry.resume(ADA)
    resumed = registry.get(ADA)

    assert waits == [
        ("active", None),
        ("active", None),
        ("active", 5),
        ("active", 10),
        *(("cooling_down", minutes) for minutes in (30, 40, 80, 160, 240, 240)),
    ]
    assert (resumed.state, resumed.consecutive_failures, resumed.next_due_at) == ("active", 0, None)


@pytest.mark.parametrize("state", ["paused", "needs_reauth", "parked"])
def test_failures_do_not_wake_an_account_that_was_stopped(registry: Registry, state: AccountState) -> None:
    registry.add(ADA, TOKEN)
    registry.set_state(ADA, state, "because")
    for _ in range(6):
        registry.sync_finished(ADA, "failed", error=ConfigError("no"))

    assert (registry.get(ADA).state, registry.get(ADA).state_reason) == (state, "because")


def test_quiet_check_moves_nothing_but_the_time_of_checking(registry: Registry, calendar: Calendar) -> None:
    registry.add(ADA, TOKEN)
    before = registry.get(ADA)
    checked_at = calendar.forward(minutes=2)

    registry.checked(ADA)

    assert registry.get(ADA) == dataclasses.replace(before, last_checked_at=checked_at)


def test_due_are_active_accounts_whose_time_has_come_and_those_that_cooled_down(
    registry: Registry, calendar: Calendar
) -> None:
    addresses = [f"{name}@example.com" for name in ("new", "due", "later", "paused", "cooled", "cooling", "dead")]
    for address in addresses:
        registry.add(address, TOKEN)
    soon, late = calendar.now, calendar.forward(hours=1)
    registry.checked("due@example.com", next_due_at=soon)
    registry.checked("later@example.com", next_due_at=late.replace(hour=23))
    registry.pause("paused@example.com")
    registry.set_state("cooled@example.com", "cooling_down", "quota", resume_at=soon)
    registry.set_state("cooling@example.com", "cooling_down", "quota", resume_at=late.replace(hour=23))
    registry.set_state("dead@example.com", "needs_reauth", "invalid_grant")

    assert [account.account_id for account in registry.due()] == [
        "cooled@example.com",
        "due@example.com",
        "new@example.com",
    ]


def test_reconnected_account_is_active_with_its_new_credentials(registry: Registry) -> None:
    registry.add(ADA, TOKEN)
    registry.set_state(ADA, "needs_reauth", "invalid_grant")

    registry.reconnect(ADA, token_env("FRESH"))

    assert registry.get(ADA).state == "active"
    assert repr(registry.token_source(ADA)) == "EnvironmentToken(FRESH)"


def test_an_account_belongs_to_the_project_of_its_credentials_also_where_an_earlier_version_registered_it(
    registry: Registry,
) -> None:
    content = {"client_id": "4242-a.apps.googleusercontent.com", "client_secret": "s", "refresh_token": "r"}
    content |= {"token_uri": "https://oauth2.googleapis.com/token", "scope": ""}
    consent = Credential("authorized_user", content)
    registered = registry.add(ADA, TOKEN)
    registry.reconnect(ADA, consent)
    reconnected = registry.get(ADA)
    registry._set(ADA, project="default")

    registry.token_source(ADA)

    assert (registered.project, reconnected.project) == ("default", "4242")
    assert registry.projects() == {ADA: "4242"}


def test_other_deployment_may_look_but_not_write(settings: Settings, open_registry: Open) -> None:
    ours = open_registry(settings)
    ours.add(ADA, TOKEN)
    theirs = open_registry(dataclasses.replace(settings, env="staging"))

    for write in (lambda: theirs.add(BOB, TOKEN), lambda: theirs.pause(ADA), lambda: theirs.sync_started(ADA)):
        with pytest.raises(ConfigError, match="belongs to the deployment 'local', and MAIL_INGEST_ENV is 'staging'"):
            write()
    assert [account.account_id for account in theirs.list()] == [ADA]
    assert ours.get(ADA).state == "active"


def test_many_threads_on_many_registries_lose_nothing(settings: Settings, open_registry: Open) -> None:
    """As several processes at once, the first start included."""
    registries = [open_registry(settings) for _ in range(4)]
    addresses = [f"user{number}@example.com" for number in range(24)]

    def work(number: int) -> Account:
        registry = registries[number % 4]
        registry.add(addresses[number], TOKEN)
        registry.sync_finished(addresses[number], "failed", error=ValueError())
        return registry.get(addresses[number])

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(work, range(24)))

    assert {account.account_id for account in results} == set(addresses)
    assert {account.consecutive_failures for account in registries[0].list()} == {1}


START = """
import sys
from mail_ingest.accounts import Credential, Registry, token_env
from mail_ingest.settings import load_settings
settings = load_settings({"MAIL_INGEST_HOME": sys.argv[1], "MAIL_INGEST_CONTROL": sys.argv[2]})
Registry(settings).add(sys.argv[3], token_env("T"))
"""


@pytest.mark.first_use
def test_processes_that_start_at_once_make_one_database(settings: Settings, open_registry: Open) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", START, str(settings.home), settings.control, f"p{number}@example.com"])
        for number in range(2)
    ]

    assert [process.wait(60) for process in processes] == [0, 0]
    assert len(open_registry(settings).list()) == 2


def stored(settings: Settings, column: str) -> list[Any]:
    engine = create_engine(settings.control.replace("postgresql://", "postgresql+psycopg2://"))
    with engine.connect() as connection:
        values = list(connection.execute(text(f"select {column} from accounts order by account_id")).scalars())
    engine.dispose()
    return values


@pytest.mark.first_use
def test_files_are_for_their_owner_alone(registry: Registry, settings: Settings) -> None:
    registry.add(ADA, TOKEN)

    files = [path for path in Path(settings.home).rglob("*") if path.is_file()]

    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE(settings.home.stat().st_mode) == 0o700


def test_looks_tell_when_each_account_was_last_looked_at_whatever_its_state(
    registry: Registry, calendar: Calendar
) -> None:
    registered_at = calendar.now
    for address in (ADA, BOB, EVE):
        registry.add(address, TOKEN)
    calendar.forward(hours=1)
    registry.checked(ADA)
    registry.sync_finished(BOB, "failed")
    registry.pause(BOB)
    registry.remove(EVE)

    assert registry.looks() == [
        Look(ADA, "active", calendar.now, registered_at),
        Look(BOB, "paused", None, registered_at),
    ]
