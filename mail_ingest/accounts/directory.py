"""The people of a Workspace, listed by the Admin SDK in the name of an administrator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mail_ingest.accounts.credentials import Credential
from mail_ingest.accounts.google_apis import execute, service
from mail_ingest.accounts.oauth import delegated
from mail_ingest.errors import ConfigError, ServerError
from mail_ingest.settings import DIRECTORY_URL

DIRECTORY_SCOPE = "https://www.googleapis.com/auth/admin.directory.user.readonly"
_PAGE_SIZE = 500
#: Pages of people: ten million, more than any Workspace has.
MOST_PAGES = 20_000
_FIELDS = "nextPageToken,users(primaryEmail,suspended,archived,isMailboxSetup,orgUnitPath)"
_RETRIES = 2


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody in the directory; `why_not` says why there is no mailbox to read, and is empty where there is one."""

    address: str
    org_unit: str
    why_not: str


def list_people(
    credential: Credential, admin: str, domain: str = "", url: str = DIRECTORY_URL
) -> Iterator[list[Person]]:
    """Everybody in a domain, or in all domains of the administrator's Workspace, in pages of at most 500.

    The service account has to be delegated the directory's scope. Raises ConfigError where it may not list, ServerError where
    the directory fails in passing.
    """
    if credential.kind != "service_account":
        raise ConfigError("the directory is listed by a service account; a person's consent does not cover it")
    where = domain or f"the Workspace of {admin}"
    what = f"the people of {where} cannot be listed (it takes an administrator, and a delegation of {DIRECTORY_SCOPE})"
    whose = {"domain": domain} if domain else {"customer": "my_customer"}
    tokens: set[str] = set()
    with service("admin", "directory_v1", delegated(credential, admin, DIRECTORY_SCOPE), url) as api:
        request = api.users().list(**whose, maxResults=_PAGE_SIZE, fields=_FIELDS)
        while request is not None:
            answer = execute(request, what, retries=_RETRIES)
            yield people_of(answer, what)
            token = str(answer.get("nextPageToken", ""))
            if token in tokens or len(tokens) >= MOST_PAGES:
                raise ServerError(f"the list of the people of {where} does not come to an end; try again later")
            tokens.add(token)
            request = api.users().list_next(request, answer)


def people_of(answer: Mapping[str, Any], what: str) -> list[Person]:
    """The people on one page. Raises ServerError where that is not what it holds."""
    users = answer.get("users") or []
    if not isinstance(users, list) or not all(isinstance(user, Mapping) for user in users):
        raise ServerError(f"{what}: an answer of another kind; try again later", reason="noAnswer")
    return [_person(user) for user in users]


def _person(user: Mapping[str, Any]) -> Person:
    why_not = ""
    if user.get("suspended"):
        why_not = "suspended"
    elif user.get("archived"):
        why_not = "archived"
    elif not user.get("isMailboxSetup", True):
        why_not = "without a mailbox"
    return Person(str(user.get("primaryEmail", "")), str(user.get("orgUnitPath", "/")), why_not)
