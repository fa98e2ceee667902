"""The secret of the address hashes: one for a deployment, whoever asks first, whatever becomes of the keys."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from mail_ingest.accounts import PrivacySettings, Registry, new_key, token_env
from mail_ingest.errors import ConfigError
from mail_ingest.settings import Settings

ADA = "ada@example.com"

Open = Callable[[Settings], Registry]


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    if request.param == "sqlite":
        return settings
    return dataclasses.replace(settings, control=request.getfixturevalue("control_database"))


def test_every_process_hashes_under_the_same_key(settings: Settings, open_registry: Open) -> None:
    assert open_registry(settings).known_hash_key() is None, "asking makes none"

    key = open_registry(settings).hash_key()

    assert len(key) == 32
    other = open_registry(settings)
    assert (other.hash_key(), other.known_hash_key()) == (key, key)


def test_processes_that_need_the_first_key_at_once_get_the_same(settings: Settings, open_registry: Open) -> None:
    open_registry(settings).add(ADA, token_env("T"))
    registries = [open_registry(settings) for _ in range(6)]
    together = threading.Barrier(len(registries))

    def first_use(registry: Registry) -> bytes:
        together.wait()
        return registry.hash_key()

    with ThreadPoolExecutor(len(registries)) as threads:
        keys = set(threads.map(first_use, registries))

    assert keys == {open_registry(settings).hash_key()}


@pytest.mark.parametrize("with_key_file", [True, False])
def test_the_key_of_hashes_outlives_changes_of_keys(
    with_key_file: bool, settings: Settings, open_registry: Open
) -> None:
    old, new = ("", "") if with_key_file else (new_key(), new_key())
    before = open_registry(dataclasses.replace(settings, key=old))
    before.add(ADA, token_env("T"))
    key = before.hash_key()

    rotated = open_registry(dataclasses.replace(settings, key="" if with_key_file else f"{new},{old}"))
    assert rotated.rotate_keys().unopened_secrets == ()

    assert list(rotated.keys_in_use().values()) == [2], "nothing needs the old key any more"
    assert open_registry(dataclasses.replace(settings, key=new)).hash_key() == key


def test_where_the_key_is_lost_nothing_is_hashed_and_people_are_told_what_is_missing(
    settings: Settings, open_registry: Open
) -> None:
    registry = open_registry(dataclasses.replace(settings, key=new_key()))
    registry.add(ADA, token_env("T"), privacy=PrivacySettings(tier="hashed"))
    registry.hash_key()
    lost = open_registry(dataclasses.replace(settings, key=new_key()))

    with pytest.raises(ConfigError, match="the tier hashed") as told:
        lost.policy(lost.get(ADA))

    assert "credentials of" not in str(told.value)
    assert lost.policy(lost.get(ADA), needs_key=False).tier == "hashed"
    rotation = lost.rotate_keys()
    assert rotation.unopened == (ADA,)
    assert rotation.unopened_secrets == ("the secret of the address hashes of the tier hashed",)
