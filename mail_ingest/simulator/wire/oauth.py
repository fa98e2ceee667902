"""The token endpoint and the revocation endpoint."""

from collections.abc import Mapping
from urllib.parse import parse_qsl

from mail_ingest.simulator.faults import Call, Fault
from mail_ingest.simulator.token_errors import TokenError
from mail_ingest.simulator.wire.encoding import to_json
from mail_ingest.simulator.wire.service import Request, Response
from mail_ingest.simulator.world import World

PATHS = frozenset({"/token", "/oauth2/token", "/revoke"})


def answer(world: World, request: Request) -> Response:
    """One request to either endpoint; both take a form."""
    form = dict(parse_qsl(request.body.decode("latin-1"), keep_blank_values=True))
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


def _revoke(world: World, token: str) -> Response:
    if world.grants.revoke_token(token):
        return _json(200, {})
    return _json(400, {"error": "invalid_token", "error_description": "Token expired or revoked"})


def _planned(fault: Fault) -> Response:
    return _json(fault.status, {"error": fault.reason, "error_description": fault.message or "Bad Request"})


def _json(status: int, body: Mapping[str, object]) -> Response:
    return Response(status, to_json(body, pretty=True))
