"""The directory and the secrets of the local server, asked by Google's own client library."""

from typing import Any

import google.oauth2.service_account
import pytest
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError

from mail_ingest.simulator import Simulator

ADMIN = "root@example.com"
PREFIX = "https://www.googleapis.com/auth/"
USERS_SCOPE = f"{PREFIX}admin.directory.user.readonly"
PLATFORM_SCOPE = f"{PREFIX}cloud-platform"


@pytest.fixture
def people(gmail: Simulator) -> list[str]:
    """Seven people, one of them the administrator."""
    gmail.directory.add(ADMIN, is_admin=True)
    return sorted([ADMIN, *(gmail.directory.add(f"user{number}@example.com").address for number in range(6))])


def service(gmail: Simulator, name: str, version: str, *, scopes: list[str], subject: str | None = ADMIN) -> Any:
    info = gmail.service_account([USERS_SCOPE, PLATFORM_SCOPE, f"{PREFIX}gmail.readonly"])
    credentials = google.oauth2.service_account.Credentials.from_service_account_info(info, scopes=scopes)
    if subject is not None:
        credentials = credentials.with_subject(subject)
    return build(name, version, credentials=credentials, client_options={"api_endpoint": gmail.url})


def refusal(request: Any) -> tuple[int, str]:
    with pytest.raises(HttpError) as caught:
        request.execute()
    return caught.value.status_code, caught.value.reason


def test_an_administrator_lists_everybody_page_by_page(gmail: Simulator, people: list[str]) -> None:
    users = service(gmail, "admin", "directory_v1", scopes=[USERS_SCOPE]).users()
    request = users.list(customer="my_customer", maxResults=3)
    pages = []
    while request is not None:
        answer = request.execute()
        pages.append([user["primaryEmail"] for user in answer["users"]])
        request = users.list_next(request, answer)

    assert [len(page) for page in pages] == [3, 3, 1]
    assert [address for page in pages for address in page] == people
    assert gmail.calls("directory.users.list") == 3


def test_a_person_is_shown_with_what_the_mask_asks_for(gmail: Simulator, people: list[str]) -> None:
    user = gmail.directory["user3@example.com"]
    user.is_suspended, user.org_unit = True, "/Sales"
    users = service(gmail, "admin", "directory_v1", scopes=[USERS_SCOPE]).users()

    answer = users.list(
        domain="example.com", fields="nextPageToken,users(primaryEmail,suspended,orgUnitPath)"
    ).execute()

    assert answer["users"][4] == {"primaryEmail": "user3@example.com", "suspended": True, "orgUnitPath": "/Sales"}
    whole = users.list(domain="example.com").execute()["users"][4]
    assert (whole["archived"], whole["isMailboxSetup"], whole["kind"]) == (False, True, "admin#directory#user")


def test_the_directory_is_for_administrators_with_its_scope(gmail: Simulator, people: list[str]) -> None:
    def listing(scope: str, subject: str | None, **params: str) -> Any:
        given = params or {"customer": "my_customer"}
        return service(gmail, "admin", "directory_v1", scopes=[scope], subject=subject).users().list(**given)

    assert refusal(listing(USERS_SCOPE, "user1@example.com")) == (403, "Not Authorized to access this resource/api")
    assert refusal(listing(f"{PREFIX}gmail.readonly", ADMIN))[0] == 403
    assert refusal(listing(USERS_SCOPE, None)) == (404, "Domain not found.")
    assert refusal(listing(USERS_SCOPE, ADMIN, domain="elsewhere.example")) == (404, "Domain not found.")
    assert refusal(listing(USERS_SCOPE, ADMIN, orderBy="email")) == (400, "Bad Request")
    assert refusal(listing(USERS_SCOPE, ADMIN, customer="my_customer", pageToken="made-up"))[0] == 400


def test_a_planned_failure_strikes_the_directory_only_when_it_is_named(gmail: Simulator, people: list[str]) -> None:
    listing = service(gmail, "admin", "directory_v1", scopes=[USERS_SCOPE]).users().list(customer="my_customer")
    gmail.fail_next(status=429)
    assert len(listing.execute()["users"]) == 7
    gmail.clear_faults()
    gmail.fail_next(status=503, reason="backendError", method="directory.users.list")

    assert refusal(listing)[0] == 503
    assert len(listing.execute()["users"]) == 7


def test_a_secret_has_versions_and_readers(gmail: Simulator) -> None:
    name = "projects/vault/secrets/gmail"
    first = gmail.secrets.add(name, b"one")
    gmail.secrets.add(name, "two")
    versions = (
        service(gmail, "secretmanager", "v1", scopes=[PLATFORM_SCOPE], subject=None).projects().secrets().versions()
    )

    def payload(version: str) -> str:
        return str(versions.access(name=f"{name}/versions/{version}").execute()["payload"]["data"])

    assert (payload("latest"), payload("1"), payload("2")) == ("dHdv", "b25l", "dHdv")
    assert refusal(versions.access(name=f"{name}/versions/3"))[0] == 404
    assert refusal(versions.access(name="projects/vault/secrets/other/versions/latest"))[0] == 403
    gmail.secrets.disable(first)
    status, reason = refusal(versions.access(name=f"{name}/versions/1"))
    assert (status, "DISABLED" in reason) == (400, True)
    gmail.secrets.add("projects/vault/secrets/closed", b"x", readers=["robot@elsewhere.example"])
    status, reason = refusal(versions.access(name="projects/vault/secrets/closed/versions/latest"))
    assert (status, "secretmanager.versions.access" in reason) == (403, True)


def test_a_secret_needs_the_scope_of_the_platform(gmail: Simulator) -> None:
    name = gmail.secrets.add("projects/vault/secrets/gmail", b"one")
    narrow = service(gmail, "secretmanager", "v1", scopes=[USERS_SCOPE], subject=None)

    assert refusal(narrow.projects().secrets().versions().access(name=name))[0] == 403
