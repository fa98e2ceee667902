"""The Dagster UI in headless Chromium: what a data engineer sees and clicks, on `dagster dev` in the project folder."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mail_ingest.ingest.engine import Engine
from mail_ingest.simulator import Mailbox
from mail_ingest_tests.defs.serving import PROJECT, dagster_dev
from mail_ingest_tests.defs.test_definitions import GROUPS
from mail_ingest_tests.truth import assert_states_equal

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright for Python is not installed")
Page = sync_api.Page
expect = sync_api.expect

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
#: A run waits for the daemon that starts it (a backfill up to 30 s), for its process and for its pool.
RUN_MS = 120_000


@dataclass(frozen=True)
class Ui:
    """A page of the UI, and the root of its addresses."""

    page: Page
    url: str

    def open(self, path: str) -> None:
        self.page.goto(self.url + path)

    def click(self, button: str) -> None:
        self.page.get_by_role("button", name=button).first.click()


@pytest.fixture
def ui(environment: dict[str, str], engine: Engine, tmp_path: Path) -> Iterator[Ui]:
    """The UI of `dagster dev` over the mailbox; leaves a screenshot of the last page beside the server's log."""
    home = tmp_path / "dagster"
    home.mkdir()
    shutil.copy(PROJECT / "dagster.yaml", home)
    variables = {**os.environ, **environment, "DAGSTER_HOME": str(home), "PYTHONPATH": str(PROJECT)}
    with dagster_dev(variables, tmp_path / "dagster_dev.log") as url, sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1600, "height": 2400})
        page.set_default_timeout(60_000)
        expect.set_options(timeout=60_000)
        try:
            yield Ui(page, url)
        finally:
            print(f"the last page and the log of dagster dev are in {tmp_path}")
            page.screenshot(path=tmp_path / "last_page.png")
            browser.close()


@pytest.mark.early
@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian: apt-get install chromium)")
def test_a_data_engineer_sees_the_assets_materializes_state_and_backfills_months(
    ui: Ui, engine: Engine, box: Mailbox
) -> None:
    box.generate(120, seed=81, start="2025-01-01", end="2025-07-01")

    # the asset graph: four groups, each with its tables
    ui.open("/asset-groups")
    for group in GROUPS:
        expect(ui.page.get_by_text(group, exact=True).first).to_be_visible()
    for group, keys in GROUPS.items():
        ui.open(f"/locations/mail_ingest/asset-groups/{group}/lineage")
        for key in keys:
            expect(ui.page.get_by_text(key.split("/")[1], exact=True).first).to_be_visible()

    # a range of months is backfilled by clicking; the daemon starts its run within half a minute
    ui.open("/locations/mail_ingest/asset-groups/gmail_content/lineage")
    ui.click("Materialize all")
    ui.click("Confirm")  # that the states are not materialized yet: the run brings them along
    months = ui.page.get_by_placeholder(re.compile("^ex: 2004-04"))
    months.fill("[2025-03...2025-05]")
    months.press("Enter")
    expect(ui.page.get_by_text("3 partitions", exact=True)).to_be_visible()
    ui.click("Launch backfill")
    expect(ui.page.get_by_role("button", name="Launch backfill")).to_be_hidden()

    # the state is materialized by clicking
    ui.open("/locations/mail_ingest/asset-groups/gmail_state/lineage")
    ui.click("Materialize all")
    expect(ui.page.get_by_text(re.compile("^Launched run"))).to_be_visible()
    ui.page.get_by_text("View", exact=True).click()
    expect(ui.page.get_by_text("Success", exact=True).first).to_be_visible(timeout=RUN_MS)
    assert_states_equal(engine, box)

    # the months are there, and only they
    ui.open("/assets/gmail/messages?view=partitions")
    expect(ui.page.get_by_text("Materialized (3)")).to_be_visible(timeout=RUN_MS)
    wanted = {
        key
        for key, record in box.messages().items()
        if _month(record.internal_date_ms) in {"2025-03", "2025-04", "2025-05"}
    }
    with engine.warehouse.open() as connection:
        stored = connection.execute("select message_id from gmail.messages").fetchall()
        runs = connection.execute(
            "select triggered_by, sum(contents_stored) from gmail.sync_runs group by 1"
        ).fetchall()
    assert {row[0] for row in stored} == wanted
    assert len(stored) == len(wanted)
    assert ("backfill", len(wanted)) in runs

    # and the UI says so
    ui.open("/assets/gmail/messages?view=partitions&partition=2025-05")
    expect(ui.page.get_by_role("row", name=re.compile(f"contents_stored {len(wanted)}"))).to_be_visible()
    ui.open("/assets/gmail/messages?view=checks&checkDetail=months_are_complete")
    expect(ui.page.get_by_text("Passed", exact=True).first).to_be_visible()
    expect(ui.page.get_by_text("2025-03 to 2025-05")).to_be_visible()


def _month(internal_date_ms: int) -> str:
    return f"{datetime.fromtimestamp(internal_date_ms / 1000, UTC):%Y-%m}"
