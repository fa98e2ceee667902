"""What a method gets: the mailbox, the checked request, and the few things that belong to the whole server."""

import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mail_ingest.simulator.grants import AccessToken
from mail_ingest.simulator.mail.mailbox import Mailbox
from mail_ingest.simulator.mail.state import MailboxState
from mail_ingest.simulator.switches import Switches
from mail_ingest.simulator.wire import errors
from mail_ingest.simulator.wire.parameters import Params

Json = dict[str, Any]


class Remembered:
    """Opaque tokens for values that the server hands out and takes back; the oldest are forgotten beyond a bound."""

    def __init__(self, make: Callable[[], str], bound: int = 100_000) -> None:
        self._make = make
        self._bound = bound
        self._values: OrderedDict[str, Any] = OrderedDict()

    def put(self, value: Any) -> str:
        token = self._make()
        self._values[token] = value
        if len(self._values) > self._bound:
            self._values.popitem(last=False)
        return token

    def get(self, token: str) -> Any | None:
        return self._values.get(token)


def _page_token() -> str:
    """Twenty digits, as recorded."""
    return f"{secrets.randbits(64):020d}"


def _attachment_id() -> str:
    """The length and the first letters of recorded ids."""
    return "ANGjdJ" + secrets.token_urlsafe(235)[:313]


@dataclass(slots=True)
class Tokens:
    """Page tokens, bound to their query, and attachment ids, new at every read."""

    pages: Remembered = field(default_factory=lambda: Remembered(_page_token))
    attachments: Remembered = field(default_factory=lambda: Remembered(_attachment_id))

    def next_page(self, query: tuple[Any, ...], position: Any) -> str:
        return self.pages.put((query, position))

    def position(self, token: str | None, query: tuple[Any, ...]) -> Any | None:
        """Where a page token continues; None without a token, 400 for one that is unknown or of another query."""
        if not token:
            return None
        found = self.pages.get(token)
        if found is None or found[0] != query:
            raise errors.bad_page_token()
        return found[1]


@dataclass(slots=True)
class Context:
    """One API call, authorised and parsed."""

    box: Mailbox
    params: Params
    path: tuple[str, ...]
    """Ids in the path, in order."""
    grant: AccessToken
    switches: Switches
    tokens: Tokens
    clock: Callable[[], float]
    project: str
    body: Mapping[str, Any] = field(default_factory=dict)
    media: bytes | None = None
    """A message that was uploaded as media instead of base64url in the body."""

    @property
    def state(self) -> MailboxState:
        return self.box.state

    def text(self, name: str) -> str | None:
        """A text field of the request body."""
        value = self.body.get(name)
        return value if isinstance(value, str) else None

    def texts(self, name: str) -> list[str]:
        """A list of texts in the request body, empty when it is missing."""
        value = self.body.get(name)
        return [str(item) for item in value] if isinstance(value, list) else []

    def page_size(self) -> int:
        """`maxResults`: 100 unless asked, never more than 500 (the switch `page_limit`)."""
        return min(self.params.number("maxResults", 100) or 100, self.switches.page_limit)

    def is_metadata_only(self) -> bool:
        """Whether the token is bound by the limits of `gmail.metadata`."""
        scopes = self.grant.scopes
        if METADATA_SCOPE not in scopes:
            return False
        return self.switches.metadata_scope_dominates or not scopes & _WIDER_SCOPES


METADATA_SCOPE = "https://www.googleapis.com/auth/gmail.metadata"
_WIDER_SCOPES = frozenset(
    {
        "https://mail.google.com/",
        "https://www.googleapis.com/auth/gmail.readonly",
        "https://www.googleapis.com/auth/gmail.modify",
    }
)
