"""`account remove --erase`: nothing of the account is left, nothing of the others is missing, whenever it was killed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mail_ingest.accounts import token_env
from mail_ingest.errors import BusyError, ConfigError
from mail_ingest.ingest import Engine, SyncOptions, content
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.truth import assert_true_to_gmail

BOB = "bob@example.com"

pytestmark = pytest.mark.warehouses("duckdb", long=["postgres"])
on_both = pytest.mark.warehouses("duckdb", "postgres")


@pytest.fixture
def bob(gmail: Simulator, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Mailbox:
    """A mailbox beside the first one, both with mail, both synced, one month of Bob's by a backfill."""
    box = gmail.add_account(BOB)
    monkeypatch.setenv("BOB_TOKEN", box.token)
    engine.registry.add(BOB, token_env("BOB_TOKEN"))
    box.generate(30, seed=7)
    engine.sync(engine.accounts([BOB]), SyncOptions(max_messages=5))
    months = sorted({month for month, _ in engine.partitions.messages_by_date("month")})
    engine.sync(engine.accounts([BOB]), SyncOptions(partitions=tuple(months[-2:])))
    return box


def texts(engine: Engine) -> dict[str, int]:
    """By relation: rows in which Bob's address or account stands in any column."""
    found = {}
    with engine.warehouse.open() as connection:
        relations = connection.execute(
            "select table_schema, table_name from information_schema.tables where table_schema like 'gmail%' "
            "or table_schema like 'mail%'"
        ).fetchall()
        for schema, name in relations:
            rows = connection.execute(f'select cast(r as varchar) from "{schema}"."{name}" as r').fetchall()
            found[f"{schema}.{name}"] = sum(BOB in row[0] or "bob_example" in row[0] for row in rows)
    return found


def cursors(engine: Engine) -> set[str]:
    """Whose cursors stand in any state that dlt keeps, the earlier ones included."""
    from dlt.common.versioned_state import decompress_state

    with engine.warehouse.open() as connection:
        states = connection.execute("select state from gmail._dlt_pipeline_state").fetchall()
    kept = [decompress_state(state).get("sources", {}) for (state,) in states]
    return {account for sources in kept for source in sources.values() for account in source.get("cursors", {})}


def assert_nothing_of_bob_is_left(engine: Engine) -> None:
    assert {relation: count for relation, count in texts(engine).items() if count} == {}
    assert BOB not in cursors(engine)
    assert list(Path(engine.settings.raw).rglob("*bob@*")) == []
    assert list((engine.settings.home / "dlt").rglob("*bob_example*")) == []
    assert BOB not in engine.registry.states()
    with pytest.raises(ConfigError, match="not registered"):
        engine.registry.find(BOB)


@on_both
def test_nothing_of_an_erased_account_is_left_and_the_others_lack_nothing(
    engine: Engine, box: Mailbox, bob: Mailbox
) -> None:
    box.generate(20, seed=1)
    engine.sync(engine.accounts([ADDRESS]), SyncOptions())
    before = texts(engine)
    assert before["gmail.messages"] >= 5
    assert before["mail.messages"] == 30
    assert BOB in cursors(engine)

    erased = engine.erase_account(BOB)

    assert (erased.messages, erased.packs >= 1) == (30, True)
    assert_nothing_of_bob_is_left(engine)
    assert cursors(engine) == {ADDRESS}
    [quiet] = engine.sync(engine.accounts(), SyncOptions())
    assert (quiet.outcome, quiet.kind, quiet.changed_anything) == ("success", "partial", False)
    assert_true_to_gmail(engine, box)


@pytest.mark.parametrize("folder", ["kept", "lost"])
def test_the_pipelines_of_others_go_on_after_an_erasure(
    engine: Engine, new_engine: Callable[..., Engine], box: Mailbox, bob: Mailbox, folder: str
) -> None:
    box.generate(20, seed=1)
    engine.sync(engine.accounts([ADDRESS]), SyncOptions())
    engine.erase_account(BOB)
    if folder == "lost":
        shutil.rmtree(engine.settings.home / "dlt")
    box.add(subject="s", sender="eve@example.org", to=ADDRESS, body="x")

    after = new_engine()
    [run] = after.sync(after.accounts(), SyncOptions())

    assert (run.outcome, run.kind, run.contents_stored) == ("success", "partial", 1)
    assert_true_to_gmail(after, box)


def test_an_erased_account_may_come_back_and_begins_anew(
    engine: Engine, bob: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.erase_account(BOB)

    engine.registry.add(BOB, token_env("BOB_TOKEN"))
    [run] = engine.sync(engine.accounts([BOB]), SyncOptions())

    assert (run.outcome, run.kind, run.messages_added, run.contents_stored) == ("success", "full", 30, 30)


def test_data_that_were_kept_can_be_erased_later(engine: Engine, bob: Mailbox) -> None:
    engine.registry.remove(BOB, "its data were kept")

    engine.erase_account(BOB)

    assert_nothing_of_bob_is_left(engine)


def test_an_account_that_a_sync_holds_is_not_touched(
    engine: Engine, new_engine: Callable[..., Engine], bob: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "NEXT_TURN_S", 0.2)
    for lock in (f"account:{BOB}", f"content:{BOB}"):
        with engine.locks.hold(lock), pytest.raises(BusyError):
            new_engine(wait_s=0.2).erase_account(BOB)

    assert engine.registry.get(BOB).state == "active"
    assert texts(engine)["mail.messages"] == 30


def test_an_account_that_was_never_synced_is_forgotten(engine: Engine) -> None:
    engine.registry.add(BOB, token_env("BOB_TOKEN"))

    assert engine.erase_account(BOB).messages == 0

    assert BOB not in engine.registry.states()


KILL_AT = """
import os, signal, sys
from mail_ingest.accounts import Registry
from mail_ingest.ingest import Engine
from mail_ingest.settings import load_settings
from mail_ingest.warehouse.archive import RawArchive
from mail_ingest.warehouse.builds import AnalystTables
from mail_ingest.warehouse.pipeline import Pipelines
owner, name = sys.argv[1].split(".")
place = {"archive": RawArchive, "pipelines": Pipelines, "tables": AnalystTables, "registry": Registry}[owner]
def die(*arguments, **named):
    os.kill(os.getpid(), signal.SIGKILL)
engine = Engine(load_settings(), wait_s=5.0)
setattr(place, name, die)
engine.erase_account("bob@example.com")
"""


@on_both
@pytest.mark.parametrize(
    "point",
    [
        "archive.erase",
        "pipelines.load",
        "pipelines.forget_earlier_states",
        "pipelines.erase",
        "tables.build",
        "registry.forget",
    ],
)
def test_an_erasure_that_was_killed_is_ended_by_the_next(
    engine: Engine, box: Mailbox, bob: Mailbox, environment: dict[str, str], point: str
) -> None:
    box.generate(5, seed=1)
    engine.sync(engine.accounts([ADDRESS]), SyncOptions())
    engine.close()
    killed = subprocess.run([sys.executable, "-c", KILL_AT, point], env=environment, timeout=60, check=False)
    assert killed.returncode == -9
    between = engine.registry.find(BOB)
    assert (between.state, between.state_reason[:22]) == ("removed", "its data are being era")
    assert [account.account_id for account in engine.due()[0]] == [ADDRESS]

    engine.erase_account(BOB)

    assert_nothing_of_bob_is_left(engine)
    engine.sync(engine.accounts(), SyncOptions())
    assert_true_to_gmail(engine, box)
