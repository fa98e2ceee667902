"""HTTP for any number of threads and accounts: pooled keep-alive connections, no retries, no redirects, no cookies.

The shape of `request` is the one that google-api-python-client expects of its `http` object (httplib2's), so that client
runs on it unchanged. Sends what it is given to the host it is given; who may be asked is decided in `service`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import urllib3
from urllib3.exceptions import HTTPError, LocationParseError, SSLError

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0


class TokenSource(Protocol):
    """Where an account's access token comes from. Called from many threads."""

    def token(self, force_refresh: bool = False) -> str:
        """A bearer token that is good now; `force_refresh` asks for another one because Gmail refused the last.

        Raises AuthError when a person must connect the account again, ServerError when the token server failed in passing.
        """
        ...


class NetworkError(Exception):
    """No complete answer came back. `permanent` where asking again cannot help (the server's certificate)."""

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


class Response(dict[str, str]):
    """Headers by lower-cased name, with the status beside them. `wire_bytes` is the body's size before gzip is undone."""

    def __init__(self, status: int, headers: Mapping[str, str], wire_bytes: int) -> None:
        super().__init__((name.lower(), value) for name, value in headers.items())
        self.status = status
        self.reason = ""
        self.wire_bytes = wire_bytes


class Transport:
    """A pool of connections per host. Opens none before the first request."""

    def __init__(
        self,
        *,
        max_connections: int = 64,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        read_timeout_s: float = READ_TIMEOUT_S,
    ) -> None:
        self._pools = urllib3.PoolManager(
            maxsize=max_connections,
            timeout=urllib3.Timeout(connect=connect_timeout_s, read=read_timeout_s),
            retries=False,
        )

    def request(
        self,
        uri: str,
        method: str = "GET",
        body: str | bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[Response, bytes]:
        """One exchange, whatever its status. Raises NetworkError, whose text holds no header and no body."""
        try:
            answer = self._pools.urlopen(method, uri, body=body, headers=headers, redirect=False)
        except (HTTPError, OSError) as error:
            raise NetworkError(
                type(error).__name__, permanent=isinstance(error, SSLError | LocationParseError)
            ) from None
        return Response(answer.status, answer.headers, answer.tell()), answer.data

    def close(self) -> None:
        """Closes idle connections; later requests open new ones."""
        self._pools.clear()
