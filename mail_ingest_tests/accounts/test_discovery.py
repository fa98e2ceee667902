"""A Workspace's directory becomes accounts: who is taken, who is left out, and what happens to those who leave."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mail_ingest.accounts import (
    Findings,
    Plan,
    Registry,
    discover,
    from_reference,
    plan_of,
    service_account,
    token_env,
    what_to_do,
)
from mail_ingest.errors import ConfigError, ServerError
from mail_ingest.settings import Settings, load_settings
from mail_ingest.simulator import Simulator

ADMIN = "root@example.com"
SCOPES = ["gmail.readonly", "admin.directory.user.readonly"]

Discover = Callable[..., Findings]


@pytest.fixture
def settings(tmp_path: Path, gmail: Simulator) -> Settings:
    return load_settings({"MAIL_INGEST_HOME": str(tmp_path / "home"), "MAIL_INGEST_DIRECTORY_URL": gmail.url})


@pytest.fixture
def key_file(gmail: Simulator, tmp_path: Path) -> Path:
    path = tmp_path / "key.json"
    path.write_text(json.dumps(gmail.service_account(SCOPES)))
    return path


@pytest.fixture
def people(gmail: Simulator) -> list[str]:
    """Five people, one of them the administrator."""
    gmail.directory.add(ADMIN, org_unit="/IT", is_admin=True)
    for name, unit in (("ada", "/Sales/North"), ("bob", "/Sales"), ("cy", "/Salesforce"), ("dee", "/")):
        gmail.directory.add(f"{name}@example.com", org_unit=unit)
    return [user.address for user in gmail.directory]


@pytest.fixture
def run(registry: Registry, settings: Settings, key_file: Path) -> Discover:
    def call(*, is_dry_run: bool = False, **changes: Any) -> Findings:
        given: dict[str, Any] = {"credential": service_account(key_file), "admin": ADMIN, **changes}
        return discover(registry, Plan(**given), settings, is_dry_run=is_dry_run)

    return call


def states(registry: Registry) -> dict[str, tuple[str, str]]:
    return {account.account_id: (account.state, account.state_reason) for account in registry.list()}


def test_everybody_in_three_pages_is_registered_once(
    gmail: Simulator, people: list[str], registry: Registry, run: Discover
) -> None:
    gmail.page_limit = 2

    first, second = run(), run()

    assert first.added == people == list(states(registry))
    assert gmail.calls("directory.users.list") == 2 * 3
    assert not second.changed_anything
    assert (second.added, second.paused, second.resumed, second.unchanged) == ([], {}, [], 5)


def test_new_accounts_open_their_own_mailboxes_with_the_service_account(
    gmail: Simulator, people: list[str], registry: Registry, run: Discover
) -> None:
    run()

    for address in people:
        grant = gmail.world.grants.check(registry.token_source(address).token())
        assert grant is not None
        assert (grant.address, [scope.rpartition("/")[2] for scope in grant.scopes]) == (address, ["gmail.readonly"])


@pytest.mark.parametrize(
    ("patterns", "taken"),
    [
        ({"include": ["*d*@example.com"]}, "ada dee"),
        ({"include": ["ADA@*", "bob@example.com"]}, "ada bob"),
        ({"include": ["/Sales"]}, "ada bob"),
        ({"include": ["/sales/*"]}, "ada"),
        ({"include": ["/"]}, "ada bob cy dee root"),
        ({"exclude": ["/Sales*", "root@*"]}, "dee"),
        ({"include": ["/Sales"], "exclude": ["/Sales/North"]}, "bob"),
        ({"include": ["nobody@*"]}, ""),
    ],
)
def test_patterns_say_who_is_taken(
    people: list[str], run: Discover, patterns: dict[str, list[str]], taken: str
) -> None:
    found = run(**patterns)

    assert [address.removesuffix("@example.com") for address in found.added] == taken.split()
    assert found.left_out.get("not asked for", 0) == len(people) - len(found.added)


def test_who_is_suspended_archived_or_without_a_mailbox_is_left_out(
    gmail: Simulator, people: list[str], run: Discover
) -> None:
    gmail.directory["ada@example.com"].is_suspended = True
    gmail.directory["bob@example.com"].is_archived = True
    gmail.directory["cy@example.com"].has_mailbox = False

    found = run()

    assert found.added == ["dee@example.com", ADMIN]
    assert found.left_out == {"suspended": 1, "archived": 1, "without a mailbox": 1}


def test_who_leaves_or_is_suspended_is_paused_and_who_comes_back_goes_on(
    gmail: Simulator, people: list[str], registry: Registry, run: Discover
) -> None:
    run()
    gmail.directory.remove("ada@example.com")
    gmail.directory["bob@example.com"].is_suspended = True

    gone, again = run(), run()

    assert gone.paused == {
        "ada@example.com": "gone from the directory",
        "bob@example.com": "suspended in the directory",
    }
    assert not again.changed_anything
    assert states(registry)["ada@example.com"] == ("paused", "discovery: gone from the directory")
    assert states(registry)["bob@example.com"] == ("paused", "discovery: suspended in the directory")
    assert len(registry.list()) == 5, "somebody was erased"

    gmail.directory["bob@example.com"].is_suspended = False
    gmail.directory.add("ada@example.com")
    back = run()
    assert back.resumed == ["ada@example.com", "bob@example.com"]
    assert set(states(registry).values()) == {("active", "")}


def test_a_reason_that_changes_is_told_again(
    gmail: Simulator, people: list[str], registry: Registry, run: Discover
) -> None:
    run()
    gmail.directory["ada@example.com"].is_suspended = True
    run()
    gmail.directory.remove("ada@example.com")

    assert run().paused == {"ada@example.com": "gone from the directory"}
    assert not run().changed_anything


def test_what_people_decided_stays(gmail: Simulator, people: list[str], registry: Registry, run: Discover) -> None:
    registry.add("dee@example.com", token_env("DEES_TOKEN"))
    registry.add("guest@elsewhere.example", token_env("GUESTS_TOKEN"))
    run()
    registry.pause("ada@example.com", "on leave")
    registry.remove("bob@example.com")
    gmail.directory["dee@example.com"].is_suspended = True

    found = run()

    assert not found.changed_anything
    assert found.left_out == {"removed by a person": 1, "suspended": 1}
    assert states(registry)["ada@example.com"] == ("paused", "on leave")
    assert "bob@example.com" not in states(registry)
    assert registry.get("dee@example.com").credential_kind == "token_env"
    assert states(registry)["dee@example.com"] == states(registry)["guest@elsewhere.example"] == ("active", "")
    gmail.directory.remove("ada@example.com")
    assert not run().changed_anything, "a pause of a person was taken over"


def test_who_was_erased_is_not_read_again(people: list[str], registry: Registry, run: Discover) -> None:
    registry.add("dee@example.com", token_env("DEES_TOKEN"))
    run(account_group="staff")
    for address in ("ada@example.com", "dee@example.com"):
        registry.remove(address, "its data are being erased")
        registry.forget(address)

    kept = registry.find("ada@example.com")
    assert (kept.state, kept.account_group, what_to_do(kept)) == ("removed", None, "")
    assert "erased" in kept.state_reason
    found = run()
    assert found.left_out == {"removed by a person": 1}
    assert found.added == ["dee@example.com"], "the one that a person had registered was not forgotten"


def test_new_accounts_get_the_group_and_known_ones_keep_theirs(
    people: list[str], registry: Registry, run: Discover
) -> None:
    registry.add("dee@example.com", token_env("DEES_TOKEN"), account_group="guests")

    run(account_group="staff")
    run(account_group="others")

    assert {account.account_id: account.account_group for account in registry.list()} == {
        address: "guests" if address == "dee@example.com" else "staff" for address in people
    }
    with pytest.raises(ConfigError, match="a group has a name"):
        run(account_group="x" * 81)


def test_who_is_no_longer_asked_for_is_counted_and_goes_on(
    people: list[str], registry: Registry, run: Discover
) -> None:
    run()

    found = run(include=["ada@*"])

    assert not found.changed_anything
    assert found.left_out == {"not asked for any more": 4}
    assert set(states(registry).values()) == {("active", "")}


def test_one_domain_says_nothing_about_another(
    gmail: Simulator, people: list[str], registry: Registry, run: Discover
) -> None:
    gmail.directory.add("eve@other.example")
    run(domain="example.com")

    found = run(domain="other.example")

    assert found.added == ["eve@other.example"]
    assert found.paused == {}
    assert registry.get("eve@other.example").discovered_from == "other.example"
    assert run().left_out == {}


def test_one_bad_address_stops_nobody(gmail: Simulator, people: list[str], registry: Registry, run: Discover) -> None:
    for bad in ("aaa", "a b@example.com", f"{'x' * 300}@example.com"):
        gmail.directory.add(bad)

    found = run()

    assert found.added == people
    assert set(found.refused) == {"aaa", "a b@example.com", f"{'x' * 300}@example.com"}
    assert all("is no mail address" in why for why in found.refused.values())


def test_a_dry_run_says_the_same_and_changes_nothing(
    gmail: Simulator, people: list[str], registry: Registry, run: Discover
) -> None:
    first = run(is_dry_run=True)
    assert states(registry) == {}
    assert first == run()

    gmail.directory.remove("ada@example.com")
    before = states(registry)
    later = run(is_dry_run=True)
    assert states(registry) == before
    assert later == run()


def test_a_directory_that_lists_nobody_is_not_believed(
    gmail: Simulator, people: list[str], registry: Registry, run: Discover, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    monkeypatch.setattr(type(gmail.directory), "__iter__", lambda _: iter([]))

    with pytest.raises(ConfigError, match="lists nobody"):
        run()

    assert set(states(registry).values()) == {("active", "")}


@pytest.mark.parametrize("status", [503, 429])
def test_a_list_that_breaks_off_pauses_nobody(
    gmail: Simulator, people: list[str], registry: Registry, run: Discover, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    gmail.page_limit = 2
    gmail.directory.add("abe@example.com")
    monkeypatch.setattr("mail_ingest.accounts.directory._RETRIES", 0)
    gmail.fail_next(status=status, reason="backendError", method="directory.users.list", after=1)

    with pytest.raises(ServerError, match=f"{status} backendError"):
        run()

    assert set(states(registry).values()) == {("active", "")}
    assert "abe@example.com" in states(registry)
    assert run().added == []


@pytest.mark.parametrize(
    ("scopes", "admin", "says"),
    [
        (SCOPES, "ada@example.com", "403 forbidden"),
        (SCOPES, "root@elsewhere.example", "404 notFound"),
        (["gmail.readonly"], ADMIN, "unauthorized_client"),
        (SCOPES, "root", "is no mail address"),
    ],
)
def test_who_may_not_list_is_told_what_it_takes(
    gmail: Simulator, people: list[str], run: Discover, tmp_path: Path, scopes: list[str], admin: str, says: str
) -> None:
    path = tmp_path / "other.json"
    path.write_text(json.dumps(gmail.service_account(scopes)))

    with pytest.raises(ConfigError) as caught:
        run(credential=service_account(path), admin=admin)

    assert says in str(caught.value)


def test_a_service_account_behind_a_reference_is_stored_as_the_reference(
    gmail: Simulator, people: list[str], registry: Registry, run: Discover, key_file: Path
) -> None:
    run(credential=from_reference(key_file.as_uri()))

    assert {account.credential_kind for account in registry.list()} == {"reference"}
    grant = gmail.world.grants.check(registry.token_source("ada@example.com").token())
    assert grant is not None
    assert grant.address == "ada@example.com"


def test_a_persons_consent_lists_nobody(gmail: Simulator, people: list[str], run: Discover, tmp_path: Path) -> None:
    path = tmp_path / "person.json"
    path.write_text(json.dumps(gmail.add_account(ADMIN).authorized_user()))

    with pytest.raises(ConfigError, match="by a service account"):
        run(credential=from_reference(path.as_uri()))


def test_the_plan_can_be_set_by_variables() -> None:
    settings = load_settings(
        {
            "MAIL_INGEST_DISCOVERY_CREDENTIALS": "env://KEY",
            "MAIL_INGEST_DISCOVERY_ADMIN": ADMIN,
            "MAIL_INGEST_DISCOVERY_DOMAIN": "example.com",
            "MAIL_INGEST_DISCOVERY_INCLUDE": "/Sales, ada@*",
            "MAIL_INGEST_DISCOVERY_EXCLUDE": "bob@*",
        }
    )

    assert plan_of(settings) == Plan(from_reference("env://KEY"), ADMIN, "example.com", ("/Sales", "ada@*"), ("bob@*",))
    with pytest.raises(ConfigError, match="MAIL_INGEST_DISCOVERY_CREDENTIALS"):
        plan_of(load_settings({}))
