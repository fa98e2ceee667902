"""One HTTP exchange over ASGI: reading the request, sending the answer, or failing to."""

from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any

from mail_ingest.simulator.wire.service import Request, Response

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass(slots=True)
class Stream:
    """An answer that is sent piece by piece."""

    pieces: Iterator[bytes]
    content_type: str = "application/x-ndjson"


async def read_request(scope: Scope, receive: Receive) -> Request:
    body = b""
    if scope["method"] != "GET":
        pieces = []
        more = True
        while more:
            event = await receive()
            pieces.append(event.get("body", b""))
            more = event.get("more_body", False)
        body = b"".join(pieces)
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    return Request(scope["method"], scope["path"], scope["query_string"].decode("latin-1"), headers, body)


class Exchange:
    """The sending half of one exchange."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send

    async def send(self, response: Response) -> None:
        await self._start(response)
        await self._send({"type": "http.response.body", "body": response.body})

    async def stream(self, stream: Stream) -> None:
        headers = [(b"content-type", stream.content_type.encode("latin-1"))]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        for piece in stream.pieces:
            await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        await self._send({"type": "http.response.body", "body": b""})

    async def send_truncated(self, response: Response) -> None:
        """Announces the whole body, sends half of it and closes the connection."""
        await self._start(response)
        half = response.body[: len(response.body) // 2]
        await self._send({"type": "http.response.body", "body": half, "more_body": True})
        await self.drop()

    async def drop(self) -> None:
        """Closes the connection without (the rest of) an answer."""
        self._scope["extensions"]["simulator"]["transport"].close()
        await self.wait_for_disconnect()

    async def wait_for_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _start(self, response: Response) -> None:
        headers = [
            (b"content-type", response.content_type.encode("latin-1")),
            (b"content-length", str(len(response.body)).encode()),
            *((name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers),
        ]
        await self._send({"type": "http.response.start", "status": response.status, "headers": headers})
