"""The ASGI application: reads requests, runs hooks and planned faults, sends answers."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

from mail_ingest.simulator.faults import Call, Fault, HookHandle
from mail_ingest.simulator.token_errors import TokenError
from mail_ingest.simulator.wire import errors
from mail_ingest.simulator.wire.encoding import to_json
from mail_ingest.simulator.wire.service import NOT_FOUND_PAGE, Prepared, Request, Response, Service, gzipped
from mail_ingest.simulator.world import World

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_UNAVAILABLE_PAGE = b"""<!DOCTYPE html>
<html><head><title>503 Service Unavailable</title></head>
<body><h1>Service Unavailable</h1><p>The service is temporarily unavailable.</p></body></html>
"""


class Application:
    """Serves one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._service = Service(world)
        self._in_flight: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = await _read(scope, receive)
        exchange = _Exchange(scope, receive, send)
        if request.path.startswith("/gmail/"):
            await self._api(request, exchange)
        elif request.path == "/token" and request.verb == "POST":
            await exchange.send(self._token(request))
        else:
            await exchange.send(_page_not_found())

    async def _api(self, request: Request, exchange: "_Exchange") -> None:
        world = self._world
        with world.lock:
            prepared = self._service.prepare(request)
        if prepared is None:
            await exchange.send(_page_not_found())
            return
        account = prepared.call.account
        self._in_flight[account] += 1
        try:
            await self._answer(prepared, exchange)
        finally:
            self._in_flight[account] -= 1

    async def _answer(self, prepared: Prepared, exchange: "_Exchange") -> None:
        world = self._world
        disturbances = world.disturbances
        in_flight = self._in_flight[prepared.call.account]
        if disturbances.before:
            await self._run_hooks(disturbances.before, prepared.call)
        fault: Fault | None = None
        if disturbances.faults:
            with world.lock:
                fault = disturbances.take_fault(prepared.call)
        if world.latency_s:
            await asyncio.sleep(world.latency_s)
        if fault is not None:
            response = await self._faulty(fault, prepared, exchange, in_flight)
        else:
            with world.lock:
                response = self._service.answer(prepared, in_flight)
        if disturbances.after:
            await self._run_hooks(disturbances.after, prepared.call)
        if response is not None:
            await exchange.send(gzipped(response, prepared.request, world.switches.gzip_level))

    async def _faulty(self, fault: Fault, prepared: Prepared, exchange: "_Exchange", in_flight: int) -> Response | None:
        """Lets a planned fault happen; None when there is nothing left to send."""
        world = self._world
        if fault.kind == "error":
            with world.lock:
                response = self._service.refuse(prepared, fault_error(fault, prepared.call, world))
            if fault.retry_after_header is not None:
                response.headers.append(("retry-after", str(fault.retry_after_header)))
            return response
        if fault.kind == "html503":
            return self._noted(prepared, Response(503, _UNAVAILABLE_PAGE, "text/html; charset=UTF-8"), "html")
        if fault.kind == "drop":
            self._noted(prepared, Response(0, b""), "drop")
            await exchange.drop()
            return None
        if fault.kind == "timeout":
            self._noted(prepared, Response(0, b""), "timeout")
            await exchange.wait_for_disconnect()
            return None
        if fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
        with world.lock:
            response = self._service.answer(prepared, in_flight)
        if fault.kind == "truncate":
            await exchange.send_truncated(gzipped(response, prepared.request, world.switches.gzip_level))
            return None
        return response

    def _noted(self, prepared: Prepared, response: Response, reason: str) -> Response:
        with self._world.lock:
            self._service.note(prepared, response, reason, 0)
        return response

    async def _run_hooks(self, hooks: list[HookHandle], call: Call) -> None:
        """In a worker thread, so that a hook may wait, or call the server itself."""
        with self._world.lock:
            due = self._world.disturbances.take_hooks(hooks, call)
        for handle in due:
            await asyncio.get_running_loop().run_in_executor(None, handle.run, call)

    def _token(self, request: Request) -> Response:
        form = dict(parse_qsl(request.body.decode("latin-1"), keep_blank_values=True))
        with self._world.lock:
            fault = self._world.disturbances.take_fault(Call("token", "", "", ""))
            if fault is not None:
                body = {"error": fault.reason, "error_description": fault.message or "Bad Request"}
                return Response(fault.status, to_json(body, pretty=True))
            try:
                return Response(200, to_json(self._world.grants.exchange(form), pretty=True))
            except TokenError as error:
                return Response(error.status, to_json(error.body, pretty=True))


def fault_error(fault: Fault, call: Call, world: World) -> errors.ApiError:
    """The refusal that a planned fault asks for."""
    if fault.retry_after is not None:
        text = errors.retry_after_text(fault.retry_after)
        return errors.by_reason(fault.status, fault.reason, world.project, text)
    if fault.window_start:
        refusal = world.quota.refusal(call.account)
        refusal.code = fault.status
        return refusal
    return errors.by_reason(fault.status, fault.reason, world.project, fault.message)


def _page_not_found() -> Response:
    return Response(404, NOT_FOUND_PAGE, "text/html; charset=UTF-8")


async def _read(scope: Scope, receive: Receive) -> Request:
    body = b""
    if scope["method"] != "GET":
        more = True
        pieces = []
        while more:
            event = await receive()
            pieces.append(event.get("body", b""))
            more = event.get("more_body", False)
        body = b"".join(pieces)
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    return Request(scope["method"], scope["path"], scope["query_string"].decode("latin-1"), headers, body)


class _Exchange:
    """The sending half of one HTTP exchange."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send

    async def send(self, response: Response) -> None:
        await self._start(response, len(response.body))
        await self._send({"type": "http.response.body", "body": response.body})

    async def send_truncated(self, response: Response) -> None:
        """Announces the whole body, sends half of it and closes the connection."""
        await self._start(response, len(response.body))
        await self._send(
            {"type": "http.response.body", "body": response.body[: len(response.body) // 2], "more_body": True}
        )
        await self.drop()

    async def drop(self) -> None:
        """Closes the connection without (the rest of) an answer."""
        self._scope["extensions"]["simulator"]["transport"].close()
        await self.wait_for_disconnect()

    async def wait_for_disconnect(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _start(self, response: Response, length: int) -> None:
        headers = [
            (b"content-type", response.content_type.encode("latin-1")),
            (b"content-length", str(length).encode()),
            *((name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers),
        ]
        await self._send({"type": "http.response.start", "status": response.status, "headers": headers})
