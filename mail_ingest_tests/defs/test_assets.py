"""The landing assets, materialized for real: what they store, report and check, and what happens when Gmail fails."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mail_ingest.ingest.engine import Engine
from mail_ingest.ingest.windows import window_of
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.defs.conftest import CONTENT, STATE, Dagster, Run
from mail_ingest_tests.truth import assert_contents_equal, assert_states_equal

RUNNING = f"{datetime.now(UTC):%Y-%m}"


def test_state_lands_without_buying_content(engine: Engine, box: Mailbox, gmail: Simulator, dagster: Dagster) -> None:
    box.generate(40, seed=31)

    run = dagster.materialize(STATE)

    assert run.success
    assert sorted(run.keys) == sorted(STATE)
    assert_states_equal(engine, box)
    assert gmail.calls("messages.get") == 0
    told = _values(run, "gmail/message_states")
    assert (told["dagster/row_count"], told["messages_added"], told["backlog_left"]) == (40, 40, 40)
    assert told["quota_units"] == gmail.units()
    assert told["requests"] == gmail.calls()
    assert told["duration_s"] > 0
    assert "| `ada@example.com` |  | success | full | 40 | 0 |" in told["by_account"]
    assert _values(run, "gmail/labels") == {"dagster/row_count": len(box.labels())}


def test_state_follows_the_mailbox(engine: Engine, box: Mailbox, gmail: Simulator, dagster: Dagster) -> None:
    ids = box.generate(20, seed=32)
    dagster.materialize(STATE)
    box.relabel(ids[0], add=("STARRED",))
    box.delete(ids[1])

    run = dagster.materialize(STATE)

    assert_states_equal(engine, box)
    told = _values(run, "gmail/message_states")
    assert (told["messages_added"], told["messages_deleted"]) == (0, 1)
    assert told["label_changes"] == 2
    assert "| partial |" in told["by_account"]


def test_a_full_sweep_can_be_asked_for(engine: Engine, box: Mailbox, gmail: Simulator, dagster: Dagster) -> None:
    box.generate(10, seed=33)
    dagster.materialize(STATE)
    gmail.reset_ledger()

    run = dagster.materialize(STATE, mode="full")

    assert run.success
    assert gmail.calls("messages.list") > 0


def test_a_month_gets_the_content_of_exactly_its_messages(engine: Engine, box: Mailbox, dagster: Dagster) -> None:
    box.generate(60, seed=34, start="2026-01-01", end="2026-05-01")
    wanted = _of_month(engine, box, "2026-03")
    assert 0 < len(wanted) < 60

    run = dagster.materialize(CONTENT, month="2026-03")

    assert run.success
    assert _stored(engine) == wanted
    assert dagster.materialized_months() == {"2026-03"}
    assert [run.of(key, "2026-03").partition for key in CONTENT] == ["2026-03"] * len(CONTENT)
    told = _values(run, "gmail/messages", "2026-03")
    assert told["dagster/row_count"] == told["dagster/partition_row_count"] == told["contents_stored"] == len(wanted)
    assert told["backlog_left"] == 60 - len(wanted)
    check = run.months_are_complete
    assert check.passed
    assert check.metadata["months"].value == "2026-03"


def test_a_month_reports_the_states_that_it_brought_along(engine: Engine, box: Mailbox, dagster: Dagster) -> None:
    box.generate(10, seed=35)

    assert set(STATE) <= set(dagster.materialize(CONTENT, month="2025-03").keys)
    assert not set(STATE) & set(dagster.materialize(CONTENT, month="2025-03").keys)


def test_a_range_of_months_is_one_run_newest_first(
    engine: Engine, box: Mailbox, gmail: Simulator, dagster: Dagster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAIL_INGEST_MAX_IN_FLIGHT", "1")  # so that the server sees the order
    box.generate(90, seed=36, start="2026-01-01", end="2026-07-01")
    month_of_id = {key: _month(engine, record.internal_date_ms) for key, record in box.messages().items()}
    months = ["2026-02", "2026-03", "2026-04", "2026-05"]

    run = dagster.materialize(CONTENT, months=("2026-02", "2026-05"))

    assert run.success
    assert _stored(engine) == {key for key, month in month_of_id.items() if month in months}
    assert dagster.materialized_months() == set(months)
    fetched = [month_of_id[request.resource] for request in gmail.requests if request.method == "messages.get"]
    assert fetched == sorted(fetched, reverse=True)
    for month in months:
        told = _values(run, "gmail/messages", month)
        assert told["dagster/partition_row_count"] == sum(found == month for found in month_of_id.values())
        assert ("quota_units" in told) == (month == "2026-05"), "what the run did is told once, with its newest month"
    check = run.months_are_complete
    assert check.passed
    assert check.metadata["months"].value == "2026-02 to 2026-05"


def test_a_range_of_years_takes_no_more_loads_than_a_month(engine: Engine, box: Mailbox, dagster: Dagster) -> None:
    box.generate(60, seed=30, start="2022-01-01", end="2025-01-01")

    run = dagster.materialize(CONTENT, months=("2022-01", "2024-12"))

    assert run.success
    assert run.months_are_complete.passed
    assert len(dagster.materialized_months()) == 36
    with engine.warehouse.open() as connection:
        loads = connection.execute(
            "select schema_name, count(*) from gmail._dlt_loads group by all order by all"
        ).fetchall()
    assert loads == [("gmail_content", 2), ("gmail_state", 1)]
    assert_contents_equal(engine, box)


def test_an_incomplete_month_fails_its_check_until_a_run_completes_it(
    engine: Engine, box: Mailbox, gmail: Simulator, dagster: Dagster
) -> None:
    box.generate(60, seed=37, start="2026-01-01", end="2026-05-01")
    broken = min(_of_month(engine, box, "2026-02"))
    gmail.fail_next(status=500, reason="backendError", method="messages.get", message_id=broken, times=-1)

    # the month that fails is not the last of the range: the ones after it must not hide it
    run = dagster.materialize(CONTENT, months=("2026-01", "2026-04"))

    assert run.success, run.failures
    check = run.months_are_complete
    assert not check.passed
    assert check.metadata["messages_without_content"].value == 1
    assert f"| {ADDRESS} | 2026-02 | 1 |" in check.metadata["incomplete"].value
    told = _values(run, "gmail/messages", "2026-04")
    assert (told["contents_failed"], told["backlog_left"]) == (1, 1)

    assert dagster.materialize(CONTENT, month="2026-03").months_are_complete.passed, "that month has all"
    gmail.clear_faults()
    again = dagster.materialize(CONTENT, month="2026-02")
    assert again.months_are_complete.passed
    assert _values(again, "gmail/messages", "2026-02")["contents_stored"] == 1
    assert_contents_equal(engine, box)


def test_a_limit_leaves_months_that_it_did_not_reach(engine: Engine, box: Mailbox, dagster: Dagster) -> None:
    box.generate(60, seed=38, start="2026-01-01", end="2026-04-01")
    newest = _of_month(engine, box, "2026-03")

    run = dagster.materialize(CONTENT, months=("2026-01", "2026-03"), max_messages=len(newest))

    assert run.success
    assert _stored(engine) == newest
    assert dagster.materialized_months() == {"2026-03"}, "a month that was not asked for is not there yet"
    check = run.months_are_complete
    assert not check.passed
    assert check.metadata["messages_without_content"].value == 60 - len(newest)
    assert dagster.materialize(CONTENT, months=("2026-01", "2026-03")).months_are_complete.passed
    assert_contents_equal(engine, box)


def test_spent_quota_is_no_failure_and_leaves_the_rest_for_later(
    engine: Engine, box: Mailbox, gmail: Simulator, dagster: Dagster
) -> None:
    box.generate(60, seed=39, start="2026-01-01", end="2026-04-01")
    later = datetime.now(UTC) + timedelta(hours=3)
    gmail.fail_next(
        status=429, reason="userRateLimitExceeded", method="messages.get", after=8, times=-1, retry_after=later
    )

    run = dagster.materialize(CONTENT, months=("2026-01", "2026-03"))

    assert run.success
    assert not run.months_are_complete.passed
    assert dagster.materialized_months() == {"2026-03"}
    told = _values(run, "gmail/messages", "2026-03")
    assert abs(told["quota_is_back_at"] - later.timestamp()) < 2
    gmail.clear_faults()
    gmail.reset_ledger()
    waiting = dagster.materialize(CONTENT, months=("2026-01", "2026-03"))
    assert waiting.success
    assert not waiting.months_are_complete.passed
    assert dagster.materialize(STATE).success
    assert gmail.calls() == 0
    engine.registry.resume(ADDRESS)
    assert dagster.materialize(CONTENT, months=("2026-01", "2026-03")).months_are_complete.passed
    assert_contents_equal(engine, box)


@pytest.mark.parametrize(
    ("moment", "month"),
    [("1970-01-01T00:00:01", "2004-04"), ("1999-12-31T00:00:00", "2004-04"), ("2199-01-01", RUNNING)],
)
def test_outliers_belong_to_the_first_and_the_running_month(
    moment: str, month: str, engine: Engine, box: Mailbox, dagster: Dagster
) -> None:
    date = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    odd = box.add(subject="odd", sender="a@b.example", body="x", internal_date=date)
    other = box.add(subject="even", sender="a@b.example", body="x", internal_date=datetime(2015, 6, 1, tzinfo=UTC))

    run = dagster.materialize(CONTENT, month=month)

    assert run.months_are_complete.passed
    assert _stored(engine) == {odd}
    assert _values(run, "gmail/messages", month)["dagster/partition_row_count"] == 1
    dagster.job("sync")
    assert dagster.materialized_months() == {month, "2015-06"}
    assert _stored(engine) == {odd, other}


def test_a_run_takes_all_active_accounts_or_those_its_config_names(
    engine: Engine, box: Mailbox, other_box: Mailbox, dagster: Dagster
) -> None:
    box.generate(20, seed=40, start="2026-02-01", end="2026-03-01")
    other_box.generate(20, seed=41, start="2026-02-01", end="2026-03-01")

    named = dagster.materialize(CONTENT, month="2026-02", accounts=[other_box.address])
    assert _stored(engine) == set(other_box.messages())
    assert named.months_are_complete.passed, "it speaks for the accounts of the run"
    assert named.months_are_complete.metadata["accounts"].value == 1

    state = dagster.materialize(STATE, accounts=[ADDRESS.upper()])
    assert _values(state, "gmail/message_states")["accounts"] == 1

    engine.registry.pause(other_box.address)
    dagster.materialize(CONTENT, month="2026-02")
    assert _stored(engine) == set(other_box.messages()) | set(box.messages())


@pytest.mark.parametrize("asset", ["state", "content"])
def test_a_broken_account_fails_the_run_and_the_others_are_done(
    asset: str, engine: Engine, box: Mailbox, other_box: Mailbox, dagster: Dagster
) -> None:
    box.generate(20, seed=42, start="2026-02-01", end="2026-03-01")
    other_box.generate(20, seed=43, start="2026-02-01", end="2026-03-01")
    box.revoke()

    run = dagster.materialize(STATE) if asset == "state" else dagster.materialize(CONTENT, month="2026-02")

    assert not run.success
    assert run.retries == 0, "a person has to mend it"
    assert run.failures[0].startswith("1 of 2 accounts failed.\n")
    assert ADDRESS in run.failures[0]
    assert set(run.keys) >= set(STATE), "the other account's rows are there"
    assert engine.registry.get(ADDRESS).state == "needs_reauth"
    with engine.warehouse.open() as connection:
        states = connection.execute(
            "select distinct account_id, count(*) from gmail.message_states group by 1"
        ).fetchall()
    assert states == [(other_box.address, 20)]
    if asset == "content":
        assert _stored(engine) == set(other_box.messages())
        check = run.months_are_complete
        assert not check.passed
        assert f"| {ADDRESS} | 2026-02 | not asked |" in check.metadata["incomplete"].value


def test_nothing_is_reported_where_every_account_failed(
    engine: Engine, box: Mailbox, gmail: Simulator, dagster: Dagster
) -> None:
    box.generate(10, seed=44)
    box.disable_mail()

    state = dagster.materialize(STATE)
    engine.registry.resume(ADDRESS)
    content = dagster.materialize(CONTENT, month="2026-02")

    assert (state.success, content.success) == (False, False)
    assert state.keys + content.keys == []
    assert dagster.materialized_months() == set()
    assert not content.months_are_complete.passed


def test_a_passing_failure_is_tried_again(engine: Engine, box: Mailbox, gmail: Simulator, dagster: Dagster) -> None:
    box.generate(10, seed=45, start="2026-02-01", end="2026-03-01")
    gmail.fail_next(status=503, reason="backendError", method="getProfile", times=8)

    run = dagster.materialize(CONTENT, month="2026-02")

    assert run.success
    assert run.retries == 1
    assert dagster.materialized_months() == {"2026-02"}
    assert_contents_equal(engine, box)


def test_a_failure_that_lasts_ends_the_run_after_three_tries(
    engine: Engine, box: Mailbox, gmail: Simulator, dagster: Dagster
) -> None:
    gmail.fail_next(status=503, reason="backendError", method="getProfile", times=-1)

    run = dagster.materialize(STATE)

    assert not run.success
    assert run.retries == 2


def test_one_broken_account_keeps_the_run_from_being_tried_again(
    engine: Engine, box: Mailbox, other_box: Mailbox, gmail: Simulator, dagster: Dagster
) -> None:
    """A second try would leave out the account that has been set aside, and succeed."""
    box.revoke()
    gmail.fail_next(status=503, reason="backendError", method="getProfile", account=other_box.address, times=-1)

    run = dagster.materialize(STATE)

    assert (run.success, run.retries) == (False, 0)
    assert run.failures[0].startswith("2 of 2 accounts failed.\n")


def test_an_account_that_another_process_holds_is_tried_again(engine: Engine, box: Mailbox, dagster: Dagster) -> None:
    with engine.locks.hold(f"account:{ADDRESS}"):
        run = dagster.materialize(STATE)

    assert (run.success, run.retries) == (False, 2)
    assert f"Another process holds account:{ADDRESS}" in run.failures[0]
    assert dagster.materialize(STATE).success


def test_an_unknown_account_is_named(engine: Engine, box: Mailbox, dagster: Dagster) -> None:
    run = dagster.materialize(STATE, accounts=["nobody@example.com"])

    assert (run.success, run.retries) == (False, 0)
    assert "nobody@example.com" in run.failures[0]


def test_a_run_without_accounts_says_how_to_add_one(engine: Engine, box: Mailbox, dagster: Dagster) -> None:
    engine.registry.pause(ADDRESS)

    run = dagster.materialize(CONTENT, month="2026-02")

    assert (run.success, run.retries) == (False, 0)
    assert run.failures == [
        "There is no active account to sync. `mail-ingest account list` shows why, `mail-ingest account add` adds one."
    ]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("MAIL_INGEST_QUOTA", "lots", "MAIL_INGEST_QUOTA"),
        ("MAIL_INGEST_HTML", "nowhere", "MAIL_INGEST_HTML is 'nowhere'; it takes one of archive, warehouse"),
        ("MAIL_INGEST_WAREHOUSE", "postgresql://someone:secret@nowhere.invalid/mail", "nobody knows its host name"),
        ("MAIL_INGEST_ENV", "another", "belongs to the deployment 'local'"),
    ],
)
def test_a_wrong_setting_fails_the_run_in_its_own_words(
    name: str, value: str, says: str, engine: Engine, box: Mailbox, dagster: Dagster, monkeypatch: pytest.MonkeyPatch
) -> None:
    dagster.materialize(STATE)
    monkeypatch.setenv(name, value)

    run = dagster.materialize(STATE)

    assert (run.success, run.retries) == (False, 0)
    assert says in run.failures[0]
    assert "secret" not in run.failures[0]


def test_a_mode_that_does_not_exist_is_refused_before_anything_runs(
    engine: Engine, box: Mailbox, gmail: Simulator, dagster: Dagster
) -> None:
    with pytest.raises(Exception, match="mode"):
        dagster.materialize(STATE, mode="ful")

    assert gmail.calls() == 0


def test_runs_and_events_hold_no_mail(engine: Engine, box: Mailbox, gmail: Simulator, dagster: Dagster) -> None:
    secret = "Zugvogel"
    mid = box.add(
        subject=f"{secret} subject",
        sender=f"{secret} <{secret}@correspondents.example>",
        body=f"{secret} body",
        attachments=[(f"{secret}.pdf", "application/pdf", b"%PDF-1.4")],
    )
    broken = box.add(subject=f"{secret} again", sender=f"{secret}@correspondents.example", body=secret)
    gmail.fail_next(status=500, reason="backendError", method="messages.get", message_id=broken, times=-1)

    runs = [dagster.job("sync"), dagster.materialize(CONTENT, month=RUNNING), dagster.job("analyst_tables")]

    assert _stored(engine) == {mid}
    for run in runs:
        written = "\n".join(str(entry) for entry in dagster.instance.all_logs(run.id))
        assert ADDRESS in written or run is runs[2]
        assert secret not in written
        assert "correspondents.example" not in written
        assert box.token not in written


def _values(run: Run, key: str, month: str | None = None) -> dict[str, Any]:
    return {name: entry.value for name, entry in run.of(key, month).metadata.items()}


def _month(engine: Engine, internal_date_ms: int) -> str:
    return window_of(datetime.fromtimestamp(internal_date_ms / 1000, UTC), "month", engine.settings.content_start)


def _of_month(engine: Engine, box: Mailbox, month: str) -> set[str]:
    return {key for key, record in box.messages().items() if _month(engine, record.internal_date_ms) == month}


def _stored(engine: Engine) -> set[str]:
    with engine.warehouse.open() as connection:
        return {row[0] for row in connection.execute("select message_id from gmail.messages").fetchall()}
