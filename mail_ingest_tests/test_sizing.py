"""The page on sizing is what its script prints, its sums are right, and its figures can be measured."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from pathlib import Path

import pytest

from benchmarks.sizing.__main__ import main
from benchmarks.sizing.figures import load
from benchmarks.sizing.measure import measure
from benchmarks.sizing.page import FLEETS, Assumptions, page, size
from mail_ingest.settings import load_settings

PAGE = Path(__file__).parent.parent / "docs" / "sizing.md"


def test_the_page_is_what_the_script_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0

    assert capsys.readouterr().out == PAGE.read_text(), "python -m benchmarks.sizing > docs/sizing.md"


def test_sizes_follow_from_the_figures_by_hand() -> None:
    figures = replace(
        load(),
        run_cpu_s=2.0, busy_cpu_ms=100.0, postgres_busy_cpu_ms=50.0, busy_units=204.0, busy_messages=10, content_units=20.0,
        run_peak_mb=500.0, database_bytes=10_000.0, archive_bytes=5_000.0, run_event_bytes=100_000.0,
    )  # fmt: skip

    ten_thousand = size(10_000, figures, Assumptions(), load_settings({}))

    assert ten_thousand.units_a_day == 10_000 * 204 * 24
    assert ten_thousand.projects == 1
    assert ten_thousand.cpu_s_an_hour == 1_000 + 20 * 2
    assert ten_thousand.waiting_s_an_hour == pytest.approx(10_000 * 7 * 0.1 / 64)
    assert ten_thousand.places == 1
    assert ten_thousand.postgres_cores == 1
    assert ten_thousand.database_gb_a_year == pytest.approx(10_000 * 87_600 * 10_000 * 1.5 / 1e9)
    # 48.96 million units a day are the syncs', and backfills stop at 48
    assert ten_thousand.backfill_days == inf
    five_thousand = size(5_000, figures, Assumptions(), load_settings({}))
    assert five_thousand.backfill_days == pytest.approx(20_000 / ((48e6 - 24.48e6) / 20 / 5_000))
    # a few mailboxes are bound by what each of them sells, and not by the project
    few = size(5, figures, Assumptions(), load_settings({}))
    assert few.backfill_days == pytest.approx(20_000 / (6_000 * 0.6 * 1_440 / 20))


def test_one_project_ends_where_the_page_says() -> None:
    settings = load_settings({"MAIL_INGEST_QUOTA_SHARE": "1", "MAIL_INGEST_QUOTA_RESERVE": "0"})
    figures = replace(load(), busy_units=203.0, busy_messages=10)

    needed = [size(mailboxes, figures, Assumptions(), settings).projects for mailboxes in (16_400, 16_500)]

    assert needed == [1, 2]


def test_a_larger_fleet_never_needs_less() -> None:
    sizes = [size(mailboxes, load(), Assumptions(), load_settings({})) for mailboxes in FLEETS]

    for name in ("projects", "places", "machines", "postgres_cores", "archive_gb_a_year"):
        needs = [getattr(one, name) for one in sizes]
        assert needs == sorted(needs), name


def test_the_figures_can_be_measured(postgres: str) -> None:
    measured = measure(3, 20, postgres)

    assert measured.quiet_units == 2
    assert measured.busy_units == pytest.approx(204, abs=3)
    assert measured.content_units >= 20
    assert all(
        value > 0
        for value in (
            *(measured.run_cpu_s, measured.busy_cpu_ms, measured.content_cpu_ms, measured.postgres_busy_cpu_ms),
            *(measured.run_peak_mb, measured.database_bytes, measured.archive_bytes, measured.run_event_bytes),
        )
    )
    assert "Google projects" in page(measured)
