"""Changing keys: with a key file and with `MAIL_INGEST_KEY`, under concurrent use, and with kills between its steps."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import create_engine, text

from mail_ingest.accounts import Registry, new_key, token_env
from mail_ingest.accounts.registry import KEY_FILE
from mail_ingest.accounts.rotation import hold_keys
from mail_ingest.errors import ConfigError
from mail_ingest.settings import Settings

ADA, BOB = "ada@example.com", "bob@example.com"
MANY = [f"user{number:03}@example.com" for number in range(300)]

Open = Callable[[Settings], Registry]


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    if request.param == "sqlite":
        return settings
    return dataclasses.replace(settings, control=request.getfixturevalue("control_database"))


def key_file(settings: Settings) -> list[str]:
    return (settings.home / KEY_FILE).read_text().split()


def all_open(registry: Registry) -> set[str]:
    """What the credentials of all accounts say."""
    return {repr(registry.token_source(account.account_id)) for account in registry.list()}


def test_key_file_gets_a_new_key_and_loses_the_old_one(settings: Settings, open_registry: Open) -> None:
    registry = open_registry(settings)
    for address in (ADA, BOB):
        registry.add(address, token_env("T"))
    [old] = key_file(settings)

    done = registry.rotate_keys()

    [new] = key_file(settings)
    assert new != old
    assert (done.made_key, done.resealed, len(done.retired), done.unopened) == (True, 2, 1, ())
    assert done.in_use == registry.keys_in_use() == {done.key_id: 2}
    assert all_open(open_registry(settings)) == {"EnvironmentToken(T)"}
    assert (settings.home / KEY_FILE).stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConfigError, match=ADA):
        open_registry(dataclasses.replace(settings, key=old)).token_source(ADA)


def test_every_rotation_brings_another_key(settings: Settings, open_registry: Open) -> None:
    registry = open_registry(settings)
    registry.add(ADA, token_env("T"))

    keys = {(registry.rotate_keys().key_id, *key_file(settings)) for _ in range(3)}

    assert len(keys) == 3
    assert all_open(registry) == {"EnvironmentToken(T)"}


def test_keys_of_the_environment_are_changed_by_the_one_put_first(settings: Settings, open_registry: Open) -> None:
    old, new = new_key(), new_key()
    for address in (ADA, BOB):
        open_registry(dataclasses.replace(settings, key=old)).add(address, token_env("T"))

    done = open_registry(dataclasses.replace(settings, key=f"{new},{old}")).rotate_keys()

    assert (done.made_key, done.resealed, done.retired, done.in_use) == (False, 2, (), {done.key_id: 2})
    assert all_open(open_registry(dataclasses.replace(settings, key=new))) == {"EnvironmentToken(T)"}
    assert not (settings.home / KEY_FILE).exists()
    with pytest.raises(ConfigError, match=ADA):
        open_registry(dataclasses.replace(settings, key=old)).token_source(ADA)


def test_what_no_key_opens_is_named_and_kept(settings: Settings, open_registry: Open) -> None:
    foreign = new_key()
    open_registry(dataclasses.replace(settings, key=foreign)).add(ADA, token_env("LOST"))
    registry = open_registry(settings)
    registry.add(BOB, token_env("T"))
    before = stored(settings, ADA)

    done = [registry.rotate_keys() for _ in range(2)]

    assert [rotation.unopened for rotation in done] == [(ADA,), (ADA,)]
    assert all(rotation.made_key for rotation in done)
    assert stored(settings, ADA) == before
    both = dataclasses.replace(settings, key=",".join([*key_file(settings), foreign]))
    assert all_open(open_registry(both)) == {"EnvironmentToken(LOST)", "EnvironmentToken(T)"}


def test_old_key_stays_in_the_file_as_long_as_a_value_needs_it(settings: Settings, open_registry: Open) -> None:
    registry = open_registry(settings)
    registry.add(ADA, token_env("T"))
    registry.add(BOB, token_env("T"))
    [old] = key_file(settings)
    damaged = stored(settings, ADA)[:-8] + "AAAAAAA="
    store(settings, ADA, damaged)

    done = registry.rotate_keys()

    assert (done.unopened, done.retired) == ((ADA,), ())
    assert key_file(settings)[1:] == [old]
    assert stored(settings, ADA) == damaged


ROTATE = """
import sys
from mail_ingest.accounts import Registry
from mail_ingest.settings import load_settings
registry = Registry(load_settings({"MAIL_INGEST_HOME": sys.argv[1], "MAIL_INGEST_CONTROL": sys.argv[2]}))
registry.list()
print("ready", flush=True)
sys.stdin.readline()
registry.rotate_keys()
"""

#: Kills the process as a function of the product is entered (or left) for the n-th time.
KILL_AT = """
import os, signal, sys
from mail_ingest.accounts import keys, rotation, sealing, Registry
from mail_ingest.settings import load_settings
owner, name, number, when = sys.argv[3], sys.argv[4], int(sys.argv[5]), sys.argv[6]
place = {"file": keys.KeyFile, "sealer": sealing.Sealer, "rotation": rotation}[owner]
real, calls = getattr(place, name), 0
def watched(*arguments, **named):
    global calls
    calls += 1
    if calls == number and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = real(*arguments, **named)
    if calls == number:
        os.kill(os.getpid(), signal.SIGKILL)
    return result
setattr(place, name, watched)
Registry(load_settings({"MAIL_INGEST_HOME": sys.argv[1], "MAIL_INGEST_CONTROL": sys.argv[2]})).rotate_keys()
"""


@pytest.mark.parametrize(
    "point",
    [
        ("file", "write", "1", "before"),
        ("file", "write", "1", "after"),
        ("sealer", "seal", "1", "before"),
        ("sealer", "seal", "3", "after"),
        ("rotation", "_retire", "2", "before"),
        ("file", "write", "2", "before"),
        ("file", "write", "2", "after"),
    ],
    ids="-".join,
)
def test_rotation_killed_at_any_step_loses_nothing_and_is_ended_by_the_next(
    settings: Settings, open_registry: Open, point: tuple[str, ...]
) -> None:
    registry = open_registry(settings)
    for address in MANY[:5]:
        registry.add(address, token_env("T"))
    [old] = key_file(settings)

    killed = subprocess.run(
        [sys.executable, "-c", KILL_AT, str(settings.home), settings.control, *point], timeout=60, check=False
    )

    assert killed.returncode == -signal.SIGKILL
    assert all_open(open_registry(settings)) == {"EnvironmentToken(T)"}
    done = open_registry(settings).rotate_keys()
    assert done.unopened == ()
    assert done.in_use == {done.key_id: 5}
    assert len(key_file(settings)) == 1
    assert key_file(settings) != [old]
    assert all_open(open_registry(settings)) == {"EnvironmentToken(T)"}


def test_rotations_at_random_moments_of_death_lose_nothing(settings: Settings, open_registry: Open) -> None:
    registry = open_registry(settings)
    for address in MANY[:60]:
        registry.add(address, token_env("T"))

    for delay_s in (0.01, 0.03, 0.06, 0.1, 0.15):
        with start(ROTATE, settings) as process:
            go(process)
            time.sleep(delay_s)
            os.kill(process.pid, signal.SIGKILL)
        assert all_open(open_registry(settings)) == {"EnvironmentToken(T)"}

    done = registry.rotate_keys()
    assert done.in_use == {done.key_id: 60}
    assert len(key_file(settings)) == 1


CONNECT = """
import sys
from mail_ingest.accounts import Registry, token_env
from mail_ingest.settings import load_settings
registry = Registry(load_settings({"MAIL_INGEST_HOME": sys.argv[1], "MAIL_INGEST_CONTROL": sys.argv[2]}))
addresses = [account.account_id for account in registry.list()]
print("ready", flush=True)
sys.stdin.readline()
for address in addresses[int(sys.argv[3])::2]:
    registry.reconnect(address, token_env("FRESH"))
    registry.sync_started(address)
    assert repr(registry.token_source(address)) == "EnvironmentToken(FRESH)", address
"""


def test_rotation_beside_processes_that_connect_and_read_loses_no_newer_credentials(
    settings: Settings, open_registry: Open
) -> None:
    registry = open_registry(settings)
    for address in MANY:
        registry.add(address, token_env("OLD"))

    connecting = [start(CONNECT, settings, str(number)) for number in range(2)]
    rotating = [start(ROTATE, settings) for _ in range(2)]
    for process in (*connecting, *rotating):
        go(process)

    ends = [process.wait(120) for process in (*connecting, *rotating)]
    for process in (*connecting, *rotating):
        process.communicate()

    assert ends == [0, 0, 0, 0]
    assert all_open(open_registry(settings)) == {"EnvironmentToken(FRESH)"}
    done = registry.rotate_keys()
    assert (done.unopened, done.in_use) == ((), {done.key_id: len(MANY)})
    assert len(key_file(settings)) == 1


def test_key_stays_while_a_value_is_being_sealed_with_it(settings: Settings, open_registry: Open) -> None:
    registry, other = open_registry(settings), open_registry(settings)
    registry.add(ADA, token_env("OLD"))
    [old] = key_file(settings)
    engine = other._writing()

    with ThreadPoolExecutor(1) as pool:
        with engine.begin() as connection:
            hold_keys(connection)
            sealed = other._sealer.seal(ADA, token_env("NEW").to_bytes())
            rotation = pool.submit(registry.rotate_keys)
            time.sleep(0.5)
            assert not rotation.done()
            assert old in key_file(settings)
            connection.execute(text("update accounts set credential = :sealed"), {"sealed": sealed})
        rotation.result(30)

    assert len(key_file(settings)) == 1
    assert all_open(open_registry(settings)) == {"EnvironmentToken(NEW)"}


def start(code: str, settings: Settings, *arguments: str) -> subprocess.Popen[str]:
    """A process that waits for `go`."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(settings.home), settings.control, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def stored(settings: Settings, account_id: str) -> str:
    engine = create_engine(settings.control.replace("postgresql://", "postgresql+psycopg2://"))
    with engine.connect() as connection:
        found = connection.execute(text("select credential from accounts where account_id = :id"), {"id": account_id})
        value = str(found.scalar_one())
    engine.dispose()
    return value


def store(settings: Settings, account_id: str, sealed: str) -> None:
    engine = create_engine(settings.control.replace("postgresql://", "postgresql+psycopg2://"))
    with engine.begin() as connection:
        connection.execute(
            text("update accounts set credential = :sealed where account_id = :id"),
            {"sealed": sealed, "id": account_id},
        )
    engine.dispose()
