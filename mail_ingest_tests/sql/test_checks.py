"""Every check passes on a healthy warehouse and finds what it claims to catch, on DuckDB and on Postgres.

The warehouse is loaded once for each database; every case breaks it inside a transaction, which is rolled back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import duckdb
import pytest

from mail_ingest.accounts import Look
from mail_ingest.ingest.checks import all_checks
from mail_ingest.sources.tables import LANDING_TABLES
from mail_ingest.warehouse.checks import Broken, Check, looks_at, run_check
from mail_ingest.warehouse.embedded import DUCKDB_CONFIG
from mail_ingest.warehouse.marts import load_relations
from mail_ingest_tests.postgres import connected, fresh_database
from mail_ingest_tests.sql.databases import ADA, Database, at

GRACE = "grace@example.com"
CORRESPONDENT = "bo@partner.example"
CHECKS = {f"{check.relation}:{check.claim}": check for check in all_checks()}
KEYS = sorted(name for name in CHECKS if name.endswith(":key_is_unique"))
#: What a view shows twice where the landing table below it has a row twice.
BELOW = {
    "mail.attachments": "gmail.attachments",
    "mail.sync_history": "gmail.sync_runs",
    "mail.account_health": "gmail.accounts",
    "mail.daily_mailbox": "mail.daily_activity",
}
#: Columns that a check may show: keys, times, counts and words of our own.
SHOWN = {
    *(
        "account_id",
        "message_id",
        "label_id",
        "thread_id",
        "history_id",
        "action",
        "run_id",
        "part_id",
        "kind",
        "position",
    ),
    *(
        "number",
        "day",
        "looked_at",
        "hours_left",
        "watch_expires_at",
        "messages_total",
        "message_count",
        "row_count",
        "error_class",
        "unexpected_fields",
    ),
}
_FUTURE = "now() + interval '1 hour'"
_LAPSED = "watch_expires_at = now() - interval '1 minute'"
_M1 = "where message_id = 'm1'"
_UNREAD = "where label_id = 'UNREAD'"
#: What each check has to catch: statements that each break the healthy warehouse, and how many rows then break the claim.
BREAKS: dict[str, list[tuple[str, int]]] = {
    "gmail.accounts:counts_match_the_profile": [
        ("update gmail.accounts set messages_total = messages_total + 6", 2),
        (f"update gmail.accounts set messages_total = 11 where account_id = '{ADA}'", 1),
    ],
    "gmail.accounts:watch_is_in_force": [
        ("update gmail.accounts set is_pushed = true, status = 'active'", 2),
        (
            f"update gmail.accounts set is_pushed = true, status = 'cooling_down', {_LAPSED} where account_id = '{ADA}'",
            1,
        ),
    ],
    "gmail.attachments:message_is_stored": [
        ("delete from gmail.attachments", 2),
        ("update gmail.attachments set message_id = 'f'", 4),
        (f"delete from gmail.messages {_M1}", 2),
    ],
    "gmail.fetch_failures:are_being_retried": [
        ("update gmail.fetch_failures set attempts = 5", 1),
        ("update gmail.fetch_failures set parked_at = now()", 1),
    ],
    "gmail.label_events:are_observed_in_order": [
        ("update gmail.label_events set observed_after = observed_at + interval '1 second'", 3),
        (f"update gmail.label_events set observed_at = {_FUTURE} where action = 'added'", 1),
    ],
    "gmail.message_html:message_is_stored": [
        (f"delete from gmail.messages {_M1}", 1),
    ],
    "gmail.message_recipients:message_is_stored": [
        (f"delete from gmail.messages {_M1}", 2),
    ],
    "gmail.message_states:are_not_in_the_future": [
        (f"update gmail.message_states set first_seen_at = {_FUTURE}", 9),
        (f"update gmail.message_states set changed_at = {_FUTURE} {_M1}", 2),
        (f"update gmail.message_states set deleted_at = {_FUTURE} where is_deleted", 1),
    ],
    "gmail.messages:backlog_is_empty": [
        (f"delete from gmail.messages {_M1}", 2),
    ],
    "gmail.messages:content_has_a_state": [
        (f"delete from gmail.message_states {_M1}", 2),
    ],
    "gmail.messages:internal_date_is_not_in_the_future": [
        ("update gmail.messages set internal_date = now() + interval '25 hours'", 8),
    ],
    "gmail.sync_runs:answers_are_as_known": [
        (
            "update gmail.sync_runs set finished_at = now(), unexpected_fields = '[\"getProfile.novelty: unknown string\"]'",
            1,
        ),
    ],
    "gmail.sync_runs:end_after_they_begin": [
        ("update gmail.sync_runs set finished_at = started_at - interval '1 second'", 1),
        (f"update gmail.sync_runs set finished_at = {_FUTURE}", 1),
    ],
    "mail.daily_mailbox:unread_count_is_not_negative": [
        ("update mail.daily_activity set unread_change = -9 where day = '2026-03-02'", 3),
    ],
    "mail.label_intervals:are_not_in_the_future": [
        (f"update mail.label_intervals set started_at = {_FUTURE} {_UNREAD}", 2),
        (f"update mail.label_intervals set ended_at = {_FUTURE} {_UNREAD}", 2),
    ],
    "mail.label_intervals:do_not_overlap": [
        (f"update mail.label_intervals set ended_at = null {_UNREAD} and number = 1", 1),
        (f"update mail.label_intervals set started_at = started_at - interval '2 days' {_UNREAD} and number = 2", 1),
    ],
    "mail.label_intervals:ends_follow_beginnings": [
        (f"update mail.label_intervals set ended_at = started_at - interval '1 second' {_UNREAD}", 2),
        (f"update mail.label_intervals set started_after = started_at + interval '1 second' {_UNREAD}", 2),
        (f"update mail.label_intervals set ended_after = ended_at + interval '1 second' {_UNREAD}", 1),
    ],
    "mail.label_intervals:message_is_known": [
        (f"delete from mail.messages {_M1}", 4),
    ],
    "mail.message_labels:label_is_known": [
        ("update mail.message_labels set label_name = null where label_id = 'INBOX'", 2),
    ],
    "mail.message_labels:label_is_not_deleted": [
        (f"update mail.labels set deleted_at = now() where label_id = 'INBOX' and account_id = '{ADA}'", 3),
    ],
    "mail.message_labels:message_is_known": [
        (f"delete from mail.messages {_M1}", 3),
        ("update mail.message_labels set message_id = 'gone' where message_id = 'm2'", 2),
    ],
    "mail.message_lifecycle:message_is_known": [
        (f"delete from mail.messages {_M1}", 2),
        (f"update mail.messages set has_content = false {_M1}", 2),
    ],
    "mail.message_lifecycle:observations_follow": [
        (f"update mail.message_lifecycle set seconds_to_read = -1 {_M1}", 2),
        (f"update mail.message_lifecycle set seconds_to_archive = -1 {_M1}", 2),
        (f"update mail.message_lifecycle set seconds_to_star = -1 {_M1}", 2),
    ],
    "mail.message_lifecycle:replies_follow": [
        (f"update mail.message_lifecycle set seconds_to_reply = -1 {_M1}", 2),
    ],
    "mail.recipients:message_is_known": [
        (f"delete from mail.messages {_M1}", 4),
        (f"update mail.messages set has_content = false {_M1}", 4),
    ],
    "mail.thread_responses:messages_are_known": [
        (f"delete from mail.messages {_M1}", 2),
        ("delete from mail.messages where message_id = 'm2'", 2),
    ],
    "mail.thread_responses:times_are_possible": [
        ("update mail.thread_responses set response_seconds = -1, business_seconds = null", 2),
        ("update mail.thread_responses set business_seconds = -1", 2),
        ("update mail.thread_responses set business_seconds = response_seconds + 1", 2),
    ],
}
CASES = [(name, statement, rows) for name, breaks in BREAKS.items() for statement, rows in breaks]
#: Checks of what the control database knows have tests of their own below.
OF_LOOKS = {"gmail.accounts:are_looked_at", "gmail.accounts:cursor_is_young"}


@pytest.fixture(scope="module", params=["duckdb", "postgres"])
def warehouse(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Two accounts with rows in every table, with nothing wrong."""
    if request.param == "duckdb":
        path = tmp_path_factory.mktemp("checks") / "warehouse.duckdb"
        with duckdb.connect(str(path), config=DUCKDB_CONFIG) as connection:
            connection.execute("set TimeZone = 'UTC'")
            yield _healthy(Database(connection, "duckdb"))
        return
    with fresh_database(request.getfixturevalue("postgres")) as url, connected(url) as connection:
        connection.execute("set TimeZone = 'UTC'")
        yield _healthy(Database(connection, "postgres"))


def _healthy(database: Database) -> Database:
    """Of each account a message that was read, answered and became unread again; of one, a deleted and an unread one."""
    for account_id in (ADA, GRACE):
        of = {"account_id": account_id}
        database.load(
            accounts=[
                {**of, "messages_total": 4, "cursor_history_id": 9, "last_synced_at": at("2026-03-04 08:00")},
            ],
            labels=[{**of, "label_id": label, "name": label} for label in ("INBOX", "SENT", "UNREAD")],
            message_states=[
                database.state("m1", ["INBOX", "UNREAD"] if account_id == ADA else ["INBOX"], **of),
                database.state("m2", ["SENT"], **of),
                database.state("m3", ["INBOX"], thread_id="t3", **of),
                database.state("m4", ["INBOX"], thread_id="t4", **of),
            ],
            messages=[
                database.message("m1", attachment_count=1, **of),
                database.message("m2", "2026-03-02 10:00", from_address=account_id, **of),
                database.message("m3", thread_id="t3", **of),
                # they are left out, and counted all the same
                database.message(
                    "m4", thread_id="t4", attachment_count=2, privacy="redacted without attachments", **of
                ),
            ],
            message_html=[{**of, "message_id": "m3", "body_html": "<p>"}],
            message_recipients=[
                database.recipient("m1", "from", CORRESPONDENT, **of),
                database.recipient("m1", "to", account_id, **of),
                database.recipient("m2", "to", CORRESPONDENT, **of),
            ],
            attachments=[{**of, "message_id": "m1", "part_id": "1", "is_inline": False}],
            message_months=[{**of, "message_id": "m1", "month": "2026-03"}],
            left_out_messages=[
                {**of, "message_id": "m6", "reason": "sign-in code", "left_out_at": at("2026-03-03 08:00")}
            ],
        )
    database.load(
        message_html=[{"account_id": ADA, "message_id": "m1", "body_html": "<p>"}],
        message_states=[database.state("m5", is_deleted=True, deleted_at=at("2026-03-03 08:00"))],
        label_events=[
            database.event("m5", "", "removed", 4, "2026-03-03 07:00", "2026-03-03 08:00"),
            database.event("m1", "UNREAD", "removed", 5, "2026-03-02 08:00", "2026-03-02 09:00"),
            database.event("m1", "UNREAD", "added", 6, "2026-03-03 08:00", "2026-03-03 09:00"),
        ],
        sync_runs=[
            {
                "account_id": ADA,
                "run_id": "r1",
                "kind": "full",
                "outcome": "success",
                "started_at": at("2026-03-02 08:00"),
                "finished_at": at("2026-03-02 08:01"),
            }
        ],
        fetch_failures=[{"account_id": ADA, "message_id": "m4", "attempts": 2, "error_class": "ServerError"}],
    )
    database.build()
    return database


@contextmanager
def _broken(database: Database, *statements: str) -> Iterator[None]:
    database.connection.begin()
    try:
        for statement in statements:
            database.connection.execute(statement)
        yield
    finally:
        database.connection.rollback()


def _run(database: Database, check: Check, looks: Sequence[Look] | None = None) -> Broken:
    now = datetime.now(UTC)
    fresh = [Look(account_id, "active", now, now) for account_id in (ADA, GRACE)]
    with looks_at(database.connection, fresh if looks is None else looks):
        return run_check(database.connection, check)


@pytest.mark.parametrize("name", CHECKS)
def test_a_healthy_warehouse_passes(name: str, warehouse: Database) -> None:
    assert warehouse.rows(f"select count(*) from {CHECKS[name].relation}")[0][0] > 0, "nothing to check"

    assert _run(warehouse, CHECKS[name]) == Broken(0)


@pytest.mark.parametrize(("name", "statement", "rows"), CASES)
def test_a_broken_warehouse_fails(name: str, statement: str, rows: int, warehouse: Database) -> None:
    with _broken(warehouse, statement):
        found = _run(warehouse, CHECKS[name])

    assert found.rows == rows
    assert len(found.examples) == min(rows, 5)


@pytest.mark.parametrize("name", KEYS)
def test_a_key_that_is_there_twice_is_found(name: str, warehouse: Database) -> None:
    relation = CHECKS[name].relation
    table = BELOW.get(relation, relation)
    schema, short = table.split(".")
    constraints = {
        "duckdb": [],
        "postgres": [
            f"drop index if exists {schema}.{short}_key",
            f"alter table {table} drop constraint if exists {short}_pkey",
        ],
    }[warehouse.dialect]

    with _broken(warehouse, *constraints, f"insert into {table} select * from {table} limit 1"):
        found = _run(warehouse, CHECKS[name])

    assert found.rows == 1
    assert CORRESPONDENT not in str(found)


def test_every_check_has_a_case_and_every_key_a_check() -> None:
    assert BREAKS.keys() | set(KEYS) | OF_LOOKS == set(CHECKS)
    declared = {f"gmail.{table.name}" for table in LANDING_TABLES} | {
        relation.name for relation in load_relations() if relation.schema == "mail"
    }
    assert {name.split(":")[0] for name in KEYS} == declared


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_shows_keys_and_no_mail(name: str, warehouse: Database) -> None:
    with looks_at(warehouse.connection, []):
        result = warehouse.connection.execute(f"select * from ({CHECKS[name].text}) as broken limit 0")

        shown = {column[0] for column in result.description or ()}

    assert shown
    assert shown <= SHOWN


# -- what the control database knows --------------------------------------------------------------------------------


def _look(hours: float | None, state: str = "active", *, registered_hours: float = 1000) -> Look:
    now = datetime.now(UTC)
    looked_at = None if hours is None else now - timedelta(hours=hours)
    return Look(ADA, state, looked_at, now - timedelta(hours=registered_hours))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("look", "rows"),
    [
        (_look(23), 0),
        (_look(25), 1),
        (_look(25, "cooling_down"), 1),
        (_look(25, "paused"), 0),
        (_look(25, "needs_reauth"), 0),
        (_look(25, "parked"), 0),
        (_look(None), 1),
    ],
)
def test_an_active_account_is_fresh_for_a_day_after_a_look(look: Look, rows: int, warehouse: Database) -> None:
    found = _run(warehouse, CHECKS["gmail.accounts:are_looked_at"], [look])

    assert found.rows == rows
    assert all(example.startswith(f"account_id {ADA}, looked_at 2026-") for example in found.examples)


@pytest.mark.parametrize(
    "is_well",
    [
        "is_pushed = true, status = 'active', watch_expires_at = now() + interval '1 minute'",
        f"is_pushed = false, status = 'active', {_LAPSED}",
        f"is_pushed = null, status = 'active', {_LAPSED}",
        f"is_pushed = true, status = 'paused', {_LAPSED}",
        f"is_pushed = true, status = 'needs_reauth', {_LAPSED}",
    ],
)
def test_a_watch_that_is_in_force_or_that_nobody_misses_is_no_warning(is_well: str, warehouse: Database) -> None:
    with _broken(warehouse, f"update gmail.accounts set {is_well}"):
        assert _run(warehouse, CHECKS["gmail.accounts:watch_is_in_force"]).rows == 0


def test_a_new_account_has_a_day_for_its_first_look(warehouse: Database) -> None:
    check = CHECKS["gmail.accounts:are_looked_at"]

    with _broken(warehouse, "delete from gmail.accounts"):
        assert _run(warehouse, check, [_look(None, registered_hours=23)]).rows == 0
        assert _run(warehouse, check, [_look(None, registered_hours=25)]).rows == 1


def test_what_landed_lately_is_a_look_that_the_control_database_forgot(warehouse: Database) -> None:
    with _broken(warehouse, "update gmail.accounts set last_synced_at = now() - interval '1 hour'"):
        assert _run(warehouse, CHECKS["gmail.accounts:are_looked_at"], [_look(None)]).rows == 0
        assert _run(warehouse, CHECKS["gmail.accounts:cursor_is_young"], [_look(None)]).rows == 0


@pytest.mark.parametrize(
    ("look", "hours_left"),
    [(_look(119), None), (_look(121.5), 46), (_look(121.5, "paused"), 46), (_look(168.5), -1)],
)
def test_a_cursor_is_at_risk_five_days_after_the_last_look(
    look: Look, hours_left: int | None, warehouse: Database
) -> None:
    """A quiet mailbox's cursor is as old as its last change; what counts is when it was last compared."""
    found = _run(warehouse, CHECKS["gmail.accounts:cursor_is_young"], [look])

    assert [example.rpartition(" ")[2] for example in found.examples] == (
        [] if hours_left is None else [str(hours_left)]
    )


def test_an_account_without_a_cursor_has_none_to_lose(warehouse: Database) -> None:
    with _broken(warehouse, "update gmail.accounts set cursor_history_id = null"):
        assert _run(warehouse, CHECKS["gmail.accounts:cursor_is_young"], [_look(1000)]).rows == 0
