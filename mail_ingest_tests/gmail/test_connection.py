"""Answers as bytes on a socket: where they begin and end, and what may follow on the same connection."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mail_ingest.gmail.transport import NetworkError, Transport


@pytest.fixture
def transport() -> Iterator[Transport]:
    transport = Transport(read_timeout_s=5)
    yield transport
    transport.close()


class Peer:
    """Answers the nth request of each connection with the nth of its texts, byte for byte, and closes after the last.

    A connection on which nothing is asked counts for nothing.
    """

    def __init__(self, *answers: list[bytes]) -> None:
        self._answers = answers
        self.requests: list[bytes] = []
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._serve, daemon=True)]
        self._threads[0].start()

    def _serve(self) -> None:
        waiting = list(self._answers)
        while waiting:
            with self._listener.accept()[0] as connection:
                self.connections += 1
                for position, answer in enumerate(waiting[0]):
                    request = b""
                    while not request.endswith(b"\r\n\r\n") and (piece := connection.recv(65_536)):
                        request += piece
                    if not request:
                        if position:
                            waiting.pop(0)
                        break
                    self.requests.append(request)
                    connection.sendall(answer)
                else:
                    waiting.pop(0)

    def close(self) -> None:
        self._listener.close()
        self._threads[0].join(5)


@contextmanager
def peer(*answers: list[bytes]) -> Iterator[Peer]:
    made = Peer(*answers)
    try:
        yield made
    finally:
        made.close()


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def test_a_request_is_what_a_server_expects(transport: Transport) -> None:
    with peer([OK]) as server:
        transport.request(server.url + "/a?b=c", headers={"authorization": "Bearer t"})

    lines = server.requests[0].decode().split("\r\n")
    assert lines[0] == "GET /a?b=c HTTP/1.1"
    host = server.url.removeprefix("http://")
    assert sorted(lines[1:-2]) == ["accept-encoding: identity", "authorization: Bearer t", f"host: {host}"]


@pytest.mark.parametrize(
    "interim", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"]
)
def test_interim_answers_are_passed_over(transport: Transport, interim: bytes) -> None:
    with peer([interim + OK]) as server:
        response, body = transport.request(server.url + "/")

    assert (response.status, body) == (200, b"ok")
    assert "link" not in response


def test_a_body_without_an_announced_end_ends_with_the_connection(transport: Transport) -> None:
    with peer([b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 600_000]) as server:
        assert transport.request(server.url + "/")[1] == b"x" * 600_000


@pytest.mark.parametrize(
    "last",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        OK + b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nsurplus!",
    ],
)
def test_a_connection_is_not_used_again_after_its_last_answer(transport: Transport, last: bytes) -> None:
    # a second request on the first connection would be answered by what must not be believed
    with peer([last, OK.replace(b"ok", b"no")], [OK]) as server:
        assert transport.request(server.url + "/")[1] == b"ok"
        assert transport.request(server.url + "/")[1] == b"ok"

    assert server.connections == 2


def test_trailers_are_no_headers(transport: Transport) -> None:
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\ncontent-encoding: gzip\r\n\r\n"
    with peer([chunked]) as server:
        response, body = transport.request(server.url + "/")

    assert body == b"ok"
    assert "content-encoding" not in response


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-le", "cut off"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nPrivate", "cut off"),
        (b"220 mail.example.com ESMTP Private\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"x-private: Private\r\n" * 40_000, "no HTTP"),
    ],
)
def test_what_is_no_whole_answer_is_said_without_quoting_it(transport: Transport, answer: bytes, said: str) -> None:
    with peer([answer]) as server, pytest.raises(NetworkError, match=said) as caught:
        transport.request(server.url + "/")

    assert "rivate" not in str(caught.value)


@pytest.mark.parametrize("value", ["secret\r\nx-injected: 1", "secret\n", "sec\x00ret"])
def test_a_header_that_would_begin_another_is_not_sent(transport: Transport, value: str) -> None:
    with peer([OK]) as server:
        with pytest.raises(ValueError, match="no address or header") as caught:
            transport.request(server.url + "/", headers={"authorization": value})
        with pytest.raises(ValueError, match="no address or header"):
            transport.request(server.url + "/a b")
        assert transport.request(server.url + "/")[1] == b"ok"

    assert "secret" not in str(caught.value)
    assert len(server.requests) == 1
