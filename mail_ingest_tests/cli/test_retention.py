"""`mail-ingest retention` says what would go, deletes it, and says the same."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from mail_ingest.ingest import Engine
from mail_ingest.simulator import Mailbox
from mail_ingest_tests.cli.conftest import Run
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.truth import sync

DAYS = {"MAIL_INGEST_KEEP_DELETED_MAIL": "30"}


@pytest.mark.warehouses("duckdb", "postgres")
def test_a_dry_run_tells_what_a_run_deletes(
    run: Run, engine: Engine, new_engine: Callable[..., Engine], box: Mailbox
) -> None:
    gone, _ = box.generate(2, seed=1)
    sync(engine)
    box.delete(gone)
    sync(engine)
    with engine.warehouse.open() as connection:
        connection.execute("update gmail.message_states set deleted_at = deleted_at - interval '31 days'")
    engine.close()

    planned = json.loads(run("retention", "--dry-run", "--json", **DAYS).stdout)
    told = run("retention", "--dry-run", **DAYS)
    done = json.loads(run("retention", "--json", **DAYS).stdout)
    again = run("retention", **DAYS)

    assert (planned["dry_run"], done["dry_run"]) == (True, False)
    assert planned["kinds"] == done["kinds"]
    assert planned["kinds"]["deleted_mail"]["kept_days"] == 30
    assert (planned["deleted_messages"], done["deleted_messages"]) == (1, 1)
    assert (planned["raw_archive"]["packs_removed"], done["raw_archive"]["packs_removed"]) == (1, 1)
    assert done["raw_archive"]["bytes"] > 0
    assert "deleted mail older than 30 days: 1 messages, " in told.stdout
    assert "label events: kept for ever\n" in told.stdout
    assert told.stdout.endswith("nothing was done\n")
    assert "deleted mail older than 30 days: 0 messages, 0 rows, 0 bytes deleted\n" in again.stdout
    assert ADDRESS not in told.stdout + again.stdout + json.dumps(done)


def test_a_busy_account_is_named_with_exit_code_3_and_wrong_days_with_2(
    run: Run, engine: Engine, new_engine: Callable[..., Engine], box: Mailbox
) -> None:
    gone, _ = box.generate(2, seed=1)
    sync(engine)
    box.delete(gone)
    sync(engine)
    with engine.warehouse.open() as connection:
        connection.execute("update gmail.message_states set deleted_at = deleted_at - interval '31 days'")
    engine.close()

    with new_engine().locks.hold(f"account:{ADDRESS}"):
        busy = run("retention", "--wait", "0.2", **DAYS)
    wrong = run("retention", MAIL_INGEST_KEEP_DELETED_MAIL="a month")

    assert busy.returncode == 3
    assert f"{ADDRESS} was left to the next run: Another process holds account:{ADDRESS}" in busy.stderr
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "MAIL_INGEST_KEEP_DELETED_MAIL is 'a month'; it takes days, from 1 to 36500, or all" in wrong.stderr
