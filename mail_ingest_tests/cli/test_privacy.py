"""`mail-ingest account set --privacy ...`: what is said and asked before anything changes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from mail_ingest.accounts import new_key
from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.cli.conftest import Run
from mail_ingest_tests.conftest import ADDRESS


@pytest.fixture
def synced(run: Run, box: Mailbox) -> Run:
    """The command line with a mailbox of four messages synced."""
    box.generate(4, seed=3)
    assert run("account", "add", ADDRESS, "--token-env", "ADA_TOKEN").returncode == 0
    assert run("sync").returncode == 0
    return run


def status(run: Run) -> dict[str, object]:
    [row] = json.loads(run("status", "--json").stdout)["accounts"]
    return dict(row)


def test_a_change_says_what_it_means_and_wants_a_yes(synced: Run) -> None:
    refused = synced("account", "set", ADDRESS, "--privacy", "headers")
    assert refused.returncode == 2
    assert "4 stored messages say more than is allowed then" in refused.stdout
    assert "--yes" in refused.stderr
    assert status(synced)["privacy"] == "full"

    narrowed = synced("account", "set", ADDRESS, "--privacy", "headers", "--yes")
    assert narrowed.returncode == 0, narrowed.stderr
    assert "none found" in narrowed.stdout
    assert "\nreceipt privacy-" in narrowed.stdout, "a receipt has lines"
    assert (status(synced)["privacy"], status(synced)["raw_archive"]) == ("headers", False)

    widened = synced("account", "set", ADDRESS, "--privacy", "full")
    assert widened.returncode == 2
    assert "4 messages are stored in a stricter form, or left out, and are bought again: 80 units" in widened.stdout


def test_settings_that_do_not_go_together_change_nothing(run: Run, box: Mailbox) -> None:
    added = run("account", "add", ADDRESS, "--token-env", "ADA_TOKEN", "--privacy", "hashed", "--raw-archive")
    assert added.returncode == 2
    assert "--raw-archive does not go with the tier hashed" in added.stderr

    assert run("account", "add", ADDRESS, "--token-env", "ADA_TOKEN", "--privacy", "hashed").returncode == 0
    assert "does not go with" in run("account", "set", ADDRESS, "--raw-archive").stderr
    unknown = run("account", "set", ADDRESS, "--privacy", "secret")
    assert unknown.returncode == 2
    assert "full, redacted, headers, hashed" in unknown.stderr


def test_the_list_shows_tier_and_scope(run: Run, box: Mailbox) -> None:
    run(
        "account",
        "add",
        ADDRESS,
        "--token-env",
        "ADA_TOKEN",
        "--exclude-label",
        "Private",
        "--no-sign-in-mail",
        "--no-chats",
    )

    [account] = json.loads(run("account", "list", "--json", MAIL_INGEST_PRIVACY="redacted").stdout)["accounts"]

    assert (account["privacy"], account["privacy_is_default"], account["raw_archive"]) == ("redacted", True, False)
    assert (account["exclude_labels"], account["sign_in_mail"], account["include_chats"]) == (["Private"], False, False)


def test_a_lost_key_of_hashes_keeps_nobody_from_looking(run: Run, box: Mailbox) -> None:
    old, new = new_key(), new_key()
    box.create_label("for bob@example.com")
    options = ("--privacy", "hashed", "--exclude-label", "for bob@example.com")
    run("account", "add", ADDRESS, "--token-env", "ADA_TOKEN", *options, MAIL_INGEST_KEY=old)
    listed = run("account", "list", "--json", MAIL_INGEST_KEY=old)
    assert listed.returncode == 0
    counts = json.loads(run("key", "status", "--json", MAIL_INGEST_KEY=old).stdout)["keys"]
    assert [row["credentials"] for row in counts] == [1], "a list makes no secret"
    assert run("sync", MAIL_INGEST_KEY=old).returncode == 0

    for command in (("account", "list"), ("account", "list", "--json"), ("status", "--json")):
        done = run(*command, MAIL_INGEST_KEY=new)
        assert (done.returncode, done.stderr) == (0, ""), command
    failed = run("sync", MAIL_INGEST_KEY=new)
    rotated = run("key", "rotate", MAIL_INGEST_KEY=new)

    assert (failed.returncode, "unexpected" in failed.stderr) == (1, False), failed.stderr
    assert "the analyst tables wait for the next sync" in failed.stderr
    assert rotated.returncode == 1
    assert f"the credentials of {ADDRESS} could not be decrypted" in rotated.stderr
    assert "the secret of the address hashes of the tier hashed could not be decrypted" in rotated.stderr
    assert "of addresses" not in rotated.stderr


def test_an_empty_text_takes_a_list_of_labels_back_and_leaves_the_other(synced: Run) -> None:
    assert synced("account", "set", ADDRESS, "--include-label", "INBOX", "--exclude-label", "SPAM").returncode == 0
    assert (status(synced)["include_labels"], status(synced)["exclude_labels"]) == (["INBOX"], ["SPAM"])

    unknown = synced("account", "set", ADDRESS, "--exclude-label", "Privat")
    assert (unknown.returncode, status(synced)["exclude_labels"]) == (2, ["SPAM"])
    assert f"nothing was changed: {ADDRESS} has no label of the name or id 'Privat'" in unknown.stderr

    done = synced("account", "set", ADDRESS, "--include-label", "")

    assert done.returncode == 0, done.stderr
    assert (status(synced)["include_labels"], status(synced)["exclude_labels"]) == ([], ["SPAM"])


def test_a_default_that_becomes_wider_buys_nothing_and_status_counts_what_would_be(
    run: Run, box: Mailbox, gmail: Simulator
) -> None:
    box.generate(3, seed=3)
    box.add(subject="Your verification code", sender="no-reply@service.example", to=ADDRESS, body="90417263\n")
    assert run("account", "add", ADDRESS, "--token-env", "ADA_TOKEN", "--no-sign-in-mail").returncode == 0
    assert run("sync", MAIL_INGEST_PRIVACY="headers").returncode == 0

    def told(**default: str) -> tuple[object, ...]:
        [row] = json.loads(run("status", "--json", **default).stdout)["accounts"]
        return tuple(row[name] for name in ("privacy", "stored_in_stricter_form", "left_out", "backlog"))

    assert told(MAIL_INGEST_PRIVACY="headers") == ("headers", 0, 1, 0)
    assert told() == ("full", 3, 1, 0)
    gmail.reset_ledger()

    assert run("sync").returncode == 0
    assert gmail.calls("messages.get") == 0
    box.add(subject="Lunch?", sender="a@b.example", to=ADDRESS, body="at noon\n")
    assert run("sync").returncode == 0

    assert gmail.calls("messages.get") == 1, "it holds for new mail alone"
    assert told() == ("full", 3, 1, 0)
    agreed = run("account", "set", ADDRESS, "--privacy", "full", "--yes")
    assert "3 messages are stored in a stricter form, or left out, and are bought again: 60 units" in agreed.stdout
    assert run("sync").returncode == 0
    assert (gmail.calls("messages.get"), told()) == (4, ("full", 0, 1, 0))

    back = run("account", "set", ADDRESS, "--privacy", "default", "--yes", MAIL_INGEST_PRIVACY="headers")
    assert "4 stored messages say more than is allowed then" in back.stdout
    assert told(MAIL_INGEST_PRIVACY="headers") == ("headers", 0, 1, 0)


def test_an_earlier_horizon_buys_nothing_again_that_nobody_agreed_to(run: Run, box: Mailbox, gmail: Simulator) -> None:
    for days in (400, 300, 200, 1):
        box.add(subject=f"{days} days ago", internal_date=datetime.now(UTC) - timedelta(days=days))
    account = ("account", "add", ADDRESS, "--token-env", "ADA_TOKEN", "--privacy", "headers")
    assert run(*account).returncode == 0
    assert run("sync").returncode == 0
    assert run("account", "set", ADDRESS, "--content-since", "250d").returncode == 0

    both = ("account", "set", ADDRESS, "--privacy", "full", "--content-since")
    told = run(*both, "350d")
    assert "3 messages are stored in a stricter form, or left out, and are bought again: 60 units" in told.stdout
    assert (status(run)["privacy"], status(run)["content_since"]) == ("headers", "250d")
    assert run(*both, "250d", "--yes").returncode == 0
    refused = run("account", "set", ADDRESS, "--content-since", "all")
    assert refused.returncode == 2
    assert "4 messages are stored in a stricter form, or left out, and are bought again: 80 units" in refused.stdout
    gmail.reset_ledger()

    assert run("sync").returncode == 0

    assert gmail.calls("messages.get") == 2
    assert run("account", "set", ADDRESS, "--content-since", "all").returncode == 0, "the agreement is at its end"
    assert run("sync").returncode == 0
    assert gmail.calls("messages.get") == 2
