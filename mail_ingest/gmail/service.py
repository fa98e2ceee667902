"""google-api-python-client, bent to our needs: built once per API root, offline, decoding with orjson.

Building a resource object costs more CPU than a call, so all accounts of a process share one set; they hold no
credentials. Importing the library takes a good part of a second, so it happens at the first call.
"""

from __future__ import annotations

import copy
import functools
import logging
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote, urlencode

import orjson

from mail_ingest import __version__
from mail_ingest.gmail.contract import MalformedAnswerError
from mail_ingest.settings import is_loopback

SCOPE = "https://www.googleapis.com/auth/gmail.readonly"
SOME_ID = "message-id-goes-here"
"""Stands for the id in a request that is made once and copied. Letters that no escaping changes, unlike any address."""
USER_AGENT = f"mail-ingest/{__version__}"
MOST_VALUES = 2_000_000
"""Values that an answer may hold. A page has some thousands; decoded, two characters may take a hundred bytes."""


class Http(Protocol):
    """What a request is executed on: httplib2's `request`, reduced to what the library calls."""

    def request(self, uri: str, method: str, body: str | None, headers: dict[str, str]) -> tuple[Any, bytes]: ...


class Request(Protocol):
    """A request that is ready to be sent, once."""

    uri: str
    headers: dict[str, str]

    def execute(self, http: Http) -> object: ...


class Resource(Protocol):
    """One resource's methods, as the library makes them from the discovery document."""

    def get(self, **parameters: object) -> Request: ...
    def list(self, **parameters: object) -> Request: ...


class Users(Protocol):
    """The `users` resource's own methods."""

    def getProfile(self, **parameters: object) -> Request: ...  # noqa: N802  the API's own name
    def watch(self, **parameters: object) -> Request: ...
    def stop(self, **parameters: object) -> Request: ...


@dataclass(frozen=True, slots=True)
class Service:
    """Gmail's resources under one API root. Shared by threads: a request holds what is its own."""

    users: Users
    messages: Resource
    labels: Resource
    history: Resource
    raw_message: Request
    """The request for the raw message `SOME_ID`: see `get_raw`."""
    headers_message: Request
    """The same with `format=metadata`: see `get_headers`."""

    def get_headers(self, message_id: str) -> Request:
        """As `get_raw`, with `format=metadata`: every header and no body."""
        return _copied(self.headers_message, message_id)

    def get_raw(self, message_id: str) -> Request:
        """`messages.get` with `format=raw`, as the library builds it, at a tenth of the cost of building it again."""
        return _copied(self.raw_message, message_id)


def _copied(made: Request, message_id: str) -> Request:
    """A request that was made for `SOME_ID`, for another message."""
    request = copy.copy(made)
    request.headers = dict(request.headers)
    request.uri = request.uri.replace(SOME_ID, quote(message_id, safe=""), 1)
    return request


@functools.lru_cache(maxsize=8)
def service(url: str, user_agent: str = USER_AGENT) -> Service:
    """The resources under the API root `url`, built from the discovery document that the library carries."""
    from googleapiclient.discovery import build

    # At DEBUG the library logs the address of every call, and with it what was searched for.
    logging.getLogger("googleapiclient.discovery").setLevel(logging.INFO)
    model = _Model(user_agent, gzip=not is_loopback(url))
    root = build(
        "gmail",
        "v1",
        http=_Unconnected(),
        model=model,
        static_discovery=True,
        cache_discovery=False,
        client_options={"api_endpoint": url},
    )
    users = root.users()
    messages = users.messages()
    return Service(
        users=users,
        messages=messages,
        labels=users.labels(),
        history=users.history(),
        raw_message=messages.get(userId="me", id=SOME_ID, format="raw"),
        headers_message=messages.get(userId="me", id=SOME_ID, format="metadata"),
    )


class _Unconnected:
    """Stands where the library wants a connection at build time; requests bring their own."""

    credentials = None

    def request(self, *_: object, **__: object) -> tuple[Any, bytes]:
        raise RuntimeError("a Gmail request was executed without a transport")


class _Model:
    """The library's wire format: headers, query string and JSON.

    It asks for gzip except on this machine, where that costs more than it saves. Gmail compresses only for a
    User-Agent that contains `gzip` (https://developers.google.com/workspace/gmail/api/guides/performance).
    """

    def __init__(self, user_agent: str, *, gzip: bool) -> None:
        self._headers = {
            "accept": "application/json",
            "user-agent": f"{user_agent} (gzip)" if gzip else user_agent,
        }
        if gzip:
            self._headers["accept-encoding"] = "gzip"

    def request(
        self,
        headers: dict[str, str],
        path_params: dict[str, str],
        query_params: dict[str, Any],
        body: object = None,
        *_: object,
    ) -> tuple[dict[str, str], dict[str, str], str, str | None]:
        ours = self._headers if body is None else {**self._headers, "content-type": "application/json"}
        return (
            {**headers, **ours},
            path_params,
            "?" + urlencode({**query_params, "alt": "json"}, doseq=True),
            None if body is None else orjson.dumps(body).decode(),
        )

    def response(self, _: object, content: bytes) -> object:
        return decoded(content)


def decoded(content: bytes) -> object:
    """The JSON of an answer. Raises MalformedAnswerError where it is none, or more than Gmail has to say."""
    if content.count(b",") > MOST_VALUES:
        raise MalformedAnswerError("more values than Gmail has to say")
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        raise MalformedAnswerError("not JSON, or cut off") from None
