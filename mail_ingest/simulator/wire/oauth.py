"""The token endpoint and the revocation endpoint."""

from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote_plus

import pybase64

from mail_ingest.simulator.faults import Call, Fault
from mail_ingest.simulator.token_errors import TokenError
from mail_ingest.simulator.wire.encoding import to_json
from mail_ingest.simulator.wire.service import Request, Response
from mail_ingest.simulator.world import World

PATHS = frozenset({"/token", "/oauth2/token", "/revoke"})


def answer(world: World, request: Request) -> Response:
    """One request to either endpoint; both take a form."""
    form = dict(parse_qsl(request.body.decode("latin-1"), keep_blank_values=True))
    form = _client_of_header(request) | form
    with world.lock:
        if request.path == "/revoke":
            return _revoke(world, form.get("token", ""))
        fault = world.disturbances.take_fault(Call("token", "", "", ""))
        if fault is not None:
            return _planned(fault)
        try:
            return _json(200, world.grants.exchange(form))
        except TokenError as error:
            return _json(error.status, error.body)


def _client_of_header(request: Request) -> dict[str, str]:
    """A client may name itself in the form or by basic authentication (RFC 6749, section 2.3.1)."""
    kind, _, text = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "basic":
        return {}
    try:
        client_id, _, client_secret = pybase64.b64decode(text, validate=True).decode().partition(":")
    except ValueError:
        return {}
    return {"client_id": unquote_plus(client_id), "client_secret": unquote_plus(client_secret)}


def _revoke(world: World, token: str) -> Response:
    if world.grants.revoke_token(token):
        return _json(200, {})
    return _json(400, {"error": "invalid_token", "error_description": "Token expired or revoked"})


def _planned(fault: Fault) -> Response:
    return _json(fault.status, {"error": fault.reason, "error_description": fault.message or "Bad Request"})


def _json(status: int, body: Mapping[str, object]) -> Response:
    return Response(status, to_json(body, pretty=True))
