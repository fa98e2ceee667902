"""From one state to another and back, and what the warehouse says of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mail_ingest.accounts import Credential, authorized_user, token_env
from mail_ingest.errors import ConfigError
from mail_ingest.ingest import Engine, SyncOptions, SyncRun
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.truth import assert_true_to_gmail, sync

BOB, CYD = "bob@example.com", "cyd@example.com"

Consent = Callable[[Mailbox], Credential]


@pytest.fixture
def consent(tmp_path: Path) -> Consent:
    def give(box: Mailbox) -> Credential:
        path = tmp_path / "consent.json"
        path.write_text(json.dumps(box.authorized_user()))
        return authorized_user(path)

    return give


@pytest.fixture
def others(engine: Engine, gmail: Simulator, monkeypatch: pytest.MonkeyPatch) -> list[Mailbox]:
    """Two more mailboxes on the engine, in groups; the first one is in none."""
    boxes = [gmail.add_account(address) for address in (BOB, CYD)]
    for box, address, group in zip(boxes, (BOB, CYD), ("sales", "support"), strict=True):
        monkeypatch.setenv(f"TOKEN_OF_{group}", box.token)
        engine.registry.add(address, token_env(f"TOKEN_OF_{group}"), account_group=group)
    return boxes


def sync_all(engine: Engine, **options: object) -> list[SyncRun]:
    return engine.sync(engine.due()[0], SyncOptions(**options))  # type: ignore[arg-type]


def health(engine: Engine) -> dict[str, tuple[str, str | None]]:
    with engine.warehouse.open() as connection:
        rows = connection.execute("select account_id, status, account_group from mail.account_health").fetchall()
    return {account_id: (status, group) for account_id, status, group in rows}


@pytest.mark.warehouses("duckdb", "postgres")
def test_a_revoked_consent_needs_a_person_and_connecting_again_goes_on_from_the_cursor(
    new_engine: Callable[..., Engine], box: Mailbox, gmail: Simulator, consent: Consent
) -> None:
    engine = new_engine()
    engine.registry.add(ADDRESS, consent(box))
    box.generate(20, seed=1)
    sync(engine)
    cursor = engine.cursor(engine.registry.get(ADDRESS))
    box.revoke()

    # another process, in whose memory is no token that lasts
    engine = new_engine()
    [failed] = sync_all(engine)
    dead = engine.registry.get(ADDRESS)
    assert (failed.outcome, failed.error_class, dead.state) == ("failed", "AuthError", "needs_reauth")
    assert "invalid_grant" in dead.state_reason
    assert health(engine) == {ADDRESS: ("needs_reauth", None)}
    assert engine.due()[0] == []

    box.add(subject="s", sender="eve@example.org", to=ADDRESS, body="x")
    gmail.reset_ledger()
    engine.registry.reconnect(ADDRESS, consent(box))
    [run] = sync_all(engine)

    assert cursor is not None
    assert (run.kind, run.messages_added, run.contents_stored) == ("partial", 1, 1)
    assert gmail.calls("messages.list") == 0, "ids were swept although the cursor was alive"
    assert engine.registry.get(ADDRESS).state == "active"
    assert health(engine) == {ADDRESS: ("active", None)}
    assert_true_to_gmail(engine, box)


def test_an_account_connected_again_after_its_history_has_expired_buys_no_content_twice(
    new_engine: Callable[..., Engine], box: Mailbox, gmail: Simulator, consent: Consent
) -> None:
    engine = new_engine()
    engine.registry.add(ADDRESS, consent(box))
    box.generate(20, seed=1)
    sync(engine)
    box.revoke()
    engine = new_engine()
    assert sync_all(engine)[0].outcome == "failed"
    box.add(subject="s", sender="eve@example.org", to=ADDRESS, body="x")
    box.expire_history()
    gmail.reset_ledger()

    engine.registry.reconnect(ADDRESS, consent(box))
    [run] = sync_all(engine)

    assert (run.outcome, run.kind, run.contents_stored) == ("success", "full", 1)
    assert gmail.calls("messages.get") == 1
    assert_true_to_gmail(engine, box)


@pytest.mark.warehouses("duckdb", "postgres")
def test_states_and_groups_reach_the_warehouse_with_the_next_sync_of_any_account(
    engine: Engine, new_engine: Callable[..., Engine], box: Mailbox, others: list[Mailbox]
) -> None:
    for each in (box, *others):
        each.generate(3, seed=1)
    sync_all(engine)
    assert health(engine) == {ADDRESS: ("active", None), BOB: ("active", "sales"), CYD: ("active", "support")}

    engine.registry.pause(BOB)
    engine.registry.remove(CYD, "its data were kept")
    engine.registry.change(ADDRESS, account_group="boards")
    [quiet] = sync_all(engine)

    assert not quiet.changed_anything
    expected = {ADDRESS: ("active", "boards"), BOB: ("paused", "sales"), CYD: ("removed", "support")}
    assert health(engine) == expected
    engine.registry.resume(BOB)
    engine.registry.set_state(BOB, "parked", "no Gmail")
    box.add(subject="s", sender="eve@example.org", to=ADDRESS, body="x")
    sync_all(new_engine())
    assert health(engine) == {**expected, BOB: ("parked", "sales")}


def test_a_state_that_changes_after_rows_have_landed_is_the_one_that_is_shown(
    engine: Engine, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(3, seed=1)
    gmail.fail_next(status=400, reason="failedPrecondition", message="Mail service not enabled", method="messages.get")

    [run] = engine.sync(engine.accounts(), SyncOptions())

    assert (run.outcome, run.states_changed) == ("failed", 3)
    assert health(engine) == {ADDRESS: ("parked", None)}


def test_a_paused_account_that_is_synced_by_name_stays_paused(engine: Engine, box: Mailbox) -> None:
    box.generate(3, seed=1)
    engine.registry.pause(ADDRESS, "holiday")

    [run] = engine.sync(engine.accounts([ADDRESS]), SyncOptions())

    assert (run.outcome, run.contents_stored) == ("success", 3)
    assert engine.registry.get(ADDRESS).state_reason == "holiday"
    assert health(engine) == {ADDRESS: ("paused", None)}


def test_copying_states_leaves_the_copy_of_the_cursor_alone(engine: Engine, box: Mailbox) -> None:
    box.generate(3, seed=1)
    sync(engine)
    cursor = engine.queries.loaded_cursor(ADDRESS)

    engine.registry.pause(ADDRESS)
    engine.keep_analyst_tables()

    assert health(engine) == {ADDRESS: ("paused", None)}
    assert engine.queries.loaded_cursor(ADDRESS) == cursor is not None


def test_groups_are_synced_by_name_and_nothing_else_is(engine: Engine, others: list[Mailbox]) -> None:
    due, skipped = engine.due(groups=["sales", "support"])
    engine.registry.pause(CYD)
    some, left_alone = engine.due(groups=["support"])

    assert ([account.account_id for account in due], skipped) == ([BOB, CYD], [])
    assert (some, [account.account_id for account in left_alone]) == ([], [CYD])
    for addresses, groups, why in (([], ["nobody"], "'nobody'"), ([BOB], ["sales"], "not both")):
        with pytest.raises(ConfigError, match=why):
            engine.due(addresses, groups)


def test_a_sync_that_waited_for_an_account_s_removal_writes_nothing(engine: Engine, box: Mailbox) -> None:
    box.generate(3, seed=1)
    accounts = engine.accounts()
    engine.registry.remove(ADDRESS)

    [run] = engine.sync(accounts, SyncOptions())

    assert (run.outcome, run.states_changed) == ("failed", 0)
    assert "is not registered" in run.error
