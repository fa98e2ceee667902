"""Answers one API call, whether it came alone or inside a batch. Knows nothing of sockets."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import orjson

from mail_ingest.simulator.api.context import Context, Tokens
from mail_ingest.simulator.api.methods import Method
from mail_ingest.simulator.faults import Call
from mail_ingest.simulator.grants import AccessToken
from mail_ingest.simulator.ledger import ServedRequest
from mail_ingest.simulator.wire import errors
from mail_ingest.simulator.wire.encoding import to_json
from mail_ingest.simulator.wire.fields import apply_mask, check_mask, parse_mask
from mail_ingest.simulator.wire.parameters import parse_query
from mail_ingest.simulator.wire.routing import Routes
from mail_ingest.simulator.wire.schema import ANSWERS
from mail_ingest.simulator.world import World

JSON = "application/json; charset=UTF-8"
NOT_FOUND_PAGE = b"""<!DOCTYPE html>
<html lang=en>
  <meta charset=utf-8>
  <title>Error 404 (Not Found)!!1</title>
  <p><b>404.</b> <ins>That's an error.</ins>
  <p>The requested URL was not found on this server.  <ins>That's all we know.</ins>
"""


@dataclass(slots=True)
class Request:
    """One HTTP request; header names in lower case."""

    verb: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""
    media: bytes | None = None
    """A message that was uploaded beside the body."""


@dataclass(slots=True)
class Response:
    status: int
    body: bytes
    content_type: str = JSON
    headers: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Prepared:
    """A request whose method and caller are known."""

    request: Request
    method: Method
    user: str
    path: tuple[str, ...]
    grant: AccessToken | None
    has_credentials: bool
    call: Call


class Service:
    """The API of one simulated world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._routes = Routes()
        self._tokens = Tokens()

    def prepare(self, request: Request) -> Prepared | None:
        """Finds out what is asked and by whom; None when no method is served at this path."""
        request = _overridden(request)
        route = self._routes.find(request.verb, request.path)
        if route is None:
            return None
        method, user, path = route
        token = bearer(request)
        grant = self._world.grants.check(token) if token else None
        account = grant.address if grant else ""
        return Prepared(
            request,
            method,
            user,
            path,
            grant,
            token is not None,
            Call(method.name, account, request.query, "/".join(path)),
        )

    def answer(self, prepared: Prepared, in_flight: int = 1) -> Response:
        """Runs the method and writes the ledger. Callers hold the world's lock."""
        spent = [0]
        reason = ""
        pretty = "prettyPrint=false" not in prepared.request.query
        try:
            body = self._run(prepared, in_flight, spent)
            response = Response(204, b"") if body is None else Response(200, to_json(body, pretty=pretty))
        except errors.ApiError as error:
            reason = error.reason
            response = Response(error.code, to_json(error.body(), pretty=pretty))
        self.note(prepared, response, reason, spent[0])
        return response

    def refuse(self, prepared: Prepared, error: errors.ApiError) -> Response:
        """A planned failure, noted like any other answer."""
        response = Response(error.code, to_json(error.body(), pretty=True))
        self.note(prepared, response, error.reason, 0)
        return response

    def note(self, prepared: Prepared, response: Response, reason: str, units: int) -> None:
        call = prepared.call
        self._world.ledger.add(
            ServedRequest(
                self._world.clock(), call.method, call.account, response.status, units, reason, call.params,
                call.resource, len(response.body),
            )
        )  # fmt: skip

    def _run(self, prepared: Prepared, in_flight: int, spent: list[int]) -> dict[str, Any] | None:
        world, method, grant = self._world, prepared.method, prepared.grant
        if grant is None:
            raise errors.bad_credentials() if prepared.has_credentials else errors.no_credentials(method.rpc)
        params = parse_query(prepared.request.query, method.declared)
        mask_text = params.text("fields")
        mask = parse_mask(mask_text) if mask_text else None
        if mask is not None and mask_text is not None:
            check_mask(mask, ANSWERS.get(method.name, {}), mask_text)
        if method.scopes.isdisjoint(grant.scopes):
            raise errors.insufficient_scopes(method.rpc)
        box = world.accounts.get(grant.address)
        if box is None:
            raise errors.failed_precondition("Precondition check failed.")
        if prepared.user != "me" and prepared.user.lower() != box.address.lower():
            raise errors.delegation_denied(prepared.user)
        if not box.has_mail:
            raise errors.failed_precondition("Mail service not enabled")
        spent[0] = world.quota.charge(method.name, box.address)
        if in_flight > world.concurrency_limit:
            raise errors.too_many_concurrent()
        world.apply_retention(box)
        body, media = _content(prepared.request), prepared.request.media
        context = Context(
            box, params, prepared.path, grant, world.switches, self._tokens, world.clock, world.project, body, media
        )
        answer = method.handler(context)
        if answer is not None:
            for change in world.answer_changes:
                change.apply(prepared.call, answer)
        if mask is None or answer is None:
            return answer
        masked = apply_mask(answer, mask)
        return masked if isinstance(masked, dict) else answer


def bearer(request: Request) -> str | None:
    """The token of the Authorization header or of `access_token`; None when there is neither."""
    header = request.headers.get("authorization")
    if header is not None:
        return header.removeprefix("Bearer ").removeprefix("bearer ").strip()
    if "access_token=" in request.query:
        found = parse_qs(request.query).get("access_token")
        return found[0] if found else None
    return None


def _overridden(request: Request) -> Request:
    """A GET that was too long for a URL comes as a POST with its parameters in a form body."""
    if request.verb != "POST" or request.headers.get("x-http-method-override", "").upper() != "GET":
        return request
    form = request.body.decode("latin-1")
    query = "&".join(part for part in (request.query, form) if part)
    return Request("GET", request.path, query, request.headers)


def _content(request: Request) -> dict[str, Any]:
    """The JSON body of a request, empty when it has none."""
    if request.verb == "GET" or not request.body:
        return {}
    try:
        parsed = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        raise errors.invalid("Invalid JSON payload received. Unexpected token.", "parseError") from None
    if not isinstance(parsed, dict):
        raise errors.invalid("Invalid JSON payload received. Unexpected token.", "parseError")
    return parsed


def gzipped(response: Response, request: Request, level: int) -> Response:
    """Compressed when both the header and the user agent ask for it, as Google requires."""
    wants = "gzip" in request.headers.get("accept-encoding", "") and "gzip" in request.headers.get("user-agent", "")
    if not wants or not response.body:
        return response
    packer = zlib.compressobj(level, zlib.DEFLATED, 31)
    body = packer.compress(response.body) + packer.flush()
    return Response(response.status, body, response.content_type, [*response.headers, ("content-encoding", "gzip")])
