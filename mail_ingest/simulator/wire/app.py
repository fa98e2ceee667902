"""The ASGI application: finds out what a request is for, lets hooks and planned faults happen, sends the answer."""

import asyncio
from collections import Counter

from mail_ingest.simulator.faults import Call, Fault, HookHandle
from mail_ingest.simulator.wire import batch, consent, errors, oauth
from mail_ingest.simulator.wire.control import Control
from mail_ingest.simulator.wire.encoding import to_json
from mail_ingest.simulator.wire.exchange import Exchange, Receive, Scope, Send, Stream, read_request
from mail_ingest.simulator.wire.service import NOT_FOUND_PAGE, Prepared, Request, Response, Service, gzipped
from mail_ingest.simulator.wire.uploads import Uploads, is_upload
from mail_ingest.simulator.wire.workspace import Workspace
from mail_ingest.simulator.world import World

_UNAVAILABLE_PAGE = b"""<!DOCTYPE html>
<html><head><title>503 Service Unavailable</title></head>
<body><h1>Service Unavailable</h1><p>The service is temporarily unavailable.</p></body></html>
"""


class Application:
    """Serves one world. In flight is counted from the moment a request is read, per account."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._service = Service(world)
        self._uploads = Uploads()
        self._control = Control(world)
        self._workspace = Workspace(world)
        self._in_flight: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = await read_request(scope, receive)
        exchange = Exchange(scope, receive, send)
        path = request.path
        if path.startswith("/gmail/"):
            await self._api(request, exchange)
        elif path in batch.PATHS and request.verb == "POST":
            await self._batch(request, exchange)
        elif is_upload(path):
            await self._upload(request, exchange)
        elif path.startswith("/simulator"):
            answer = await asyncio.get_running_loop().run_in_executor(None, self._control.answer, request)
            await (exchange.stream(answer) if isinstance(answer, Stream) else exchange.send(answer))
        elif path in oauth.PATHS and request.verb == "POST":
            await exchange.send(oauth.answer(self._world, request))
        elif path in consent.PATHS and request.verb == "GET":
            await exchange.send(consent.answer(self._world, request))
        elif self._workspace.serves(request):
            with self._world.lock:
                response = self._workspace.answer(request)
            await exchange.send(response)
        else:
            await exchange.send(_page_not_found())

    async def _api(self, request: Request, exchange: Exchange) -> None:
        with self._world.lock:
            prepared = self._service.prepare(request)
        if prepared is None:
            await exchange.send(_page_not_found())
            return
        account = prepared.call.account
        self._in_flight[account] += 1
        try:
            response = await self._answer(prepared, exchange, self._in_flight[account])
        finally:
            self._in_flight[account] -= 1
        if response is not None:
            await exchange.send(gzipped(response, prepared.request, self._world.switches.gzip_level))

    async def _upload(self, request: Request, exchange: Exchange) -> None:
        try:
            taken = self._uploads.take(request, self._world.url)
        except errors.ApiError as error:
            taken = _refusal(error)
        if isinstance(taken, Response):
            await exchange.send(taken)
        else:
            await self._api(taken, exchange)

    async def _batch(self, request: Request, exchange: Exchange) -> None:
        """All calls of a batch count as running at once: that is where its 429s come from."""
        world = self._world
        try:
            calls = batch.parse_batch(request)
        except errors.ApiError as error:
            await exchange.send(_refusal(error))
            return
        fault = self._take_fault(Call("batch", "", request.query, ""))
        if fault is not None and fault.kind != "slow":
            await self._faulty_batch(fault, exchange)
            return
        pause_s = world.latency_s + (fault.seconds if fault is not None else 0)
        if pause_s:
            await asyncio.sleep(pause_s)
        answers = await self._batch_answers(calls, exchange)
        if answers is not None:
            switches = world.switches
            whole = batch.batch_answer(
                calls, answers, reverse=switches.reversed_batch_parts, lose_one=switches.missing_batch_part
            )
            await exchange.send(gzipped(whole, request, switches.gzip_level))

    async def _batch_answers(self, calls: list[batch.InnerCall], exchange: Exchange) -> list[Response] | None:
        entered: Counter[str] = Counter()
        answers: list[Response] = []
        try:
            for call in calls:
                with self._world.lock:
                    prepared = self._service.prepare(call.request)
                if prepared is None:
                    answers.append(_page_not_found())
                    continue
                account = prepared.call.account
                entered[account] += 1
                self._in_flight[account] += 1
                response = await self._answer(prepared, exchange, self._in_flight[account], in_batch=True)
                if response is None:
                    return None
                answers.append(response)
        finally:
            self._in_flight.subtract(entered)
        return answers

    async def _faulty_batch(self, fault: Fault, exchange: Exchange) -> None:
        if fault.kind in ("drop", "truncate"):
            await exchange.drop()
        elif fault.kind == "timeout":
            await exchange.wait_for_disconnect()
        elif fault.kind == "html503":
            await exchange.send(_unavailable())
        else:
            await exchange.send(_refusal(fault_error(fault, Call("batch", "", "", ""), self._world)))

    async def _answer(
        self, prepared: Prepared, exchange: Exchange, in_flight: int, *, in_batch: bool = False
    ) -> Response | None:
        """The answer to one call; None when the connection is gone."""
        disturbances = self._world.disturbances
        if disturbances.before:
            await self._run_hooks(disturbances.before, prepared.call)
        fault = self._take_fault(prepared.call)
        if self._world.latency_s and not in_batch:
            await asyncio.sleep(self._world.latency_s)
        if fault is not None:
            response = await self._faulty(fault, prepared, exchange, in_flight)
        else:
            with self._world.lock:
                response = self._service.answer(prepared, in_flight)
        if disturbances.after:
            whole = response.body if response is not None and response.status == 200 else None
            await self._run_hooks(disturbances.after, prepared.call, whole)
        return response

    async def _faulty(self, fault: Fault, prepared: Prepared, exchange: Exchange, in_flight: int) -> Response | None:
        """Lets a planned fault happen; None when there is nothing left to send."""
        world = self._world
        if fault.kind == "error":
            with world.lock:
                response = self._service.refuse(prepared, fault_error(fault, prepared.call, world))
            if fault.retry_after_header is not None:
                response.headers.append(("retry-after", str(fault.retry_after_header)))
            return response
        if fault.kind == "html503":
            return self._noted(prepared, _unavailable(), "html503")
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

    def _take_fault(self, call: Call) -> Fault | None:
        disturbances = self._world.disturbances
        if not disturbances.faults:
            return None
        with self._world.lock:
            return disturbances.take_fault(call)

    async def _run_hooks(self, hooks: list[HookHandle], call: Call, answer: bytes | None = None) -> None:
        """In a worker thread, so that a hook may wait, or call the server itself."""
        with self._world.lock:
            due = self._world.disturbances.take_hooks(hooks, call)
        for handle in due:
            await asyncio.get_running_loop().run_in_executor(None, handle.run, call, answer)


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


def _refusal(error: errors.ApiError) -> Response:
    return Response(error.code, to_json(error.body(), pretty=True))


def _page_not_found() -> Response:
    return Response(404, NOT_FOUND_PAGE, "text/html; charset=UTF-8")


def _unavailable() -> Response:
    return Response(503, _UNAVAILABLE_PAGE, "text/html; charset=UTF-8")
