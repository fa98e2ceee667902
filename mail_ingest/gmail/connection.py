"""One HTTP/1.1 connection: a request goes out, its answer comes back piece by piece, parsed by httptools.

http.client reads an answer's head with the standard library's parser for mail, which took half of the CPU time that the
exchange of a 20 KB message takes; httptools needs next to nothing for it.
"""

from __future__ import annotations

import re
import select
import socket
import ssl
import time
from collections.abc import Iterator, Mapping

from httptools import HttpParserError, HttpResponseParser

_READ_BYTES = 256_000
#: No server of Google's sends a tenth of it; without a bound a broken one could fill the memory. It holds for what comes
#: before the body, and again for what comes between its pieces and after it (chunk extensions, trailers).
_LARGEST_HEAD = 256_000
_CONTROL = re.compile(r"[\x00-\x20\x7f]")
_CONTROL_BUT_SPACE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_SWITCHING_PROTOCOLS = 101
_FIRST_FINAL = 200


class DroppedError(Exception):
    """The connection ended before anything of an answer came."""


class CutOffError(Exception):
    """The connection ended within an answer."""


class Answer:
    """An answer as far as it has come: httptools calls the methods whose names begin with `on_`."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[str, str]] = []
        self.has_head = False
        self.is_complete = False
        self.keeps_connection = False
        self.pieces: list[bytes] = []
        self._parser = HttpResponseParser(self)

    def feed(self, data: memoryview) -> None:
        """Takes what came over the wire. Raises HttpParserError for what is no HTTP."""
        self._parser.feed_data(data)

    @property
    def ends_with_connection(self) -> bool:
        """Whether the body has no announced end."""
        names = {name.lower(): value for name, value in self.headers}
        return "content-length" not in names and not names.get("transfer-encoding", "").lower().endswith("chunked")

    def on_message_begin(self) -> None:
        if self.is_complete:
            self.keeps_connection = False  # nobody asked for more than one answer

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.has_head:  # what comes after it are trailers
            self.headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        if not self.is_complete:
            self.status = self._parser.get_status_code()
            self.has_head = self.status >= _FIRST_FINAL or self.status == _SWITCHING_PROTOCOLS

    def on_body(self, piece: bytes) -> None:
        if not self.is_complete:
            self.pieces.append(piece)

    def on_message_complete(self) -> None:
        if not self.has_head:
            # "100 Continue" and the like: the answer itself is still to come
            self.headers.clear()
        elif not self.is_complete:
            self.is_complete = True
            self.keeps_connection = bool(self._parser.should_keep_alive())  # known now, and no longer afterwards


class Connection:
    """A socket to one host, and nothing but one exchange at a time on it."""

    def __init__(self, opened: socket.socket, host: str, exchange_timeout_s: float) -> None:
        self._socket = opened
        self._host = host
        self._exchange_timeout_s = exchange_timeout_s
        self._ends_at = 0.0
        self._poll = select.poll()
        self._poll.register(opened, select.POLLIN)
        self._buffer = memoryview(bytearray(_READ_BYTES))

    @classmethod
    def open(
        cls,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None,
        connect_timeout_s: float,
        read_timeout_s: float,
        exchange_timeout_s: float,
    ) -> Connection:
        """Connects, over TLS where a context is given. Raises OSError.

        `read_timeout_s` bounds the wait for the next bytes, `exchange_timeout_s` a whole exchange.
        """
        opened = socket.create_connection((host, port), connect_timeout_s)
        try:
            # requests are one write each: waiting to join them with later ones would only delay them
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                opened = tls.wrap_socket(opened, server_hostname=host)
            opened.settimeout(read_timeout_s)
        except BaseException:
            opened.close()
            raise
        name = f"[{host}]" if ":" in host else host
        return cls(opened, name if port == (443 if tls else 80) else f"{name}:{port}", exchange_timeout_s)

    @property
    def has_news(self) -> bool:
        """Whether something is there to read before anything was asked: in practice, the end of the connection."""
        return bool(self._poll.poll(0))

    def close(self) -> None:
        self._socket.close()

    def ask(self, method: str, target: str, headers: Mapping[str, str], body: str | None) -> Answer:
        """Sends a request and reads until the answer's head is there.

        Raises DroppedError where nothing came back, CutOffError, OSError, HttpParserError.
        """
        answer = Answer()
        self._ends_at = time.monotonic() + self._exchange_timeout_s
        try:
            self._socket.sendall(_request(method, target, self._host, headers, body))
            received = self._receive(answer)
        except (ConnectionResetError, BrokenPipeError) as error:
            raise DroppedError from error
        if not received:
            raise DroppedError
        while not answer.has_head:
            if received > _LARGEST_HEAD:
                raise HttpParserError("the head of the answer does not end")
            more = self._receive(answer)
            if not more:
                raise CutOffError
            received += more
        return answer

    def pieces(self, answer: Answer) -> Iterator[bytes]:
        """The body of the answer as it comes, in pieces of at most 256 KB. Raises CutOffError, OSError, HttpParserError."""
        between = 0
        while True:
            pieces, answer.pieces = answer.pieces, []
            yield from pieces
            if answer.is_complete:
                return
            between = 0 if pieces else between
            if between > _LARGEST_HEAD:
                raise HttpParserError("the answer goes on without a body")
            received = self._receive(answer)
            between += received
            if not received:
                if answer.ends_with_connection:
                    return
                raise CutOffError

    def _receive(self, answer: Answer) -> int:
        if time.monotonic() > self._ends_at:
            # a server that sends a byte now and then never lets the socket's own timeout end
            raise TimeoutError
        size = self._socket.recv_into(self._buffer)
        if size:
            answer.feed(self._buffer[:size])
        return size


def _request(method: str, target: str, host: str, headers: Mapping[str, str], body: str | None) -> bytes:
    if _CONTROL.search(target) or any(_CONTROL_BUT_SPACE.search(name + value) for name, value in headers.items()):
        # its text would hold the header
        raise ValueError("a request holds characters that no address or header may have")
    names = {name.lower() for name in headers}
    lines = [f"{method} {target} HTTP/1.1", f"host: {host}", *(f"{name}: {value}" for name, value in headers.items())]
    if "accept-encoding" not in names:
        lines.append("accept-encoding: identity")
    content = b"" if body is None else body.encode()
    if body is not None and "content-length" not in names:
        lines.append(f"content-length: {len(content)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + content
