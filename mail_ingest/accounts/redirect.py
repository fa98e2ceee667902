"""Where the browser comes back to after a consent: a loopback address of this machine, or the person's own hands.

google-auth-oauthlib's `run_local_server` takes the first request for the answer, also a favicon or one that somebody forged,
logs the code, and cannot take an address that is pasted, which is what a server without a browser needs.
"""

from __future__ import annotations

import os
import queue
import select
import time
from collections.abc import Callable, Mapping
from hmac import compare_digest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TextIO
from urllib.parse import parse_qsl, urlsplit

from mail_ingest.errors import ConfigError

_HOST = "127.0.0.1"
_TICK_S = 0.1
_IDLE_S = 5
_LONGEST_LINE = 16_000
_ARRIVED = b"The answer has arrived. You may close this window; the terminal says the rest.\n"
_FOREIGN = b"This answer belongs to another attempt to connect. Open the address that the terminal shows.\n"


class Redirect:
    """Listens on a port of the loopback interface, 0 for any free one. To be closed.

    Raises ConfigError where the port is taken.
    """

    def __init__(self, port: int = 0) -> None:
        self._arrived: queue.SimpleQueue[Mapping[str, str]] = queue.SimpleQueue()
        self._state = ""
        try:
            self._server = _Server((_HOST, port), self)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise ConfigError(
                f"port {port} of {_HOST} cannot be listened on ({reason}); name another with --port"
            ) from None

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def uri(self) -> str:
        return f"http://{_HOST}:{self.port}/"

    def wait(
        self, state: str, *, timeout_s: float, pasted: TextIO | None, tell: Callable[[str], None]
    ) -> Mapping[str, str]:
        """The parameters of the answer that carries this state; others are refused, and the waiting goes on.

        `pasted`: where a person may paste the address that the browser was sent to. Raises TimeoutError.
        """
        self._state = state
        lines = _Lines(pasted)
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            ready, _, _ = select.select([self._server.fileno(), *lines.sources], [], [], _TICK_S)
            if self._server.fileno() in ready:
                self._server.handle_request()
            if lines.sources and lines.sources[0] in ready:
                for line in lines.read():
                    if not self.take(urlsplit(line.strip()).query):
                        tell(
                            "that is not the address that this attempt ends at; copy the whole of it and paste it here"
                        )
            try:
                return self._arrived.get_nowait()
            except queue.Empty:
                continue
        raise TimeoutError

    def take(self, query: str) -> bool:
        """Whether a query string is the answer that is waited for, which ends the waiting."""
        if not self.is_answer(query):
            return False
        self._arrived.put(dict(parse_qsl(query)))
        return True

    def is_answer(self, query: str) -> bool:
        """Whether a query string is the answer that is waited for."""
        answer = dict(parse_qsl(query))
        is_ours = bool(self._state) and compare_digest(answer.get("state", "").encode(), self._state.encode())
        return is_ours and ("code" in answer or "error" in answer)

    def close(self) -> None:
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    """Browsers open connections ahead of time and say nothing on them: each has a thread, so that none is in the way."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = False

    def __init__(self, address: tuple[str, int], redirect: Redirect) -> None:
        self.redirect = redirect
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    timeout = _IDLE_S
    server: _Server

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path != "/" or not parts.query:
            self._answer(404, b"")
            return
        is_ours = self.server.redirect.is_answer(parts.query)
        try:
            self._answer(200 if is_ours else 400, _ARRIVED if is_ours else _FOREIGN)
        finally:
            # last: the process may end as soon as the answer is there, and the browser should have its page by then
            self.server.redirect.take(parts.query)

    def _answer(self, status: int, text: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class calls it so
        """Nothing is logged: the address holds the code."""


class _Lines:
    """Lines of a stream, read when select says that there is something; `sources` is empty once it has ended."""

    def __init__(self, stream: TextIO | None) -> None:
        self._rest = b""
        try:
            self.sources = [] if stream is None else [stream.fileno()]
        except (OSError, ValueError):
            self.sources = []

    def read(self) -> list[str]:
        piece = os.read(self.sources[0], _LONGEST_LINE)
        if not piece:
            self.sources = []
        *lines, self._rest = (self._rest + piece).split(b"\n")
        self._rest = self._rest[:_LONGEST_LINE]
        return [line.decode(errors="replace") for line in lines if line.strip()]
