"""`mail.sync_history` and `mail.account_health`, for operators."""

from __future__ import annotations

from mail_ingest_tests.sql.databases import ADA, Database, at


def _run(run_id: str, started: str, outcome: str, units: int = 0, **special: object) -> dict[str, object]:
    return {
        "account_id": ADA,
        "run_id": run_id,
        "kind": "partial",
        "triggered_by": "schedule",
        "started_at": at(started),
        "finished_at": at(started),
        "outcome": outcome,
        "units": units,
        **special,
    }


def test_syncs_are_numbered_from_the_newest_and_timed(database: Database) -> None:
    database.load(
        sync_runs=[
            _run("r1", "2026-03-02 07:00", "success", 10, finished_at=at("2026-03-02 07:01"), waited_s=2.5),
            _run("r2", "2026-03-03 07:00", "failed", error_class="ServerError"),
        ]
    )

    assert database.rows(
        "select run_number, run_id, outcome, error_class, duration_seconds, units, waited_seconds "
        "from mail.sync_history order by 1"
    ) == [(1, "r2", "failed", "ServerError", 0, 0, None), (2, "r1", "success", None, 60, 10, 2.5)]


def test_an_account_shows_its_last_outcome_its_failures_and_its_backlog(database: Database) -> None:
    account = {
        "account_id": ADA,
        "messages_total": 4,
        "status": "active",
        "account_group": "sales",
        "privacy": "redacted",
        "last_synced_at": at("2026-03-09 07:00"),
        "last_full_sync_at": at("2026-03-01 07:00"),
        "is_pushed": True,
        "watch_expires_at": at("2026-03-15 07:00"),
        "last_notified_at": at("2026-03-09 06:59"),
    }
    failure = {"account_id": ADA, "attempts": 5, "error_class": "ServerError"}
    database.load(
        accounts=[account],
        sync_runs=[
            _run("r1", "2026-03-01 07:00", "failed", 100),
            _run("r2", "2026-03-04 07:00", "partial", 20),
            _run("r3", "2026-03-08 07:00", "failed", 3, error_class="AuthError"),
            _run("r4", "2026-03-09 07:00", "failed", 4, error_class="ServerError"),
        ],
        message_states=[
            database.state("m1"),
            database.state("m2"),
            database.state("m3"),
            database.state("m4"),
            database.state("m5", is_deleted=True, deleted_at=at("2026-03-05 08:00")),
        ],
        messages=[database.message("m1"), database.message("m5")],
        fetch_failures=[
            {**failure, "message_id": "m1", "resolved_at": at("2026-03-05 08:00")},
            {**failure, "message_id": "m2"},
            {**failure, "message_id": "m3", "parked_at": at("2026-03-05 08:00")},
            {**failure, "message_id": "m5", "parked_at": at("2026-03-05 08:00")},
        ],
    )
    database.build()

    assert database.rows(
        "select status, last_outcome, last_error_class, failures_in_a_row, units_7_days, message_count, messages_total, "
        "backlog_count, failing_count, dead_letter_count from mail.account_health"
    ) == [("active", "failed", "ServerError", 2, 27, 4, 4, 3, 2, 1)]
    assert database.rows(
        "select account_id, account_group, privacy, last_synced_at, last_full_sync_at from mail.account_health"
    ) == [(ADA, "sales", "redacted", at("2026-03-09 07:00"), at("2026-03-01 07:00"))]
    assert database.rows("select is_pushed, watch_expires_at, last_notified_at from mail.account_health") == [
        (True, at("2026-03-15 07:00"), at("2026-03-09 06:59"))
    ]


def test_an_account_that_only_ever_failed_has_all_its_failures_in_a_row(database: Database) -> None:
    database.load(
        accounts=[{"account_id": ADA, "status": "needs_reauth"}],
        sync_runs=[_run("r1", "2026-03-01 07:00", "failed"), _run("r2", "2026-03-02 07:00", "failed")],
    )

    assert database.rows("select failures_in_a_row, message_count from mail.account_health") == [(2, 0)]
