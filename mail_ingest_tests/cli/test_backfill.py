"""`mail-ingest backfill` as people and scripts use it."""

from __future__ import annotations

import json

import pytest

from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.cli.conftest import Run
from mail_ingest_tests.conftest import ADDRESS

RANGE = ("--from", "2023-11", "--to", "2024-02")


@pytest.fixture
def registered(run: Run) -> Run:
    done = run("account", "add", ADDRESS, "--token-env", "ADA_TOKEN", "--group", "sales")
    assert done.returncode == 0, done.stderr
    return run


def test_a_range_is_priced_bought_and_priced_again(registered: Run, box: Mailbox, gmail: Simulator) -> None:
    box.generate(40, seed=41, start="2023-10-01", end="2024-04-01")

    unknown = registered("backfill", *RANGE, "--estimate")
    assert unknown.returncode == 0, unknown.stderr
    assert f"{ADDRESS}: nothing is known of it yet" in unknown.stdout
    assert gmail.calls() == 0

    listed = registered("backfill", *RANGE, "--estimate", "--list", "--json")
    price = json.loads(listed.stdout)
    assert gmail.units() == price["units"] == 4 * 5 + 1
    assert [each["partition"] for each in price["partitions"]] == ["2024-02", "2024-01", "2023-12", "2023-11"]
    assert price["total"]["to_buy"] == price["total"]["to_buy_listed"] == price["total"]["known"] > 0
    assert price["accounts"][0]["done_at"] is None, "nothing limits the local server"

    bought = json.loads(registered("backfill", *RANGE, "--group", "sales", "--max-messages", "5", "--json").stdout)
    assert bought["runs"][0]["contents_stored"] == 5
    assert bought["runs"][0]["outcome"] == "partial"
    assert bought["total"]["stored"] == 5
    newest = next(each for each in bought["partitions"] if each["known"])
    assert newest["stored"] > 0, "the newest comes first"

    done = registered("backfill", *RANGE, ADDRESS)
    assert done.returncode == 0
    again = registered("backfill", *RANGE, "--json")
    assert json.loads(again.stdout)["units"] == 2 + 4 * 5
    assert json.loads(again.stdout)["total"]["to_buy"] == 0
    assert gmail.calls("messages.get") == price["total"]["to_buy"]
    assert "total" in done.stdout
    recorded = json.loads(
        registered("query", "select distinct triggered_by from gmail.sync_runs", "--format", "json").stdout
    )
    assert recorded == [{"triggered_by": "backfill"}]


def test_one_broken_account_does_not_stop_the_others(registered: Run, box: Mailbox, gmail: Simulator) -> None:
    other = gmail.add_account("grace@example.com")
    registered("account", "add", "grace@example.com", "--token-env", "GRACE_TOKEN")
    other.generate(3, seed=42, start="2024-01-01", end="2024-02-01")
    box.revoke()

    done = registered("backfill", *RANGE, "--json", GRACE_TOKEN=other.token)

    assert done.returncode == 1
    assert [run["outcome"] for run in json.loads(done.stdout)["runs"]] == ["failed", "success"]


def test_an_unknown_account_or_group_is_wrong_usage(registered: Run, gmail: Simulator) -> None:
    for arguments in (("nobody@example.com",), ("--group", "nobody")):
        assert registered("backfill", *RANGE, *arguments).returncode == 2
    assert gmail.calls() == 0
