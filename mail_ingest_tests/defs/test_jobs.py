"""The sync job without partitions: it reports the state tables, and the months that it completed."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg
import pytest

from mail_ingest.accounts import token_env
from mail_ingest.ingest.engine import Engine
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.defs.conftest import CONTENT, STATE, Dagster, Run
from mail_ingest_tests.defs.test_definitions import CHECKS, GROUPS
from mail_ingest_tests.truth import assert_true_to_gmail

RUNNING = f"{datetime.now(UTC):%Y-%m}"


def test_a_sync_reports_the_state_tables_and_every_month_it_completed(
    engine: Engine, box: Mailbox, gmail: Simulator, dagster: Dagster
) -> None:
    _fill(box, "2026-02", "2026-04")

    run = dagster.job("sync")

    assert run.success
    assert_true_to_gmail(engine, box)
    assert sorted(run.keys) == sorted(STATE + CONTENT * 2)
    for key in CONTENT:
        assert dagster.materialized_months(key) == {"2026-02", "2026-04"}
    told = run.of("gmail/messages", "2026-04").metadata
    assert told["dagster/partition_row_count"].value == 3
    assert told["dagster/row_count"].value == 6
    assert told["quota_units"].value == gmail.units()
    assert told["backlog_left"].value == 0
    assert "quota_units" not in run.of("gmail/messages", "2026-02").metadata


def test_a_sync_tells_what_it_did_where_the_run_ends(engine: Engine, box: Mailbox, dagster: Dagster) -> None:
    _fill(box, "2026-02")

    told = _told(dagster.job("sync"))

    assert (told["messages_added"], told["contents_stored"], told["backlog_left"]) == (3, 3, 0)
    assert (told["accounts"], told["accounts_failed"], told["requests_refused"]) == (1, 0, 0)


def test_unexpected_fields_are_told_where_the_run_ends_and_by_a_check(
    engine: Engine, box: Mailbox, gmail: Simulator, dagster: Dagster
) -> None:
    _fill(box, "2026-02")
    assert "unexpected_fields" not in _told(dagster.job("sync"))
    gmail.change_answers("getProfile.novelty", "add", {"planted-value": "planted-value"})

    run = dagster.job("sync")

    assert run.success
    assert _told(run)["unexpected_fields"] == "- `getProfile.novelty: unknown object`"
    key = dg.AssetCheckKey(dg.AssetKey(["gmail", "sync_runs"]), "answers_are_as_known")
    job = dagster.definitions.resolve_implicit_global_asset_job_def()
    checked = job.get_subset(asset_selection=set(), asset_check_selection={key}).execute_in_process(
        instance=dagster.instance
    )
    [evaluation] = checked.get_asset_check_evaluations()
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert (
        evaluation.metadata["examples"].value
        == f'account_id {ADDRESS}, unexpected_fields ["getProfile.novelty: unknown object"]'
    )
    events = str([*run.result.all_events, *checked.all_events])
    assert "planted-value" not in events


def test_a_sync_that_finds_nothing_new_reports_each_state_table_once(
    engine: Engine, box: Mailbox, gmail: Simulator, dagster: Dagster
) -> None:
    _fill(box, "2026-02")
    dagster.job("sync")
    gmail.reset_ledger()

    run = dagster.job("sync")

    assert run.success
    assert sorted(run.keys) == sorted(STATE)
    assert run.of("gmail/message_states").metadata["dagster/row_count"].value == 3
    assert _told(run)["by_account"] == "nothing changed"
    assert _told(run)["quota_units"] == gmail.units() == 2


def test_a_later_sync_reports_only_the_months_it_added_to(engine: Engine, box: Mailbox, dagster: Dagster) -> None:
    _fill(box, "2026-02", "2026-04")
    dagster.job("sync")
    box.add(subject="new", sender="a@b.example", body="x")

    run = dagster.job("sync")

    assert {event.partition for event in run.materializations if event.partition} == {RUNNING}


def test_changed_labels_report_no_month(engine: Engine, box: Mailbox, dagster: Dagster) -> None:
    _fill(box, "2026-02")
    dagster.job("sync")
    box.relabel(next(iter(box.messages())), add=("STARRED",))

    run = dagster.job("sync")

    assert sorted(run.keys) == sorted(STATE)


def test_no_month_counts_as_complete_while_there_is_a_backlog(
    engine: Engine, box: Mailbox, gmail: Simulator, dagster: Dagster
) -> None:
    """Which month a message belongs to is not known before it is fetched."""
    _fill(box, "2026-02", "2026-03", "2026-04")

    first = dagster.job("sync", max_messages=4)
    assert first.success
    assert sorted(first.keys) == sorted(STATE)
    assert _told(first)["backlog_left"] == 5

    # months that the first run had finished are reported by the one that can know it
    second = dagster.job("sync")
    assert {event.partition for event in second.materializations if event.partition} == {
        "2026-02",
        "2026-03",
        "2026-04",
    }


def test_a_month_with_a_failed_message_is_not_complete(
    engine: Engine, box: Mailbox, gmail: Simulator, dagster: Dagster
) -> None:
    _fill(box, "2026-02", "2026-03")
    gmail.fail_next(status=500, reason="backendError", method="messages.get", message_id=min(box.messages()), times=-1)

    run = dagster.job("sync")

    assert run.success, "one message is no reason to fail"
    assert sorted(run.keys) == sorted(STATE)
    assert (_told(run)["contents_failed"], _told(run)["backlog_left"]) == (1, 1)
    gmail.clear_faults()
    assert dagster.materialize(CONTENT, month="2026-02").months_are_complete.passed
    box.add(subject="new", sender="a@b.example", body="x")
    dagster.job("sync")
    assert dagster.materialized_months() == {"2026-02", "2026-03", RUNNING}


def test_a_month_is_complete_for_all_active_accounts_or_not_at_all(
    engine: Engine, box: Mailbox, other_box: Mailbox, dagster: Dagster
) -> None:
    _fill(box, "2026-02")
    _fill(other_box, "2026-02")
    dagster.materialize(STATE)

    run = dagster.job("sync", accounts=[ADDRESS])

    assert _told(run)["contents_stored"] == 3
    assert dagster.materialized_months() == set()
    dagster.job("sync")
    assert dagster.materialized_months() == {"2026-02"}


def test_the_sync_job_takes_groups(engine: Engine, box: Mailbox, other_box: Mailbox, dagster: Dagster) -> None:
    _fill(box, "2026-02")
    _fill(other_box, "2026-02")
    engine.registry.change(ADDRESS, account_group="sales")

    run = dagster.job("sync", groups=["sales"])

    assert run.success
    assert _told(run)["contents_stored"] == 3
    assert f"| `{ADDRESS}` | sales | success |" in str(_told(run)["by_account"])
    assert other_box.address not in str(_told(run)["by_account"])
    assert "| sales | 1 | 0 | 3 |" in str(_told(run)["by_group"])
    both = dagster.job("sync")
    assert "| (none) | 1 | 0 | 3 |" in str(_told(both)["by_group"]), "accounts of no group are counted apart"
    assert not dagster.job("sync", groups=["nobody"]).success


def test_months_behind_the_content_horizon_are_not_called_complete(
    engine: Engine, box: Mailbox, dagster: Dagster
) -> None:
    engine.registry.remove(ADDRESS)
    engine.registry.add(ADDRESS, token_env("ADA_TOKEN"), content_since="2026-03-10")
    _fill(box, "2026-02", "2026-03", "2026-04")

    run = dagster.job("sync")

    assert run.success
    assert _told(run)["contents_stored"] == 5, "two of March, three of April"
    assert dagster.materialized_months() == {"2026-04"}


def test_a_broken_account_fails_the_sync_and_the_others_are_done(
    engine: Engine, box: Mailbox, other_box: Mailbox, dagster: Dagster
) -> None:
    _fill(box, "2026-02")
    _fill(other_box, "2026-02")
    box.revoke()

    run = dagster.job("sync")

    assert (run.success, run.retries) == (False, 0)
    assert run.failures[0].startswith("1 of 2 accounts failed.\n")
    assert set(run.keys) == set(STATE + CONTENT)
    with engine.warehouse.open() as connection:
        stored = connection.execute("select account_id, count(*) from gmail.messages group by 1").fetchall()
    assert stored == [(other_box.address, 3)]
    # it is set aside now: the next sync is about the other one, and succeeds
    assert dagster.job("sync").success


def test_a_passing_failure_is_tried_again(engine: Engine, box: Mailbox, gmail: Simulator, dagster: Dagster) -> None:
    _fill(box, "2026-02")
    gmail.fail_next(status=503, reason="backendError", method="getProfile", times=8)

    run = dagster.job("sync")

    assert (run.success, run.retries) == (True, 1)
    assert_true_to_gmail(engine, box)


@pytest.mark.parametrize(
    ("tags", "word"),
    [
        ({}, "person"),
        ({"dagster/schedule_name": "hourly_sync"}, "schedule"),
        ({"dagster/backfill": "abcdefgh"}, "backfill"),
    ],
)
def test_sync_runs_say_who_started_them(
    tags: dict[str, str], word: str, engine: Engine, box: Mailbox, dagster: Dagster
) -> None:
    _fill(box, "2026-02")

    dagster.definitions.resolve_job_def("sync").execute_in_process(instance=dagster.instance, tags=tags)

    with engine.warehouse.open() as connection:
        assert connection.execute("select triggered_by from gmail.sync_runs").fetchall() == [(word,)]


def test_the_analyst_job_builds_every_table_and_view_and_runs_every_check_of_sql(
    engine: Engine, box: Mailbox, dagster: Dagster
) -> None:
    box.generate(30, seed=51)
    dagster.job("sync")
    with engine.warehouse.open() as connection:
        connection.execute("drop schema mail cascade")

    run = dagster.job("analyst_tables")

    assert run.success, run.failures
    rows = {key: run.of(key).metadata["dagster/row_count"].value for key in run.keys}
    assert sorted(rows) == sorted(GROUPS["staging"] + GROUPS["analyst_tables"])
    truth = {
        "mail/labels": len(box.labels()),
        "mail/message_labels": sum(len(record.label_ids) for record in box.messages().values()),
        "mail/messages": 30,
        "mail/threads": len({record.thread_id for record in box.messages().values()}),
    }
    assert {key: rows[key] for key in truth} == truth
    asks_gmail = (":months_are_complete", ":equals_the_mailbox")
    assert sorted(run.checks) == [check for check in CHECKS if not check.endswith(asks_gmail)]
    assert [name for name, check in run.checks.items() if not check.passed] == []


def _fill(box: Mailbox, *months: str) -> None:
    """Three messages in each month."""
    for month in months:
        for day in (1, 15, 27):
            date = datetime.fromisoformat(f"{month}-{day:02}T12:00:00").replace(tzinfo=UTC)
            box.add(subject=f"{month} {day}", sender="a@b.example", body="x", internal_date=date)


def _told(run: Run) -> dict[str, object]:
    """The metadata on the sync step's output."""
    (event,) = run.result.filter_events(lambda event: event.is_successful_output)
    return {name: entry.value for name, entry in event.step_output_data.metadata.items()}
