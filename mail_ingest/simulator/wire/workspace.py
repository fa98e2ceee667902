"""Two more APIs of Google's, as far as mailboxes are found and opened with them: the Admin SDK's `users.list` and Secret
Manager's `versions.access`.

Paths, parameters and scopes: discovery documents of admin.directory_v1 and secretmanager.v1. Refusals as users reported them.
"""

import re
from typing import Any
from urllib.parse import unquote

import pybase64

from mail_ingest.simulator.api.context import Tokens
from mail_ingest.simulator.directory import CUSTOMER, User
from mail_ingest.simulator.faults import Call
from mail_ingest.simulator.grants import SCOPE_PREFIX, AccessToken
from mail_ingest.simulator.ledger import ServedRequest
from mail_ingest.simulator.secret_store import Secret
from mail_ingest.simulator.wire import errors
from mail_ingest.simulator.wire.encoding import to_json
from mail_ingest.simulator.wire.fields import apply_mask, parse_mask
from mail_ingest.simulator.wire.parameters import Declared, Parameter, Params, parse_query
from mail_ingest.simulator.wire.service import Request, Response, bearer
from mail_ingest.simulator.world import World

USERS_PATH = "/admin/directory/v1/users"
SECRET_PREFIX = "/v1/projects/"  # noqa: S105
_ACCESS = re.compile(r"/v1/(projects/[^/]+/secrets/[^/]+)/versions/([^/]+):access")
_USERS_SCOPES = frozenset(
    SCOPE_PREFIX + scope for scope in ("admin.directory.user", "admin.directory.user.readonly", "cloud-platform")
)
_SECRETS_SCOPE = SCOPE_PREFIX + "cloud-platform"
_TEXT = Parameter()
_USERS_PARAMETERS = Declared(
    {
        "customer": _TEXT,
        "domain": _TEXT,
        "maxResults": Parameter("uint32"),
        "orderBy": Parameter("enum", ("email", "familyName", "givenName"), enum_name="OrderBy"),
        "pageToken": _TEXT,
        "projection": Parameter("enum", ("basic", "custom", "full"), enum_name="Projection"),
        "query": _TEXT,
        "showDeleted": _TEXT,
        "sortOrder": Parameter("enum", ("ASCENDING", "DESCENDING"), enum_name="SortOrder"),
        "viewType": Parameter("enum", ("admin_view", "domain_public"), enum_name="ViewType"),
    }
)
_NO_PARAMETERS = Declared()
_DEFAULT_PAGE, _LARGEST_PAGE = 100, 500


class RefusedError(Exception):
    """A refusal in the envelope of Google's newer APIs, which has no list of errors."""

    def __init__(self, code: int, status: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = status
        self._body = {"error": {"code": code, "message": message, "status": status}}

    def body(self) -> dict[str, Any]:
        return self._body


class Workspace:
    """Answers requests to both APIs, and writes them into the ledger at no units: `directory.users.list`, `secrets.access`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._tokens = Tokens()

    def serves(self, request: Request) -> bool:
        return request.verb == "GET" and (
            request.path == USERS_PATH or _ACCESS.fullmatch(unquote(request.path)) is not None
        )

    def answer(self, request: Request) -> Response:
        """Callers hold the world's lock."""
        token = bearer(request)
        grant = self._world.grants.check(token) if token else None
        method = "directory.users.list" if request.path == USERS_PATH else "secrets.access"
        call = Call(method, grant.address if grant else "", request.query, "")
        reason = ""
        try:
            response = Response(200, to_json(self._answer(call, request, grant), pretty=True))
        except (errors.ApiError, RefusedError) as error:
            reason = error.reason
            response = Response(error.code, to_json(error.body(), pretty=True))
        self._world.ledger.add(
            ServedRequest(
                self._world.clock(), method, call.account, response.status, 0, reason, request.query, "",
                len(response.body),
            )
        )  # fmt: skip
        return response

    def _answer(self, call: Call, request: Request, grant: AccessToken | None) -> dict[str, Any]:
        fault = self._world.disturbances.take_fault(call)
        if fault is not None:
            raise errors.by_reason(fault.status, fault.reason, self._world.project, fault.message)
        if grant is None:
            raise errors.bad_credentials()
        if call.method == "directory.users.list":
            return self._users(parse_query(request.query, _USERS_PARAMETERS), grant)
        parse_query(request.query, _NO_PARAMETERS)
        found = _ACCESS.fullmatch(unquote(request.path))
        assert found is not None  # `serves` has looked
        return self._secret(found[1], found[2], grant)

    def _users(self, params: Params, grant: AccessToken) -> dict[str, Any]:
        if _USERS_SCOPES.isdisjoint(grant.scopes):
            raise errors.insufficient_scopes("ccc.hosted.frontend.directory.v1.DirectoryUsers.List")
        customer, domain = params.text("customer"), params.text("domain")
        if not customer and not domain:
            raise errors.ApiError(400, "badRequest", "Bad Request", status="")
        directory = self._world.directory
        is_admin = directory.is_admin(grant.address)
        if is_admin is None or (customer and customer not in ("my_customer", CUSTOMER)):
            # also what a service account gets that acts for nobody
            raise errors.ApiError(404, "notFound", "Domain not found.", status="")
        if not is_admin:
            raise errors.ApiError(403, "forbidden", "Not Authorized to access this resource/api", status="")
        if domain and domain not in directory.domains:
            raise errors.ApiError(404, "notFound", "Domain not found.", status="")
        people = [user for user in directory if not domain or user.address.endswith(f"@{domain}")]
        return self._page(people, (customer, domain), params)

    def _page(self, people: list[User], query: tuple[Any, ...], params: Params) -> dict[str, Any]:
        """A page begins after the last address of the one before, so that changes meanwhile repeat and skip nobody."""
        after = self._tokens.position(params.text("pageToken"), query) or ""
        size = min(params.number("maxResults", _DEFAULT_PAGE), _LARGEST_PAGE, self._world.switches.page_limit)
        left = [user for user in people if user.address > after]
        shown = left[:size]
        answer: dict[str, Any] = {"kind": "admin#directory#users"}
        if shown:
            answer["users"] = [user.resource() for user in shown]
        if len(left) > size:
            answer["nextPageToken"] = self._tokens.next_page(query, shown[-1].address)
        mask = params.text("fields")
        masked = apply_mask(answer, parse_mask(mask)) if mask else answer
        return masked if isinstance(masked, dict) else answer

    def _secret(self, name: str, version: str, grant: AccessToken) -> dict[str, Any]:
        if _SECRETS_SCOPE not in grant.scopes:
            raise errors.insufficient_scopes("google.cloud.secretmanager.v1.SecretManagerService.AccessSecretVersion")
        secret = self._world.secrets.find(name)
        if secret is None or (secret.readers is not None and grant.address not in secret.readers):
            raise RefusedError(
                403,
                "PERMISSION_DENIED",
                f"Permission 'secretmanager.versions.access' denied for resource '{name}/versions/{version}' "
                "(or it may not exist).",
            )
        number = _number(secret, version)
        data = secret.versions[number - 1]
        return {
            "name": f"projects/{self._world.project}/secrets/{name.rsplit('/', 1)[1]}/versions/{number}",
            "payload": {"data": pybase64.b64encode_as_string(data)},
        }


def _number(secret: Secret, version: str) -> int:
    if version == "latest":
        number = len(secret.versions)
    elif version.isascii() and version.isdigit():
        number = int(version)
    else:
        raise RefusedError(
            400, "INVALID_ARGUMENT", f"Resource ID [{secret.name}/versions/{version}] is not in a valid format."
        )
    if not 0 < number <= len(secret.versions):
        raise RefusedError(404, "NOT_FOUND", f"Secret Version [{secret.name}/versions/{version}] not found.")
    if number in secret.disabled:
        raise RefusedError(
            400, "FAILED_PRECONDITION", f"Secret Version [{secret.name}/versions/{number}] is in DISABLED state."
        )
    return number
