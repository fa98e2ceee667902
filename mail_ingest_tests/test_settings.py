"""Settings: defaults without any variable, and clear errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from mail_ingest.errors import ConfigError
from mail_ingest.settings import BusinessHours, Kept, is_loopback, load_settings, parse_business_hours, variable


def test_nothing_has_to_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    settings = load_settings({})

    assert settings.home == tmp_path / ".mail_ingest"
    assert settings.duckdb_path == tmp_path / ".mail_ingest" / "warehouse.duckdb"
    assert settings.control == f"sqlite:///{tmp_path}/.mail_ingest/control.sqlite"
    assert settings.gmail_url == "https://gmail.googleapis.com"
    assert (settings.quota, settings.env, settings.log, settings.html) == ("2026", "local", "text", "archive")


@pytest.mark.parametrize(
    ("url", "path"),
    [("duckdb:///rel/file.duckdb", "rel/file.duckdb"), ("duckdb:////abs/file.duckdb", "/abs/file.duckdb")],
)
def test_duckdb_urls_are_relative_with_three_slashes_and_absolute_with_four(
    url: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert load_settings({"MAIL_INGEST_WAREHOUSE": url}).duckdb_path == tmp_path / path


@pytest.mark.parametrize(
    "stem", ["gmail", "mail", "mail_build", "mail_config", "mail_ingest", "mail_staging", "gmail_staging_state_0"]
)
def test_a_file_named_like_a_schema_is_refused(stem: str) -> None:
    with pytest.raises(ConfigError, match="stem must differ"):
        load_settings({"MAIL_INGEST_WAREHOUSE": f"duckdb:///{stem}.duckdb"})


def test_days_of_what_is_kept_are_numbers_or_all() -> None:
    assert load_settings({}).keep == Kept(
        sync_history=90, requests=7, failures=None, label_events=None, deleted_mail=None, runs=30
    )
    given = {"MAIL_INGEST_KEEP_DELETED_MAIL": "30", "MAIL_INGEST_KEEP_SYNC_HISTORY": "all"}
    assert (load_settings(given).keep.deleted_mail, load_settings(given).keep.sync_history) == (30, None)
    for wrong in ("0", "-1", "30d", "99999", "1.5"):
        with pytest.raises(ConfigError, match=r"MAIL_INGEST_KEEP_FAILURES is .* days, from 1 to 36500, or all"):
            load_settings({"MAIL_INGEST_KEEP_FAILURES": wrong})


def test_secrets_stay_out_of_the_repr() -> None:
    shown = repr(
        load_settings(
            {
                "MAIL_INGEST_KEY": "s3cret-key",
                "MAIL_INGEST_WAREHOUSE": "postgresql://u:s3cret-word@h/db",
                "MAIL_INGEST_CONTROL": "postgresql://u:s3cret-word@h/db",
            }
        )
    )
    assert "s3cret" not in shown


@pytest.mark.parametrize(
    ("url", "is_local"),
    [
        ("http://127.0.0.1:8025", True),
        ("http://localhost", True),
        ("http://[::1]:80", True),
        ("https://gmail.googleapis.com", False),
        ("http://127.0.0.1.evil.example", False),
    ],
)
def test_loopback_is_told_by_the_host(url: str, is_local: bool) -> None:
    assert is_loopback(url) is is_local


def test_a_variable_that_is_not_set_is_named() -> None:
    with pytest.raises(ConfigError, match="NO_TOKEN_HERE is not set"):
        variable("NO_TOKEN_HERE", {})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Mon-Fri 09:00-17:00 Europe/Berlin", BusinessHours((1, 2, 3, 4, 5), 540, 1020, "Europe/Berlin")),
        ("sun,mon-wed 08:30-24:00 UTC", BusinessHours((1, 2, 3, 7), 510, 1440, "UTC")),
    ],
)
def test_business_hours_are_weekdays_hours_and_a_time_zone(value: str, expected: BusinessHours) -> None:
    assert parse_business_hours(load_settings({"MAIL_INGEST_BUSINESS_HOURS": value}).business_hours) == expected


@pytest.mark.parametrize(
    "value",
    [
        "9 to 5",
        "Mon-Fri 09:00-17:00",
        "Mon-Fri 09:00-17:00 Atlantis/Capital",
        "Mon-Fri 09:00-17:00 ../../etc/passwd",
        "Mon-Fri 17:00-09:00 UTC",
        "Mon-Fri 09:00-25:00 UTC",
        "Mon-Fri 09:60-17:00 UTC",
        "Fri-Mon 09:00-17:00 UTC",
        "Mon-Wed-Fri 09:00-17:00 UTC",
        "Someday 09:00-17:00 UTC",
    ],
)
def test_business_hours_that_make_no_sense_are_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="MAIL_INGEST_BUSINESS_HOURS"):
        load_settings({"MAIL_INGEST_BUSINESS_HOURS": value})


def test_internal_domains_are_a_list_in_any_case() -> None:
    assert load_settings({"MAIL_INGEST_INTERNAL_DOMAINS": "Example.org, example.com,"}).internal_domains == (
        "example.com",
        "example.org",
    )
    with pytest.raises(ConfigError, match="MAIL_INGEST_INTERNAL_DOMAINS"):
        load_settings({"MAIL_INGEST_INTERNAL_DOMAINS": "ada@example.com"})
