"""The people of a Workspace, as the Admin SDK lists them. A person need not have a mailbox on the server."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

CUSTOMER = "C0simulator"


@dataclass(slots=True)
class User:
    """One person. Set attributes at any time: `is_suspended = True`."""

    address: str
    org_unit: str = "/"
    is_suspended: bool = False
    is_archived: bool = False
    has_mailbox: bool = True
    is_admin: bool = False
    user_id: str = field(default_factory=lambda: str(secrets.randbelow(10**21)).zfill(21))

    def resource(self) -> dict[str, Any]:
        """As `users.list` shows the person."""
        name = self.address.partition("@")[0]
        return {
            "kind": "admin#directory#user",
            "id": self.user_id,
            "primaryEmail": self.address,
            "name": {"givenName": name.title(), "familyName": "Example", "fullName": f"{name.title()} Example"},
            "isAdmin": self.is_admin,
            "suspended": self.is_suspended,
            "archived": self.is_archived,
            "customerId": CUSTOMER,
            "orgUnitPath": self.org_unit,
            "isMailboxSetup": self.has_mailbox,
        }


class Directory:
    """Everybody in one Workspace, by address."""

    def __init__(self) -> None:
        self._users: dict[str, User] = {}

    def add(
        self,
        address: str,
        *,
        org_unit: str = "/",
        is_suspended: bool = False,
        is_archived: bool = False,
        has_mailbox: bool = True,
        is_admin: bool = False,
    ) -> User:
        """Somebody joins, or is changed; returns the person."""
        user = User(address, org_unit, is_suspended, is_archived, has_mailbox, is_admin)
        self._users[address] = user
        return user

    def remove(self, address: str) -> None:
        """Somebody leaves."""
        del self._users[address]

    def __getitem__(self, address: str) -> User:
        return self._users[address]

    def __iter__(self) -> Iterator[User]:
        """Ordered by address."""
        return iter([self._users[address] for address in sorted(self._users)])

    def is_admin(self, address: str) -> bool | None:
        """Whether the person may list the others; None for nobody of this Workspace."""
        user = self._users.get(address)
        return None if user is None else user.is_admin

    @property
    def domains(self) -> set[str]:
        return {address.partition("@")[2] for address in self._users}
