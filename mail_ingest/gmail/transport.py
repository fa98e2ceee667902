"""HTTP for any number of threads and accounts: pooled keep-alive connections, no redirects, no cookies, no proxies.

The shape of `request` is the one that google-api-python-client expects of its `http` object (httplib2's), so that
client runs on it unchanged. It has connections of its own because urllib3 takes three times their CPU for a message of
20 KB, and because a body can be admitted before it is read. Whom to ask is decided in `exchange`.
"""

from __future__ import annotations

import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol
from urllib.parse import urlsplit

from httptools import HttpParserError

from mail_ingest.gmail.connection import Connection, CutOffError, DroppedError

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0
EXCHANGE_TIMEOUT_S = 1_800.0
"""Seconds after which an exchange is given up even if bytes still come: the largest message takes so long at 1 Mbit/s."""

SMALL_BODY = 1_000_000
"""Bytes up to which a body is read without asking. No more than that is read of a refusal, nor inflated at a time."""

LARGEST_BODY = 512_000_000
"""Bytes above which a body is given up. A Gmail message has at most 150 MB
(https://developers.google.com/workspace/gmail/api/guides/uploads), a third more in base64.
"""

_GZIP = 31  # zlib's word for a gzip header
_IDLE_S = 120.0

Admit = Callable[[], None]
"""Called before a body goes on beyond `SMALL_BODY`; may wait, and may raise to have the body dropped."""


class TokenSource(Protocol):
    """Where an account's access token comes from. Called from many threads."""

    def token(self, force_refresh: bool = False) -> str:
        """A bearer token that is good now; `force_refresh` asks for another one because Gmail refused the last.

        Raises AuthError when a person must connect the account again, ServerError when asking later may help.
        """
        ...


class NetworkError(Exception):
    """No complete answer came back. `permanent` where asking again cannot help (the server's certificate)."""

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


class Response(dict[str, str]):
    """Headers by lower-cased name, with the status beside them; `wire_bytes` is the size of the body as it was sent."""

    def __init__(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        super().__init__((name.lower(), value) for name, value in headers)
        self.status = status
        self.reason = ""
        self.wire_bytes = 0


class Transport:
    """A pool of connections per host; opens none before the first request.

    `max_under_way` bounds how many requests are under way, whatever the number of threads and accounts; `max_connections` what
    is kept open per host between requests.
    """

    def __init__(
        self,
        *,
        max_connections: int = 64,
        max_under_way: int = 64,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        read_timeout_s: float = READ_TIMEOUT_S,
        exchange_timeout_s: float = EXCHANGE_TIMEOUT_S,
        largest_body: int = LARGEST_BODY,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._max_connections = max_connections
        self._under_way = threading.BoundedSemaphore(max_under_way)
        self._connect_timeout_s = connect_timeout_s
        self._read_timeout_s = read_timeout_s
        self._exchange_timeout_s = exchange_timeout_s
        self._largest_body = largest_body
        self._tls = tls
        self._lock = threading.Lock()
        self._idle: dict[str, list[tuple[float, Connection]]] = {}

    def request(
        self,
        uri: str,
        method: str = "GET",
        body: str | None = None,
        headers: Mapping[str, str] | None = None,
        admit: Admit | None = None,
        largest: int | None = None,
    ) -> tuple[Response, bytes]:
        """One exchange, whatever its status. Raises NetworkError, whose text holds no header and no body.

        `largest`: bytes of the body, inflated, above which this one is given up; the transport's own without it.
        A kept connection that the server has dropped meanwhile is replaced once, without counting as a failure.
        """
        with self._under_way:
            return self._request(uri, method, body, headers, admit, largest)

    def _request(
        self,
        uri: str,
        method: str,
        body: str | None,
        headers: Mapping[str, str] | None,
        admit: Admit | None,
        largest: int | None,
    ) -> tuple[Response, bytes]:
        origin, path = _split(uri)
        bound = self._largest_body if largest is None else min(largest, self._largest_body)
        connection = self._kept(origin)
        if connection is not None:
            try:
                return self._exchange(origin, connection, method, path, body, headers, admit, bound)
            except DroppedError:
                pass
        try:
            return self._exchange(origin, self._opened(origin), method, path, body, headers, admit, bound)
        except DroppedError:
            raise NetworkError("the connection was closed without an answer") from None

    def close(self) -> None:
        """Closes idle connections; later requests open new ones."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for kept in idle.values():
            for _, connection in kept:
                connection.close()

    def _exchange(
        self,
        origin: str,
        connection: Connection,
        method: str,
        path: str,
        body: str | None,
        headers: Mapping[str, str] | None,
        admit: Admit | None,
        largest: int,
    ) -> tuple[Response, bytes]:
        keep = False
        try:
            answer = connection.ask(method, path, headers or {}, body)
            response = Response(answer.status, answer.headers)
            if 200 <= answer.status < 300:
                content = _body(connection.pieces(answer), response, admit, largest)
            else:
                content = _refusal(connection.pieces(answer), response)
            keep = answer.is_complete and answer.keeps_connection
            return response, content
        except (OSError, CutOffError, HttpParserError, _TooLargeError, zlib.error) as error:
            raise NetworkError(_described(error)) from None
        finally:
            if keep:
                self._keep(origin, connection)
            else:
                connection.close()

    def _opened(self, origin: str) -> Connection:
        parts = urlsplit(origin)
        is_https = parts.scheme == "https"
        try:
            return Connection.open(
                parts.hostname or "",
                parts.port or (443 if is_https else 80),
                tls=self._tls_context() if is_https else None,
                connect_timeout_s=self._connect_timeout_s,
                read_timeout_s=self._read_timeout_s,
                exchange_timeout_s=self._exchange_timeout_s,
            )
        except OSError as error:
            raise NetworkError(_described(error), permanent=isinstance(error, ssl.SSLCertVerificationError)) from None

    def _kept(self, origin: str) -> Connection | None:
        """An idle connection that the server has not closed, as far as can be seen."""
        while True:
            with self._lock:
                kept = self._idle.get(origin)
                if not kept:
                    return None
                since, connection = kept.pop()
            if time.monotonic() - since < _IDLE_S and not connection.has_news:
                return connection
            connection.close()

    def _keep(self, origin: str, connection: Connection) -> None:
        """Puts a connection on top of the pile; the one at the bottom has been idle longest and may have to go."""
        now = time.monotonic()
        with self._lock:
            kept = self._idle.setdefault(origin, [])
            kept.append((now, connection))
            outdated = kept.pop(0) if len(kept) > self._max_connections or now - kept[0][0] > _IDLE_S else None
        if outdated is not None:
            outdated[1].close()

    def _tls_context(self) -> ssl.SSLContext:
        """One for all connections: reading the certificate authorities costs 25 ms of CPU."""
        with self._lock:
            if self._tls is None:
                self._tls = ssl.create_default_context()
            return self._tls


def _split(uri: str) -> tuple[str, str]:
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc}", f"{parts.path}?{parts.query}" if parts.query else parts.path


def _body(pieces: Iterable[bytes], response: Response, admit: Admit | None, largest: int) -> bytes:
    """The body, decompressed. `admit` is asked once it proves to be large, before more of it is read or inflated."""
    content = _Content(is_gzip=response.get("content-encoding") == "gzip", largest=largest)
    for piece in pieces:
        response.wire_bytes += len(piece)
        for _ in content.add(piece):
            if content.size > SMALL_BODY and admit is not None:
                admit()
                admit = None
    return content.whole()


def _refusal(pieces: Iterable[bytes], response: Response) -> bytes:
    """What an unsuccessful answer says; as good as nothing where it is not the few lines that Gmail has for it."""
    try:
        return _body(pieces, response, None, SMALL_BODY)
    except _TooLargeError:
        return b""


class _Content:
    """Puts a body together from what comes over the wire. What one piece inflates to is taken in steps of `SMALL_BODY`."""

    def __init__(self, *, is_gzip: bool, largest: int) -> None:
        self._inflate = zlib.decompressobj(wbits=_GZIP) if is_gzip else None
        self._largest = largest
        self._pieces: list[bytes] = []
        self.size = 0

    def add(self, chunk: bytes) -> Iterator[None]:
        """Takes a piece in, a step whenever the iterator is asked for the next one."""
        if self._inflate is None:
            self._take(chunk)
            yield
            return
        while chunk:
            self._take(self._inflate.decompress(chunk, SMALL_BODY))
            yield
            chunk = self._inflate.unconsumed_tail

    def whole(self) -> bytes:
        if self._inflate is not None and self._pieces and not self._inflate.eof:
            raise CutOffError
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)

    def _take(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self.size += len(piece)
        if self.size > self._largest:
            raise _TooLargeError


class _TooLargeError(Exception):
    """The body is larger than anything that Gmail has to say."""


def _described(error: Exception) -> str:
    """What failed, in words of ours: texts of the libraries may hold parts of the answer."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "the server's certificate was refused"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, CutOffError | zlib.error):
        return "the answer was cut off"
    if isinstance(error, _TooLargeError):
        return "the answer is too large"
    if isinstance(error, HttpParserError):
        return "what came back is no HTTP"
    return type(error).__name__
