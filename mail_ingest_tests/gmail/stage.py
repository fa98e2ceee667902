"""What the tests of the client stand on: a clock nobody waits for, tokens, and a server that answers what it is told."""

import json
import ssl
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mail_ingest.gmail import GmailClient, Patience, QuotaGovernor, Transport, parse_quota

ADA = "ada@example.com"
EPOCH = 1_790_000_000.0

opened: list[Transport] = []
"""Transports of clients that were made; closed after each test."""


class Clock:
    """Time that passes only when somebody sleeps. `naps` are the sleeps asked for."""

    def __init__(self, now: float = EPOCH) -> None:
        self.now = now
        self.naps: list[float] = []
        self._lock = threading.Lock()

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.naps.append(seconds)
            self.now += seconds


class Tokens:
    """Hands out tokens one after the other: the next one whenever a refresh is forced."""

    def __init__(self, *tokens: str) -> None:
        self._tokens = list(tokens)
        self.refreshes = 0

    def token(self, force_refresh: bool = False) -> str:
        if force_refresh:
            self.refreshes += 1
            if len(self._tokens) > 1:
                self._tokens.pop(0)
        return self._tokens[0]


def make_client(
    url: str,
    tokens: Tokens,
    clock: Clock,
    *,
    account_id: str = ADA,
    quota: str = "off",
    governor: QuotaGovernor | None = None,
    patience: Patience | None = None,
    max_in_flight: int = 10,
    rand: Callable[[], float] = lambda: 1.0,
    transport: Transport | None = None,
) -> GmailClient:
    """A client whose waits take no time; `rand` 1.0 makes every jitter as long as it may be."""
    transport = transport or Transport(read_timeout_s=5)
    opened.append(transport)
    return GmailClient(
        account_id,
        token=tokens,
        governor=governor or QuotaGovernor(parse_quota(quota), clock=clock, sleep=clock.sleep),
        transport=transport,
        url=url,
        max_in_flight=max_in_flight,
        patience=patience or Patience(),
        clock=clock,
        sleep=clock.sleep,
        rand=rand,
    )


@dataclass
class Answer:
    """What goes over the wire. `announced` lies about the length; `cut` closes the connection after the body."""

    status: int = 200
    body: bytes | Iterable[bytes] = b""
    headers: dict[str, str] = field(default_factory=dict)
    announced: int | None = None
    chunked: bool = False
    cut: bool = False


@dataclass
class Seen:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int
    """The client's port, which tells connections apart."""


Script = Callable[[Seen], Answer | None]


def json_answer(doc: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(doc).encode(), {"content-type": "application/json; charset=UTF-8"})


def error_answer(status: int, reason: str, message: str, **more: Any) -> Answer:
    error = {"code": status, "message": message, "errors": [{"message": message, "domain": "global", "reason": reason}]}
    return json_answer({"error": {**error, **more}}, status)


class Wire:
    """An HTTP server that answers each request with what `script` returns for it; None drops the connection."""

    def __init__(self, script: Script, certificate: tuple[Path, Path] | None = None) -> None:
        self.script = script
        self.seen: list[Seen] = []
        wire = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def do_GET(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                body = self.rfile.read(length)
                headers = {name.lower(): value for name, value in self.headers.items()}
                seen = Seen(self.command, self.path, headers, body, self.client_address[1])
                wire.seen.append(seen)
                answer = wire.script(seen)
                if answer is None:
                    self.close_connection = True
                    return
                self._send(answer)

            do_POST = do_GET

            def _send(self, answer: Answer) -> None:
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                pieces = [answer.body] if isinstance(answer.body, bytes) else answer.body
                if answer.chunked:
                    self.send_header("transfer-encoding", "chunked")
                else:
                    announced = len(answer.body) if isinstance(answer.body, bytes) else 0
                    self.send_header("content-length", str(answer.announced or announced))
                self.end_headers()
                try:
                    for piece in pieces:
                        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if answer.chunked else piece)
                        self.wfile.flush()
                    if answer.chunked and not answer.cut:
                        self.wfile.write(b"0\r\n\r\n")
                    self.wfile.flush()
                except OSError:
                    self.close_connection = True
                if answer.cut:
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        if certificate is not None:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(*certificate)
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'http' if certificate is None else 'https'}://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def in_turn(*answers: Answer | None) -> Script:
    """Each answer once, in order; the last one again and again."""
    left = list(answers)
    lock = threading.Lock()

    def script(_: Seen) -> Answer | None:
        with lock:
            return left.pop(0) if len(left) > 1 else left[0]

    return script
