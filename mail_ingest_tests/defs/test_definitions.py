"""What Dagster shows, written out, so that a rename is a visible difference."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from mail_ingest.definitions import build_definitions
from mail_ingest.errors import ConfigError
from mail_ingest.warehouse.marts import load_relations

PROJECT = Path(__file__).parents[2]
GROUPS = {
    "gmail_state": ["gmail/accounts", "gmail/label_events", "gmail/labels", "gmail/message_states", "gmail/sync_runs"],
    "gmail_content": [
        "gmail/attachments",
        "gmail/fetch_failures",
        "gmail/left_out_messages",
        "gmail/message_html",
        "gmail/message_months",
        "gmail/message_recipients",
        "gmail/messages",
    ],
    "staging": [
        "mail_staging/accounts",
        "mail_staging/attachments",
        "mail_staging/fetch_failures",
        "mail_staging/label_events",
        "mail_staging/labels",
        "mail_staging/left_out_messages",
        "mail_staging/message_states",
        "mail_staging/messages",
        "mail_staging/recipients",
        "mail_staging/sync_runs",
    ],
    "analyst_tables": [
        "mail/account_health",
        "mail/attachments",
        "mail/business_calendar",
        "mail/contacts",
        "mail/daily_activity",
        "mail/daily_mailbox",
        "mail/label_intervals",
        "mail/labels",
        "mail/message_labels",
        "mail/message_lifecycle",
        "mail/messages",
        "mail/recipients",
        "mail/sync_history",
        "mail/thread_responses",
        "mail/threads",
    ],
}
#: Beside `key_is_unique`, which every landing table and every relation for analysts has.
_CLAIMS = [
    "gmail/accounts:are_looked_at",
    "gmail/accounts:counts_match_the_profile",
    "gmail/accounts:cursor_is_young",
    "gmail/accounts:equals_the_mailbox",
    "gmail/accounts:watch_is_in_force",
    "gmail/attachments:message_is_stored",
    "gmail/fetch_failures:are_being_retried",
    "gmail/label_events:are_observed_in_order",
    "gmail/message_html:message_is_stored",
    "gmail/message_recipients:message_is_stored",
    "gmail/message_states:are_not_in_the_future",
    "gmail/messages:backlog_is_empty",
    "gmail/messages:content_has_a_state",
    "gmail/messages:internal_date_is_not_in_the_future",
    "gmail/messages:months_are_complete",
    "gmail/sync_runs:answers_are_as_known",
    "gmail/sync_runs:end_after_they_begin",
    "mail/daily_mailbox:unread_count_is_not_negative",
    "mail/label_intervals:are_not_in_the_future",
    "mail/label_intervals:do_not_overlap",
    "mail/label_intervals:ends_follow_beginnings",
    "mail/label_intervals:message_is_known",
    "mail/message_labels:label_is_known",
    "mail/message_labels:label_is_not_deleted",
    "mail/message_labels:message_is_known",
    "mail/message_lifecycle:message_is_known",
    "mail/message_lifecycle:observations_follow",
    "mail/message_lifecycle:replies_follow",
    "mail/recipients:message_is_known",
    "mail/thread_responses:messages_are_known",
    "mail/thread_responses:times_are_possible",
]
_KEYED = [*GROUPS["gmail_state"], *GROUPS["gmail_content"], *GROUPS["analyst_tables"]]
CHECKS = sorted([*_CLAIMS, *(f"{key}:key_is_unique" for key in _KEYED)])
EDGES = {
    "gmail/messages": ["gmail/message_states"],
    "mail_staging/messages": ["gmail/messages"],
    "mail/messages": ["mail_staging/message_states", "mail_staging/messages"],
    "mail/threads": ["mail/messages"],
}


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MAIL_INGEST_")]:
        monkeypatch.delenv(name)


def test_everything_has_its_name_and_its_place() -> None:
    definitions = build_definitions()
    graph = definitions.resolve_asset_graph()
    groups: dict[str, list[str]] = {}
    for key in graph.get_all_asset_keys():
        groups.setdefault(graph.get(key).group_name, []).append(key.to_user_string())

    assert {group: sorted(keys) for group, keys in groups.items()} == GROUPS
    assert sorted(f"{key.asset_key.to_user_string()}:{key.name}" for key in graph.asset_check_keys) == CHECKS
    repository = definitions.get_repository_def()
    assert sorted(job.name for job in repository.get_all_jobs() if not job.name.startswith("__")) == [
        "adaptive_sync",
        "analyst_tables",
        "audit",
        "discover_accounts",
        "estimate_backfill",
        "refresh_labels",
        "renew_watches",
        "requested_sync",
        "retention",
        "sync",
    ]
    assert {schedule.name: (schedule.job_name, schedule.cron_schedule) for schedule in repository.schedule_defs} == {
        "hourly_sync": ("sync", "7 * * * *"),
        "nightly_checks": ("analyst_tables", "37 3 * * *"),
        "nightly_audit": ("audit", "37 4 * * *"),
        "daily_discovery": ("discover_accounts", "47 2 * * *"),
        "weekly_labels": ("refresh_labels", "17 5 * * 0"),
        "nightly_retention": ("retention", "27 1 * * *"),
        "daily_watches": ("renew_watches", "37 0 * * *"),
    }
    assert {sensor.name: sensor.minimum_interval_seconds for sensor in repository.sensor_defs} == {
        "sync_requests": 10,
        "adaptive_schedule": 60,
        "push_notifications": 5,
        "lapsing_watches": 300,
        "dead_runs": 30,
    }


def test_lineage_runs_from_states_over_content_to_the_analyst_tables() -> None:
    graph = build_definitions().resolve_asset_graph()

    for key, parents in EDGES.items():
        found = graph.get(dg.AssetKey(key.split("/"))).parent_keys
        assert sorted(parent.to_user_string() for parent in found) == parents


@pytest.mark.parametrize("key", [key for keys in GROUPS.values() for key in keys])
def test_every_asset_says_what_it_is(key: str) -> None:
    node = build_definitions().resolve_asset_graph().get(dg.AssetKey(key.split("/")))
    schema = node.metadata["dagster/column_schema"]

    assert (node.description or "").startswith("One row per ")
    first = "day" if key == "mail/business_calendar" else "account_id"
    assert f"\n\nKey: {first}" in (node.description or "")
    assert node.owners == ["team:data-engineering"]
    is_table = any(f"mail/{relation.short_name}" == key and relation.is_table for relation in load_relations())
    of_relations = {"sql", "duckdb", "table" if is_table else "view"}
    assert node.kinds == ({"gmail", "dlt", "duckdb"} if key.startswith("gmail/") else of_relations)
    assert node.metadata["dagster/relation_identifier"] == key.replace("/", ".")
    columns = {column.name: column for column in schema.columns}
    assert next(iter(columns)) == first
    assert not columns[first].constraints.nullable
    assert [name for name, column in columns.items() if not (column.description or "").strip()] == []
    assert {column.type for column in columns.values()} <= {
        "text",
        "json",
        "bigint",
        "boolean",
        "date",
        "timestamptz",
        "double precision",
    }


def test_columns_of_views_have_the_types_that_the_database_gives_them() -> None:
    schema = (
        build_definitions()
        .resolve_asset_graph()
        .get(dg.AssetKey(["mail", "messages"]))
        .metadata["dagster/column_schema"]
    )
    types = {column.name: column.type for column in schema.columns}

    assert types["internal_date"] == "timestamptz"
    assert types["is_unread"] == "boolean"
    assert types["size_bytes"] == "bigint"
    assert types["category"] == "text"


def test_every_check_says_what_it_catches_and_how() -> None:
    graph = build_definitions().resolve_asset_graph()

    for key in graph.asset_check_keys:
        description = graph.get(key).description or ""
        assert description.startswith("Catches "), key
        assert "\n\nWhat to do: " in description or key.name in ("months_are_complete", "equals_the_mailbox")
        assert "```sql\n" in description or key.name in ("months_are_complete", "equals_the_mailbox")


def test_every_table_is_expected_as_often_as_its_job_runs() -> None:
    graph = build_definitions().resolve_asset_graph()
    tables = {f"mail/{relation.short_name}" for relation in load_relations() if relation.is_table}
    hours: dict[tuple[float | None, float], set[str]] = {}
    for key in graph.get_all_asset_keys():
        policy = graph.get(key).freshness_policy
        if policy is not None:
            warn = policy.warn_window.to_timedelta().total_seconds() / 3600 if policy.warn_window else None
            fail = policy.fail_window.to_timedelta().total_seconds() / 3600
            hours.setdefault((warn, fail), set()).add(key.to_user_string())

    # no view, which is as fresh as what it reads, and nothing partitioned: see STATE_FRESHNESS
    assert hours == {(2, 8): set(GROUPS["gmail_state"]), (None, 26): tables}


def test_content_is_partitioned_by_month_up_to_the_running_one() -> None:
    graph = build_definitions().resolve_asset_graph()

    partitions = graph.get(dg.AssetKey(["gmail", "messages"])).partitions_def
    assert partitions is not None
    months = partitions.get_partition_keys()
    assert months[0] == "2004-04"
    assert months[-1] == f"{datetime.now(UTC):%Y-%m}"
    partitioned = [key for key in graph.get_all_asset_keys() if graph.get(key).partitions_def is not None]
    assert sorted(key.to_user_string() for key in partitioned) == GROUPS["gmail_content"]


def test_content_may_be_partitioned_by_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_INGEST_PARTITIONS", "day")
    graph = build_definitions().resolve_asset_graph()

    for key in GROUPS["gmail_content"]:
        partitions = graph.get(dg.AssetKey(key.split("/"))).partitions_def
        assert partitions is not None
        days = partitions.get_partition_keys()
        assert (days[0], days[-1]) == ("2004-04-01", f"{datetime.now(UTC):%Y-%m-%d}")


def test_the_first_month_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_INGEST_CONTENT_START", "2019-07")

    partitions = build_definitions().resolve_asset_graph().get(dg.AssetKey(["gmail", "messages"])).partitions_def
    assert partitions is not None
    assert partitions.get_partition_keys()[0] == "2019-07"


def test_one_run_takes_a_whole_range_of_months() -> None:
    graph = build_definitions().resolve_asset_graph()

    for key in GROUPS["gmail_content"]:
        assert graph.get(dg.AssetKey(key.split("/"))).backfill_policy == dg.BackfillPolicy.single_run()


def test_a_sync_that_hangs_is_ended_before_the_day_is_over() -> None:
    assert build_definitions().resolve_job_def("sync").tags["dagster/max_runtime"] == "21600"


def test_readers_of_one_kind_take_turns() -> None:
    definitions = build_definitions()

    graph = definitions.resolve_asset_graph()
    pools = {key.to_user_string(): graph.get(key).pools for key in graph.get_all_asset_keys()}
    assert all(pools[key] == {"mailbox_state"} for key in GROUPS["gmail_state"])
    assert all(pools[key] == {"mailbox_content"} for key in GROUPS["gmail_content"])
    assert definitions.resolve_job_def("sync").graph.node_named("sync_accounts").definition.pools == {"mailbox_state"}


@pytest.mark.parametrize(
    ("environment", "status"),
    [("", "STOPPED"), ("local", "STOPPED"), ("staging", "STOPPED"), ("production", "RUNNING")],
)
def test_schedules_and_sensors_start_by_themselves_in_production_only(
    environment: str, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAIL_INGEST_ENV", environment)

    definitions = build_definitions()
    repository = definitions.get_repository_def()
    by_themselves = {
        each.name: each.default_status.value for each in (*repository.schedule_defs, *repository.sensor_defs)
    }
    assert {
        "hourly_sync",
        "weekly_labels",
        "nightly_retention",
        "sync_requests",
        "adaptive_schedule",
        "dead_runs",
    } <= by_themselves.keys()
    assert by_themselves == dict.fromkeys(by_themselves, status)
    # Dagster makes a sensor of its own where an asset or a check says when it wants to run
    graph = definitions.resolve_asset_graph()
    assert not any(graph.get(key).automation_condition for key in graph.get_all_asset_keys())
    assert not any(graph.get(key).automation_condition for key in graph.asset_check_keys)


def test_a_wrong_setting_is_named_when_definitions_are_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_INGEST_GMAIL_URL", "gmail.example")

    with pytest.raises(ConfigError, match=r"MAIL_INGEST_GMAIL_URL is 'gmail.example'; it takes an http or https URL"):
        build_definitions()


def test_definitions_load_in_an_empty_environment_and_leave_nothing_behind(tmp_path: Path) -> None:
    code = (
        "from mail_ingest.definitions import defs; print(len(list(defs().resolve_asset_graph().get_all_asset_keys())))"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error:::mail_ingest", "-c", code],
        env={"PYTHONPATH": str(PROJECT), "PATH": os.defpath},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == str(sum(map(len, GROUPS.values())))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.early
def test_dg_finds_nothing_wrong_with_the_project() -> None:
    run = subprocess.run(
        [Path(sys.executable).with_name("dg"), "check", "defs"],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert run.returncode == 0, run.stdout + run.stderr
    assert "All definitions loaded successfully" in run.stdout + run.stderr
