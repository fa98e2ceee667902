"""Every kind of credentials syncs a mailbox from end to end, in real processes, and none is told at debug level."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mail_ingest.simulator import Mailbox, Simulator
from mail_ingest_tests.cli.conftest import AT_DEBUG_LEVEL, Run, runner
from mail_ingest_tests.conftest import ADDRESS
from mail_ingest_tests.forking import Forks

ADMIN = "root@example.com"
SECRET = "projects/vault/secrets/gmail"
GMAIL, DIRECTORY, PLATFORM = "gmail.readonly", "admin.directory.user.readonly", "cloud-platform"


@pytest.fixture
def run(forks: Forks, variables: dict[str, str], gmail: Simulator, tmp_path: Path) -> Run:
    """Runs `mail-ingest` with everything logged, asking the local server for secrets and directories."""
    urls = {"MAIL_INGEST_SECRETS_URL": gmail.url, "MAIL_INGEST_DIRECTORY_URL": gmail.url}
    return runner(forks, AT_DEBUG_LEVEL, {**variables, **urls}, tmp_path)


@pytest.fixture
def workload(gmail: Simulator, tmp_path: Path) -> dict[str, str]:
    """The identity of a process, as Google's libraries find it: it may read secrets, and open mailboxes."""
    path = tmp_path / "workload.json"
    path.write_text(json.dumps(gmail.service_account([GMAIL, PLATFORM])))
    return {"GOOGLE_APPLICATION_CREDENTIALS": str(path)}


def hidden(doc: dict[str, Any]) -> list[str]:
    """What must not be told of a document."""
    values = [doc.get("refresh_token", ""), doc.get("client_secret", ""), doc.get("private_key", "")[100:140]]
    return [value for value in values if value]


@pytest.mark.parametrize("kind", ["person", "robot"])
@pytest.mark.parametrize("place", ["env", "file", "gcp-secret"])
def test_a_reference_syncs_a_mailbox(
    run: Run, gmail: Simulator, box: Mailbox, tmp_path: Path, workload: dict[str, str], kind: str, place: str
) -> None:
    box.generate(4, seed=2)
    doc: dict[str, Any] = box.authorized_user() if kind == "person" else gmail.service_account([GMAIL])
    variables: dict[str, str] = {}
    if place == "env":
        variables, reference = {"ADA_CREDENTIALS": json.dumps(doc)}, "env://ADA_CREDENTIALS"
    elif place == "file":
        (tmp_path / "ada.json").write_text(json.dumps(doc))
        reference = (tmp_path / "ada.json").as_uri()
    else:
        gmail.secrets.add(SECRET, json.dumps(doc))
        variables, reference = workload, f"gcp-secret://{SECRET}/versions/latest"

    added = run("account", "add", ADDRESS, "--credentials", reference)
    assert gmail.calls() == 0, "registering called somebody"
    synced = run("sync", "--json", **variables)

    assert (added.returncode, synced.returncode) == (0, 0), added.stderr[-2000:] + synced.stderr[-2000:]
    assert json.loads(synced.stdout)["runs"][0]["contents_stored"] == 4
    assert gmail.calls("secrets.access") == (1 if place == "gcp-secret" else 0)
    printed = added.stdout + added.stderr + synced.stdout + synced.stderr
    assert "DEBUG:" in printed
    assert not [secret for secret in hidden(doc) if secret in printed]
    assert not [grant.value for grant in gmail.world.grants._access.values() if grant.value in printed]


def test_application_default_credentials_sync_a_mailbox(run: Run, box: Mailbox, workload: dict[str, str]) -> None:
    box.generate(4, seed=2)

    assert run("account", "add", ADDRESS, "--application-default").returncode == 0
    synced = run("sync", "--json", **workload)

    assert synced.returncode == 0, synced.stderr[-2000:]
    assert json.loads(synced.stdout)["runs"][0]["contents_stored"] == 4
    without = run("sync", GOOGLE_APPLICATION_CREDENTIALS="/missing.json")
    assert without.returncode == 1
    assert "no application-default credentials" in without.stderr


def test_a_subject_is_whom_a_service_account_acts_for(run: Run, gmail: Simulator, box: Mailbox, tmp_path: Path) -> None:
    """An address that the mailbox once had; Gmail shows its present one."""
    (tmp_path / "key.json").write_text(json.dumps(gmail.service_account([GMAIL], subjects=["ada@new.example"])))
    gmail.add_account("ada@new.example").answer_as(ADDRESS)

    added = run("account", "add", ADDRESS, "--service-account", "key.json", "--subject", "ada@new.example")

    assert added.returncode == 0
    assert run("sync").returncode == 0


def test_a_secret_that_cannot_be_read_fails_the_sync_and_leaves_the_account_to_the_next(
    run: Run, gmail: Simulator, box: Mailbox, workload: dict[str, str]
) -> None:
    reference = f"gcp-secret://{SECRET}/versions/latest"
    run("account", "add", ADDRESS, "--credentials", reference)

    failed = run("sync", **workload)
    [listed] = json.loads(run("account", "list", "--json").stdout)["accounts"]
    gmail.secrets.add(SECRET, json.dumps(box.authorized_user()))

    assert failed.returncode == 1
    assert f"the secret {reference} cannot be read: 403 PERMISSION_DENIED" in failed.stderr
    assert (listed["state"], f"the secret {reference} cannot be read" in listed["state_reason"]) == ("active", True)
    assert run("sync", **workload).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--credentials", "ya29.hidden"], "env://NAME"),
        (["--credentials", "env://A", "--application-default"], "exactly one of"),
        (["--token-env", "A", "--subject", "bob@example.com"], "--subject is for service accounts"),
        (["--credentials", "env://A", "--subject", "bob"], "--subject is 'bob'"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_stored(run: Run, arguments: list[str], says: str) -> None:
    done = run("account", "add", ADDRESS, *arguments)

    assert done.returncode == 2
    assert says in done.stderr
    assert "hidden" not in done.stderr
    assert json.loads(run("account", "list", "--json").stdout) == {"accounts": []}


def test_a_workspace_is_discovered_and_synced(run: Run, gmail: Simulator, box: Mailbox, tmp_path: Path) -> None:
    box.generate(3, seed=1)
    gmail.add_account("bob@example.com").generate(2, seed=2)
    gmail.directory.add(ADMIN, org_unit="/IT", is_admin=True)
    gmail.directory.add(ADDRESS)
    gmail.directory.add("bob@example.com")
    gmail.directory.add("cy@example.com", is_suspended=True)
    (tmp_path / "key.json").write_text(json.dumps(gmail.service_account([GMAIL, DIRECTORY])))
    command = ("account", "discover", "--service-account", "key.json", "--admin", ADMIN, "--exclude", "/IT")

    tried, first, second = run(*command, "--dry-run"), run(*command), run(*command, "--json")

    assert (tried.returncode, first.returncode, second.returncode) == (0, 0, 0), first.stderr[-2000:]
    assert tried.stdout.splitlines()[:2] == [
        "ada@example.com: would be registered",
        "bob@example.com: would be registered",
    ]
    assert first.stdout.splitlines() == [
        "ada@example.com: registered",
        "bob@example.com: registered",
        "Workspace of example.com: 2 new, 0 paused, 0 resumed, 0 unchanged, 1 not asked for, 1 suspended",
    ]
    told = json.loads(second.stdout)
    assert (told["changed"], told["added"], told["paused"], told["unchanged"]) == (False, [], {}, 2)
    synced = json.loads(run("sync", "--json").stdout)
    assert [one["contents_stored"] for one in synced["runs"]] == [3, 2]

    gmail.directory.remove("bob@example.com")
    gone = run(*command)
    assert "bob@example.com: paused, gone from the directory" in gone.stdout
    listed = json.loads(run("account", "list", "--json").stdout)["accounts"]
    assert [(one["account_id"], one["state"]) for one in listed] == [(ADDRESS, "active"), ("bob@example.com", "paused")]
    assert "nothing changed, 2 unchanged" in run(*command).stdout


def test_people_who_are_discovered_get_the_privacy_that_is_asked_for_and_known_ones_keep_theirs(
    run: Run, gmail: Simulator, tmp_path: Path
) -> None:
    gmail.directory.add(ADMIN, org_unit="/IT", is_admin=True)
    gmail.directory.add(ADDRESS)
    (tmp_path / "key.json").write_text(json.dumps(gmail.service_account([GMAIL, DIRECTORY])))
    command = ("account", "discover", "--service-account", "key.json", "--admin", ADMIN, "--exclude", "/IT")

    assert run(*command, "--privacy", "headers", "--no-sign-in-mail", "--include-label", "INBOX").returncode == 0
    gmail.directory.add("bob@example.com")
    assert run(*command, "--privacy", "hashed").returncode == 0

    listed = json.loads(run("account", "list", "--json").stdout)["accounts"]
    assert [(one["account_id"], one["privacy"], one["sign_in_mail"], one["include_labels"]) for one in listed] == [
        (ADDRESS, "headers", False, ["INBOX"]),
        ("bob@example.com", "hashed", True, []),
    ]


def test_discovery_is_told_what_it_lacks(run: Run, tmp_path: Path) -> None:
    (tmp_path / "key.json").write_text("{}")

    assert "needs --admin" in run("account", "discover", "--service-account", "key.json").stderr
    neither = run("account", "discover", "--admin", ADMIN)
    assert neither.returncode == 2
    assert "either --service-account or --credentials" in neither.stderr
